//! What the threads of a run share: the start, the end, and how much is left to do.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier, OnceLock};
use std::time::{Duration, Instant};

use super::{Limit, Plan};
use crate::clock;
use crate::proc;

/// Longest run by request count before it is taken for stuck.
const TOTAL_TIME_MAX: Duration = Duration::from_secs(3600);

#[derive(Debug)]
pub(super) struct Shared {
    barrier: Barrier,
    failed: AtomicBool,
    limit: Limit,
    warmup: Duration,
    begin: OnceLock<Instant>,
    /// Requests that may still start, for a run by count.
    left: AtomicU64,
    /// Nanoseconds from the begin of the measured part to the last answer.
    last_ns: AtomicU64,
    clients: AtomicU64,
    cpu_before: OnceLock<Duration>,
    running: AtomicU64,
}

impl Shared {
    pub(super) fn new(plan: &Plan, threads: usize) -> Arc<Self> {
        let left = match plan.limit {
            Limit::Total(n) => n,
            Limit::For(_) => u64::MAX,
        };
        let clients = u64::try_from(plan.clients).unwrap_or(u64::MAX);
        Arc::new(Self {
            barrier: Barrier::new(threads),
            failed: AtomicBool::new(false),
            limit: plan.limit,
            warmup: plan.warmup,
            begin: OnceLock::new(),
            left: AtomicU64::new(left),
            last_ns: AtomicU64::new(0),
            clients: AtomicU64::new(0),
            cpu_before: OnceLock::new(),
            running: AtomicU64::new(clients),
        })
    }

    /// Remembers a failure for the others.
    pub(super) fn note<T>(&self, result: anyhow::Result<T>) -> anyhow::Result<T> {
        if result.is_err() {
            self.failed.store(true, Ordering::SeqCst);
        }
        result
    }

    /// Waits for all threads; says whether all of them are ready.
    pub(super) fn line_up(&self) -> bool {
        self.barrier.wait();
        let ready = !self.failed.load(Ordering::SeqCst);
        if self.warmup.is_zero() {
            self.measure_cpu();
        }
        self.begin.get_or_init(|| clock::now() + self.warmup);
        ready
    }

    /// The begin of the measured part, once the run has started.
    pub(super) fn begin(&self) -> Option<Instant> {
        self.begin.get().copied()
    }

    pub(super) fn client_number(&self) -> u64 {
        self.clients.fetch_add(1, Ordering::Relaxed)
    }

    /// The last client to leave ends the pacer.
    pub(super) fn client_done(&self) {
        self.running.fetch_sub(1, Ordering::SeqCst);
    }

    pub(super) fn clients_running(&self) -> bool {
        self.running.load(Ordering::SeqCst) > 0
    }

    /// Whether a request that is due then may still start.
    pub(super) fn admit(&self, due: Instant) -> bool {
        if !self.measured(due) {
            return true;
        }
        self.measure_cpu();
        match self.limit {
            Limit::For(time) => due < self.expect_begin() + time,
            Limit::Total(_) => self
                .left
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1))
                .is_ok(),
        }
    }

    /// Whether a request that is due then belongs to the measured part.
    pub(super) fn measured(&self, due: Instant) -> bool {
        due >= self.expect_begin()
    }

    /// Takes an answer down; says whether it came inside the window.
    pub(super) fn completed(&self, at: Instant) -> bool {
        let since = at.saturating_duration_since(self.expect_begin());
        match self.limit {
            Limit::For(time) => since <= time,
            Limit::Total(_) => {
                self.last_ns.fetch_max(clock::nanos(since), Ordering::Relaxed);
                true
            }
        }
    }

    /// Length of the measured part.
    pub(super) fn elapsed(&self) -> Duration {
        match self.limit {
            Limit::For(time) => time,
            Limit::Total(_) => Duration::from_nanos(self.last_ns.load(Ordering::Relaxed)),
        }
    }

    /// When requests must have come back.
    pub(super) fn deadline(&self, grace: Duration) -> Instant {
        let time = match self.limit {
            Limit::For(time) => time,
            Limit::Total(_) => TOTAL_TIME_MAX,
        };
        self.expect_begin() + time + grace
    }

    /// When the last request of a timed run may start.
    pub(super) fn end(&self) -> Option<Instant> {
        match self.limit {
            Limit::For(time) => self.begin().map(|b| b + time),
            Limit::Total(_) => None,
        }
    }

    /// CPU of this process when the measured part began.
    pub(super) fn cpu_before(&self) -> Duration {
        self.cpu_before.get().copied().unwrap_or_default()
    }

    fn measure_cpu(&self) {
        self.cpu_before.get_or_init(|| proc::own_cpu().unwrap_or_default());
    }

    fn expect_begin(&self) -> Instant {
        self.begin().expect("clients start after the threads lined up")
    }
}
