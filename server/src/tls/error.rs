//! What is wrong with the files of TLS.

/// A setting, usually with its file, and what is wrong with it. Two of the same fault are equal, so
/// that one that lasts is told once.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{subject}: {what}")]
pub struct TlsError {
    subject: String,
    what: String,
}

impl TlsError {
    pub(super) fn new(subject: impl Into<String>, what: impl Into<String>) -> Self {
        Self { subject: subject.into(), what: what.into() }
    }
}
