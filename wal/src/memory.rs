//! What readers see: the log as of the last accepted operation.

use bytes::Bytes;

use crate::error::Error;
use crate::index::{Index, Place};
use crate::ring::Ring;
use crate::types::{Entry, EntryId, LogIndex, LogState, SegmentSeq};

/// The log in memory: ids and places of all live entries, payloads of the newest.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    pub(crate) purged: Option<EntryId>,
    pub(crate) last: Option<EntryId>,
    pub(crate) index: Index,
    pub(crate) ring: Ring,
    pub(crate) vote: Option<Bytes>,
    pub(crate) committed: Option<Bytes>,
}

/// Where a reader finds one entry.
#[derive(Debug)]
pub(crate) enum Source {
    Ring(Entry),
    File { id: EntryId, segment: SegmentSeq, offset: u32, len: u32 },
}

impl Memory {
    pub(crate) fn state(&self) -> LogState {
        LogState { purged: self.purged, last: self.last }
    }

    /// The index the next entry must have; any, for the first entry ever.
    pub(crate) fn next_index(&self) -> Option<LogIndex> {
        self.last.map(|last| LogIndex(last.index.0.saturating_add(1)))
    }

    /// Checks that the entries follow the log and each other.
    pub(crate) fn check_append(&self, entries: &[Entry]) -> Result<(), Error> {
        let Some(first) = entries.first() else { return Ok(()) };
        let mut expected = self.next_index().unwrap_or(first.id.index);
        for entry in entries {
            if entry.id.index != expected || expected.0 == u64::MAX {
                return Err(Error::NotContiguous { expected, got: entry.id.index });
            }
            expected.0 += 1;
        }
        Ok(())
    }

    /// Adds entries that were checked.
    pub(crate) fn append(&mut self, entries: &[Entry], operation: u64) {
        for entry in entries {
            if self.index.is_empty() {
                self.index.restart(entry.id.index);
            }
            self.index.push(entry.id, Place::Queued(operation));
            self.ring.push(entry.clone());
            self.last = Some(entry.id);
        }
    }

    /// The id at `index`: of a live entry, or of the purged one.
    pub(crate) fn entry_id(&self, index: LogIndex) -> Option<EntryId> {
        if let Some(purged) = self.purged.filter(|purged| purged.index == index) {
            return Some(purged);
        }
        self.index.get(index).map(|(id, _)| id)
    }

    pub(crate) fn check_truncate(&self, last_kept: Option<EntryId>) -> Result<(), Error> {
        let Some(asked) = last_kept else { return Ok(()) };
        let found = self.entry_id(asked.index);
        if found == Some(asked) { Ok(()) } else { Err(Error::Conflict { asked, found }) }
    }

    pub(crate) fn truncate(&mut self, last_kept: Option<EntryId>) {
        let last = last_kept.or(self.purged);
        let end = last.map_or(LogIndex(0), |last| LogIndex(last.index.0 + 1));
        self.index.truncate(end);
        self.ring.truncate(end);
        self.last = last;
    }

    /// An id beyond the last entry is fine (a snapshot was installed); one that contradicts an
    /// entry is not.
    pub(crate) fn check_purge(&self, upto: EntryId) -> Result<(), Error> {
        let found = self.entry_id(upto.index);
        let overflow = upto.index.0 == u64::MAX;
        if overflow || found.is_some_and(|found| found != upto) {
            return Err(Error::Conflict { asked: upto, found });
        }
        Ok(())
    }

    pub(crate) fn purge(&mut self, upto: EntryId) {
        if self.purged.is_some_and(|purged| purged.index >= upto.index) {
            return;
        }
        self.purged = Some(upto);
        self.index.purge(upto.index);
        self.ring.purge(upto.index);
        if self.last.is_none_or(|last| last.index < upto.index) {
            self.last = Some(upto);
        }
    }

    /// Drops flushed entries from the ring, oldest first, until it is small enough.
    pub(crate) fn shrink_ring(&mut self, bytes_max: usize) {
        while self.ring.bytes() > bytes_max
            && let Some(front) = self.ring.front()
            && let Some((_, Place::Stored { .. })) = self.index.get(front)
        {
            self.ring.pop_front();
        }
    }

    /// Where the entries of `[start, end)` are, up to `bytes_max` payload bytes but at least one.
    pub(crate) fn sources(&self, start: u64, end: u64, bytes_max: usize) -> Vec<Source> {
        let mut found = Vec::new();
        let mut bytes = 0_usize;
        let mut at = start.max(self.index.first().0);
        while at < end
            && let Some((id, place)) = self.index.get(LogIndex(at))
        {
            let source = match (self.ring.get(id.index), place) {
                (Some(entry), _) => Source::Ring(entry.clone()),
                (None, Place::Stored { segment, offset, len }) => {
                    Source::File { id, segment, offset, len }
                }
                (None, Place::Queued(_)) => unreachable!("unflushed entries stay in the ring"),
            };
            bytes = bytes.saturating_add(match &source {
                Source::Ring(entry) => entry.payload.len(),
                Source::File { len, .. } => *len as usize,
            });
            if bytes > bytes_max && !found.is_empty() {
                break;
            }
            found.push(source);
            at += 1;
        }
        found
    }
}
