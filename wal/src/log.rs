//! The log: what callers see of it.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use bytes::Bytes;
use parking_lot::Mutex;

use crate::disk::{DirLock, Disk, LockError};
use crate::error::Error;
use crate::format::{Checkpoint, HEADER_LEN, MARK_LEN_MAX, SegmentHeader};
use crate::memory::{Memory, Source};
use crate::observer::NoObserver;
use crate::options::{Options, WriterMode};
use crate::recovery::{self, Recovery, Replay};
use crate::segment::SegmentFile;
use crate::segment::pipeline::Pipeline;
use crate::shared::{Body, Closing, Done, Shared};
use crate::types::{Entry, EntryId, LogIndex, LogState, Lsn, Positions, SegmentSeq};
use crate::writer::{Tail, Writer, nonce};

/// A log in a folder. Clones are handles to the same log.
///
/// Every operation is one record in one ordered stream, so a vote, an append and a truncation
/// become durable in the order of their calls. A call that returns an error has changed nothing
/// and drops its callback uncalled; a call that returns `Ok` calls back exactly once, on whichever
/// thread writes, in the order of the calls. Callbacks must be quick: the next group waits.
///
/// Dropping the last handle stops the threads after they have written what was accepted, but
/// writes no clean-shutdown frame; [`Wal::close`] does.
#[derive(Debug, Clone)]
pub struct Wal {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    runner: Mutex<Runner>,
    /// Held by whoever writes: the writer thread, or a caller that found it at rest.
    writer: Arc<Mutex<Option<Writer>>>,
    lock: Mutex<Option<Box<dyn DirLock>>>,
}

#[derive(Debug, Default)]
struct Runner {
    writer: Option<JoinHandle<()>>,
    preparer: Option<JoinHandle<()>>,
}

/// Whether the log takes operations, and if not, why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// All is well.
    Ok,
    /// The disk is full. What is left still takes operations until it is used up; the caller
    /// should stop adding and start freeing. Ends by itself when space comes back.
    NoSpace {
        /// Bytes left in the active segment and the spares.
        left: u64,
    },
    /// A write or sync failed; only a restart can tell what is on the disk.
    Poisoned {
        /// The first failure.
        reason: Arc<str>,
    },
    /// The log was closed.
    Closed,
}

impl Wal {
    /// Opens the log in `dir`, or begins one there.
    ///
    /// Locks the folder, reads all segments, cuts off a torn tail, and refuses what is corrupt,
    /// of another version, or in use. Nothing is changed on disk when it refuses.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        options: Options,
    ) -> Result<(Self, Recovery), Error> {
        options.validate()?;
        disk.create_dir_all(dir).map_err(|e| Error::io("failed to create", dir, e))?;
        let lock = disk.lock(dir).map_err(|error| match error {
            LockError::Held(holder) => Error::Locked { dir: dir.to_owned(), holder },
            LockError::Io(e) => Error::io("failed to lock", dir, e),
        })?;
        let opened = Opened::open(&disk, dir, &options)?;
        let Opened { memory, segments, tail, pipeline, recovery } = opened;
        let room = tail.active.header.file_len - tail.offset;
        let observer = options.observer.clone().unwrap_or_else(|| Arc::new(NoObserver));
        let mode = options.writer;
        let segments = segments.into_iter().map(|s| (s.header.seq, s)).collect();
        let shared = Arc::new(Shared::new(options, pipeline, memory, segments, room));
        let purged = tail.checkpoint.purged;
        let retired = shared.state.lock().pop_purged(purged);
        shared.pipeline.retire(retired);
        let writer = Writer::new(Arc::clone(&shared), disk, dir.to_owned(), observer, tail);
        let writer = Arc::new(Mutex::new(Some(writer)));
        let runner = match mode {
            WriterMode::Thread => Runner::start(&shared, &writer)?,
            WriterMode::Inline => Runner::default(),
        };
        shared.run_pipeline_inline();
        let (runner, lock) = (Mutex::new(runner), Mutex::new(Some(lock)));
        let inner = Inner { shared, runner, writer, lock };
        Ok((Self { inner: Arc::new(inner) }, recovery))
    }

    /// Adds entries at the end of the log. They can be read before this returns.
    ///
    /// The first one must follow the last entry of the log, and each the one before it; an empty
    /// log that was never purged takes any first index.
    pub fn append(&self, entries: Vec<Entry>, done: Done) -> Result<(), Error> {
        self.check_sizes(&entries)?;
        self.submit(
            Body::Entries(entries),
            done,
            |memory, body| memory.check_append(body.entries()),
            |memory, body, number| memory.append(body.entries(), number),
        )
    }

    /// Adds entries like [`Wal::append`], and if the writer is at rest writes and syncs them before
    /// it returns, on the caller's thread: the callback has run by then. A lone appender is spared
    /// two wake-ups of other threads, which on an idle virtual machine take as long as the sync,
    /// and is blocked for the sync. If the writer is busy this is [`Wal::append`].
    pub fn append_here(&self, entries: Vec<Entry>, done: Done) -> Result<(), Error> {
        let inner = &*self.inner;
        let Some(mut writer) = inner.writer.try_lock() else { return self.append(entries, done) };
        self.check_sizes(&entries)?;
        inner.shared.accept(
            Body::Entries(entries),
            done,
            |memory, body| memory.check_append(body.entries()),
            |memory, body, number| memory.append(body.entries(), number),
        )?;
        let guard = PoisonOnPanic(Arc::clone(&inner.shared));
        if let Some(writer) = writer.as_mut() {
            writer.work();
        }
        drop(writer);
        drop(guard);
        inner.leave_the_rest();
        Ok(())
    }

    fn check_sizes(&self, entries: &[Entry]) -> Result<(), Error> {
        let max = self.inner.shared.options.payload_len_max();
        match entries.iter().map(|entry| entry.payload.len() as u64).find(|len| *len > max) {
            None => Ok(()),
            Some(len) => Err(Error::TooLarge { what: "entry", len, max }),
        }
    }

    /// Removes all entries after `last_kept`, or all above the purged ones if there is none.
    /// `last_kept` must be in the log, or be the purged id.
    pub fn truncate_after(&self, last_kept: Option<EntryId>, done: Done) -> Result<(), Error> {
        self.submit(
            Body::TruncateAfter(last_kept),
            done,
            |memory, _| memory.check_truncate(last_kept),
            |memory, _, _| memory.truncate(last_kept),
        )
    }

    /// Removes all entries up to and including `upto`, which may lie beyond the last entry: then
    /// the log is empty and goes on behind `upto`, as after the installation of a snapshot.
    ///
    /// Only a record is written here. Segments are recycled or unlinked in the background, after
    /// the record is durable. Purging what is purged already does nothing, durably.
    pub fn purge(&self, upto: EntryId, done: Done) -> Result<(), Error> {
        self.submit(
            Body::Purge(upto),
            done,
            |memory, _| memory.check_purge(upto),
            |memory, _, _| memory.purge(upto),
        )
    }

    /// Replaces the vote. It is durable when the callback runs.
    pub fn save_vote(&self, vote: Bytes, done: Done) -> Result<(), Error> {
        check_mark("vote", &vote)?;
        self.submit(
            Body::Vote(vote.clone()),
            done,
            |_, _| Ok(()),
            |memory, _, _| memory.vote = Some(vote),
        )
    }

    /// Replaces the committed mark. It is written with the next group that follows, or at close,
    /// and may be lost until then.
    pub fn save_committed(&self, mark: Bytes) -> Result<(), Error> {
        check_mark("committed mark", &mark)?;
        let mut state = self.inner.shared.state.lock();
        state.check_open()?;
        state.memory.committed = Some(mark);
        state.committed_changed = true;
        Ok(())
    }

    /// The last vote that was saved.
    #[must_use]
    pub fn vote(&self) -> Option<Bytes> {
        self.inner.shared.state.lock().memory.vote.clone()
    }

    /// The last committed mark that was saved.
    #[must_use]
    pub fn committed(&self) -> Option<Bytes> {
        self.inner.shared.state.lock().memory.committed.clone()
    }

    /// The live entries with indexes in `range`, from its first one on without a gap: as many as
    /// have `max_bytes` of payload together, but at least one if any exists in the range.
    ///
    /// What is purged does not exist; a range that begins below the first live entry yields what
    /// there is from that one on. Entries come from memory if they are new enough and else from
    /// their segments, where their checksums are verified.
    pub fn entries(&self, range: Range<u64>, max_bytes: usize) -> Result<Vec<Entry>, Error> {
        let found: Vec<_> = {
            let state = self.inner.shared.state.lock();
            state.check_readable()?;
            let sources = state.memory.sources(range.start, range.end, max_bytes);
            let with_file = |source| match &source {
                Source::File { segment, .. } => {
                    let file = state.segments.get(segment).expect("live entries have a segment");
                    (source, Some(Arc::clone(file)))
                }
                Source::Ring(_) => (source, None),
            };
            sources.into_iter().map(with_file).collect()
        };
        let read = |(source, file): (Source, Option<Arc<SegmentFile>>)| match (source, file) {
            (Source::Ring(entry), _) => Ok(entry),
            (Source::File { id, offset, len, .. }, file) => {
                file.expect("set above").read_entry(id, offset, len)
            }
        };
        found.into_iter().map(read).collect()
    }

    /// The id at `index`: of a live entry, or of the last purged one.
    pub fn entry_id(&self, index: LogIndex) -> Result<Option<EntryId>, Error> {
        let state = self.inner.shared.state.lock();
        state.check_readable()?;
        Ok(state.memory.entry_id(index))
    }

    /// The two ends of the log.
    #[must_use]
    pub fn state(&self) -> LogState {
        self.inner.shared.state.lock().memory.state()
    }

    /// The lowest index from which on the log lies in its newest `bytes`, by whole segment files:
    /// what is purged below it leaves at most so much, or the active file.
    #[must_use]
    pub fn first_index_within(&self, bytes: u64) -> LogIndex {
        self.inner.shared.state.lock().first_index_within(bytes)
    }

    /// How far the operations have come.
    #[must_use]
    pub fn positions(&self) -> Positions {
        self.inner.shared.positions()
    }

    /// Whether the log takes operations, and if not, why.
    #[must_use]
    pub fn health(&self) -> Health {
        let shared = &self.inner.shared;
        let state = shared.state.lock();
        if let Some(reason) = &state.poison {
            return Health::Poisoned { reason: Arc::clone(reason) };
        }
        if state.closing != Closing::No {
            return Health::Closed;
        }
        if shared.pipeline.is_out_of_space() {
            return Health::NoSpace { left: shared.room(&state).bytes() };
        }
        Health::Ok
    }

    /// Writes what was accepted, marks the log as cleanly closed, ends the threads and unlocks
    /// the folder. Later calls fail with [`Error::Closed`]; a second close does nothing.
    ///
    /// Called from a callback it can't wait for its own thread: it only asks for all this, and it
    /// is done when the last handle is dropped elsewhere.
    pub fn close(&self) -> Result<(), Error> {
        self.inner.shut_down(true);
        match self.health() {
            Health::Poisoned { reason } => Err(Error::Poisoned { reason }),
            Health::Ok | Health::NoSpace { .. } | Health::Closed => Ok(()),
        }
    }

    fn submit(
        &self,
        body: Body,
        done: Done,
        check: impl FnOnce(&Memory, &Body) -> Result<(), Error>,
        apply: impl FnOnce(&mut Memory, &Body, u64),
    ) -> Result<(), Error> {
        self.inner.shared.accept(body, done, check, apply)?;
        self.inner.leave_the_rest();
        Ok(())
    }
}

fn check_mark(what: &'static str, mark: &Bytes) -> Result<(), Error> {
    let (len, max) = (mark.len() as u64, MARK_LEN_MAX as u64);
    if len > max { Err(Error::TooLarge { what, len, max }) } else { Ok(()) }
}

impl Inner {
    /// Leaves what is queued to whoever writes here by default.
    fn leave_the_rest(&self) {
        match self.shared.options.writer {
            WriterMode::Thread => self.shared.wake_writer(),
            WriterMode::Inline => self.drain(),
        }
    }

    /// Inline, writes all that is queued. A call from within a callback finds the writer busy and
    /// leaves its operation to the call that is being served.
    fn drain(&self) {
        while !self.shared.state.lock().queue.is_empty() {
            let Some(mut writer) = self.writer.try_lock() else { return };
            let Some(writer) = writer.as_mut() else { return };
            writer.drain();
        }
    }

    fn shut_down(&self, clean: bool) {
        {
            let mut state = self.shared.state.lock();
            if state.closing == Closing::No {
                state.closing = Closing::Asked { clean };
            }
        }
        self.shared.work.notify_all();
        self.shared.pipeline.close();
        if self.shared.options.writer == WriterMode::Inline
            && let Some(mut writer) = self.writer.try_lock()
            && let Some(mut writer) = writer.take()
        {
            writer.drain();
        }
        let mut runner = self.runner.lock();
        if runner.writer.as_ref().is_some_and(|w| w.thread().id() == thread::current().id()) {
            return;
        }
        runner.join(&self.shared);
        self.lock.lock().take();
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shut_down(false);
    }
}

impl Runner {
    fn start(shared: &Arc<Shared>, writer: &Arc<Mutex<Option<Writer>>>) -> Result<Self, Error> {
        let failed = |e| Error::io("failed to start threads for", Path::new("wal"), e);
        let (on_writer, writer) = (Arc::clone(shared), Arc::clone(writer));
        let writer = thread::Builder::new()
            .name("wal-writer".to_owned())
            .spawn(move || {
                let guard = PoisonOnPanic(on_writer);
                write_until_closed(&guard.0, &writer);
            })
            .map_err(failed)?;
        let mut runner = Self { writer: Some(writer), preparer: None };
        let on_preparer = Arc::clone(shared);
        let preparer = thread::Builder::new()
            .name("wal-preparer".to_owned())
            .spawn(move || {
                let guard = PoisonOnPanic(on_preparer);
                let shared = &guard.0;
                if let Err(error) = shared.pipeline.run(shared.options.space_retry_pause) {
                    shared.poison(error.full_text());
                }
            })
            .map_err(failed);
        match preparer {
            Ok(preparer) => runner.preparer = Some(preparer),
            Err(error) => {
                shared.state.lock().closing = Closing::Asked { clean: false };
                shared.work.notify_all();
                runner.join(shared);
                return Err(error);
            }
        }
        Ok(runner)
    }

    /// The writer first: it may still need a spare.
    fn join(&mut self, shared: &Shared) {
        for (thread, is_last) in [(self.writer.take(), false), (self.preparer.take(), true)] {
            if is_last {
                shared.pipeline.stop();
            }
            if let Some(thread) = thread
                && thread.join().is_err()
            {
                shared.poison("a thread of the log panicked".to_owned());
            }
        }
    }
}

/// The writer thread: writes whatever is queued, until the log is closed.
fn write_until_closed(shared: &Shared, writer: &Mutex<Option<Writer>>) {
    loop {
        shared.wait_for_work();
        let mut writer = writer.lock();
        let Some(writer) = writer.as_mut() else { return };
        if !writer.work() {
            return;
        }
    }
}

/// A panic of whoever writes must not leave callers waiting for it.
struct PoisonOnPanic(Arc<Shared>);

impl Drop for PoisonOnPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.poison("a thread of the log panicked".to_owned());
        }
    }
}

/// What opening found or made, ready to run.
struct Opened {
    memory: Memory,
    segments: Vec<Arc<SegmentFile>>,
    tail: Tail,
    pipeline: Pipeline,
    recovery: Recovery,
}

impl Opened {
    fn open(disk: &Arc<dyn Disk>, dir: &Path, options: &Options) -> Result<Self, Error> {
        let listing = recovery::list(&**disk, dir)?;
        if listing.segments.is_empty() {
            let pipeline = Self::pipeline(disk, dir, options, &listing)?;
            return Self::begin(disk, dir, options, pipeline);
        }
        let found = recovery::open_files(&**disk, dir, &listing, true)?;
        let mut replay = Replay::default();
        let scanned = recovery::scan(found, &mut replay)?;
        let segments = scanned.segments.clone();
        let (first, active) =
            segments.first().zip(segments.last()).expect("the listing has at least one segment");
        replay.check_complete(first)?;
        let recovery = Recovery {
            fresh: false,
            clean: replay.clean && scanned.torn_tail.is_none(),
            torn_tail: scanned.torn_tail.clone(),
            segments: segments.len(),
            frames: replay.frames,
            records: replay.records,
            entries: replay.memory.index.end().0 - replay.memory.index.first().0,
            bytes: replay.bytes,
        };
        recovery::repair(&**disk, dir, &scanned, &recovery)?;
        segments.iter().rev().skip(1).for_each(|sealed| sealed.seal());
        let tail = Tail {
            active: Arc::clone(active),
            offset: scanned.offset,
            batch_seq: scanned.batch_seq,
            checkpoint: replay.checkpoint(),
        };
        let pipeline = Self::pipeline(disk, dir, options, &listing)?;
        Ok(Self { memory: replay.memory, segments, tail, pipeline, recovery })
    }

    fn pipeline(
        disk: &Arc<dyn Disk>,
        dir: &Path,
        options: &Options,
        listing: &recovery::Listing,
    ) -> Result<Pipeline, Error> {
        let len = options.segment_bytes;
        let spares = recovery::adopt_spares(&**disk, dir, &listing.others, len)?;
        let next_id = recovery::next_spare_id(&listing.others);
        Ok(Pipeline::new(Arc::clone(disk), dir.to_owned(), len, spares, next_id))
    }

    /// The first segment of a new log.
    fn begin(
        disk: &Arc<dyn Disk>,
        dir: &Path,
        options: &Options,
        pipeline: Pipeline,
    ) -> Result<Self, Error> {
        let spare = match pipeline.try_take() {
            Some(spare) => spare,
            None => pipeline.prepare_now()?,
        };
        let seq = SegmentSeq(1);
        let header = SegmentHeader {
            seq,
            nonce: nonce(options.nonce_seed, seq, 0),
            file_len: spare.len,
            base_lsn: Lsn(0),
            batch_seq: 1,
            first_index: LogIndex(0),
            previous: None,
            recycled: spare.recycled,
            checkpoint: Checkpoint::default(),
        };
        let active = Arc::new(SegmentFile::publish(&**disk, dir, spare, header)?);
        let tail = Tail {
            active: Arc::clone(&active),
            offset: HEADER_LEN as u64,
            batch_seq: 1,
            checkpoint: Checkpoint::default(),
        };
        let recovery = Recovery { fresh: true, ..Recovery::default() };
        let (memory, segments) = (Memory::default(), vec![active]);
        Ok(Self { memory, segments, tail, pipeline, recovery })
    }
}
