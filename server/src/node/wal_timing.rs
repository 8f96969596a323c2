//! Times the log's writes and syncs for the metrics; the log itself reads no clock.

use std::sync::Arc;
use std::time::Instant;

use keelson_wal::Observer;
use parking_lot::Mutex;

use crate::observe::metrics::Metrics;

/// Called by the log's one writer thread, so the lock is never contended.
#[derive(Debug)]
pub(super) struct WalTiming {
    metrics: Arc<Metrics>,
    started: Mutex<Option<Instant>>,
}

impl WalTiming {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, started: Mutex::new(None) }
    }

    fn start(&self) {
        #[expect(clippy::disallowed_methods, reason = "the node is where clocks are read")]
        let now = Instant::now();
        *self.started.lock() = Some(now);
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
        self.metrics.disk.wal_fsync_seconds.observe(self.seconds());
    }
}
