//! Rebuilds the log in memory from its records.

use bytes::Bytes;

use super::scan::Visitor;
use crate::error::Error;
use crate::format::{Checkpoint, FrameHeader, RecordRef, SegmentHeader};
use crate::index::Place;
use crate::memory::Memory;
use crate::segment::SegmentFile;
use crate::types::{EntryId, LogIndex};

/// The state after the records visited so far.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    pub(crate) memory: Memory,
    started: bool,
    /// The end of the entries that lie in segments which are no longer there. All of them must
    /// turn out to be purged or truncated.
    missing_upto: Option<LogIndex>,
    /// The last record was a clean shutdown.
    pub(crate) clean: bool,
    pub(crate) frames: u64,
    pub(crate) records: u64,
    pub(crate) bytes: u64,
}

impl Replay {
    /// The small state, as a segment header would repeat it.
    pub(crate) fn checkpoint(&self) -> Checkpoint {
        Checkpoint {
            vote: self.memory.vote.clone(),
            committed: self.memory.committed.clone(),
            purged: self.memory.purged,
            last: self.memory.last,
        }
    }

    /// Every live entry must have been seen.
    pub(crate) fn check_complete(&self, first: &SegmentFile) -> Result<(), Error> {
        let Some(missing) = self.missing_upto else { return Ok(()) };
        let reason = format!(
            "the log begins here, but entries up to {} are neither purged nor in any segment",
            missing.0
        );
        Err(Error::corrupt(&first.path, 0, reason))
    }

    fn start(&mut self, header: &SegmentHeader) {
        let Checkpoint { vote, committed, purged, last } = header.checkpoint.clone();
        let memory = &mut self.memory;
        (memory.vote, memory.committed, memory.purged, memory.last) =
            (vote, committed, purged, last);
        let next = last.map_or(0, |last| last.index.0.saturating_add(1));
        memory.index.restart(LogIndex(next));
        self.missing_upto = last.filter(|last| purged != Some(*last)).map(|last| last.index);
    }

    fn entry(&mut self, id: EntryId, place: Place) -> Result<(), String> {
        let memory = &mut self.memory;
        let expected = memory.next_index().unwrap_or(id.index);
        if id.index != expected || id.index.0 == u64::MAX {
            return Err(format!("entry {id} follows entry {}", expected.0.wrapping_sub(1)));
        }
        if memory.index.is_empty() {
            memory.index.restart(id.index);
        }
        memory.index.push(id, place);
        memory.last = Some(id);
        Ok(())
    }

    fn truncate(&mut self, last_kept: Option<EntryId>) -> Result<(), String> {
        let last = last_kept.or(self.memory.purged);
        let end = last.map_or(0, |last| last.index.0.saturating_add(1));
        if self.memory.next_index().is_some_and(|next| next.0 < end) {
            return Err(format!("truncation to {end} is beyond the end of the log"));
        }
        // With the missing entries truncated in part, the rest of them is still missing.
        self.missing_upto = match (self.missing_upto, last) {
            (Some(missing), Some(last)) => Some(missing.min(last.index))
                .filter(|upto| self.memory.purged.is_none_or(|purged| purged.index < *upto)),
            (_, _) => None,
        };
        self.memory.truncate(last_kept);
        Ok(())
    }

    fn purge(&mut self, upto: EntryId) {
        self.memory.purge(upto);
        self.missing_upto = self.missing_upto.filter(|missing| *missing > upto.index);
    }
}

impl Visitor for Replay {
    fn segment(&mut self, segment: &SegmentFile) {
        if !self.started {
            self.started = true;
            self.start(&segment.header);
        }
    }

    fn frame(&mut self, _segment: &SegmentFile, _offset: u64, frame: &FrameHeader) {
        self.frames += 1;
        self.bytes += frame.disk_len();
    }

    fn record(
        &mut self,
        segment: &SegmentFile,
        offset: u64,
        record: RecordRef<'_>,
    ) -> Result<(), String> {
        self.records += 1;
        self.clean = record == RecordRef::CleanShutdown;
        match record {
            RecordRef::Entry(id, payload) => {
                let small = |n: u64| u32::try_from(n).map_err(|_| "offset too large".to_owned());
                let (offset, len) = (small(offset)?, small(payload.len() as u64)?);
                let place = Place::Stored { segment: segment.header.seq, offset, len };
                segment.note_index(id.index);
                self.entry(id, place)?;
            }
            RecordRef::Vote(vote) => self.memory.vote = Some(Bytes::copy_from_slice(vote)),
            RecordRef::Committed(mark) => {
                self.memory.committed = Some(Bytes::copy_from_slice(mark));
            }
            RecordRef::TruncateAfter(last_kept) => self.truncate(last_kept)?,
            RecordRef::Purge(upto) => self.purge(upto),
            RecordRef::CleanShutdown => {}
        }
        Ok(())
    }
}
