//! Segment files: their names, reading from them, and getting the next one ready in time.
//!
//! A segment is *prepared* (zero-filled, synced, called `spare-*.free`), then *published* (its
//! header written and synced, then renamed to its final name, then the folder synced), then
//! *active* (the last one, the only one that is written), then *sealed*, and at last, when all
//! its entries are purged, *retired*: renamed to a spare again, or unlinked.

pub(crate) mod file;
pub(crate) mod mmap;
pub(crate) mod name;
pub(crate) mod pipeline;

pub(crate) use file::{SegmentFile, Spare};
