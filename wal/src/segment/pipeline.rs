//! Gets the next segment ready before it is needed, and takes purged ones back.
//!
//! Preparing is slow (64 MB of zeros) and is where a full disk is met, so it happens beside the
//! writer and ahead of it: one spare waits from the start, a second one once the active segment
//! is half full. When the disk is full there are thus at least half a segment and a whole one
//! left, which is room for raising an alarm, compacting and purging.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::file::{SegmentFile, Spare};
use super::name::FileName;
use crate::disk::Disk;
use crate::error::Error;

/// The most spares that are kept; retired segments beyond that are unlinked. More than are ever
/// prepared, because purges come in bursts: the segments that one frees are used up before the
/// next one, and no zeros need to be written for them.
pub(crate) const SPARES_MAX: usize = 4;
/// Zeros are written in steps of this size, each synced, so that preparing never puts so much
/// before the device that a group's sync has to wait long.
const ZERO_STEP: usize = 1 << 20;

/// Zeros are written in pieces of a page. Linux caches what one call writes as one large folio,
/// and a small frame written into such a folio dirties, and is accounted as, all of it.
const ZERO_PAGE: usize = 4096;

/// What one step of the pipeline did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// There was nothing to do.
    Idle,
    /// Something was done; there may be more.
    Did,
    /// The disk is full.
    NoSpace,
}

/// The spares, and the work on them.
#[derive(Debug)]
pub(crate) struct Pipeline {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    segment_bytes: u64,
    state: Mutex<State>,
    /// Wakes the preparer.
    work: Condvar,
    /// Wakes a writer that waits for a spare.
    ready: Condvar,
    /// Copies of the state for readers that must not wait for the lock.
    no_space: AtomicBool,
    spare_count: AtomicU64,
}

#[derive(Debug)]
struct State {
    spares: VecDeque<Spare>,
    wanted: usize,
    retired: VecDeque<Arc<SegmentFile>>,
    next_id: u64,
    /// The log is being closed: a writer must not wait for space that may never come.
    closing: bool,
    stop: bool,
    failed: bool,
}

enum Job {
    Retire(Arc<SegmentFile>),
    Prepare,
}

impl Pipeline {
    /// `next_id` must be above the id of every spare in the folder.
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        segment_bytes: u64,
        spares: Vec<Spare>,
        next_id: u64,
    ) -> Self {
        let pipeline = Self {
            disk,
            dir,
            segment_bytes,
            state: Mutex::new(State {
                spares: spares.into(),
                wanted: 1,
                retired: VecDeque::new(),
                next_id,
                closing: false,
                stop: false,
                failed: false,
            }),
            work: Condvar::new(),
            ready: Condvar::new(),
            no_space: AtomicBool::new(false),
            spare_count: AtomicU64::new(0),
        };
        pipeline.publish_count(&pipeline.state.lock());
        pipeline
    }

    /// True from a failed attempt to prepare a spare until one succeeds.
    pub(crate) fn is_out_of_space(&self) -> bool {
        self.no_space.load(Ordering::Acquire)
    }

    /// The number of spares that are ready.
    pub(crate) fn spares(&self) -> u64 {
        self.spare_count.load(Ordering::Acquire)
    }

    fn publish_count(&self, state: &State) {
        self.spare_count.store(state.spares.len() as u64, Ordering::Release);
    }

    /// How many spares should wait.
    pub(crate) fn want(&self, spares: usize) {
        assert!(spares <= SPARES_MAX, "no more are kept");
        let mut state = self.state.lock();
        if state.wanted != spares {
            state.wanted = spares;
            self.work.notify_one();
        }
    }

    /// Takes segments whose entries are durably purged, oldest first.
    pub(crate) fn retire(&self, segments: Vec<Arc<SegmentFile>>) {
        if !segments.is_empty() {
            self.state.lock().retired.extend(segments);
            self.work.notify_one();
        }
    }

    /// A spare if one is ready.
    pub(crate) fn try_take(&self) -> Option<Spare> {
        let mut state = self.state.lock();
        let spare = state.spares.pop_front();
        self.publish_count(&state);
        self.work.notify_one();
        spare
    }

    /// A spare, as soon as there is one. None when there will be none: the preparer failed, or
    /// the disk is full and the log is being closed.
    pub(crate) fn take(&self) -> Option<Spare> {
        let mut state = self.state.lock();
        loop {
            if let Some(spare) = state.spares.pop_front() {
                self.publish_count(&state);
                self.work.notify_one();
                return Some(spare);
            }
            if state.failed || (state.closing && self.is_out_of_space()) {
                return None;
            }
            state.wanted = state.wanted.max(1);
            self.work.notify_one();
            self.ready.wait(&mut state);
        }
    }

    /// No writer waits for space from here on.
    pub(crate) fn close(&self) {
        self.state.lock().closing = true;
        self.ready.notify_all();
    }

    /// The preparer ends after the step it is in.
    pub(crate) fn stop(&self) {
        self.state.lock().stop = true;
        self.work.notify_all();
        self.ready.notify_all();
    }

    /// The loop of the preparer thread. An error other than a full disk ends it.
    pub(crate) fn run(&self, retry_pause: Duration) -> Result<(), Error> {
        let mut step = Step::Did;
        while self.wait_for_work(step, retry_pause) {
            step = match self.step() {
                Err(_) if self.state.lock().stop => return Ok(()),
                done => done?,
            };
        }
        Ok(())
    }

    fn wait_for_work(&self, last: Step, retry_pause: Duration) -> bool {
        let mut state = self.state.lock();
        if last == Step::NoSpace && state.retired.is_empty() && !state.stop {
            self.work.wait_for(&mut state, retry_pause);
        }
        while !state.stop && state.retired.is_empty() && state.spares.len() >= state.wanted {
            self.work.wait(&mut state);
        }
        !state.stop
    }

    /// Does the next thing that is due.
    pub(crate) fn step(&self) -> Result<Step, Error> {
        let job = {
            let mut state = self.state.lock();
            match state.retired.pop_front() {
                Some(segment) => Job::Retire(segment),
                None if state.spares.len() < state.wanted => Job::Prepare,
                None => return Ok(Step::Idle),
            }
        };
        self.finish(job)
    }

    /// Prepares a spare whether or not one is wanted.
    pub(crate) fn prepare_one(&self) -> Result<Step, Error> {
        self.finish(Job::Prepare)
    }

    /// A spare made on the spot, for the first segment of a log.
    pub(crate) fn prepare_now(&self) -> Result<Spare, Error> {
        let id = {
            let mut state = self.state.lock();
            state.next_id += 1;
            state.next_id - 1
        };
        self.prepare(id)
    }

    fn finish(&self, job: Job) -> Result<Step, Error> {
        let (id, keep) = {
            let mut state = self.state.lock();
            state.next_id += 1;
            (state.next_id - 1, state.spares.len() < SPARES_MAX)
        };
        let done = match job {
            Job::Retire(segment) => self.take_back(segment, id, keep),
            Job::Prepare => self.prepare(id).map(Some),
        };
        match done {
            Ok(spare) => {
                self.add(spare);
                Ok(Step::Did)
            }
            Err(error) if error.is_no_space() => {
                self.no_space.store(true, Ordering::Release);
                self.with_ready(|_| {});
                Ok(Step::NoSpace)
            }
            Err(error) => {
                self.with_ready(|state| state.failed = true);
                Err(error)
            }
        }
    }

    fn add(&self, spare: Option<Spare>) {
        let Some(spare) = spare else { return };
        self.with_ready(|state| state.spares.push_back(spare));
        self.no_space.store(false, Ordering::Release);
    }

    fn with_ready(&self, change: impl FnOnce(&mut State)) {
        let mut state: MutexGuard<'_, State> = self.state.lock();
        change(&mut state);
        self.publish_count(&state);
        self.ready.notify_all();
    }

    /// Renames or unlinks a retired segment, and makes that durable before the next one is
    /// touched: the segments of a folder always form one unbroken run, also after a crash.
    /// The new name must be durable before the file is written again, or a crash could leave a
    /// new header under the old name.
    fn take_back(
        &self,
        segment: Arc<SegmentFile>,
        id: u64,
        keep: bool,
    ) -> Result<Option<Spare>, Error> {
        let path = segment.path.clone();
        let same_len = segment.header.file_len == self.segment_bytes;
        let file = if keep && same_len { SegmentFile::into_recyclable(segment) } else { None };
        let failed = |e| Error::io("failed to take back", &path, e);
        let Some((file, len)) = file else {
            self.disk.remove(&path).map_err(failed)?;
            self.disk.sync_dir(&self.dir).map_err(failed)?;
            return Ok(None);
        };
        let to = FileName::Spare(id).in_dir(&self.dir);
        self.disk.rename(&path, &to).map_err(failed)?;
        self.disk.sync_dir(&self.dir).map_err(failed)?;
        Ok(Some(Spare { path: to, file, len, recycled: true }))
    }

    /// Writes a file full of zeros and gives it the name of a spare once it is durable.
    fn prepare(&self, id: u64) -> Result<Spare, Error> {
        let unfinished = FileName::Unfinished(id).in_dir(&self.dir);
        let path = FileName::Spare(id).in_dir(&self.dir);
        let failed = |e| Error::io("failed to prepare", &path, e);
        let file = match self.fill(&unfinished) {
            Ok(file) => file,
            Err(error) => {
                // Gives the space back to whoever needs it more. If even that fails, the file is
                // removed when the log is opened next.
                drop(self.disk.remove(&unfinished));
                return Err(failed(error));
            }
        };
        self.disk.rename(&unfinished, &path).map_err(failed)?;
        self.disk.sync_dir(&self.dir).map_err(failed)?;
        Ok(Spare { path, file, len: self.segment_bytes, recycled: false })
    }

    fn fill(&self, path: &std::path::Path) -> std::io::Result<Arc<dyn crate::disk::DiskFile>> {
        let file = self.disk.create(path)?;
        let zeros = vec![0; ZERO_STEP];
        let mut offset = 0;
        while offset < self.segment_bytes {
            let left = usize::try_from(self.segment_bytes - offset).unwrap_or(ZERO_STEP);
            let step = zeros.get(..left).unwrap_or(&zeros);
            for (page, at) in step.chunks(ZERO_PAGE).zip((offset..).step_by(ZERO_PAGE)) {
                file.write_at(page, at)?;
            }
            file.sync()?;
            offset += step.len() as u64;
            if self.state.lock().stop {
                return Err(std::io::ErrorKind::Interrupted.into());
            }
        }
        Ok(file)
    }
}
