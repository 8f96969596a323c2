//! The one place that reads the clock.

use std::time::{Duration, Instant};

/// The current time.
#[expect(clippy::disallowed_methods, reason = "a measuring tool is what the clock is for")]
pub fn now() -> Instant {
    Instant::now()
}

/// Nanoseconds of a duration, as far as they fit.
pub fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A time that is this many seconds long.
pub fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}
