//! How far the physical leftovers of compactions may be removed.
//!
//! A compaction to C while the store was at revision A makes everything that only reads below C
//! need worthless, but log records below C may still be *pointed to* by records that were written
//! before it, at or below A. Those pointers die with their records' readers: once some compaction
//! has reached A, nobody may read a revision at which a record at or below A has to be looked
//! behind. So the log may be cut below C when the compacted revision reaches A: at once if
//! everything was compacted (C = A), a round or two later with periodic compaction.

use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::schema::meta::Pending;
use crate::types::Revision;

/// Compactions remembered at a time. Beyond it some are forgotten, which delays a cut a little and
/// never makes a wrong one.
const PENDING_MAX: usize = 64;

/// The compactions whose log records may not all be cut yet, oldest first. Part of the replicated
/// state, so that it is there after a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cuts {
    pending: Vec<Pending>,
}

impl Cuts {
    pub(crate) fn new(pending: Vec<Pending>) -> Self {
        Self { pending }
    }

    pub(crate) fn pending(&self) -> &[Pending] {
        &self.pending
    }

    /// A compaction to `compacted` of a store at revision `at`.
    pub(crate) fn push(&mut self, compacted: Revision, at: Revision) {
        if let Some(last) = self.pending.last() {
            assert!(last.compacted < compacted && last.at <= at, "compactions only go forward");
        }
        self.pending.push(Pending { compacted, at });
        // Of those that are ripe the furthest says all.
        let ripe = self.pending.iter().rposition(|cut| cut.at <= compacted).unwrap_or(0);
        self.pending.drain(..ripe);
        if self.pending.len() > PENDING_MAX {
            self.forget_one();
        }
    }

    /// Forgets the one that is closest between its neighbours, so that what is left stays spread
    /// over all that is not ripe.
    fn forget_one(&mut self) {
        let gap = |middle: &usize| {
            self.pending[middle + 1].compacted.0 - self.pending[middle - 1].compacted.0
        };
        if let Some(closest) = (1..self.pending.len() - 1).min_by_key(gap) {
            self.pending.remove(closest);
        }
    }

    /// Below what the log may be cut, if nobody reads below `readable`.
    pub(crate) fn below(&self, readable: Revision) -> Option<Revision> {
        let ripe = self.pending.iter().rev().find(|cut| cut.at <= readable);
        ripe.map(|cut| cut.compacted)
    }
}

/// Held by each read view: what it may read, down to this revision, stays.
#[derive(Debug)]
pub(crate) struct Pin {
    readable: Revision,
}

/// All pins that may still be held.
#[derive(Debug, Default)]
pub(crate) struct Pins {
    held: Mutex<Vec<Weak<Pin>>>,
}

impl Pins {
    /// A pin for views whose compacted revision is `readable`.
    pub(crate) fn pin(&self, readable: Revision) -> Arc<Pin> {
        let pin = Arc::new(Pin { readable });
        let mut held = self.held.lock();
        held.retain(|pin| pin.strong_count() > 0);
        held.push(Arc::downgrade(&pin));
        pin
    }

    /// The oldest revision that a view may read. A view is only ever taken by cloning one that is
    /// held, so what this says stays true.
    pub(crate) fn oldest(&self) -> Option<Revision> {
        let held = self.held.lock();
        held.iter().filter_map(Weak::upgrade).map(|pin| pin.readable).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cuts(compactions: &[(i64, i64)]) -> Cuts {
        let mut cuts = Cuts::default();
        for (compacted, at) in compactions {
            cuts.push(Revision(*compacted), Revision(*at));
        }
        cuts
    }

    #[test]
    fn a_cut_waits_until_a_compaction_reaches_what_was_applied() {
        let cuts = cuts(&[(10, 100), (50, 200), (99, 300)]);
        assert_eq!(cuts.below(Revision(99)), None);
        assert_eq!(cuts.below(Revision(100)), Some(Revision(10)));
        assert_eq!(cuts.below(Revision(199)), Some(Revision(10)));
        assert_eq!(cuts.below(Revision(200)), Some(Revision(50)));
    }

    #[test]
    fn compacting_everything_cuts_at_once() {
        assert_eq!(cuts(&[(10, 100), (200, 200)]).below(Revision(200)), Some(Revision(200)));
    }

    #[test]
    fn ripe_ones_are_forgotten_but_for_the_furthest() {
        let cuts = cuts(&[(10, 100), (20, 120), (130, 300)]);
        assert_eq!(cuts.pending().len(), 2);
        assert_eq!(cuts.below(Revision(130)), Some(Revision(20)));
    }

    #[test]
    fn there_are_never_many_and_the_oldest_ripens() {
        let mut cuts = Cuts::default();
        for revision in 0..10_000 {
            cuts.push(Revision(revision), Revision(revision + 5_000));
            assert!(cuts.pending().len() <= PENDING_MAX);
        }
        let below = cuts.below(Revision(9_999)).unwrap();
        assert!(below >= Revision(4_000), "cut only below {below:?}");
    }

    #[test]
    fn pins_hold_as_long_as_somebody_has_them() {
        let pins = Pins::default();
        let old = pins.pin(Revision(5));
        let new = pins.pin(Revision(9));
        assert_eq!(pins.oldest(), Some(Revision(5)));
        drop(old);
        assert_eq!(pins.oldest(), Some(Revision(9)));
        drop(new);
        assert_eq!(pins.oldest(), None);
    }
}
