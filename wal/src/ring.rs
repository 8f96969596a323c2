//! The newest entries, in memory: what readers ask for almost always, and the only home of an
//! entry's payload until it is flushed.

use std::collections::VecDeque;
use std::mem::size_of;

use crate::types::{Entry, LogIndex};

/// A contiguous run of entries that ends at the end of the log.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    entries: VecDeque<Entry>,
    bytes: usize,
}

fn cost(entry: &Entry) -> usize {
    entry.payload.len() + size_of::<Entry>()
}

impl Ring {
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn front(&self) -> Option<LogIndex> {
        self.entries.front().map(|entry| entry.id.index)
    }

    pub(crate) fn get(&self, index: LogIndex) -> Option<&Entry> {
        let at = index.0.checked_sub(self.front()?.0)?;
        self.entries.get(usize::try_from(at).ok()?)
    }

    pub(crate) fn push(&mut self, entry: Entry) {
        if let Some(last) = self.entries.back() {
            assert_eq!(last.id.index.0 + 1, entry.id.index.0, "the ring has no gaps");
        }
        self.bytes += cost(&entry);
        self.entries.push_back(entry);
    }

    pub(crate) fn pop_front(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            self.bytes -= cost(&entry);
        }
    }

    /// Drops the entries at and above `end`.
    pub(crate) fn truncate(&mut self, end: LogIndex) {
        while let Some(entry) = self.entries.pop_back_if(|entry| entry.id.index >= end) {
            self.bytes -= cost(&entry);
        }
    }

    /// Drops the entries up to and including `upto`.
    pub(crate) fn purge(&mut self, upto: LogIndex) {
        while self.front().is_some_and(|index| index <= upto) {
            self.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::EntryId;

    #[test]
    fn bytes_follow_the_entries() {
        let mut ring = Ring::default();
        for index in 3..8 {
            ring.push(Entry { id: EntryId::new(1, index), payload: vec![0; 10].into() });
        }
        let each = ring.bytes() / 5;
        ring.truncate(LogIndex(7));
        ring.purge(LogIndex(3));
        ring.pop_front();
        assert_eq!(ring.bytes(), 2 * each);
        assert_eq!(ring.get(LogIndex(4)), None);
        assert_eq!(ring.get(LogIndex(6)).unwrap().id.index, LogIndex(6));
        ring.purge(LogIndex(100));
        assert_eq!((ring.bytes(), ring.front()), (0, None));
    }
}
