//! Where each live entry is: one slot per index, without gaps.

use std::collections::VecDeque;

use crate::types::{EntryId, LogIndex, SegmentSeq, Term};

/// Where an entry's record lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Not durable yet; the number is the operation that brought it. The payload is in the ring.
    Queued(u64),
    /// Durable in a segment, at this offset and with this payload length.
    Stored { segment: SegmentSeq, offset: u32, len: u32 },
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    term: Term,
    place: Place,
}

/// The slots of the entries above the purged one.
#[derive(Debug, Default)]
pub(crate) struct Index {
    /// Index of the first slot; where the next entry goes if there is no slot.
    first: u64,
    slots: VecDeque<Slot>,
}

impl Index {
    pub(crate) fn first(&self) -> LogIndex {
        LogIndex(self.first)
    }

    /// One past the last slot.
    pub(crate) fn end(&self) -> LogIndex {
        LogIndex(self.first + self.slots.len() as u64)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Empties the index; the next entry goes to `first`.
    pub(crate) fn restart(&mut self, first: LogIndex) {
        self.slots.clear();
        self.first = first.0;
    }

    pub(crate) fn push(&mut self, id: EntryId, place: Place) {
        assert_eq!(self.end(), id.index, "callers check that entries are contiguous");
        self.slots.push_back(Slot { term: id.term, place });
    }

    pub(crate) fn get(&self, index: LogIndex) -> Option<(EntryId, Place)> {
        let at = usize::try_from(index.0.checked_sub(self.first)?).ok()?;
        let slot = self.slots.get(at)?;
        Some((EntryId { term: slot.term, index }, slot.place))
    }

    /// Notes where an entry was made durable, unless a later operation has replaced or removed it.
    pub(crate) fn set_stored(&mut self, index: LogIndex, operation: u64, place: Place) {
        let Some(at) = index.0.checked_sub(self.first).and_then(|at| usize::try_from(at).ok())
        else {
            return;
        };
        if let Some(slot) = self.slots.get_mut(at)
            && slot.place == Place::Queued(operation)
        {
            slot.place = place;
        }
    }

    /// Drops the slots at and above `end`.
    pub(crate) fn truncate(&mut self, end: LogIndex) {
        let keep = end.0.saturating_sub(self.first);
        self.slots.truncate(usize::try_from(keep).unwrap_or(usize::MAX));
        self.first = self.first.min(end.0);
    }

    /// Drops the slots up to and including `upto`; behind the last one, leaves a hole.
    pub(crate) fn purge(&mut self, upto: LogIndex) {
        let next = upto.0.saturating_add(1);
        if next >= self.end().0 {
            self.restart(LogIndex(next));
            return;
        }
        while self.first < next {
            self.slots.pop_front();
            self.first += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled() -> Index {
        let mut index = Index::default();
        index.restart(LogIndex(5));
        for at in 5..10 {
            index.push(EntryId::new(1, at), Place::Queued(at));
        }
        index
    }

    #[test]
    fn slots_are_found_by_index_only_while_they_are_live() {
        let mut index = filled();
        assert_eq!(index.get(LogIndex(4)), None);
        assert_eq!(index.get(LogIndex(5)), Some((EntryId::new(1, 5), Place::Queued(5))));
        assert_eq!(index.get(LogIndex(10)), None);
        index.truncate(LogIndex(8));
        index.purge(LogIndex(5));
        assert_eq!((index.first(), index.end()), (LogIndex(6), LogIndex(8)));
    }

    #[test]
    fn purging_behind_the_end_leaves_a_hole() {
        let mut index = filled();
        index.purge(LogIndex(20));
        assert!(index.is_empty());
        assert_eq!((index.first(), index.end()), (LogIndex(21), LogIndex(21)));
        index.push(EntryId::new(2, 21), Place::Queued(1));
    }

    #[test]
    fn a_late_flush_does_not_touch_a_replaced_entry() {
        let mut index = filled();
        let place = Place::Stored { segment: SegmentSeq(1), offset: 0, len: 0 };
        index.truncate(LogIndex(7));
        index.push(EntryId::new(2, 7), Place::Queued(70));
        index.set_stored(LogIndex(7), 7, place);
        index.set_stored(LogIndex(8), 8, place);
        assert_eq!(index.get(LogIndex(7)), Some((EntryId::new(2, 7), Place::Queued(70))));
        index.set_stored(LogIndex(7), 70, place);
        assert_eq!(index.get(LogIndex(7)), Some((EntryId::new(2, 7), place)));
    }
}
