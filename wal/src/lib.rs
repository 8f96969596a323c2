//! Keelson's segmented, checksummed, group-committed log.
//!
//! ```text
//! callers ──append, vote, truncate, purge──▶ queue ──▶ writer ── one write, one sync ──▶ segment
//!    ▲                                                   │
//!    └────────────── callbacks, in order ◀───────────────┘
//! ```
//!
//! [`Wal`] is the whole interface. An operation is visible to readers when its call returns and
//! durable when its callback runs; the writer makes one group of all that has gathered while the
//! last group was being synced, so there is no timer and no batch size to tune. What an entry
//! means is the caller's business. The crate reads no clock, runs without a runtime, and touches
//! files only through [`disk::Disk`].
//!
//! `README.md` has the format, what is assumed of disks, and every crash case.

#![warn(missing_docs)]

pub mod disk;
pub mod dump;
mod error;
pub mod format;
mod index;
mod log;
mod memory;
mod observer;
mod options;
mod recovery;
mod ring;
mod room;
mod segment;
mod shared;
mod types;
mod writer;

pub use error::{Action, Error};
pub use log::{Health, Wal};
pub use observer::Observer;
pub use options::{Options, SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN, WriterMode};
pub use recovery::{Recovery, TornTail};
pub use shared::Done;
pub use types::{Entry, EntryId, LogIndex, LogState, Lsn, Positions, SegmentSeq, Term};
