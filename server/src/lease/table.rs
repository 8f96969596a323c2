//! The deadlines of a leader, from its election to its end. Between the two it must not miss what
//! apply does to leases while it reads those that are there.

use keelson_store::{Lease, LeaseChange};

use super::deadlines::{Deadlines, Millis};

/// Changes that are kept while leases are read; beyond, they are read once more.
const CHANGES_MAX: usize = 1 << 20;

/// See the module.
#[derive(Debug, Default)]
pub(super) enum Table {
    /// Another member leads, or nobody.
    #[default]
    Away,
    /// The leases are being read.
    Reading {
        /// The term that this member leads in.
        term: u64,
        /// What apply has done to leases since.
        changes: Vec<LeaseChange>,
        /// There were too many changes to keep.
        overrun: bool,
    },
    /// This member leads, and knows all leases.
    Leading {
        /// The term that this member leads in.
        term: u64,
        /// When each lease ends.
        deadlines: Deadlines,
    },
}

impl Table {
    /// The leases are about to be read, all that were granted before this term among them.
    pub(super) fn read(&mut self, term: u64) {
        *self = Self::Reading { term, changes: Vec::new(), overrun: false };
    }

    /// They have been read, from a view taken after [`read`](Self::read). False if they must be
    /// read once more.
    pub(super) fn lead(&mut self, leases: &[Lease], now: Millis, extra: Millis) -> bool {
        let Self::Reading { term, changes, overrun } = self else { return true };
        if *overrun {
            return false;
        }
        // The view may hold some of the changes already: the last word on each lease counts.
        let mut deadlines = Deadlines::begin(leases, now, extra);
        changes.iter().for_each(|change| apply(&mut deadlines, change, now));
        *self = Self::Leading { term: *term, deadlines };
        true
    }

    /// This member does not lead any more, or cannot be sure.
    pub(super) fn leave(&mut self) {
        *self = Self::Away;
    }

    /// The deadlines of the leader of a term.
    pub(super) fn leading(&mut self, in_term: u64) -> Option<&mut Deadlines> {
        match self {
            Self::Leading { term, deadlines } if *term == in_term => Some(deadlines),
            Self::Away | Self::Reading { .. } | Self::Leading { .. } => None,
        }
    }

    /// The deadlines, if this member leads.
    pub(super) fn deadlines(&self) -> Option<&Deadlines> {
        match self {
            Self::Leading { deadlines, .. } => Some(deadlines),
            Self::Away | Self::Reading { .. } => None,
        }
    }

    /// Takes in what apply has done to leases.
    pub(super) fn applied(&mut self, news: &[LeaseChange], now: Millis) {
        match self {
            Self::Away => {}
            Self::Reading { changes, overrun, .. } => {
                *overrun |= changes.len() + news.len() > CHANGES_MAX;
                if !*overrun {
                    changes.extend_from_slice(news);
                }
            }
            Self::Leading { deadlines, .. } => {
                news.iter().for_each(|change| apply(deadlines, change, now));
            }
        }
    }
}

fn apply(deadlines: &mut Deadlines, change: &LeaseChange, now: Millis) {
    match change {
        LeaseChange::Granted(lease) => deadlines.granted(lease, now),
        LeaseChange::Revoked(id) => deadlines.revoked(*id),
    }
}

#[cfg(test)]
mod tests {
    use keelson_store::types::{LeaseId, LogIndex};

    use super::*;

    fn lease(id: i64, granted: u64) -> Lease {
        Lease { id: LeaseId(id), ttl: 10, remaining: 0, granted: LogIndex(granted) }
    }

    #[test]
    fn what_changes_while_leases_are_read_is_not_missed() {
        let mut table = Table::default();
        table.applied(&[LeaseChange::Granted(lease(9, 1))], 0);
        table.read(4);
        assert!(table.leading(4).is_none(), "they are not known yet");
        let (granted, revoked) = (LeaseChange::Granted, LeaseChange::Revoked);
        table.applied(&[granted(lease(3, 8)), revoked(LeaseId(1)), revoked(LeaseId(2))], 0);
        table.applied(&[granted(lease(2, 9))], 0);
        // The view was taken in between.
        assert!(table.lead(&[lease(1, 1), lease(2, 2)], 100, 50));
        assert!(table.leading(5).is_none(), "another term");
        let deadlines = table.leading(4).unwrap();
        let known: Vec<_> = [1, 2, 3, 9].map(|id| deadlines.deadline(LeaseId(id))).to_vec();
        assert_eq!(known, [None, Some(10_100), Some(10_100), None]);
        table.leave();
        assert!(table.leading(4).is_none());
    }

    #[test]
    fn too_many_changes_have_them_read_again() {
        let mut table = Table::default();
        table.read(1);
        let news = vec![LeaseChange::Revoked(LeaseId(1)); CHANGES_MAX / 2 + 1];
        table.applied(&news, 0);
        table.applied(&news, 0);
        assert!(!table.lead(&[], 0, 0));
        assert!(table.leading(1).is_none());
        table.read(1);
        assert!(table.lead(&[], 0, 0));
    }
}
