//! What a certificate says of its owner and of itself.

use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;

/// A certificate's contents as far as they matter here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Certificate {
    pub(super) subject: String,
    pub(super) issuer: String,
    /// Without leading zeros.
    pub(super) serial: Vec<u8>,
    /// The last one, as Go takes it; empty if there is none.
    pub(super) common_name: String,
    pub(super) dns_names: Vec<String>,
    pub(super) ip_addresses: Vec<IpAddr>,
    pub(super) not_after: ASN1Time,
}

impl Certificate {
    /// Reads one; the error says what is wrong with it.
    pub(super) fn read(der: &[u8]) -> Result<Self, String> {
        let (_, read) = X509Certificate::from_der(der).map_err(|error| error.to_string())?;
        let common_name = read.subject().iter_common_name().last();
        let names = read.subject_alternative_name().map_err(|error| error.to_string())?;
        let mut certificate = Self {
            subject: read.subject().to_string(),
            issuer: read.issuer().to_string(),
            serial: without_zeros(read.raw_serial()),
            common_name: common_name.and_then(|name| name.as_str().ok()).unwrap_or("").to_owned(),
            dns_names: Vec::new(),
            ip_addresses: Vec::new(),
            not_after: read.validity().not_after,
        };
        for name in names.iter().flat_map(|names| &names.value.general_names) {
            if let GeneralName::DNSName(name) = name {
                certificate.dns_names.push((*name).to_owned());
            } else if let GeneralName::IPAddress(bytes) = name {
                certificate.ip_addresses.extend(address(bytes));
            }
        }
        Ok(certificate)
    }

    pub(super) fn is_over(&self, now: SystemTime) -> bool {
        is_over(self.not_after, now)
    }
}

/// Whether a moment has passed.
pub(super) fn is_over(moment: ASN1Time, now: SystemTime) -> bool {
    match u64::try_from(moment.timestamp()) {
        Ok(secs) => UNIX_EPOCH + Duration::from_secs(secs) < now,
        Err(_) => true, // before 1970
    }
}

pub(super) fn without_zeros(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().copied().skip_while(|byte| *byte == 0).collect()
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(v4.into());
    }
    <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from)
}
