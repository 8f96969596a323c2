//! Makes membership changes: by this member where it leads, else by asking the leader.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use openraft::errors::{ChangeMembershipError, ClientWriteError, RaftError};
use openraft::{ChangeMembers, Instant as _};
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, MissedTickBehavior};

use super::change::{self, Answer, Change, ChangeError, Row, Situation, Step};
use super::handle::Raft;
use super::leadership::Leadership;
use super::roster::Roster;
use super::transfer;
use super::types::{Member, MemberId};
use crate::peer::{Call, PeerError, PeerTransport};

/// Pause before a change that could not be tried is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// How often the leader looks after members that are to vote.
const TEND_INTERVAL: Duration = Duration::from_millis(200);

/// Entries that a joining member may be behind when it becomes a voter: what the leader sends in
/// one or two messages.
const JOIN_LAG_MAX: u64 = 500;

/// Rules that are settings.
#[derive(Clone, Copy, Debug)]
pub struct ChangeRules {
    /// `--strict-reconfig-check`.
    pub strict: bool,
    /// `--max-learners`.
    pub learners_max: usize,
    /// Longest wait for a change.
    pub timeout: Duration,
    /// A member that has not answered the leader for so long is down.
    pub silence_max: Duration,
}

/// Makes changes; one for the process.
pub(crate) struct Reconfigurer {
    pub(crate) raft: Raft,
    pub(crate) own: MemberId,
    pub(crate) roster: Arc<Roster>,
    pub(crate) leadership: watch::Receiver<Leadership>,
    pub(crate) transport: Arc<dyn PeerTransport>,
    pub(crate) rules: ChangeRules,
    /// One change at a time.
    pub(crate) busy: Mutex<()>,
}

impl Reconfigurer {
    /// Has a change made, whoever leads.
    pub(crate) async fn change(&self, change: Change) -> Result<Vec<Row>, ChangeError> {
        let deadline = Instant::now() + self.rules.timeout;
        let mut again = false;
        loop {
            let answer = match self.leader() {
                None => Answer::Again,
                Some(leader) if leader == self.own => self.lead(&change, again, deadline).await,
                Some(leader) => self.ask(leader, &change, &mut again, deadline).await,
            };
            match answer {
                Answer::Made(members) => return Ok(members),
                Answer::Refused(error) => return Err(error),
                Answer::Again if Instant::now() >= deadline => return Err(ChangeError::Timeout),
                Answer::Again => tokio::time::sleep(RETRY_PAUSE).await,
            }
        }
    }

    async fn ask(
        &self,
        leader: MemberId,
        change: &Change,
        again: &mut bool,
        deadline: Instant,
    ) -> Answer {
        let body = change::encode_change(change, *again);
        let timeout = deadline.saturating_duration_since(Instant::now());
        match self.transport.call(leader, Call::Reconfigure, body, timeout).await {
            Ok(body) => change::decode_answer(body).unwrap_or(Answer::Again),
            Err(PeerError::NoAnswer { .. }) => {
                *again = true;
                Answer::Again
            }
            Err(PeerError::NotSent { .. } | PeerError::Refused { .. }) => Answer::Again,
        }
    }

    /// Makes a change that another member asks for, or refuses.
    pub(crate) async fn asked(&self, change: &Change, again: bool) -> Answer {
        if self.leader() != Some(self.own) {
            return Answer::Again;
        }
        self.lead(change, again, Instant::now() + self.rules.timeout).await
    }

    async fn lead(&self, change: &Change, again: bool, deadline: Instant) -> Answer {
        let made = async {
            let _one = self.busy.lock().await;
            let step = match self.situation().decide(change, again) {
                Ok(step) => step,
                Err(error) => return Answer::Refused(error),
            };
            if step == Step::RemoveVoter(self.own) && self.hand_over().await {
                return Answer::Again;
            }
            self.step(step).await
        };
        match tokio::time::timeout_at(deadline, made).await {
            Ok(answer) => answer,
            Err(_) => Answer::Refused(ChangeError::Timeout),
        }
    }

    /// A leader that is to be removed leads no more when it goes: no election is waited for.
    async fn hand_over(&self) -> bool {
        let Some(to) = transfer::successor(&self.raft, self.own) else { return false };
        transfer::to(&self.raft, &self.leadership, self.own, to, self.rules.silence_max).await
    }

    async fn step(&self, step: Step) -> Answer {
        tracing::info!(?step, "changing the membership");
        let one = |id| BTreeSet::from([id]);
        let changes = match step {
            Step::Done => return Answer::Made(members(&self.raft)),
            Step::Set(id, member) => ChangeMembers::SetNodes(BTreeMap::from([(id, member)])),
            Step::RemoveVoter(id) => ChangeMembers::RemoveVoters(one(id)),
            Step::RemoveLearner(id) => ChangeMembers::RemoveNodes(one(id)),
            Step::Vote(id) => ChangeMembers::AddVoterIds(one(id)),
        };
        self.write(changes).await
    }

    async fn write(&self, changes: ChangeMembers<MemberId, Member>) -> Answer {
        match self.raft.change_membership(changes, false).await {
            Ok(_) => Answer::Made(members(&self.raft)),
            Err(RaftError::Fatal(_)) => Answer::Refused(ChangeError::Stopped),
            Err(RaftError::APIError(error)) => match error {
                ClientWriteError::ChangeMembershipError(
                    ChangeMembershipError::LearnerNotFound(_)
                    | ChangeMembershipError::EmptyMembership(_),
                ) => Answer::Refused(ChangeError::NotFound),
                ClientWriteError::ChangeMembershipError(_)
                | ClientWriteError::PreconditionFailed(_)
                | ClientWriteError::ForwardToLeader(_)
                | ClientWriteError::LogEntryDiscarded(_) => Answer::Again,
            },
        }
    }

    fn situation(&self) -> Situation {
        let members = members(&self.raft);
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let answers = |id: &MemberId| {
            let heard = metrics.heartbeat.as_ref().and_then(|all| all.get(id)).copied().flatten();
            heard.is_some_and(|heard| heard.elapsed() <= self.rules.silence_max)
        };
        let ids = || members.iter().map(|row| row.id);
        let active = ids().filter(|id| *id == self.own || answers(id)).collect();
        let last = metrics.last_log_index.unwrap_or(0);
        let matched = |id: &MemberId| {
            let matched = metrics.replication.as_ref()?.get(id).copied()??;
            Some(matched.index)
        };
        // etcd's measure of a learner that is ready.
        let near = |id: &MemberId| matched(id).is_some_and(|index| index >= last - last / 10);
        let in_sync = ids().filter(near).collect();
        let removed = self.roster.removed();
        let ChangeRules { strict, learners_max, .. } = self.rules;
        Situation { members, removed, active, in_sync, strict, learners_max }
    }

    fn leader(&self) -> Option<MemberId> {
        self.leadership.borrow().leader
    }

    /// Has members that were added to vote do so once they have caught up, and ends changes that
    /// an earlier leader left half done. Runs for as long as the node does.
    pub(crate) async fn tend(&self) {
        let mut tick = tokio::time::interval(TEND_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            if self.leader() != Some(self.own) {
                continue;
            }
            let Some(changes) = self.due() else { continue };
            let Ok(_one) = self.busy.try_lock() else { continue };
            let written = tokio::time::timeout(self.rules.timeout, self.write(changes)).await;
            if let Ok(Answer::Refused(error)) = written {
                tracing::warn!(%error, "a membership change could not be completed");
            }
        }
    }

    fn due(&self) -> Option<ChangeMembers<MemberId, Member>> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let effective = &metrics.membership_config;
        if effective.log_id() != metrics.committed_membership_config.log_id() {
            return None;
        }
        let membership = effective.membership();
        if membership.get_joint_config().len() > 1 {
            return Some(ChangeMembers::AddVoterIds(BTreeSet::new()));
        }
        let last = metrics.last_log_index.unwrap_or(0);
        let (id, member) = membership.nodes().find(|(id, member)| {
            let matched = metrics.replication.as_ref().and_then(|all| all.get(id)).copied();
            let caught_up =
                matched.flatten().is_some_and(|at| last.saturating_sub(at.index) <= JOIN_LAG_MAX);
            member.joining && caught_up
        })?;
        tracing::info!(member = %id, "a new member has caught up and becomes a voter");
        let settled = Member { joining: false, ..member.clone() };
        Some(ChangeMembers::Batch(vec![
            ChangeMembers::SetNodes(BTreeMap::from([(*id, settled)])),
            ChangeMembers::AddVoterIds(BTreeSet::from([*id])),
        ]))
    }
}

/// Members by id, as the last membership in the log has them.
pub(crate) fn members(raft: &Raft) -> Vec<Row> {
    let metrics = raft.server_metrics();
    let metrics = metrics.borrow_watched();
    let membership = metrics.membership_config.membership();
    let voters: BTreeSet<_> = membership.voter_ids().collect();
    let row = |(id, member): (&MemberId, &Member)| Row {
        id: *id,
        member: member.clone(),
        voting: voters.contains(id),
    };
    membership.nodes().map(row).collect()
}
