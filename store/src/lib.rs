//! Keelson's deterministic MVCC state machine on RocksDB.
#![warn(missing_docs)]

pub mod apply;
pub mod command;
pub mod engine;
mod error;
pub mod events;
mod lease;
pub mod metrics;
pub mod mvcc;
mod options;
pub mod response;
pub(crate) mod schema;
mod store;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod types;
pub mod validate;

pub use apply::{Applier, LogEntry, Payload};
pub use error::{Error, ReadError};
pub use lease::{Lease, LeaseChange};
pub use mvcc::hash::HashKv;
pub use mvcc::view::{RangeSummary, View};
pub use options::Options;
pub use store::{Held, PhysicalProgress, Store};
