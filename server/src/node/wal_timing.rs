//! Times the log's writes and syncs, for the metrics and for whoever may wait for them; the log
//! itself reads no clock.

use std::sync::Arc;
use std::time::{Duration, Instant};

use keelson_wal::Observer;
use parking_lot::Mutex;

use crate::observe::metrics::Metrics;
use crate::raft::WriteHere;

/// Called by whoever writes the log, one at a time, so the lock is never contended.
#[derive(Debug)]
pub(super) struct WalTiming {
    metrics: Arc<Metrics>,
    write_here: Arc<WriteHere>,
    started: Mutex<Option<Instant>>,
}

impl WalTiming {
    pub(super) fn new(metrics: Arc<Metrics>, write_here: Arc<WriteHere>) -> Self {
        Self { metrics, write_here, started: Mutex::new(None) }
    }

    fn start(&self) {
        #[expect(clippy::disallowed_methods, reason = "the node is where clocks are read")]
        let now = Instant::now();
        *self.started.lock() = Some(now);
    }

    /// How long the write or sync that is under way has taken so far.
    pub(super) fn pending(&self) -> Duration {
        self.started.lock().map_or(Duration::ZERO, |started| started.elapsed())
    }

    fn seconds(&self) -> f64 {
        self.started.lock().take().map_or(0.0, |started| started.elapsed().as_secs_f64())
    }
}

impl Observer for WalTiming {
    fn write_started(&self, bytes: usize) {
        self.metrics.disk.wal_write_bytes.add(i64::try_from(bytes).unwrap_or(i64::MAX));
        self.start();
    }

    fn write_ended(&self, _ok: bool) {
        self.metrics.disk.wal_write_seconds.observe(self.seconds());
    }

    fn sync_started(&self) {
        self.start();
    }

    fn sync_ended(&self, _ok: bool) {
        let seconds = self.seconds();
        self.metrics.disk.wal_fsync_seconds.observe(seconds);
        self.write_here.synced_in(Duration::from_secs_f64(seconds));
    }
}
