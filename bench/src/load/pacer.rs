//! Releases the requests of an open loop when they are due, whatever has become of earlier ones.
//!
//! The kernel's interval timer counts what is due: the timers of the runtime are a millisecond
//! coarse, and a thread that sleeps would cost two wake-ups a request.

use std::cell::Cell;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::unix::AsyncFd;
use tokio::sync::Semaphore;

use super::shared::Shared;
use crate::clock;
use crate::report::Tally;

/// After so long without a request the pacer looks whether anybody still waits.
const SLEEP_MAX: Duration = Duration::from_millis(20);

/// Requests that are due closer together are released together, so that the pacer leaves time for
/// the clients at any rate.
const TICK_MIN: Duration = Duration::from_micros(50);

/// How long requests that are due at the end may still wait for a client.
const DRAIN_MAX: Duration = Duration::from_secs(1);

/// Releases one thread's share of the requests.
pub(super) struct Pacer {
    shared: Arc<Shared>,
    interval: Duration,
    start: Instant,
    due: Semaphore,
    released: Cell<u64>,
    taken: Cell<u64>,
}

impl Pacer {
    /// A pacer for so many requests per second, the first of them due now.
    pub(super) fn new(rate: f64, shared: Arc<Shared>) -> Self {
        Self {
            shared,
            // A timer cannot be quicker than a nanosecond.
            interval: clock::seconds(1.0 / rate).max(Duration::from_nanos(1)),
            start: clock::now(),
            due: Semaphore::new(0),
            released: Cell::new(0),
            taken: Cell::new(0),
        }
    }

    /// Waits for the next request that is due; none when the run is over.
    pub(super) async fn next(&self) -> Option<Instant> {
        self.due.acquire().await.ok()?.forget();
        let n = self.taken.get();
        self.taken.set(n + 1);
        Some(self.due_at(n))
    }

    /// Ends the run for the clients of this thread.
    pub(super) fn close(&self) {
        self.due.close();
    }

    /// Releases requests until the run is over.
    pub(super) async fn run(&self) -> anyhow::Result<()> {
        let released = self.release_all().await;
        let begin = clock::now();
        while self.taken.get() < self.released.get()
            && self.shared.clients_running()
            && !self.due.is_closed()
            && begin.elapsed() < DRAIN_MAX
        {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        self.close();
        released
    }

    async fn release_all(&self) -> anyhow::Result<()> {
        #[expect(
            deprecated,
            reason = "its successor is unsafe; an OwnedFd stays the same and open"
        )]
        let timer = AsyncFd::new(self.timer()?).context("wait for a timer")?;
        while !self.is_over() {
            self.release_due(clock::now());
            // Running out of time is only a reason to look whether the run is over.
            if let Ok(ready) = tokio::time::timeout(SLEEP_MAX, timer.readable()).await {
                let mut ready = ready.context("wait for a timer")?;
                let mut expirations = [0; 8];
                match rustix::io::read(timer.get_ref(), &mut expirations) {
                    Ok(_) => {}
                    Err(Errno::AGAIN) => ready.clear_ready(),
                    Err(e) => return Err(e).context("read a timer"),
                }
            }
        }
        if let Some(end) = self.shared.end() {
            self.release_due(end);
        }
        Ok(())
    }

    fn timer(&self) -> anyhow::Result<OwnedFd> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags).context("make a timer")?;
        let interval = Timespec::try_from(self.interval.max(TICK_MIN)).context("interval")?;
        let times = Itimerspec { it_interval: interval, it_value: interval };
        timerfd_settime(&timer, TimerfdTimerFlags::empty(), &times).context("set a timer")?;
        Ok(timer)
    }

    /// Releases all requests that are due by then and not released yet.
    fn release_due(&self, by: Instant) {
        let since = by.saturating_duration_since(self.start);
        let due = clock::nanos(since) / clock::nanos(self.interval) + 1;
        let more = due.saturating_sub(self.released.get());
        self.released.set(self.released.get() + more);
        self.due.add_permits(usize::try_from(more).unwrap_or(1));
    }

    fn is_over(&self) -> bool {
        self.due.is_closed()
            || !self.shared.clients_running()
            || self.shared.end().is_some_and(|end| clock::now() >= end)
    }

    /// Takes down the requests that were due in the measured part and that no client was free for:
    /// leaving them out would hide the stall that caused them.
    pub(super) fn count_unstarted(&self, tally: &mut Tally) {
        let Some(end) = self.shared.end() else { return };
        for n in self.taken.get()..self.released.get() {
            let due = self.due_at(n);
            if self.shared.measured(due) && due < end {
                tally.latency(end.saturating_duration_since(due));
                tally.error("due, but not started before the end".to_owned());
            }
        }
    }

    fn due_at(&self, n: u64) -> Instant {
        let since = clock::nanos(self.interval).saturating_mul(n);
        self.start + Duration::from_nanos(since)
    }
}
