//! The node: the one place that builds the parts and joins them.
//!
//! ```text
//! main runtime      raft, apply, peers, signals, acceptor one thread
//! client runtimes   connections and their requests        --keelson-client-threads threads
//! wal               log writer, segment preparer          two threads
//! compactor         removal of old revisions              one thread
//! log               the log's own writer                  one thread
//! ```
//! A service gets handles and never makes another service.

mod boot;
mod bootstrap;
mod clients;
mod compactor;
mod gauges;
mod identity;
mod leases;
mod peers;
mod probe;
mod run;
mod secured;
mod wal_timing;

pub use boot::BootError;
pub use identity::{Identity, IdentityError, added_member_id};
pub use run::{NodeError, run};
