//! Waiting for the next request awake, where it is known to come at once.
//!
//! A core that goes idle between two requests takes 30 to 60 µs to come back, more where it is a
//! virtual machine's, and its caches are cold then: more than a read takes. A client that asks
//! again as soon as it is answered would wait for that with every request. So a runtime whose last
//! requests each came within [`SPIN_MAX`] of the answer before looks out for the next one for that
//! long before it sleeps, and one wait in vain ends it. A busy runtime never gets there, and a
//! client that asks now and then is never waited for. Nor is any where there is one core only: the
//! client may need it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// The longest wait: an answer's way to a client on the same machine, and its next request's way
/// back.
const SPIN_MAX: Duration = Duration::from_micros(150);

/// Requests in a row that must have come that quickly.
const STREAK_MIN: u32 = 8;

/// One runtime's look-out; clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Spin {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Requests being answered.
    open: AtomicUsize,
    /// When there were none any more.
    idle_since: Mutex<Option<Instant>>,
    /// Requests in a row that came quickly.
    streak: AtomicU32,
    idle: Notify,
}

/// A request that is being answered.
#[derive(Debug)]
pub(super) struct Open(Arc<Shared>);

impl Spin {
    /// Starts looking out on the current runtime, for as long as that runs.
    pub(super) fn start() -> Self {
        let spin = Self::default();
        if std::thread::available_parallelism().is_ok_and(|cores| cores.get() > 1) {
            tokio::spawn(look_out(Arc::clone(&spin.shared)));
        }
        spin
    }

    /// Notes that a request has come; it is answered when the result is dropped.
    pub(super) fn open(&self) -> Open {
        if self.shared.open.fetch_add(1, Ordering::Relaxed) == 0 {
            let waited = self.shared.idle_since.lock().take().map(|since| since.elapsed());
            if waited.is_some_and(|waited| waited <= SPIN_MAX) {
                self.shared.streak.fetch_add(1, Ordering::Relaxed);
            } else {
                self.shared.streak.store(0, Ordering::Relaxed);
            }
        }
        Open(Arc::clone(&self.shared))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if self.0.open.fetch_sub(1, Ordering::Relaxed) == 1 {
            *self.0.idle_since.lock() = Some(now());
            if self.0.streak.load(Ordering::Relaxed) >= STREAK_MIN {
                self.0.idle.notify_one();
            }
        }
    }
}

async fn look_out(shared: Arc<Shared>) {
    loop {
        shared.idle.notified().await;
        let started = now();
        while shared.open.load(Ordering::Relaxed) == 0 {
            if started.elapsed() > SPIN_MAX {
                shared.streak.store(0, Ordering::Relaxed);
                break;
            }
            // The runtime looks at its sockets, without sleeping, and comes back.
            tokio::task::yield_now().await;
        }
    }
}

fn now() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "how long a core idles is real time")]
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn only_a_streak_of_quick_requests_is_waited_for() {
        let spin = Spin::default();
        tokio::spawn(look_out(Arc::clone(&spin.shared)));
        let streak = || spin.shared.streak.load(Ordering::Relaxed);
        for _ in 0..3 {
            drop(spin.open());
        }
        assert_eq!(streak(), 2, "before the first one there was none to wait from");
        // Two at a time are one wait.
        let both = (spin.open(), spin.open());
        assert_eq!(streak(), 3);
        drop(both);
        *spin.shared.idle_since.lock() = now().checked_sub(SPIN_MAX * 2);
        drop(spin.open());
        assert_eq!(streak(), 0, "this one took its time");

        spin.shared.streak.store(STREAK_MIN, Ordering::Relaxed);
        drop(spin.open());
        while streak() != 0 {
            tokio::task::yield_now().await;
        }
        assert!(spin.shared.idle_since.lock().is_some_and(|since| since.elapsed() > SPIN_MAX));
    }
}
