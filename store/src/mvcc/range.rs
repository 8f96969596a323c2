//! Answering a range: filters, limit, sort and count, by etcd's rules and with its quirks.

use std::ops::ControlFlow;

use crate::command::{Range, SortOrder, SortTarget};
use crate::engine::Direction;
use crate::error::Error;
use crate::types::{KeyValueRef, Revision};

use super::interval::Interval;
use super::reader::Reader;
use super::top::Top;

/// What a range answers beside its rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RangeSummary {
    /// Live keys in the interval at the revision read, whatever limit and filters say.
    pub count: i64,
    /// There was more than the limit let through.
    pub more: bool,
}

/// A range on its way through one reader.
struct Plan<'a> {
    reader: &'a Reader<'a>,
    range: &'a Range,
    interval: Interval,
    revision: Revision,
    limit: Option<usize>,
}

/// Where rows go, until it has had enough. What a range answers beside rows that were not all taken
/// is only a lower bound.
pub(crate) type Sink<'a> = &'a mut dyn FnMut(KeyValueRef<'_>) -> ControlFlow<()>;

impl Reader<'_> {
    /// Answers `range` at `revision`, which is one that can be read.
    pub(crate) fn range(
        &self,
        range: &Range,
        revision: Revision,
        sink: Sink<'_>,
    ) -> Result<RangeSummary, Error> {
        let interval = Interval::of(&range.range);
        let limit = usize::try_from(range.limit).ok().filter(|limit| *limit > 0);
        Plan { reader: self, range, interval, revision, limit }.run(sink)
    }
}

impl Plan<'_> {
    fn run(&self, sink: Sink<'_>) -> Result<RangeSummary, Error> {
        if self.range.count_only {
            return Ok(RangeSummary { count: self.count()?, more: false });
        }
        let keys_only = self.range.keys_only;
        let mut sink = |row: KeyValueRef<'_>| {
            sink(if keys_only { KeyValueRef { value: &[], ..row } } else { row })
        };
        match (self.range.sort_target, self.range.sort_order) {
            (SortTarget::Key, SortOrder::Descend) => {
                self.in_key_order(Direction::Backward, &mut sink)
            }
            (SortTarget::Key, SortOrder::None | SortOrder::Ascend) => {
                self.in_key_order(Direction::Forward, &mut sink)
            }
            // Without an order the limit is applied before the sort, by key: etcd's quirk.
            (_, SortOrder::None) if !self.has_filters() => self.sorted(self.limit, &mut sink),
            _ => self.sorted(None, &mut sink),
        }
    }

    fn in_key_order(&self, direction: Direction, sink: Sink<'_>) -> Result<RangeSummary, Error> {
        let (mut seen, mut sent, mut more) = (0, 0, false);
        self.reader.scan(&self.interval, self.revision, direction, &mut |row| {
            seen += 1;
            if !self.passes(&row) {
                return ControlFlow::Continue(());
            }
            if self.limit == Some(sent) {
                more = true;
                return ControlFlow::Break(());
            }
            sent += 1;
            sink(row)
        })?;
        let count = if more { self.count()? } else { seen };
        Ok(RangeSummary { count, more })
    }

    /// Sorts the first `considered` rows by key and one more, or all there are.
    fn sorted(&self, considered: Option<usize>, sink: Sink<'_>) -> Result<RangeSummary, Error> {
        let Range { sort_target, sort_order, .. } = *self.range;
        let mut top = Top::new(sort_target, sort_order == SortOrder::Descend, self.limit);
        let (mut seen, mut matched, mut cut) = (0, 0, false);
        self.reader.scan(&self.interval, self.revision, Direction::Forward, &mut |row| {
            seen += 1;
            if !self.passes(&row) {
                return ControlFlow::Continue(());
            }
            matched += 1;
            top.push(row);
            cut = considered.is_some_and(|considered| matched > considered);
            if cut { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        for row in top.into_rows() {
            if sink(row.borrow()).is_break() {
                break;
            }
        }
        let more = self.limit.is_some_and(|limit| matched > limit);
        let count = if cut { self.count()? } else { seen };
        Ok(RangeSummary { count, more })
    }

    fn count(&self) -> Result<i64, Error> {
        let count = self.reader.count(&self.interval, self.revision)?;
        Ok(i64::try_from(count).expect("keys are counted one by one"))
    }

    fn has_filters(&self) -> bool {
        let Range { min_mod_revision, max_mod_revision, .. } = self.range;
        let Range { min_create_revision, max_create_revision, .. } = self.range;
        [min_mod_revision, max_mod_revision, min_create_revision, max_create_revision]
            .iter()
            .any(|bound| bound.0 != 0)
    }

    fn passes(&self, row: &KeyValueRef<'_>) -> bool {
        let within = |value: Revision, min: Revision, max: Revision| {
            (max.0 == 0 || value <= max) && (min.0 == 0 || value >= min)
        };
        let range = self.range;
        within(row.mod_revision, range.min_mod_revision, range.max_mod_revision)
            && within(row.create_revision, range.min_create_revision, range.max_create_revision)
    }
}
