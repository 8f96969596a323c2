//! The writer: turns queued operations into frames, one write and one sync each, and calls back.
//!
//! The order inside `flush` is the promise of the crate: write, sync, mark flushed, call back.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::disk::Disk;
use crate::error::Error;
use crate::format::{
    Checkpoint, FrameBuilder, HEADER_LEN, RecordRef, SECTOR, SegmentHeader, record_len,
};
use crate::index::Place;
use crate::observer::Observer;
use crate::segment::{SegmentFile, Spare};
use crate::shared::{Body, Closing, Done, Operation, Shared, State};
use crate::types::{LogIndex, SegmentSeq};

/// Where the log ends on disk: what recovery found, or what the last flush left.
#[derive(Debug)]
pub(crate) struct Tail {
    pub(crate) active: Arc<SegmentFile>,
    /// Where the next frame goes.
    pub(crate) offset: u64,
    /// Its number.
    pub(crate) batch_seq: u64,
    /// The small state as the frames up to here say it.
    pub(crate) checkpoint: Checkpoint,
}

/// An entry whose record is in the frame being built.
#[derive(Debug)]
struct Placed {
    index: LogIndex,
    operation: u64,
    place: Place,
}

/// The one that writes, on behalf of whoever holds its lock.
pub(crate) struct Writer {
    shared: Arc<Shared>,
    disk: Arc<dyn Disk>,
    dir: std::path::PathBuf,
    observer: Arc<dyn Observer>,
    tail: Tail,
    frame: FrameBuilder,
    placed: Vec<Placed>,
    /// Operations whose last record is in the frame being built.
    pending: VecDeque<(u64, Done)>,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("tail", &self.tail).finish_non_exhaustive()
    }
}

/// What the writer does next.
enum Work {
    Group(Vec<Operation>, Option<bytes::Bytes>),
    Fail(Vec<Operation>, Error),
    Close { clean: bool },
    Nothing,
}

impl Writer {
    pub(crate) fn new(
        shared: Arc<Shared>,
        disk: Arc<dyn Disk>,
        dir: std::path::PathBuf,
        observer: Arc<dyn Observer>,
        tail: Tail,
    ) -> Self {
        let frame = FrameBuilder::new(tail.active.header.nonce, tail.active.lsn_at(tail.offset));
        let (placed, pending) = (Vec::new(), VecDeque::new());
        Self { shared, disk, dir, observer, tail, frame, placed, pending }
    }

    /// Writes one group of what is queued, if anything is. False once the log is closed.
    pub(crate) fn work(&mut self) -> bool {
        let work = self.next_work();
        self.act(work)
    }

    /// Does all that is queued, on the caller's thread. False once the log is closed.
    pub(crate) fn drain(&mut self) -> bool {
        loop {
            let work = self.next_work();
            if matches!(work, Work::Nothing) {
                return true;
            }
            if !self.act(work) {
                return false;
            }
        }
    }

    fn next_work(&self) -> Work {
        let mut state = self.shared.state.lock();
        if let Some(reason) = state.poison.clone()
            && !state.queue.is_empty()
        {
            return Work::Fail(state.take_all(), Error::Poisoned { reason });
        }
        if state.queue.is_empty() {
            return match state.closing {
                Closing::Asked { clean } => Work::Close { clean: clean && state.poison.is_none() },
                Closing::No => Work::Nothing,
            };
        }
        let group = state.take_group(self.shared.options.group_bytes_max);
        // The mark may name any entry accepted before it, so it is written behind all of them.
        let committed = state.queue.is_empty().then(|| self.take_mark(&mut state)).flatten();
        Work::Group(group, committed)
    }

    /// The committed mark, if it has changed. On a full disk it stays behind: it is a hint, and
    /// the room it would take may have been promised to an operation.
    fn take_mark(&self, state: &mut State) -> Option<bytes::Bytes> {
        if !state.committed_changed || self.shared.pipeline.is_out_of_space() {
            return None;
        }
        state.committed_changed = false;
        let mark = state.memory.committed.clone();
        state.in_flight += mark.as_ref().map_or(0, |mark| record_len(mark.len()) + SECTOR) as u64;
        mark
    }

    fn act(&mut self, work: Work) -> bool {
        match work {
            Work::Group(operations, committed) => self.write_group(operations, committed),
            Work::Fail(operations, error) => {
                operations.into_iter().for_each(|operation| (operation.done)(Err(error.clone())));
            }
            Work::Close { clean } => {
                if clean {
                    self.write_clean_shutdown();
                }
                return false;
            }
            Work::Nothing => {}
        }
        true
    }

    fn write_group(&mut self, operations: Vec<Operation>, committed: Option<bytes::Bytes>) {
        let mut operations = operations.into_iter();
        while let Some(operation) = operations.next() {
            let written = self.write(&operation);
            self.pending.push_back((operation.number, operation.done));
            if let Err(error) = written {
                return self.fail(&error, operations);
            }
        }
        let mark = committed.map_or(Ok(()), |mark| self.push_committed(mark));
        if let Err(error) = mark.and_then(|()| self.flush()) {
            return self.fail(&error, operations);
        }
        self.shared.state.lock().in_flight = 0;
        self.look_ahead();
    }

    /// Puts the operation's records into frames; full frames are flushed on the way.
    fn write(&mut self, operation: &Operation) -> Result<(), Error> {
        match &operation.body {
            Body::Entries(entries) => {
                for entry in entries {
                    let offset = self.push(RecordRef::from(entry))?;
                    let len = u32::try_from(entry.payload.len()).expect("checked when accepted");
                    let segment = self.tail.active.header.seq;
                    let place = Place::Stored { segment, offset, len };
                    let (index, operation) = (entry.id.index, operation.number);
                    self.placed.push(Placed { index, operation, place });
                    self.tail.active.note_index(index);
                    self.tail.checkpoint.last = Some(entry.id);
                }
            }
            Body::Vote(vote) => {
                self.push(RecordRef::Vote(vote))?;
                self.tail.checkpoint.vote = Some(vote.clone());
            }
            Body::TruncateAfter(last_kept) => {
                self.push(RecordRef::TruncateAfter(*last_kept))?;
                self.tail.checkpoint.last = last_kept.or(self.tail.checkpoint.purged);
            }
            Body::Purge(upto) => {
                self.push(RecordRef::Purge(*upto))?;
                self.tail.checkpoint.purge(*upto);
            }
        }
        Ok(())
    }

    fn push_committed(&mut self, mark: bytes::Bytes) -> Result<(), Error> {
        self.push(RecordRef::Committed(&mark))?;
        self.tail.checkpoint.committed = Some(mark);
        Ok(())
    }

    fn active_room(&self) -> u64 {
        self.tail.active.header.file_len - self.tail.offset
    }

    /// Adds a record to the frame and returns its offset in the segment. What does not fit ends
    /// the frame, and then the segment.
    fn push(&mut self, record: RecordRef<'_>) -> Result<u32, Error> {
        let payload_len = record.payload_len();
        if self.frame.disk_len_with(payload_len) > self.active_room() {
            self.flush()?;
            if self.frame.disk_len_with(payload_len) > self.active_room() {
                self.roll()?;
            }
        }
        let in_frame = self.frame.push(record);
        let offset = self.tail.offset + u64::from(in_frame);
        Ok(u32::try_from(offset).expect("segments are at most 1 GiB long"))
    }

    /// Writes the frame, syncs it, and tells everybody. Nothing is told before the sync.
    fn flush(&mut self) -> Result<(), Error> {
        let records = self.frame.records();
        if records > 0 {
            // Every frame is synced before the next one is begun.
            let durable_upto = self.tail.active.lsn_at(self.tail.offset);
            let bytes = self.frame.finish(self.tail.batch_seq, durable_upto);
            let len = bytes.len();
            let active = &self.tail.active;

            self.observer.write_started(len);
            let written = active.file.write_at(bytes, self.tail.offset);
            self.observer.write_ended(written.is_ok());
            written.map_err(|e| Error::io("failed to write", &active.path, e))?;
            if let Some((number, _)) = self.pending.back() {
                self.shared.submitted.store(*number, Ordering::Release);
            }

            self.observer.sync_started();
            let synced = active.file.sync();
            self.observer.sync_ended(synced.is_ok());
            synced.map_err(|e| Error::io("failed to sync", &active.path, e))?;

            self.tail.offset += len as u64;
            self.tail.batch_seq += 1;
            self.observer.flushed(self.pending.len(), records as usize, len);
        }
        self.frame
            .restart(self.tail.active.header.nonce, self.tail.active.lsn_at(self.tail.offset));
        self.complete();
        Ok(())
    }

    /// Marks what the last frame held as durable, and calls back in order.
    fn complete(&mut self) {
        let mut state = self.shared.state.lock();
        for placed in self.placed.drain(..) {
            state.memory.index.set_stored(placed.index, placed.operation, placed.place);
        }
        state.memory.shrink_ring(self.shared.options.ring_bytes);
        state.active_room = self.active_room();
        if let Some((number, _)) = self.pending.back() {
            self.shared.submitted.fetch_max(*number, Ordering::AcqRel);
            self.shared.flushed.store(*number, Ordering::Release);
        }
        let retired = state.pop_purged(self.tail.checkpoint.purged);
        drop(state);
        self.shared.pipeline.retire(retired);
        for (_, done) in self.pending.drain(..) {
            done(Ok(()));
        }
    }

    /// Seals the active segment, all of which is synced by now, and starts the next one.
    fn roll(&mut self) -> Result<(), Error> {
        let spare = self.shared.take_spare()?;
        let recycled = spare.recycled;
        let header = self.next_header(&spare);
        let next = Arc::new(SegmentFile::publish(&*self.disk, &self.dir, spare, header)?);
        let sealed = std::mem::replace(&mut self.tail.active, Arc::clone(&next));
        sealed.seal();
        self.tail.offset = HEADER_LEN as u64;
        self.frame.restart(next.header.nonce, next.header.base_lsn);
        let mut state = self.shared.state.lock();
        state.active_room = self.active_room();
        state.segments.insert(next.header.seq, next);
        drop(state);
        self.shared.pipeline.want(1);
        self.observer.rolled(recycled);
        Ok(())
    }

    fn next_header(&self, spare: &Spare) -> SegmentHeader {
        let active = &self.tail.active.header;
        let seq = SegmentSeq(active.seq.0 + 1);
        let last = self.tail.checkpoint.last;
        SegmentHeader {
            seq,
            nonce: nonce(self.shared.options.nonce_seed, seq, active.nonce),
            file_len: spare.len,
            base_lsn: self.tail.active.lsn_at(self.tail.offset),
            batch_seq: self.tail.batch_seq,
            first_index: last.map_or(LogIndex(0), |last| LogIndex(last.index.0 + 1)),
            previous: Some((active.seq, active.nonce)),
            recycled: spare.recycled,
            checkpoint: self.tail.checkpoint.clone(),
        }
    }

    /// Asks for a second spare once the active segment is half full. Inline, does the pipeline's
    /// work here.
    fn look_ahead(&self) {
        if self.active_room() < self.tail.active.header.file_len / 2 {
            self.shared.pipeline.want(2);
        }
        self.shared.run_pipeline_inline();
    }

    /// A failed write or sync is final: what it left on the disk is unknown until the folder is
    /// opened again, and a second sync would say yes to pages that the kernel has given up.
    fn fail(&mut self, error: &Error, rest: impl Iterator<Item = Operation>) {
        let reason = self.shared.poison(error.full_text());
        self.placed.clear();
        for (_, done) in self.pending.drain(..) {
            done(Err(reason.clone()));
        }
        for operation in rest {
            (operation.done)(Err(reason.clone()));
        }
    }

    /// The last frame of a log that was closed: any damage found before it is corruption.
    fn write_clean_shutdown(&mut self) {
        let committed = self.take_mark(&mut self.shared.state.lock());
        let mark = committed.map_or(Ok(()), |mark| self.push_committed(mark));
        let end = mark.and_then(|()| self.push(RecordRef::CleanShutdown).map(drop));
        if let Err(error) = end.and_then(|()| self.flush()) {
            // On a full disk there may be no room to say goodbye in; all else is synced.
            if !error.is_no_space() {
                self.fail(&error, std::iter::empty());
            }
        }
    }
}

/// A number no other life of any file of this log has: segment numbers are used once, and the
/// nonce before makes logs with one seed differ as soon as anything about them does.
pub(crate) fn nonce(seed: u64, seq: SegmentSeq, previous: u64) -> u64 {
    let mut mixed = seed ^ previous.rotate_left(32) ^ seq.0.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
