//! A snapshot that owns its database, so that a read view can outlive the call that made it.
#![expect(unsafe_code, reason = "rocksdb's snapshot borrows the database it belongs to")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rocksdb::perf::{PerfContext, PerfMetric, PerfStatsLevel, set_perf_stats};
use rocksdb::{DBRawIterator, ReadOptions, SnapshotWithThreadMode};

use crate::engine::{Blocks, Bounds, Cursor, Direction, Error, Snapshot};
use crate::schema::Table;

use super::{DB, Db, failed};

/// Fields drop in order: the snapshot is released before the database may close.
pub(super) struct RocksSnapshot {
    snapshot: SnapshotWithThreadMode<'static, DB>,
    db: Arc<Db>,
}

impl RocksSnapshot {
    pub(super) fn new(db: Arc<Db>) -> Self {
        let borrowed = db.inner.snapshot();
        // SAFETY: the snapshot borrows `db.inner`, which lies behind the `Arc` and so never moves,
        // and which this struct keeps alive until after its first field, the snapshot, is dropped.
        // The lengthened lifetime never leaves this struct: iterators borrow from `&self`.
        let snapshot = unsafe {
            std::mem::transmute::<SnapshotWithThreadMode<'_, DB>, SnapshotWithThreadMode<'static, DB>>(
                borrowed,
            )
        };
        Self { snapshot, db }
    }
}

impl std::fmt::Debug for RocksSnapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RocksSnapshot").finish_non_exhaustive()
    }
}

impl Snapshot for RocksSnapshot {
    fn get_with(
        &self,
        table: Table,
        key: &[u8],
        read: &mut dyn FnMut(&[u8]),
    ) -> Result<bool, Error> {
        let found = self.snapshot.get_pinned_cf(self.db.family(table), key);
        Ok(found.map_err(failed("reading"))?.map(|value| read(&value)).is_some())
    }

    fn cursor<'a>(
        &'a self,
        table: Table,
        bounds: Bounds<'_>,
        direction: Direction,
        blocks: Blocks,
    ) -> Result<Box<dyn Cursor + 'a>, Error> {
        let mut options = ReadOptions::default();
        options.set_iterate_lower_bound(bounds.lower);
        if let Some(upper) = bounds.upper {
            options.set_iterate_upper_bound(upper);
        }
        options.fill_cache(blocks == Blocks::Keep);
        set_perf_stats(PerfStatsLevel::EnableCount);
        let counters = PerfContext::default();
        let stepped_before = counters.metric(PerfMetric::InternalDeleteSkippedCount);
        let mut iterator = self.snapshot.raw_iterator_cf_opt(self.db.family(table), options);
        match direction {
            Direction::Forward => iterator.seek(bounds.lower),
            Direction::Backward => iterator.seek_to_last(),
        }
        let skipped_before = counters.metric(PerfMetric::InternalKeySkippedCount);
        let cursor = RocksCursor {
            iterator,
            direction,
            counters,
            stepped_before,
            skipped_before,
            advances: 0,
            stale_steps: &self.db.stale_steps,
        };
        cursor.check()?;
        Ok(Box::new(cursor))
    }
}

struct RocksCursor<'a> {
    iterator: DBRawIterator<'a>,
    direction: Direction,
    /// RocksDB's counters of this thread; a cursor does not leave its thread.
    counters: PerfContext,
    stepped_before: u64,
    skipped_before: u64,
    advances: u64,
    stale_steps: &'a AtomicU64,
}

impl Drop for RocksCursor<'_> {
    /// RocksDB counts every key it leaves behind, the one it stood on included.
    fn drop(&mut self) {
        let skipped = self.counters.metric(PerfMetric::InternalKeySkippedCount);
        let passed = skipped.saturating_sub(self.skipped_before);
        let stale = passed.saturating_sub(self.advances + self.stepped_over());
        if stale > 0 {
            self.stale_steps.fetch_add(stale, Ordering::Relaxed);
        }
    }
}

impl RocksCursor<'_> {
    /// An iterator that is not valid stands past the end, or has failed.
    fn check(&self) -> Result<(), Error> {
        if self.iterator.valid() {
            return Ok(());
        }
        self.iterator.status().map_err(failed("walking"))
    }
}

impl std::fmt::Debug for RocksCursor<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RocksCursor").field("direction", &self.direction).finish_non_exhaustive()
    }
}

impl Cursor for RocksCursor<'_> {
    fn row(&self) -> Option<(&[u8], &[u8])> {
        self.iterator.item()
    }

    fn advance(&mut self) -> Result<(), Error> {
        if !self.iterator.valid() {
            return Ok(());
        }
        self.advances += 1;
        match self.direction {
            Direction::Forward => self.iterator.next(),
            Direction::Backward => self.iterator.prev(),
        }
        self.check()
    }

    fn stepped_over(&self) -> u64 {
        let stepped = self.counters.metric(PerfMetric::InternalDeleteSkippedCount);
        stepped.saturating_sub(self.stepped_before)
    }

    fn seek(&mut self, key: &[u8]) -> Result<(), Error> {
        let Some(at) = self.iterator.key() else { return Ok(()) };
        match self.direction {
            Direction::Forward if key > at => self.iterator.seek(key),
            Direction::Backward if key < at => self.iterator.seek_for_prev(key),
            Direction::Forward | Direction::Backward => return Ok(()),
        }
        self.check()
    }
}
