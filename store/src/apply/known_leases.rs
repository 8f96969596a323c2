//! Leases that were found lately, so that a put on one of them need not look it up again.

use crate::types::LeaseId;

/// Leases remembered at most: 128 KiB, and twice what a busy server keeps putting on at a time.
const SLOTS: usize = 1 << 14;

/// A slot for each remainder of an id's hash, holding the last id that was found there. Only ever
/// says yes of a lease that is there.
#[derive(Debug)]
pub(super) struct KnownLeases(Vec<LeaseId>);

impl Default for KnownLeases {
    fn default() -> Self {
        Self(vec![LeaseId::NONE; SLOTS])
    }
}

impl KnownLeases {
    pub(super) fn contains(&self, id: LeaseId) -> bool {
        self.0[slot(id)] == id
    }

    pub(super) fn add(&mut self, id: LeaseId) {
        self.0[slot(id)] = id;
    }

    pub(super) fn remove(&mut self, id: LeaseId) {
        if self.contains(id) {
            self.0[slot(id)] = LeaseId::NONE;
        }
    }
}

/// The upper bits of a product with an odd number depend on all bits of the id.
fn slot(id: LeaseId) -> usize {
    let spread = id.0.cast_unsigned().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - SLOTS.ilog2());
    usize::try_from(spread).expect("as many bits as there are slots")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_yes_only_of_what_was_added_and_not_removed() {
        let mut known = KnownLeases::default();
        for id in 1..100_000 {
            assert!(!known.contains(LeaseId(id)));
            known.add(LeaseId(id));
            assert!(known.contains(LeaseId(id)));
            known.remove(LeaseId(id + 1));
            if id % 3 == 0 {
                known.remove(LeaseId(id));
                assert!(!known.contains(LeaseId(id)));
            }
        }
        assert!((1..100_000).any(|id| known.contains(LeaseId(id))));
        known.remove(LeaseId(i64::MIN));
        assert!(!known.contains(LeaseId(-1)));
    }
}
