//! Changes of the membership: what may be asked, and when it is refused.
//!
//! The rules are etcd's. They are decided here on plain values, by the leader, one change at a
//! time.

use std::collections::BTreeSet;

use super::types::{Member, MemberId};
use super::version::{Agreed, Agreement, Version};

/// A change of the membership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A member says what it is called and where clients reach it.
    Publish {
        /// Whose entry.
        id: MemberId,
        /// `--name`.
        name: String,
        /// `--advertise-client-urls`.
        client_urls: Vec<String>,
        /// Of its server.
        version: Version,
    },
    /// A new member.
    Add {
        /// Its id, which nobody ever had.
        id: MemberId,
        /// It is not to vote.
        learner: bool,
        /// Where it will be reached.
        peer_urls: Vec<String>,
    },
    /// A member goes and never comes back.
    Remove(MemberId),
    /// A member is reached elsewhere.
    Update {
        /// Which.
        id: MemberId,
        /// Where from now on.
        peer_urls: Vec<String>,
    },
    /// A learner is to vote.
    Promote(MemberId),
    /// The cluster is to run an older version; `None` if it is not to any more.
    Downgrade(Option<Version>),
}

/// Why a change is refused; etcd's errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// The id is taken, or was.
    #[error("member id already exists")]
    MemberExists,
    /// Another member has the peer URL.
    #[error("peer url already exists")]
    PeerUrlExists,
    /// There is no such member.
    #[error("member not found")]
    NotFound,
    /// Only learners are promoted.
    #[error("not a learner")]
    NotLearner,
    /// The learner is too far behind.
    #[error("the learner is not in sync with the leader")]
    LearnerNotReady,
    /// `--max-learners` is reached.
    #[error("too many learners")]
    TooManyLearners,
    /// Too few members have ever started to form a quorum of what it would become.
    #[error("not enough started members")]
    NotEnoughStarted,
    /// Too few members answer to form a quorum of what it would become.
    #[error("unhealthy cluster")]
    Unhealthy,
    /// The cluster has no version yet.
    #[error("cluster version not found during downgrade")]
    NoClusterVersion,
    /// A downgrade goes one minor version down.
    #[error("invalid downgrade target version")]
    BadDowngradeTarget,
    /// One downgrade at a time.
    #[error("cluster has a downgrade job in progress")]
    DowngradeRuns,
    /// There is none to cancel.
    #[error("no inflight downgrade job")]
    NoDowngrade,
    /// No answer in time. The change may still be made.
    #[error("request timed out")]
    Timeout,
    /// The node is stopping.
    #[error("server stopped")]
    Stopped,
}

impl ChangeError {
    pub(super) const ALL: [Self; 14] = [
        Self::MemberExists,
        Self::PeerUrlExists,
        Self::NotFound,
        Self::NotLearner,
        Self::LearnerNotReady,
        Self::TooManyLearners,
        Self::NotEnoughStarted,
        Self::Unhealthy,
        Self::NoClusterVersion,
        Self::BadDowngradeTarget,
        Self::DowngradeRuns,
        Self::NoDowngrade,
        Self::Timeout,
        Self::Stopped,
    ];
}

/// A member, and whether it votes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its id.
    pub id: MemberId,
    /// What is known of it.
    pub member: Member,
    /// It votes.
    pub voting: bool,
}

impl Row {
    /// What etcd would call a learner: who was added to vote is none, though it does not vote yet.
    #[must_use]
    pub fn is_learner(&self) -> bool {
        !self.voting && !self.member.joining
    }

    fn has_started(&self) -> bool {
        !self.member.name.is_empty()
    }
}

/// What the leader knows when it decides.
#[derive(Debug)]
pub(super) struct Situation {
    pub(super) members: Vec<Row>,
    pub(super) removed: BTreeSet<MemberId>,
    /// Members that have stored something new since the change was asked for, the leader itself
    /// included.
    pub(super) active: BTreeSet<MemberId>,
    /// Learners whose log has nearly reached the leader's.
    pub(super) in_sync: BTreeSet<MemberId>,
    /// What the members have agreed on.
    pub(super) agreed: Agreed,
    /// `--strict-reconfig-check`.
    pub(super) strict: bool,
    /// `--max-learners`.
    pub(super) learners_max: usize,
}

/// What is to be done for a change.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing: it is as it should be.
    Done,
    /// Put a member's entry in place of what is there.
    Set(MemberId, Member),
    /// Remove a member that votes.
    RemoveVoter(MemberId),
    /// Remove one that does not.
    RemoveLearner(MemberId),
    /// Have a member vote.
    Vote(MemberId),
    /// Write what the members agree on.
    Agree(Agreement),
}

impl Situation {
    /// Decides on a change. `again` says that it was asked for before without a known outcome: what
    /// is done already is then no mistake.
    pub(super) fn decide(&self, change: &Change, again: bool) -> Result<Step, ChangeError> {
        match change {
            Change::Publish { id, name, client_urls, version } => {
                let row = self.find(*id)?;
                let (name, client_urls) = (name.clone(), client_urls.clone());
                let version = Some(*version);
                Ok(set(row, Member { name, client_urls, version, ..row.member.clone() }))
            }
            Change::Add { id, learner, peer_urls } => self.add(*id, *learner, peer_urls, again),
            Change::Remove(id) => self.remove(*id, again),
            Change::Update { id, peer_urls } => {
                let row = self.find(*id)?;
                self.check_urls(peer_urls, *id)?;
                let peer_urls = peer_urls.clone();
                Ok(set(row, Member { peer_urls, ..row.member.clone() }))
            }
            Change::Promote(id) => self.promote(*id, again),
            Change::Downgrade(target) => self.downgrade(*target, again),
        }
    }

    fn add(
        &self,
        id: MemberId,
        learner: bool,
        peer_urls: &[String],
        again: bool,
    ) -> Result<Step, ChangeError> {
        if let Ok(row) = self.find(id) {
            let same = again && row.member.peer_urls == peer_urls;
            return if same { Ok(Step::Done) } else { Err(ChangeError::MemberExists) };
        }
        if self.removed.contains(&id) {
            return Err(ChangeError::MemberExists);
        }
        self.check_urls(peer_urls, id)?;
        let learners = self.members.iter().filter(|row| row.is_learner()).count();
        if learner && learners >= self.learners_max {
            return Err(ChangeError::TooManyLearners);
        }
        if self.strict {
            let members = self.voters().count() + 1;
            let started = self.voters().filter(|row| row.has_started()).count();
            let first_companion = started == 1 && members == 2;
            if !learner && !first_companion && started < quorum(members) {
                return Err(ChangeError::NotEnoughStarted);
            }
            if !first_companion && self.active_voters() < quorum(members) {
                return Err(ChangeError::Unhealthy);
            }
        }
        let peer_urls = peer_urls.to_vec();
        Ok(Step::Set(id, Member { peer_urls, joining: !learner, ..Member::default() }))
    }

    fn remove(&self, id: MemberId, again: bool) -> Result<Step, ChangeError> {
        let row = match self.find(id) {
            Err(_) if again && self.removed.contains(&id) => return Ok(Step::Done),
            found => found?,
        };
        if self.strict && !row.is_learner() {
            let rest = || self.voters().filter(|row| row.id != id);
            let members = rest().count();
            let started = rest().filter(|row| row.has_started()).count();
            if members == 0 || started < quorum(members) {
                return Err(ChangeError::NotEnoughStarted);
            }
            let answering = rest().filter(|row| self.active.contains(&row.id)).count();
            if self.active.contains(&id) && answering < quorum(members) {
                return Err(ChangeError::Unhealthy);
            }
        }
        Ok(if row.voting { Step::RemoveVoter(id) } else { Step::RemoveLearner(id) })
    }

    fn promote(&self, id: MemberId, again: bool) -> Result<Step, ChangeError> {
        let row = self.find(id)?;
        if !row.is_learner() {
            return if again { Ok(Step::Done) } else { Err(ChangeError::NotLearner) };
        }
        if !self.in_sync.contains(&id) {
            return Err(ChangeError::LearnerNotReady);
        }
        let members = self.voters().count() + 1;
        let started = self.voters().filter(|row| row.has_started()).count() + 1;
        if self.strict && started < quorum(members) {
            return Err(ChangeError::NotEnoughStarted);
        }
        if self.strict && !self.bears_voter(id) {
            return Err(ChangeError::Unhealthy);
        }
        Ok(Step::Vote(id))
    }

    /// Whether enough members answer for a quorum once this one votes as well.
    pub(super) fn bears_voter(&self, id: MemberId) -> bool {
        let others = || self.members.iter().filter(|row| row.voting && row.id != id);
        let answering = others().filter(|row| self.active.contains(&row.id)).count();
        let answering = answering + usize::from(self.active.contains(&id));
        answering >= quorum(others().count() + 1)
    }

    fn downgrade(&self, target: Option<Version>, again: bool) -> Result<Step, ChangeError> {
        let target = target.map(Version::of_cluster);
        if again && self.agreed.downgrade == target {
            return Ok(Step::Done);
        }
        match target {
            Some(target) => self.agreed.check_downgrade(target)?,
            None if self.agreed.downgrade.is_none() => return Err(ChangeError::NoDowngrade),
            None => {}
        }
        Ok(Step::Agree(Agreement::Downgrade(target)))
    }

    fn find(&self, id: MemberId) -> Result<&Row, ChangeError> {
        self.members.iter().find(|row| row.id == id).ok_or(ChangeError::NotFound)
    }

    /// No two members are reached at the same place.
    fn check_urls(&self, peer_urls: &[String], but: MemberId) -> Result<(), ChangeError> {
        let others = self.members.iter().filter(|row| row.id != but);
        let mut taken = others.flat_map(|row| &row.member.peer_urls);
        let is_taken = taken.any(|url| peer_urls.contains(url));
        if is_taken { Err(ChangeError::PeerUrlExists) } else { Ok(()) }
    }

    /// Those that vote or were added to.
    fn voters(&self) -> impl Iterator<Item = &Row> {
        self.members.iter().filter(|row| !row.is_learner())
    }

    fn active_voters(&self) -> usize {
        self.voters().filter(|row| self.active.contains(&row.id)).count()
    }
}

fn set(row: &Row, member: Member) -> Step {
    if row.member == member { Step::Done } else { Step::Set(row.id, member) }
}

const fn quorum(members: usize) -> usize {
    members / 2 + 1
}

#[cfg(test)]
#[path = "change_test.rs"]
mod tests;
