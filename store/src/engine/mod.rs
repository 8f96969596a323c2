//! The engine under the state machine: ordered tables, atomic batches, snapshots. RocksDB in
//! production; an ordered map that models what was flushed in tests and simulation. Everything
//! above this folder runs alike on both.
//!
//! No engine has a log of its own: what was written and not flushed is gone after a crash, in
//! whole batches from the end, and comes back from the replicated log.

mod batch;
mod memory;
mod rocks;

use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

pub use crate::schema::Table;
use crate::types::Revision;

pub(crate) use batch::Savepoint;
pub use batch::{Write, WriteBatch};
pub use memory::MemoryEngine;
pub use rocks::{RocksEngine, RocksOptions};

/// The engine failed. There is nothing to retry: the node stops, and comes back by replaying.
#[derive(Clone, Debug, thiserror::Error)]
#[error("engine failed {doing}: {cause}")]
pub struct Error {
    /// What was being done.
    pub doing: &'static str,
    /// The engine's own words.
    pub cause: String,
}

/// Which way a cursor walks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Ascending keys.
    Forward,
    /// Descending keys.
    Backward,
}

/// What becomes of blocks that a cursor had to read from disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocks {
    /// They are kept in the cache as far as it has room: somebody may ask again soon.
    Keep,
    /// They are let go: a walk over everything would only push out what is asked for often.
    Pass,
}

/// A half-open interval of a table's keys.
#[derive(Clone, Copy, Debug)]
pub struct Bounds<'a> {
    /// The first key inside.
    pub lower: &'a [u8],
    /// The first key beyond, if there is a bound.
    pub upper: Option<&'a [u8]>,
}

/// Something that can be read at one moment of its history.
pub trait Snapshot: Debug + Send + Sync {
    /// Hands the value at `key` to `read`, and says whether there was one.
    ///
    /// # Errors
    /// The engine failed.
    fn get_with(
        &self,
        table: Table,
        key: &[u8],
        read: &mut dyn FnMut(&[u8]),
    ) -> Result<bool, Error>;

    /// A cursor over the keys within `bounds`, standing on the first one in its direction.
    ///
    /// # Errors
    /// The engine failed.
    fn cursor<'a>(
        &'a self,
        table: Table,
        bounds: Bounds<'_>,
        direction: Direction,
        blocks: Blocks,
    ) -> Result<Box<dyn Cursor + 'a>, Error>;

    /// The value at `key`, copied.
    ///
    /// # Errors
    /// The engine failed.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, Error> {
        let mut found = None;
        self.get_with(table, key, &mut |value| found = Some(Bytes::copy_from_slice(value)))?;
        Ok(found)
    }
}

/// A position in a table, moving one way.
pub trait Cursor: Debug {
    /// The row it stands on; `None` past the last one.
    fn row(&self) -> Option<(&[u8], &[u8])>;

    /// Moves to the next row in its direction.
    ///
    /// # Errors
    /// The engine failed.
    fn advance(&mut self) -> Result<(), Error>;

    /// Deleted rows stepped over since the cursor was opened. May count other cursors' of the same
    /// thread too: good enough to tell that something is in the way.
    fn stepped_over(&self) -> u64;

    /// Moves to the first row at or beyond `key` in its direction; never back.
    ///
    /// # Errors
    /// The engine failed.
    fn seek(&mut self, key: &[u8]) -> Result<(), Error>;
}

/// How much room the tables take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Bytes on disk and in memtables.
    pub allocated: u64,
    /// An estimate of the bytes that would be left if all garbage were gone.
    pub in_use: u64,
}

/// Ordered tables with atomic writes. One thread writes, any number read.
pub trait Engine: Debug + Send + Sync {
    /// Writes a batch: wholly visible when this returns, wholly lost or wholly kept by a crash.
    ///
    /// # Errors
    /// The engine failed, and takes no more writes.
    fn write(&self, batch: &WriteBatch) -> Result<(), Error>;

    /// Hands the newest value at `key` to `read`, and says whether there was one.
    ///
    /// # Errors
    /// The engine failed.
    fn get_with(
        &self,
        table: Table,
        key: &[u8],
        read: &mut dyn FnMut(&[u8]),
    ) -> Result<bool, Error>;

    /// The value at `key` of table `meta` that a crash right now would leave.
    ///
    /// # Errors
    /// The engine failed.
    fn persisted_meta(&self, key: &[u8]) -> Result<Option<Bytes>, Error>;

    /// What was written so far, to be read at leisure.
    fn snapshot(&self) -> Arc<dyn Snapshot>;

    /// Makes everything written so far durable, all tables at one point.
    ///
    /// # Errors
    /// The engine failed, and takes no more writes.
    fn flush(&self) -> Result<(), Error>;

    /// Copies a flushed state, later than anything written before the call, into `dir`, which
    /// must not exist. Files are linked where they can be.
    ///
    /// # Errors
    /// The engine failed.
    fn checkpoint(&self, dir: &Path) -> Result<(), Error>;

    /// Drops flushed records of `log` below a revision, as far as that costs nothing. Snapshots do
    /// not hold it back.
    ///
    /// # Errors
    /// The engine failed.
    fn cut_log_below(&self, revision: Revision) -> Result<(), Error>;

    /// From now on flushed records of `deleted` at or below a revision may vanish whenever the
    /// engine rewrites them. Snapshots do not hold it back.
    fn set_deleted_floor(&self, revision: Revision);

    /// Rewrites `deleted` once, so that the floor takes effect.
    ///
    /// # Errors
    /// The engine failed.
    fn sweep_deleted(&self) -> Result<(), Error>;

    /// How much room the tables take.
    ///
    /// # Errors
    /// The engine failed.
    fn sizes(&self) -> Result<Sizes, Error>;

    /// Whether a snapshot of it is still held; what it holds on disk must not go before.
    fn is_read(&self) -> bool;

    /// Superseded versions that readers have stepped over since the engine was opened: an engine
    /// that keeps them until it flushes makes ranges over hot keys dear, and a flush cheap again.
    fn stale_steps(&self) -> u64 {
        0
    }
}
