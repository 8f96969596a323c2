//! What the files hold, taken apart.

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

use super::error::TlsError;
use super::files::Named;

/// The first byte of anything in DER.
const DER_SEQUENCE: u8 = 0x30;

/// All certificates of a file, at least one.
pub(super) fn certificates(
    file: &Named,
    bytes: &[u8],
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    all(file, bytes, "certificate", "BEGIN CERTIFICATE")
}

/// The first private key of a file.
pub(super) fn key(file: &Named, bytes: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    let encrypted = |word: &str| bytes.windows(word.len()).any(|part| part == word.as_bytes());
    if encrypted("BEGIN ENCRYPTED PRIVATE KEY") || encrypted("Proc-Type: 4,ENCRYPTED") {
        return Err(
            file.wrong("the key is encrypted: give one that is not, readable by the member alone")
        );
    }
    match PrivateKeyDer::from_pem_slice(bytes) {
        Ok(key) => Ok(key),
        Err(pem::Error::NoItemsFound) => {
            Err(file.wrong("there is no private key in PEM (\"BEGIN ... PRIVATE KEY\") in it"))
        }
        Err(error) => Err(file.wrong(format!("is damaged: {error}"))),
    }
}

/// All revocation lists of a file, at least one. DER is taken too, as authorities publish it.
pub(super) fn revocation_lists(
    file: &Named,
    bytes: &[u8],
) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    if bytes.first() == Some(&DER_SEQUENCE) {
        return Ok(vec![CertificateRevocationListDer::from(bytes.to_vec())]);
    }
    all(file, bytes, "revocation list", "BEGIN X509 CRL")
}

fn all<T: PemObject>(
    file: &Named,
    bytes: &[u8],
    what: &str,
    header: &str,
) -> Result<Vec<T>, TlsError> {
    let found: Vec<T> = T::pem_slice_iter(bytes)
        .collect::<Result<_, _>>()
        .map_err(|error| file.wrong(format!("is damaged: {error}")))?;
    if found.is_empty() {
        return Err(file.wrong(format!("there is no {what} in PEM ({header:?}) in it")));
    }
    Ok(found)
}
