//! The bounded queue between those who log and one output.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Lines waiting for one output. 4 MiB are about 20,000 lines: a burst that a disk writes in some
/// milliseconds, and little beside the memory budget even with several outputs.
const QUEUE_BYTES_MAX: usize = 4 << 20;

/// A line, shared between the queues of several outputs.
pub(super) type Line = Arc<[u8]>;

#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// Lines have come, or the queue was closed.
    filled: Condvar,
    /// The writer has written all it took.
    idle: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lines: VecDeque<Line>,
    bytes: usize,
    /// Left out since the writer last took a batch.
    dropped: u64,
    /// Left out since the start, write errors included.
    dropped_total: u64,
    writing: bool,
    closed: bool,
}

/// What the writer takes at once.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) lines: VecDeque<Line>,
    /// Lines that found no room behind those.
    pub(super) dropped: u64,
}

impl Queue {
    /// The lock is held for a few instructions at a time and never across a write, so waiting for
    /// it is waiting for no device. A panic under it leaves nothing half done.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a line, or counts it if there is no room. Never waits for the output.
    pub(super) fn push(&self, line: Line) {
        let mut state = self.lock();
        if state.closed {
            state.dropped_total += 1; // nobody is left to tell of it
            return;
        }
        if state.bytes.saturating_add(line.len()) > QUEUE_BYTES_MAX {
            state.dropped += 1;
            state.dropped_total += 1;
            return;
        }
        state.bytes += line.len();
        state.lines.push_back(line);
        drop(state);
        self.filled.notify_one();
    }

    /// Everything that waits, as soon as there is something; none once closed and empty. Taking
    /// the next batch says that the one before is written.
    pub(super) fn take(&self) -> Option<Batch> {
        let mut state = self.lock();
        state.writing = false;
        self.idle.notify_all();
        while state.lines.is_empty() && state.dropped == 0 && !state.closed {
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.lines.is_empty() && state.dropped == 0 {
            return None;
        }
        state.writing = true;
        state.bytes = 0;
        let dropped = std::mem::take(&mut state.dropped);
        Some(Batch { lines: std::mem::take(&mut state.lines), dropped })
    }

    /// Counts lines that the output refused.
    pub(super) fn lost(&self, lines: u64) {
        self.lock().dropped_total += lines;
    }

    pub(super) fn dropped_total(&self) -> u64 {
        self.lock().dropped_total
    }

    /// Waits until all that was pushed is written, but not longer than `wait`; says whether it is.
    pub(super) fn flush(&self, wait: Duration) -> bool {
        let busy =
            |state: &mut State| state.writing || !state.lines.is_empty() || state.dropped > 0;
        let state = self.lock();
        let (_state, timeout) =
            self.idle.wait_timeout_while(state, wait, busy).unwrap_or_else(PoisonError::into_inner);
        !timeout.timed_out()
    }

    /// Takes no more lines; the writer ends after those that wait.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_all();
    }
}
