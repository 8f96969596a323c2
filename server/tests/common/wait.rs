//! Time, and waiting with a bound.

use std::future::Future;
use std::time::{Duration, Instant};

/// Longest start of a server, recovery included. Far above what it takes (some 100 ms), as the
/// machine may be busy with other tests.
pub const START_BOUND: Duration = Duration::from_secs(30);

/// Pause between two looks at something that is waited for.
const POLL_PAUSE: Duration = Duration::from_millis(2);

/// The time, for bounds and for the order of a client's own operations.
#[expect(clippy::disallowed_methods, reason = "tests are outside; they may look at the clock")]
pub fn now() -> Instant {
    Instant::now()
}

/// Looks again and again until there is an answer; `None` after the bound.
pub fn poll<T>(bound: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let start = now();
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if start.elapsed() > bound {
            return None;
        }
        std::thread::sleep(POLL_PAUSE);
    }
}

/// Awaits something that must come within the bound.
pub async fn within<T>(bound: Duration, what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(bound, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: nothing after {bound:?}"),
    }
}

/// A number that may be set from outside for longer runs.
pub fn setting(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text:?}")),
        Err(_) => default,
    }
}
