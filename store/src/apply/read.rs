//! Reading inside a txn: the state before the batch with the batch in the making over it.

use std::ops::ControlFlow;

use crate::command::{Compare, Range};
use crate::engine::{Blocks, Direction, Snapshot};
use crate::error::{Error, corrupt};
use crate::mvcc::interval::Interval;
use crate::mvcc::reader::{LiveCount, Reader};
use crate::mvcc::view::View;
use crate::response::{RangeResponse, Rejection};
use crate::schema::{Table, current};
use crate::types::KeyValueRef;

use super::machine::{Failure, Machine};
use super::overlay::{Overlay, Pending};
use super::txn::{Readable, holds_for_nothing, relates};

impl Machine {
    /// A range may ask for any revision before the txn; 0 is what the txn has reached.
    pub(super) fn range_in_txn(
        &self,
        range: &Range,
        readable: Readable,
    ) -> Result<RangeResponse, Failure> {
        if range.range.key.is_empty() {
            return Err(Rejection::EmptyKey.into());
        }
        let asked = range.revision;
        if asked.0 != 0 && asked > readable.revision {
            return Err(Rejection::FutureRevision.into());
        }
        // A store that was never compacted has -1 here, and answers -1 as it answers 0.
        if asked.0 != 0 && asked < readable.compacted {
            return Err(Rejection::Compacted.into());
        }
        let mut response = RangeResponse { revision: self.reached(), ..RangeResponse::default() };
        if !self.wanted {
            return Ok(response);
        }
        self.metrics.ranges.add(1);
        let snapshot = self.overlay.over(self.base.snapshot());
        let counts = Counts { base: &self.base, overlay: &self.overlay };
        let reader = Reader {
            snapshot: &snapshot,
            revision: self.reached(),
            compacted: readable.compacted,
            counts: &counts,
            blocks: Blocks::Keep,
        };
        let revision = if asked.0 <= 0 { reader.revision } else { asked };
        let mut keep = |row: KeyValueRef<'_>| {
            response.kvs.push(row.to_owned());
            ControlFlow::Continue(())
        };
        let summary = reader.range(range, revision, &mut keep)?;
        response.count = summary.count;
        response.more = summary.more;
        Ok(response)
    }

    /// Whether a compare holds for every living key of an interval.
    pub(super) fn all_hold(&self, compare: &Compare, interval: &Interval) -> Result<bool, Failure> {
        let snapshot = self.overlay.over(self.base.snapshot());
        Ok(all_hold(&snapshot, compare, interval)?)
    }
}

/// Whether a compare holds for every living key of an interval in `snapshot`.
pub(super) fn all_hold(
    snapshot: &dyn Snapshot,
    compare: &Compare,
    interval: &Interval,
) -> Result<bool, Error> {
    if interval.is_empty() {
        return Ok(holds_for_nothing(compare));
    }
    let (bounds, forward) = (interval.bounds(), Direction::Forward);
    let mut cursor = snapshot.cursor(Table::Current, bounds, forward, Blocks::Keep)?;
    if cursor.row().is_none() {
        return Ok(holds_for_nothing(compare));
    }
    while let Some((key, record)) = cursor.row() {
        let version = current::decode(record).map_err(corrupt(Table::Current, key))?;
        if !relates(compare, &version.meta, version.value) {
            return Ok(false);
        }
        cursor.advance()?;
    }
    Ok(true)
}

/// The counts of the state before the batch, corrected by what the batch brought to life and
/// deleted.
struct Counts<'a> {
    base: &'a View,
    overlay: &'a Overlay,
}

impl LiveCount for Counts<'_> {
    fn live_count(&self, interval: &Interval) -> Result<u64, Error> {
        let before = self.base.live_count(interval)?;
        let (mut born, mut died) = (0, 0);
        for (_, Pending { was_alive, now }) in self.overlay.changed_within(interval.bounds()) {
            born += u64::from(!was_alive && now.is_some());
            died += u64::from(*was_alive && now.is_none());
        }
        Ok(before + born - died)
    }
}
