//! Raft: the only room that knows openraft.
//!
//! Everything that changes the store passes through here once: client commands are gathered into
//! log entries ([`Proposer`]), entries are made durable by the log ([`log_store`]), committed ones
//! are applied to the store ([`state_machine`]), and each waiting client gets its outcome. Reads
//! ask only for the point they must not lie before ([`ReadBarrier`]).
//!
//! ```text
//!  Proposer ─entry─▶ openraft ─append─▶ log_store ─▶ wal      (one fdatasync per group)
//!      ▲                │ committed
//!      └──── outcomes ──┴─apply──▶ state_machine ─▶ store::Applier
//!  ReadBarrier ─read index─▶ openraft
//! ```
//!
//! A single node is a cluster of one and takes the same path; messages to peers leave through
//! [`network`].

mod barrier;
mod codec;
mod handle;
mod log_store;
mod network;
mod proposer;
mod responder;
mod state_machine;
mod types;
mod write_here;

pub use barrier::{BarrierError, ReadBarrier};
pub use codec::CodecError;
pub use handle::{RaftHandle, RaftOptions, RaftStatus, StartError};
pub use proposer::{Proposal, ProposeError, Proposer, ProposerLimits};
pub use types::{ClusterId, Member, MemberId};
pub use write_here::WriteHere;
