//! Sorting rows by something other than their key, keeping no more of them than will be answered.

use std::cmp::Ordering;

use crate::command::SortTarget;
use crate::types::{KeyValue, KeyValueRef};

/// Rows beyond the limit that may gather before the worst are thrown out. Doubling the limit makes
/// it a constant number of comparisons per row; this much more keeps small limits from sorting all
/// the time.
const SLACK: usize = 64;

/// The best `limit` rows seen so far. Ties go to the smaller key.
pub(super) struct Top {
    target: SortTarget,
    descending: bool,
    limit: Option<usize>,
    rows: Vec<KeyValue>,
}

impl Top {
    pub(super) fn new(target: SortTarget, descending: bool, limit: Option<usize>) -> Self {
        Self { target, descending, limit, rows: Vec::new() }
    }

    pub(super) fn push(&mut self, row: KeyValueRef<'_>) {
        self.rows.push(row.to_owned());
        if self
            .limit
            .is_some_and(|limit| self.rows.len() >= limit.saturating_mul(2).saturating_add(SLACK))
        {
            self.settle();
        }
    }

    /// The rows, best first.
    pub(super) fn into_rows(mut self) -> Vec<KeyValue> {
        self.settle();
        self.rows
    }

    fn settle(&mut self) {
        let Self { target, descending, .. } = *self;
        self.rows.sort_by(|a, b| {
            let order = compare(target, a, b);
            if descending { order.reverse() } else { order }.then_with(|| a.key.cmp(&b.key))
        });
        if let Some(limit) = self.limit {
            self.rows.truncate(limit);
        }
    }
}

fn compare(target: SortTarget, a: &KeyValue, b: &KeyValue) -> Ordering {
    match target {
        SortTarget::Key => a.key.cmp(&b.key),
        SortTarget::Version => a.version.cmp(&b.version),
        SortTarget::Create => a.create_revision.cmp(&b.create_revision),
        SortTarget::Mod => a.mod_revision.cmp(&b.mod_revision),
        SortTarget::Value => a.value.cmp(&b.value),
    }
}
