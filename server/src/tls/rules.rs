//! Who is taken beyond having a certificate of a trusted authority.

use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, Error, OtherError};

use super::certificate::Certificate;
use super::revoked::Revoked;

/// What is demanded of the other side's certificate.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) allowed_cn: Vec<String>,
    pub(super) allowed_hostname: Vec<ServerName<'static>>,
    pub(super) revoked: Revoked,
}

/// A rule that is broken, in words.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Broken(String);

impl Rules {
    /// Checks a certificate that a trusted authority has signed, and those between the two.
    pub(super) fn check(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
    ) -> Result<(), Error> {
        let own = read(certificate)?;
        if self.revoked.contains(&own) {
            return Err(CertificateError::Revoked.into());
        }
        for intermediate in intermediates {
            if self.revoked.contains(&read(intermediate)?) {
                return Err(CertificateError::Revoked.into());
            }
        }
        if !self.allowed_cn.is_empty() && !self.allowed_cn.contains(&own.common_name) {
            return Err(broken(format!("its common name {:?} is not allowed", own.common_name)));
        }
        self.check_hostname(certificate)
    }

    fn check_hostname(&self, certificate: &CertificateDer<'_>) -> Result<(), Error> {
        if self.allowed_hostname.is_empty() {
            return Ok(());
        }
        let parsed = ParsedCertificate::try_from(certificate)?;
        let fits = |name: &ServerName<'_>| verify_server_name(&parsed, name).is_ok();
        if self.allowed_hostname.iter().any(fits) {
            return Ok(());
        }
        Err(broken("its certificate is valid for none of the allowed host names".to_owned()))
    }
}

fn read(certificate: &CertificateDer<'_>) -> Result<Certificate, Error> {
    Certificate::read(certificate).map_err(|_| CertificateError::BadEncoding.into())
}

fn broken(text: String) -> Error {
    CertificateError::Other(OtherError(std::sync::Arc::new(Broken(text)))).into()
}
