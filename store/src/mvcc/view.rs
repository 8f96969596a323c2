//! A read view: one published state of the store. Revision and data are never taken apart.

use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;

use crate::command::{KeyRange, Range};
use crate::engine::{Blocks, Bounds, Direction, Snapshot};
use crate::error::{Error, ReadError, corrupt};
use crate::metrics::Metrics;
use crate::schema::meta::{self, State};
use crate::schema::{Table, current};
use crate::types::{KeyValue, KeyValueRef, LogPosition, Revision};

use super::compaction::Pin;
use super::counted_index::Counts;
use super::dead_zones::{Reports, ZoneMap};
use super::interval::Interval;
use super::living::Living;
pub use super::range::RangeSummary;
use super::reader::{LiveCount, Reader};

/// A range without a limit over more rows than this leaves nothing in the block cache. Ten thousand
/// rows of a few hundred bytes are a few megabytes: as much as one reader may claim of the cache.
const KEPT_ROWS_MAX: u64 = 10_000;

/// Everything as it was when one batch had been applied. Cheap to hold, but what it can read is
/// kept from being removed for as long as it is held.
#[derive(Debug)]
pub struct View {
    state: State,
    snapshot: Living,
    counts: Counts,
    metrics: Arc<Metrics>,
    /// Dropped last: the snapshot needs what it holds.
    pin: Arc<Pin>,
}

impl View {
    pub(crate) fn new(
        state: State,
        snapshot: Arc<dyn Snapshot>,
        counts: Counts,
        (zones, reports): (ZoneMap, Reports),
        metrics: Arc<Metrics>,
        pin: Arc<Pin>,
    ) -> Self {
        let snapshot = Living::new(snapshot, state.revision, zones, reports);
        Self { state, snapshot, counts, metrics, pin }
    }

    /// The store's revision.
    #[must_use]
    pub const fn revision(&self) -> Revision {
        self.state.revision
    }

    /// The oldest revision that can be read, or [`Revision::NEVER`].
    #[must_use]
    pub const fn compacted(&self) -> Revision {
        self.state.compacted
    }

    /// The last log entry in it, if there was one.
    #[must_use]
    pub const fn applied(&self) -> Option<LogPosition> {
        self.state.applied
    }

    /// The living version of one key.
    ///
    /// # Errors
    /// The store failed.
    pub fn get(&self, key: &[u8]) -> Result<Option<KeyValue>, Error> {
        self.metrics.ranges.add(1);
        let Some(record) = self.snapshot.get(Table::Current, key)? else { return Ok(None) };
        let version = current::decode(&record).map_err(corrupt(Table::Current, key))?;
        let row = version.row(key);
        Ok(Some(KeyValue {
            key: Bytes::copy_from_slice(key),
            create_revision: row.create_revision,
            mod_revision: row.mod_revision,
            version: row.version,
            lease: row.lease,
            value: record.slice_ref(row.value),
        }))
    }

    /// Hands the rows that `range` asks for to `sink`, in order, until it breaks off; what is
    /// answered then is only a lower bound.
    ///
    /// # Errors
    /// The revision asked for cannot be read, and then no row was handed out; or the store failed.
    pub fn range(
        &self,
        range: &Range,
        sink: &mut dyn FnMut(KeyValueRef<'_>) -> ControlFlow<()>,
    ) -> Result<RangeSummary, ReadError> {
        self.metrics.ranges.add(1);
        let mut reader = self.reader();
        if self.rows_at_most(&range.range) > KEPT_ROWS_MAX && range.limit == 0 {
            reader.blocks = Blocks::Pass;
        }
        let revision = reader.resolve(range.revision)?;
        Ok(reader.range(range, revision, sink)?)
    }

    /// How many rows a range over these keys may have at the newest revision: from above, but
    /// without looking at any.
    #[must_use]
    pub fn rows_at_most(&self, range: &KeyRange) -> u64 {
        let interval = Interval::of(range);
        if interval.is_empty() || interval.single().is_some() {
            return 1;
        }
        self.counts.at_most(interval.lower(), interval.upper())
    }

    /// What the consensus layer last stored about the members.
    ///
    /// # Errors
    /// The store failed.
    pub fn membership(&self) -> Result<Option<Bytes>, Error> {
        Ok(self.snapshot.get(Table::Meta, meta::MEMBERSHIP)?)
    }

    pub(crate) fn reader(&self) -> Reader<'_> {
        Reader {
            snapshot: &self.snapshot,
            revision: self.state.revision,
            compacted: self.state.compacted,
            counts: self,
            blocks: Blocks::Keep,
        }
    }

    pub(crate) fn snapshot(&self) -> &dyn Snapshot {
        &self.snapshot
    }

    pub(crate) fn pin(&self) -> &Arc<Pin> {
        &self.pin
    }
}

impl LiveCount for View {
    fn live_count(&self, interval: &Interval) -> Result<u64, Error> {
        if let Some(key) = interval.single() {
            return Ok(u64::from(self.snapshot.get_with(Table::Current, key, &mut |_| {})?));
        }
        let mut edge = |lo: &[u8], hi: Option<&[u8]>| {
            let mut keys = 0;
            let bounds = Bounds { lower: lo, upper: hi };
            self.reader().scan_newest(bounds, Direction::Forward, &mut |_| {
                keys += 1;
                ControlFlow::Continue(())
            })?;
            Ok(keys)
        };
        self.counts.count(interval.lower(), interval.upper(), &mut edge)
    }
}
