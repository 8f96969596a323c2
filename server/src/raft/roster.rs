//! Who the members are, were, and are no more, as this member has applied it.

use std::collections::BTreeSet;
use std::io;

use keelson_store::Store;
use parking_lot::RwLock;
use tokio::sync::watch;

use super::codec::AppliedMembership;
use super::state_machine::applied_membership;
use super::types::{MemberId, StoredMembership};
use super::version::{Agreed, Agreement};

/// The applied membership and the ids that may never return.
#[derive(Debug)]
pub(crate) struct Roster {
    own: MemberId,
    applied: RwLock<AppliedMembership>,
    expelled: watch::Sender<bool>,
}

impl Roster {
    pub(crate) fn new(own: MemberId, applied: AppliedMembership) -> Self {
        let expelled = applied.removed.contains(&own);
        Self { own, applied: RwLock::new(applied), expelled: watch::Sender::new(expelled) }
    }

    /// Takes the membership of an entry; returns what the store is to keep. Whoever was a member
    /// before and is none now has been removed for good: every member concludes it alike, from the
    /// same entries in the same order.
    pub(crate) fn apply(&self, stored: StoredMembership) -> AppliedMembership {
        let mut applied = self.applied.write();
        let ids = |of: &StoredMembership| of.nodes().map(|(id, _)| *id).collect::<BTreeSet<_>>();
        let now = ids(&stored);
        let gone: Vec<_> = ids(&applied.stored).difference(&now).copied().collect();
        applied.removed.extend(gone);
        applied.stored = stored;
        if applied.removed.contains(&self.own) {
            self.expelled.send_replace(true);
        }
        applied.clone()
    }

    /// Takes what a snapshot says in the place of what was known.
    pub(crate) fn install(&self, snapshot: AppliedMembership) {
        let expelled = snapshot.removed.contains(&self.own);
        *self.applied.write() = snapshot;
        if expelled {
            self.expelled.send_replace(true);
        }
    }

    /// Takes what the members have agreed on; returns what the store is to keep.
    pub(crate) fn agree(&self, agreement: Agreement) -> AppliedMembership {
        let mut applied = self.applied.write();
        applied.agreed.take(agreement);
        applied.clone()
    }

    pub(crate) fn agreed(&self) -> Agreed {
        self.applied.read().agreed
    }

    pub(crate) fn was_removed(&self, id: MemberId) -> bool {
        self.applied.read().removed.contains(&id)
    }

    pub(crate) fn removed(&self) -> BTreeSet<MemberId> {
        self.applied.read().removed.clone()
    }

    /// Another member says that this one has been removed.
    pub(crate) fn expel(&self) {
        self.expelled.send_replace(true);
    }

    /// Returns once this member has been removed from the cluster.
    pub(crate) async fn expelled(&self) {
        // The sender lives as long as the roster does.
        drop(self.expelled.subscribe().wait_for(|expelled| *expelled).await);
    }
}

/// Who has one of these peer URLs, as far as a store knows.
///
/// # Errors
/// The store cannot be read.
pub fn owner_of(store: &Store, peer_urls: &[String]) -> io::Result<Option<MemberId>> {
    let applied = applied_membership(store)?;
    let mut members = applied.stored.nodes();
    let has_one = |urls: &[String]| urls.iter().any(|url| peer_urls.contains(url));
    Ok(members.find(|(_, member)| has_one(&member.peer_urls)).map(|(id, _)| *id))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::codec::log_id;
    use super::super::types::{Member, Membership};
    use super::*;

    fn membership(index: u64, ids: &[u64]) -> StoredMembership {
        let ids: BTreeSet<_> = ids.iter().copied().map(MemberId).collect();
        let nodes: BTreeMap<_, _> = ids.iter().map(|id| (*id, Member::default())).collect();
        let membership = Membership::new(vec![ids], nodes).unwrap();
        StoredMembership::new(Some(log_id(1, index)), membership)
    }

    #[test]
    fn who_leaves_is_remembered_for_good() {
        let roster = Roster::new(MemberId(1), AppliedMembership::default());
        roster.apply(membership(0, &[1, 2, 3]));
        assert!(!roster.was_removed(MemberId(3)));
        roster.apply(membership(5, &[1, 2]));
        let applied = roster.apply(membership(6, &[1, 2, 4]));
        assert_eq!(applied.removed, BTreeSet::from([MemberId(3)]));
        assert!(roster.was_removed(MemberId(3)) && !roster.was_removed(MemberId(2)));
        assert!(!*roster.expelled.borrow());
        roster.apply(membership(7, &[2, 4]));
        assert!(*roster.expelled.borrow(), "this member itself");
        let other = Roster::new(MemberId(3), AppliedMembership::default());
        other.install(applied);
        assert!(other.was_removed(MemberId(3)) && *other.expelled.borrow(), "by a snapshot");
        let again = Roster::new(MemberId(1), roster.apply(membership(8, &[2])));
        assert!(*again.expelled.borrow(), "and after a restart");
    }
}
