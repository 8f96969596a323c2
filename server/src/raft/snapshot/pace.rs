//! How fast snapshots are read and sent.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// How long a sender may have been idle and still make up for it.
const BURST: Duration = Duration::from_millis(100);

/// Gives bytes away at a steady rate, to all transfers of the process together.
#[derive(Debug)]
pub(super) struct Pace {
    bytes_per_second: u64,
    /// When what was given so far is paid for.
    paid: Mutex<Option<Instant>>,
}

impl Pace {
    pub(super) fn new(bytes_per_second: u64) -> Self {
        assert!(bytes_per_second > 0, "a pace of nothing would never end");
        Self { bytes_per_second, paid: Mutex::default() }
    }

    /// Waits until `bytes` more may go.
    pub(super) async fn take(&self, bytes: usize) {
        tokio::time::sleep_until(self.book(Instant::now(), bytes)).await;
    }

    /// From when on the bytes may go.
    fn book(&self, now: Instant, bytes: usize) -> Instant {
        let mut paid = self.paid.lock();
        let earliest = now.checked_sub(BURST).unwrap_or(now);
        let from = paid.map_or(earliest, |paid| paid.max(earliest));
        let nanos = bytes as u128 * 1_000_000_000 / u128::from(self.bytes_per_second);
        *paid = Some(from + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)));
        from
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_holds_over_all_who_take() {
        let pace = Pace::new(1000);
        let now = Instant::now();
        let starts: Vec<_> = (0..5).map(|_| pace.book(now, 100)).collect();
        let after = |start: &Instant| start.saturating_duration_since(now).as_millis();
        assert_eq!(starts.iter().map(after).collect::<Vec<_>>(), [0, 0, 100, 200, 300]);
        // A long rest is worth one burst, not more.
        let later = now + Duration::from_secs(60);
        assert!(pace.book(later, 100) <= later && pace.book(later, 100) <= later);
        assert_eq!(pace.book(later, 100).saturating_duration_since(later).as_millis(), 100);
    }
}
