//! Ids for leases whose clients do not choose one.

use std::sync::atomic::{AtomicU64, Ordering};

/// Makes ids that no other member and no other start of this one makes, as good as certainly: a
/// grant of one that is taken is refused and tried again.
#[derive(Debug)]
pub struct LeaseIds {
    next: AtomicU64,
}

impl LeaseIds {
    /// Starts at a number drawn by chance.
    #[must_use]
    pub fn new(chance: u64) -> Self {
        Self { next: AtomicU64::new(chance) }
    }

    /// A positive id.
    pub fn next(&self) -> i64 {
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let id = (mixed(number) >> 1).cast_signed();
            if id > 0 {
                return id;
            }
        }
    }
}

/// Spreads neighbours over all numbers, one to one (the finish of SplitMix64).
const fn mixed(number: u64) -> u64 {
    let mut z = number;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ids_are_positive_and_differ() {
        // 0 is mixed to 0, which is no id.
        let ids = LeaseIds::new(u64::MAX);
        let made: BTreeSet<i64> = (0..10_000).map(|_| ids.next()).collect();
        assert_eq!(made.len(), 10_000);
        assert!(made.iter().all(|id| *id > 0));
    }
}
