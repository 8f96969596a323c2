//! The multi-version key space, as it is read.

pub mod compaction;
pub mod counted_index;
pub mod dead_zones;
pub mod hash;
pub(crate) mod interval;
mod living;
pub mod meta_cache;
mod old;
pub(crate) mod range;
pub(crate) mod reader;
mod scan;
mod top;
pub mod view;
