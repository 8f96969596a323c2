//! What callers and the writer share: the log in memory, the queue between them, and the reasons
//! not to take any more.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};

use crate::error::Error;
use crate::format::{FRAME_HEADER_LEN, HEADER_LEN, SECTOR, record_len};
use crate::memory::Memory;
use crate::options::{Options, WriterMode};
use crate::room::Room;
use crate::segment::pipeline::{Pipeline, Step};
use crate::segment::{SegmentFile, Spare};
use crate::types::{Entry, EntryId, LogIndex, Positions, SegmentSeq};

/// Called once the operation is durable, or can never be.
pub type Done = Box<dyn FnOnce(Result<(), Error>) + Send>;

/// What an operation writes.
#[derive(Debug)]
pub(crate) enum Body {
    Entries(Vec<Entry>),
    Vote(Bytes),
    TruncateAfter(Option<EntryId>),
    Purge(EntryId),
}

impl Body {
    /// The entries to append; none for other operations.
    pub(crate) fn entries(&self) -> &[Entry] {
        match self {
            Self::Entries(entries) => entries,
            Self::Vote(_) | Self::TruncateAfter(_) | Self::Purge(_) => &[],
        }
    }

    /// The payload lengths of its records.
    fn payload_lens(&self) -> impl Iterator<Item = usize> {
        let other = match self {
            Self::Entries(_) => None,
            Self::Vote(vote) => Some(vote.len()),
            Self::TruncateAfter(_) | Self::Purge(_) => Some(0),
        };
        self.entries().iter().map(|entry| entry.payload.len()).chain(other)
    }

    /// An upper bound of what it takes on disk, if no segment ends in it.
    fn bytes(&self) -> u64 {
        let frame = (FRAME_HEADER_LEN + SECTOR) as u64;
        self.payload_lens().map(|len| record_len(len) as u64).sum::<u64>() + frame
    }
}

/// An accepted operation on its way to the disk.
pub(crate) struct Operation {
    /// Counts accepted operations from 1.
    pub(crate) number: u64,
    pub(crate) body: Body,
    pub(crate) bytes: u64,
    pub(crate) done: Done,
}

impl fmt::Debug for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "operation {}: {:?}", self.number, self.body)
    }
}

/// How far closing has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Closing {
    /// Not asked for.
    No,
    /// The queue is drained and nothing more taken; `clean` writes the clean-shutdown frame.
    Asked { clean: bool },
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) memory: Memory,
    pub(crate) queue: VecDeque<Operation>,
    queue_bytes: u64,
    /// The committed mark was saved since the writer last wrote it.
    pub(crate) committed_changed: bool,
    pub(crate) closing: Closing,
    pub(crate) poison: Option<Arc<str>>,
    pub(crate) segments: BTreeMap<SegmentSeq, Arc<SegmentFile>>,
    /// Bytes left in the active segment.
    pub(crate) active_room: u64,
    /// Bytes the writer has taken from the queue and not yet written.
    pub(crate) in_flight: u64,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) pipeline: Pipeline,
    pub(crate) state: Mutex<State>,
    /// Wakes the writer thread.
    pub(crate) work: Condvar,
    accepted: AtomicU64,
    pub(crate) submitted: AtomicU64,
    pub(crate) flushed: AtomicU64,
}

impl Shared {
    pub(crate) fn new(
        options: Options,
        pipeline: Pipeline,
        memory: Memory,
        segments: BTreeMap<SegmentSeq, Arc<SegmentFile>>,
        active_room: u64,
    ) -> Self {
        Self {
            options,
            pipeline,
            state: Mutex::new(State {
                memory,
                queue: VecDeque::new(),
                queue_bytes: 0,
                committed_changed: false,
                closing: Closing::No,
                poison: None,
                segments,
                active_room,
                in_flight: 0,
            }),
            work: Condvar::new(),
            accepted: AtomicU64::new(0),
            submitted: AtomicU64::new(0),
            flushed: AtomicU64::new(0),
        }
    }

    /// Takes an operation: checks it, shows it to readers, queues it for whoever writes next. An
    /// error means that nothing has happened and `done` was dropped uncalled.
    pub(crate) fn accept(
        &self,
        body: Body,
        done: Done,
        check: impl FnOnce(&Memory, &Body) -> Result<(), Error>,
        apply: impl FnOnce(&mut Memory, &Body, u64),
    ) -> Result<(), Error> {
        let bytes = body.bytes();
        let mut state = self.state.lock();
        state.check_open()?;
        check(&state.memory, &body)?;
        state.check_queue(bytes, &self.options)?;
        self.check_space(&mut state, &body)?;
        let number = self.accepted.fetch_add(1, Ordering::Relaxed) + 1;
        apply(&mut state.memory, &body, number);
        state.queue_bytes += bytes;
        state.queue.push_back(Operation { number, body, bytes, done });
        Ok(())
    }

    /// Has the writer thread look, if there is something to look at.
    pub(crate) fn wake_writer(&self) {
        if !self.state.lock().queue.is_empty() {
            self.work.notify_one();
        }
    }

    /// Returns when something is queued, or the log is being closed.
    pub(crate) fn wait_for_work(&self) {
        let mut state = self.state.lock();
        while state.queue.is_empty() && state.closing == Closing::No {
            self.work.wait(&mut state);
        }
    }

    /// With space to be had, anything is taken: the writer waits for the preparer if it must.
    /// Without, only what surely fits is taken.
    fn check_space(&self, state: &mut State, body: &Body) -> Result<(), Error> {
        if self.options.writer == WriterMode::Inline {
            self.prepare_inline(state, body)?;
        }
        if self.pipeline.is_out_of_space() && !self.fits(state, body) {
            let left = self.room(state).bytes();
            return Err(Error::NoSpace { needed: body.bytes(), left });
        }
        Ok(())
    }

    fn fits(&self, state: &State, body: &Body) -> bool {
        let is_append = matches!(body, Body::Entries(_));
        let behind = self.room(state).behind(state.queue_bytes + state.in_flight);
        behind.is_some_and(|room| room.fits(body.payload_lens(), is_append))
    }

    /// The space there is if no other spare is ever prepared.
    pub(crate) fn room(&self, state: &State) -> Room {
        let capacity = self.options.segment_bytes - HEADER_LEN as u64;
        Room::new(state.active_room, self.pipeline.spares(), capacity)
    }

    /// Without a preparer thread, the caller prepares what its operation will need before it is
    /// accepted.
    fn prepare_inline(&self, state: &mut State, body: &Body) -> Result<(), Error> {
        while !self.fits(state, body) {
            match self.pipeline.prepare_one() {
                Ok(Step::Did) => {}
                Ok(Step::Idle | Step::NoSpace) => return Ok(()),
                Err(error) => return Err(state.poison(error.full_text())),
            }
        }
        Ok(())
    }

    pub(crate) fn positions(&self) -> Positions {
        // Read in this order, so that concurrent progress can't make them cross.
        let flushed = self.flushed.load(Ordering::Acquire);
        let submitted = self.submitted.load(Ordering::Acquire);
        let accepted = self.accepted.load(Ordering::Acquire);
        Positions { accepted, submitted, flushed }
    }

    /// The next segment's file. Waits for the preparer; inline, the caller has prepared enough.
    pub(crate) fn take_spare(&self) -> Result<Spare, Error> {
        let spare = match self.options.writer {
            WriterMode::Thread => self.pipeline.take(),
            WriterMode::Inline => self.pipeline.try_take(),
        };
        spare.ok_or(Error::NoSpace { needed: self.options.segment_bytes, left: 0 })
    }

    /// Inline, the pipeline's work is done between operations.
    pub(crate) fn run_pipeline_inline(&self) {
        if self.options.writer == WriterMode::Thread {
            return;
        }
        loop {
            match self.pipeline.step() {
                Ok(Step::Did) => {}
                Ok(Step::Idle | Step::NoSpace) => return,
                Err(error) => {
                    self.poison(error.full_text());
                    return;
                }
            }
        }
    }

    /// Stops the log for good. The first reason stays.
    pub(crate) fn poison(&self, reason: String) -> Error {
        let error = self.state.lock().poison(reason);
        self.work.notify_all();
        error
    }
}

impl State {
    fn poison(&mut self, reason: String) -> Error {
        Error::Poisoned { reason: Arc::clone(self.poison.get_or_insert_with(|| reason.into())) }
    }

    pub(crate) fn check_open(&self) -> Result<(), Error> {
        if let Some(reason) = &self.poison {
            return Err(Error::Poisoned { reason: Arc::clone(reason) });
        }
        match self.closing {
            Closing::No => Ok(()),
            Closing::Asked { .. } => Err(Error::Closed),
        }
    }

    /// A closed log can still be read; one whose disk failed can't.
    pub(crate) fn check_readable(&self) -> Result<(), Error> {
        match &self.poison {
            Some(reason) => Err(Error::Poisoned { reason: Arc::clone(reason) }),
            None => Ok(()),
        }
    }

    fn check_queue(&self, bytes: u64, options: &Options) -> Result<(), Error> {
        let full = self.queue.len() >= options.queue_ops_max
            || self.queue_bytes.saturating_add(bytes) > options.queue_bytes_max;
        if full && !self.queue.is_empty() {
            return Err(Error::QueueFull { ops: self.queue.len(), bytes: self.queue_bytes });
        }
        Ok(())
    }

    /// Moves operations of up to `bytes_max` bytes to the writer, one at least.
    pub(crate) fn take_group(&mut self, bytes_max: usize) -> Vec<Operation> {
        let mut group = Vec::new();
        let mut bytes = 0;
        while bytes < bytes_max as u64
            && let Some(operation) = self.queue.pop_front()
        {
            bytes += operation.bytes;
            group.push(operation);
        }
        self.queue_bytes -= bytes;
        self.in_flight += bytes;
        group
    }

    /// Removes the oldest segments as long as all they hold is purged. The active one stays.
    pub(crate) fn pop_purged(&mut self, purged: Option<EntryId>) -> Vec<Arc<SegmentFile>> {
        let mut popped = Vec::new();
        while self.segments.len() > 1
            && let Some(first) = self.segments.first_entry()
            && first.get().is_purged(purged)
        {
            popped.push(first.remove());
        }
        popped
    }

    /// See [`Wal::first_index_within`](crate::Wal::first_index_within).
    pub(crate) fn first_index_within(&self, bytes: u64) -> LogIndex {
        let mut newest = self.segments.values().rev();
        let active = newest.next().expect("a log has an active segment");
        let mut first = active.header.first_index;
        let mut left = bytes.saturating_sub(active.header.file_len);
        for segment in newest {
            let Some(rest) = left.checked_sub(segment.header.file_len) else { break };
            left = rest;
            // A segment begun after a truncation can begin lower than the one before it.
            first = first.min(segment.header.first_index);
        }
        first
    }

    pub(crate) fn take_all(&mut self) -> Vec<Operation> {
        self.queue_bytes = 0;
        self.queue.drain(..).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::disk::FaultyDisk;

    #[test]
    fn the_first_reason_stays() {
        let options = Options::default();
        let disk = Arc::new(FaultyDisk::new(1));
        let pipeline = Pipeline::new(disk, PathBuf::from("/d"), 8192, Vec::new(), 0);
        let shared = Shared::new(options, pipeline, Memory::default(), BTreeMap::new(), 0);
        for reason in ["first", "second"] {
            let error = shared.poison(reason.to_owned());
            assert_eq!(error.to_string(), "log is stopped: first");
        }
    }
}
