//! Apply: log entries in, one engine batch out, and an outcome for each command.
//!
//! Everything here is a function of the state and of the entries: no clock, no chance, no setting
//! that could differ between members, no order that a hash decides. Every entry that decodes
//! yields an outcome for each of its commands, and a command that is refused leaves no trace. What
//! stops the applier for good is an entry that cannot be read, and a failure of the engine.

mod applier;
mod known_leases;
mod leases;
mod machine;
mod overlay;
mod read;
mod read_txn;
mod txn;

use bytes::Bytes;

use crate::types::LogPosition;

pub use applier::Applier;
pub(crate) use applier::Start;

/// An entry of the replicated log, committed and on its way into the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// Where it stands. Entries come in order.
    pub position: LogPosition,
    /// What it carries.
    pub payload: Payload,
    /// Whether somebody waits for the outcomes. Without, what is only read is not read.
    pub wanted: bool,
}

/// What a log entry carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// Nothing; a new leader's first entry.
    Blank,
    /// A batch of commands, see [`codec`](crate::command::codec).
    Commands(Bytes),
    /// Who the members are, in the consensus layer's own bytes.
    Membership(Bytes),
}
