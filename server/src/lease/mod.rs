//! Leases and their time. The store knows which leases there are and what hangs on them
//! (`store/src/lease.rs`); when one has run out is what the leader knows, and nobody else.
//!
//! ```text
//!  rpc ──ask──▶ Lessor ─┬─ leads: confirmed by a quorum ─▶ Deadlines ◀── what apply did to leases
//!                       └─ follows: many asks, one call to the leader        │
//!                              expired: LeaseRevoke of this term ─▶ Raft ◀───┘
//! ```
//!
//! * **Nothing ends early.** A leader counts from when it applied the grant or renewed the lease; a
//!   new one begins anew with an election timeout on top, for what was left at the last checkpoint
//!   or for all that was granted.
//! * **Nothing is promised by who does not lead.** A renewal is answered when a quorum has confirmed
//!   the leader after the request came, in the term that its deadlines are of.
//! * **What was renewed does not go.** A lease whose revocation has been proposed is renewed no
//!   more: who asks waits for its end. A revocation names its leader's term and the grant it means,
//!   and apply passes over any other (`Expiry` in the store).
//! * **A checkpoint outlives no renewal.** It is taken back through the log before a renewal of its
//!   lease is answered.
//!
//! Time is the machine's since its boot, suspension included: it knows no steps.

mod asks;
mod deadlines;
mod ids;
mod lessor;
mod table;
mod tend;
mod wire;

pub use asks::AskError;
pub use ids::LeaseIds;
pub use lessor::{Clock, Lessor, LessorOptions};

/// The longest TTL, in seconds; etcd's.
pub const TTL_MAX: i64 = 9_000_000_000;

/// What is left of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeLeft {
    /// Whole seconds.
    pub remaining: i64,
    /// Seconds that were granted.
    pub granted: i64,
}
