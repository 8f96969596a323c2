//! Points in time as log lines show them: `2026-11-21T10:00:00.000000Z`.

use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// The wall clock, handed in by `main` and by tests. Nothing is decided by it.
pub type WallClock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

const DAY_SECONDS: u64 = 86_400;
/// Days from 0000-03-01, where the calendar below starts counting, to 1970-01-01.
const DAYS_BEFORE_1970: u64 = 719_468;
/// Days in 400, 100, 4 and 1 years that start in March.
const DAYS_400Y: u64 = 146_097;
const DAYS_100Y: u64 = 36_524;
const DAYS_4Y: u64 = 1_461;
const DAYS_1Y: u64 = 365;

/// A point in time, shown in UTC with microseconds. Times before 1970 are shown as 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Timestamp(pub(super) SystemTime);

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = self.0.duration_since(UNIX_EPOCH).unwrap_or_default();
        let (days, second) = (since.as_secs() / DAY_SECONDS, since.as_secs() % DAY_SECONDS);
        let (year, month, day) = date(days);
        let (hour, minute) = (second / 3_600, second / 60 % 60);
        let (second, micros) = (second % 60, since.subsec_micros());
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
    }
}

/// The date of a day counted from 1970-01-01. Years are taken to start in March, so that the leap
/// day is a year's last and drops out of every sum.
fn date(days_since_1970: u64) -> (u64, u64, u64) {
    let days = days_since_1970 + DAYS_BEFORE_1970;
    let (cycles, days) = (days / DAYS_400Y, days % DAYS_400Y);
    let centuries = (days / DAYS_100Y).min(3); // the last day of 400 years belongs to the 4th century
    let days = days - centuries * DAYS_100Y;
    let (fours, days) = (days / DAYS_4Y, days % DAYS_4Y);
    let years = (days / DAYS_1Y).min(3); // and a leap day to the 4th year
    let days = days - years * DAYS_1Y;
    // Months from March on have 31 30 31 30 31 days and again: 153 days for five.
    let month = (5 * days + 2) / 153;
    let day = days - (153 * month + 2) / 5 + 1;
    let year = cycles * 400 + centuries * 100 + fours * 4 + years;
    if month < 10 { (year, month + 3, day) } else { (year + 1, month - 9, day) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn shows_dates_of_the_calendar() {
        for (seconds, nanos, wanted) in [
            (0, 0, "1970-01-01T00:00:00.000000Z"),
            (951_782_399, 0, "2000-02-28T23:59:59.000000Z"),
            (951_782_400, 0, "2000-02-29T00:00:00.000000Z"),
            (951_868_800, 0, "2000-03-01T00:00:00.000000Z"),
            (1_709_164_800, 0, "2024-02-29T00:00:00.000000Z"),
            (1_735_689_599, 999_999_999, "2024-12-31T23:59:59.999999Z"),
            (1_795_255_200, 1_000, "2026-11-21T10:00:00.000001Z"),
            (4_107_542_400, 0, "2100-03-01T00:00:00.000000Z"),
            (4_107_456_000, 0, "2100-02-28T00:00:00.000000Z"),
        ] {
            let at = UNIX_EPOCH + Duration::new(seconds, nanos);
            assert_eq!(Timestamp(at).to_string(), wanted);
        }
        let early = UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(Timestamp(early).to_string(), "1970-01-01T00:00:00.000000Z");
    }

    /// Every day of 400 years follows the day before it.
    #[test]
    fn every_day_follows_the_day_before() {
        let mut last = date(0);
        for day in 1..=DAYS_400Y {
            let next = date(day);
            let (year, month, of_month) = last;
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let length = match month {
                2 => 28 + u64::from(leap),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            let wanted = match (of_month == length, month == 12) {
                (false, _) => (year, month, of_month + 1),
                (true, false) => (year, month + 1, 1),
                (true, true) => (year + 1, 1, 1),
            };
            assert_eq!(next, wanted, "the day after {last:?}");
            last = next;
        }
    }
}
