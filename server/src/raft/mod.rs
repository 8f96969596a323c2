//! Raft: the only room that knows openraft.
//!
//! Everything that changes the store passes through here once: client commands are gathered into
//! log entries ([`Proposer`]) and go to Raft here or through the leader ([`submit`]), entries are
//! made durable by the log ([`log_store`]), committed ones are applied to the store
//! ([`state_machine`]), and each waiting client gets its outcome from the member it asked
//! ([`flights`]). Reads ask only for the point they must not lie before ([`ReadBarrier`],
//! [`read_index`]).
//!
//! ```text
//!  Proposer ─entry─▶ submit ─▶ openraft ─append─▶ log_store ─▶ wal     (one fdatasync per group)
//!      ▲               │          │ committed
//!      │           the leader     ▼
//!      └── outcomes ─ flights ◀─ state_machine ─▶ store::Applier
//!  ReadBarrier ─▶ read_index ─▶ openraft, here or at the leader
//!
//!  network (out), inbound (in): other members, in the bytes of wire; snapshot: whole stores
//!  change, reconfigure: who the members are     leadership, transfer: who leads
//!  roll_call: who can take part in a change     version: what they agree on beside it
//!  force_new: one goes on without the others
//! ```
//!
//! A single node is a cluster of one and takes the same path.

mod barrier;
mod change;
mod change_wire;
#[cfg(test)]
mod cluster_test;
mod codec;
#[cfg(feature = "planted-defects")]
pub(crate) mod defects;
mod flights;
mod force_new;
mod handle;
mod housekeeping;
mod inbound;
mod leadership;
mod lease_desk;
mod log_store;
mod network;
mod proposer;
mod read_index;
mod reconfigure;
mod responder;
mod roll_call;
mod roster;
mod snapshot;
mod start;
mod state_machine;
mod submit;
mod transfer;
mod types;
mod version;
mod watched;
mod wire;
mod write_here;

pub use barrier::{BarrierError, ReadBarrier};
pub use change::{Change, ChangeError, Row};
pub use codec::CodecError;
pub use force_new::ForceError;
pub use handle::{MoveError, RaftHandle, RaftStatus};
pub use housekeeping::LogKeep;
pub(crate) use leadership::Leadership;
pub use lease_desk::LeaseDesk;
pub use proposer::{Proposal, ProposeError, Proposer, ProposerLimits};
pub use reconfigure::ChangeRules;
pub use roster::owner_of;
pub use snapshot::{OpenEngine, Stores, StoresError};
pub use start::{RaftOptions, StartError};
pub use types::{ClusterId, Member, MemberId};
pub use version::{Agreed, Version};
pub use write_here::WriteHere;
