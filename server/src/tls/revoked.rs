//! Certificates that their authority has taken back.
//!
//! A list counts for the certificates of the authority that it names. etcd compares serial numbers
//! alone, so that a list of one authority hits another's certificates as well. Lists count beyond
//! their date, as in etcd: an authority that is late with the next one must not stop the cluster.
//! So do those that no trusted authority has signed: they are left over when an authority is
//! replaced, often by one of the same name, and the file is as trusted as that of the authorities.

use std::collections::HashSet;
use std::time::SystemTime;

use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;

use super::certificate::{Certificate, is_over, without_zeros};
use super::error::TlsError;
use super::files::Named;
use super::pem;

/// Revoked certificates, by their authority's name and their serial number.
#[derive(Debug, Default)]
pub(super) struct Revoked {
    entries: HashSet<(String, Vec<u8>)>,
}

impl Revoked {
    /// Reads a file of lists, and warns of those that none of `authorities` has signed.
    pub(super) fn read(
        file: &Named,
        bytes: &[u8],
        authorities: &[CertificateDer<'_>],
        now: SystemTime,
    ) -> Result<Self, TlsError> {
        let mut entries = HashSet::new();
        for der in pem::revocation_lists(file, bytes)? {
            let (_, list) = CertificateRevocationList::from_der(&der).map_err(|error| {
                file.wrong(format!("is damaged: no revocation list in PEM or DER: {error}"))
            })?;
            let issuer = list.issuer().to_string();
            if !is_signed(&list, &issuer, authorities) {
                tracing::warn!(%file, issuer, "no trusted authority has signed a revocation list; it still counts");
            }
            if let Some(next) = list.next_update().filter(|next| is_over(*next, now)) {
                tracing::warn!(%file, issuer, %next, "a revocation list is out of date; it still counts");
            }
            let revoked = list.iter_revoked_certificates();
            entries.extend(revoked.map(|one| (issuer.clone(), without_zeros(one.raw_serial()))));
        }
        Ok(Self { entries })
    }

    pub(super) fn contains(&self, certificate: &Certificate) -> bool {
        // The common case has no list, and then nothing is copied.
        !self.entries.is_empty()
            && self.entries.contains(&(certificate.issuer.clone(), certificate.serial.clone()))
    }
}

fn is_signed(
    list: &CertificateRevocationList<'_>,
    issuer: &str,
    authorities: &[CertificateDer<'_>],
) -> bool {
    authorities.iter().any(|der| {
        X509Certificate::from_der(der).is_ok_and(|(_, authority)| {
            authority.subject().to_string() == issuer
                && list.verify_signature(authority.public_key()).is_ok()
        })
    })
}
