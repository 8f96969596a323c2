//! The files of one side, and what is in them.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use super::error::TlsError;
use super::handle::Side;
use crate::config::TransportSecurity;

/// Most that is read of a file. Bundles of all public authorities have a quarter of a megabyte,
/// large revocation lists some megabytes.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// A file that a flag names.
#[derive(Debug)]
pub(super) struct Named {
    flag: String,
    path: PathBuf,
}

impl Named {
    fn new(prefix: &str, flag: &str, path: Option<&PathBuf>) -> Option<Self> {
        path.map(|path| Self { flag: format!("--{prefix}{flag}"), path: path.clone() })
    }

    pub(super) fn wrong(&self, what: impl Into<String>) -> TlsError {
        TlsError::new(self.to_string(), what)
    }

    fn read(&self) -> Result<Vec<u8>, TlsError> {
        let mut bytes = Vec::new();
        let read = File::open(&self.path)
            .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes));
        match read {
            Err(error) => Err(self.wrong(format!("cannot be read: {error}"))),
            Ok(_) if bytes.len() as u64 > FILE_BYTES_MAX => {
                Err(self.wrong(format!("is larger than {FILE_BYTES_MAX} bytes")))
            }
            Ok(_) => Ok(bytes),
        }
    }
}

impl std::fmt::Display for Named {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.flag, self.path.display())
    }
}

/// A certificate and its key: their files, or what is in them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pair<T> {
    pub(super) certificate: T,
    pub(super) key: T,
}

/// All files of a side: the files, or what is in them. Keys among them: not to be shown.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct All<T> {
    /// Of this member.
    pub(super) own: Option<Pair<T>>,
    /// Shown to other members in the place of `own`.
    pub(super) towards_others: Option<Pair<T>>,
    pub(super) authorities: Option<T>,
    pub(super) revoked: Option<T>,
}

pub(super) type Files = All<Named>;
pub(super) type Contents = All<Vec<u8>>;

impl Files {
    pub(super) fn of(side: Side, given: &TransportSecurity) -> Self {
        let prefix = side.prefix();
        let named = |flag: &str, path: &Option<PathBuf>| Named::new(prefix, flag, path.as_ref());
        let pair = |certificate: Option<Named>, key: Option<Named>| {
            Some(Pair { certificate: certificate?, key: key? })
        };
        let crl = if side == Side::Clients { "client-crl-file" } else { "crl-file" };
        Self {
            own: pair(named("cert-file", &given.cert_file), named("key-file", &given.key_file)),
            towards_others: pair(
                named("client-cert-file", &given.client_cert_file),
                named("client-key-file", &given.client_key_file),
            ),
            authorities: named("trusted-ca-file", &given.trusted_ca_file),
            revoked: named(crl, &given.crl_file),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.own.is_none()
            && self.towards_others.is_none()
            && self.authorities.is_none()
            && self.revoked.is_none()
    }

    /// Reads all; the first file that cannot be read ends it.
    pub(super) fn read(&self) -> Result<Contents, TlsError> {
        let one = |file: &Option<Named>| file.as_ref().map(Named::read).transpose();
        let two = |pair: &Option<Pair<Named>>| {
            pair.as_ref()
                .map(|pair| {
                    Ok(Pair { certificate: pair.certificate.read()?, key: pair.key.read()? })
                })
                .transpose()
        };
        Ok(Contents {
            own: two(&self.own)?,
            towards_others: two(&self.towards_others)?,
            authorities: one(&self.authorities)?,
            revoked: one(&self.revoked)?,
        })
    }
}
