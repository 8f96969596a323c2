//! Log lines about what others do wrong, which they may do a thousand times a second.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The same is said once in this time.
const WINDOW: Duration = Duration::from_secs(30);

/// Different things that are said in that time.
const LINES_MAX: usize = 32;

/// What was said lately.
#[derive(Debug, Default)]
pub(crate) struct Complaints {
    lately: Mutex<Option<Lately>>,
}

#[derive(Debug)]
struct Lately {
    since: Instant,
    said: HashSet<(String, String)>,
    /// Lines left out, since the last one that was not.
    suppressed: u64,
}

impl Complaints {
    /// Whether to say now what is wrong with whom; if so, how many lines were left out before.
    pub(crate) fn say(&self, who: &str, why: &str) -> Option<u64> {
        #[expect(clippy::disallowed_methods, reason = "how often something is logged is real time")]
        self.say_at(who, why, Instant::now())
    }

    fn say_at(&self, who: &str, why: &str, now: Instant) -> Option<u64> {
        let mut lately = self.lately.lock();
        let fresh = || Lately { since: now, said: HashSet::new(), suppressed: 0 };
        let lately = lately.get_or_insert_with(fresh);
        if now.saturating_duration_since(lately.since) >= WINDOW {
            lately.since = now;
            lately.said.clear();
        }
        let new =
            lately.said.len() < LINES_MAX && lately.said.insert((who.to_owned(), why.to_owned()));
        if new {
            return Some(std::mem::take(&mut lately.suppressed));
        }
        lately.suppressed += 1;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_said_once_and_much_is_not_said_at_all() {
        let complaints = Complaints::default();
        #[expect(clippy::disallowed_methods, reason = "any start will do")]
        let start = Instant::now();
        assert_eq!(complaints.say_at("a", "x", start), Some(0));
        assert_eq!(complaints.say_at("a", "x", start), None);
        assert_eq!(complaints.say_at("a", "y", start), Some(1), "one was left out before");
        let said =
            (0..1000).filter(|n| complaints.say_at(&n.to_string(), "x", start).is_some()).count();
        assert_eq!(said, LINES_MAX - 2);
        let left_out = 1000 - said as u64;
        assert_eq!(complaints.say_at("a", "x", start + WINDOW), Some(left_out));
    }
}
