//! What can go wrong, by what the caller can do about it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::types::{EntryId, LogIndex};

/// An error of the log. Cheap to clone, because one failed sync answers a whole group.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The disk refused something while the log was being opened or read.
    #[error("{doing} {}", path.display())]
    Io {
        /// What was being done, as a present participle.
        doing: &'static str,
        /// The file or folder it was done to.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: Arc<io::Error>,
    },
    /// Bytes that were once synced are not what they were. The log does not guess around them.
    #[error("log segment {} is corrupt at offset {offset}: {reason}", segment.display())]
    Corrupt {
        /// The segment file.
        segment: PathBuf,
        /// The byte offset in it.
        offset: u64,
        /// What was expected and what was found.
        reason: String,
    },
    /// The segment was written in a format this build does not know.
    #[error(
        "log segment {} has format version {found}, this build reads version {supported}",
        segment.display()
    )]
    Version {
        /// The segment file.
        segment: PathBuf,
        /// The version it carries.
        found: u32,
        /// The version this build reads.
        supported: u32,
    },
    /// Another process, or another part of this one, has the folder open.
    #[error(
        "log folder {} is locked by {}",
        dir.display(),
        holder.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
    )]
    Locked {
        /// The folder.
        dir: PathBuf,
        /// The process id the holder left in the lock file.
        holder: Option<u32>,
    },
    /// A write or a sync failed earlier. What is on the disk is unknown until the folder is
    /// opened again, so nothing more is written.
    #[error("log is stopped: {reason}")]
    Poisoned {
        /// The first failure; later ones are its consequences.
        reason: Arc<str>,
    },
    /// No space for another segment is left, and the prepared ones are too full for this
    /// operation. Nothing was taken; the log goes on when space comes back.
    #[error("no disk space for {needed} more bytes of log, {left} are left")]
    NoSpace {
        /// The bytes the operation needs.
        needed: u64,
        /// The bytes left to it in the prepared segments.
        left: u64,
    },
    /// The entries do not follow the end of the log.
    #[error("entry {} does not follow the log, expected {}", got.0, expected.0)]
    NotContiguous {
        /// The index that comes next.
        expected: LogIndex,
        /// The index that was offered.
        got: LogIndex,
    },
    /// The id names an entry that the log does not have.
    #[error(
        "log has no entry {asked}, it has {}",
        found.map_or_else(|| "none there".to_owned(), |id| id.to_string())
    )]
    Conflict {
        /// The id in the call.
        asked: EntryId,
        /// What the log holds at that index.
        found: Option<EntryId>,
    },
    /// The bytes would not fit where they have to go.
    #[error("{what} of {len} bytes is larger than {max} bytes")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its length.
        len: u64,
        /// The most that fits.
        max: u64,
    },
    /// The writer is too far behind to take more.
    #[error("log queue is full with {ops} operations of {bytes} bytes")]
    QueueFull {
        /// Operations waiting.
        ops: usize,
        /// Bytes waiting.
        bytes: u64,
    },
    /// The log was closed.
    #[error("log is closed")]
    Closed,
    /// The options make no sense; every mistake is named.
    #[error("log options: {mistakes}")]
    Options {
        /// All mistakes, separated by semicolons.
        mistakes: String,
    },
}

/// What a caller should do about an [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The same call may succeed later; nothing has changed.
    Retry,
    /// The call was wrong or asks for what cannot be; the log is fine.
    GiveUp,
    /// The node must stop; only a restart can tell what is on the disk.
    Stop,
}

impl Error {
    /// Retry, give up, or stop the node.
    #[must_use]
    pub fn action(&self) -> Action {
        match self {
            Self::NoSpace { .. } | Self::QueueFull { .. } | Self::Locked { .. } => Action::Retry,
            Self::NotContiguous { .. }
            | Self::Conflict { .. }
            | Self::TooLarge { .. }
            | Self::Closed
            | Self::Options { .. } => Action::GiveUp,
            Self::Io { .. }
            | Self::Corrupt { .. }
            | Self::Version { .. }
            | Self::Poisoned { .. } => Action::Stop,
        }
    }

    pub(crate) fn io(doing: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { doing, path: path.to_owned(), source: Arc::new(source) }
    }

    pub(crate) fn corrupt(segment: &Path, offset: u64, reason: impl Into<String>) -> Self {
        Self::Corrupt { segment: segment.to_owned(), offset, reason: reason.into() }
    }

    /// True when the cause is a full disk or quota, by kind and never by text.
    pub(crate) fn is_no_space(&self) -> bool {
        match self {
            Self::Io { source, .. } => {
                matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
            }
            Self::NoSpace { .. } => true,
            Self::Corrupt { .. }
            | Self::Version { .. }
            | Self::Locked { .. }
            | Self::Poisoned { .. }
            | Self::NotContiguous { .. }
            | Self::Conflict { .. }
            | Self::TooLarge { .. }
            | Self::QueueFull { .. }
            | Self::Closed
            | Self::Options { .. } => false,
        }
    }

    /// The text with its cause, for the reason a poisoned log keeps.
    pub(crate) fn full_text(&self) -> String {
        match std::error::Error::source(self) {
            Some(cause) => format!("{self}: {cause}"),
            None => self.to_string(),
        }
    }
}
