//! The one place that reads clocks.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The start of a run; times of a history are nanoseconds since then.
#[derive(Debug, Clone, Copy)]
pub struct Clock(Instant);

impl Clock {
    /// Starts counting.
    #[expect(clippy::disallowed_methods, reason = "the shell of a tool is where time comes from")]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Time since the start.
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    /// Nanoseconds since the start.
    pub fn nanos(&self) -> u64 {
        nanos(self.elapsed())
    }

    /// The moment this long after the start, for tokio's timers.
    pub fn at(&self, after: Duration) -> tokio::time::Instant {
        tokio::time::Instant::from_std(self.0 + after)
    }
}

/// Nanoseconds of a duration, as far as they fit.
pub fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A seed that differs from run to run, for those who did not give one.
#[expect(clippy::disallowed_methods, reason = "a seed nobody chose must come from somewhere")]
pub fn fresh_seed() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    nanos(since) % 1_000_000_007
}
