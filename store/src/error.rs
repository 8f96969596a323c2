//! What can go wrong, by what the caller can do about it.

use crate::command::codec::DecodeError;
use crate::engine;
use crate::schema::{Malformed, Table};
use crate::types::LogPosition;

/// The store cannot go on: stop the node. Nothing is retried; whatever was not written comes back
/// from the log.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] engine::Error),
    /// A record is not what its table holds.
    #[error("corrupt record in table {table} at key {key}: {what}")]
    Corrupt {
        /// The table's name.
        table: &'static str,
        /// The key, printable.
        key: String,
        /// What is wrong.
        what: String,
    },
    /// A log entry cannot be read. All members see the same bytes, so all stop here.
    #[error("undecodable log entry at {position:?}")]
    Entry {
        /// Where it stands.
        position: LogPosition,
        /// What is wrong with it.
        #[source]
        source: DecodeError,
    },
    /// The data was written by another version of this code.
    #[error("data has schema version {found}, this code reads {known}")]
    Schema {
        /// What the data says.
        found: u8,
        /// What this code reads.
        known: u8,
    },
    /// What was to take the store's place is older than it.
    #[error("refused to go back from log entry {applied:?} to {held:?}")]
    Older {
        /// What the store has applied.
        applied: Option<LogPosition>,
        /// What the other state has.
        held: Option<LogPosition>,
    },
    /// A counter has run out.
    #[error("too many {0}")]
    Exhausted(&'static str),
    /// An earlier error stopped the applier.
    #[error("stopped by an earlier error")]
    Stopped,
}

/// A read was not answered.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReadError {
    /// The revision is below the compacted one: give up.
    #[error("required revision has been compacted")]
    Compacted,
    /// The revision does not exist yet: give up.
    #[error("required revision is a future revision")]
    FutureRevision,
    /// The store failed: stop the node.
    #[error(transparent)]
    Store(#[from] Error),
}

impl From<engine::Error> for ReadError {
    fn from(error: engine::Error) -> Self {
        Self::Store(error.into())
    }
}

/// Adds table and key to what a record's decoder found wrong.
pub(crate) fn corrupt(table: Table, key: &[u8]) -> impl FnOnce(Malformed) -> Error {
    move |malformed| corrupt_because(table, key, malformed.to_string())
}

pub(crate) fn corrupt_because(table: Table, key: &[u8], what: impl Into<String>) -> Error {
    Error::Corrupt { table: table.name(), key: key.escape_ascii().to_string(), what: what.into() }
}
