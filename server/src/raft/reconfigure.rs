//! Makes membership changes: by this member where it leads, else by asking the leader.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use openraft::errors::{ChangeMembershipError, ClientWriteError, RaftError};
use openraft::{ChangeMembers, RaftMetrics};
use tokio::sync::{Mutex, Notify, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior};

use super::change::{Change, ChangeError, Row, Situation, Step};
use super::change_wire::{self, Answer};
use super::codec;
use super::handle::Raft;
use super::leadership::Leadership;
use super::log_store::LogStore;
use super::responder::Responder;
use super::roll_call::roll_call;
use super::roster::Roster;
use super::transfer;
use super::types::{ClientWriteResult, Member, MemberId, TypeConfig};
use super::version::{Agreement, UNDECIDED_MAX};
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
    /// A member that does not store what the leader sends for so long is down.
    pub silence_max: Duration,
}

/// Makes changes; one for the process.
pub(crate) struct Reconfigurer {
    pub(crate) raft: Raft,
    pub(crate) log: LogStore,
    pub(crate) own: MemberId,
    pub(crate) roster: Arc<Roster>,
    pub(crate) leadership: watch::Receiver<Leadership>,
    pub(crate) transport: Arc<dyn PeerTransport>,
    pub(crate) rules: ChangeRules,
    /// One change at a time.
    pub(crate) busy: Mutex<()>,
    /// There may be something to tend.
    pub(crate) news: Notify,
}

impl Reconfigurer {
    /// Has a change made, whoever leads.
    pub(crate) async fn change(&self, change: Change) -> Result<Vec<Row>, ChangeError> {
        let deadline = Instant::now() + self.rules.timeout;
        let mut again = false;
        loop {
            let answer = match self.leader() {
                None => Answer::Again,
                Some(leader) if leader == self.own => {
                    let answer = self.lead(&change, again, deadline).await;
                    // What was cut off this log may be in another one.
                    again |= answer == Answer::Again;
                    answer
                }
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
        let body = change_wire::encode_change(change, *again);
        let timeout = deadline.saturating_duration_since(Instant::now());
        match self.transport.call(leader, Call::Reconfigure, body, timeout).await {
            Ok(body) => change_wire::decode_answer(body).unwrap_or(Answer::Again),
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
            let situation = self.situation(change).await;
            if self.leader() != Some(self.own) {
                return Answer::Again;
            }
            let step = match situation.decide(change, again) {
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
            Step::Agree(agreement) => return self.agree(agreement).await,
        };
        self.write(changes).await
    }

    /// Writes what the members agree on into the log, and waits until this one has applied it.
    async fn agree(&self, agreement: Agreement) -> Answer {
        tracing::info!(?agreement, "the members agree");
        let (done, result) = oneshot::channel();
        let on_complete = Responder::new(move |result: ClientWriteResult| {
            // Whoever asked may have given up waiting.
            let _heard: bool = done.send(result.is_ok()).is_ok();
        });
        let batch = codec::encode_agreement(agreement);
        if self.raft.client_write_ff(batch, Some(on_complete)).await.is_err() {
            return Answer::Refused(ChangeError::Stopped);
        }
        match result.await {
            Ok(true) => {
                self.news.notify_one();
                Answer::Made(members(&self.raft))
            }
            // Saying the same twice does no harm.
            Ok(false) | Err(_) => Answer::Again,
        }
    }

    async fn write(&self, changes: ChangeMembers<MemberId, Member>) -> Answer {
        match self.raft.change_membership(changes, false).await {
            Ok(_) => {
                self.news.notify_one();
                Answer::Made(members(&self.raft))
            }
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

    /// What the decision on a change stands on. Whether others answer is asked where it matters.
    async fn situation(&self, change: &Change) -> Situation {
        let counts = matches!(change, Change::Add { .. } | Change::Remove(_) | Change::Promote(_));
        let active = if counts && self.rules.strict {
            self.present().await
        } else {
            BTreeSet::from([self.own])
        };
        let members = members(&self.raft);
        let ids = || members.iter().map(|row| row.id);
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
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
        let agreed = self.roster.agreed();
        Situation { members, removed, active, in_sync, agreed, strict, learners_max }
    }

    async fn present(&self) -> BTreeSet<MemberId> {
        roll_call(&self.raft, &self.log, self.own, self.rules.silence_max).await
    }

    fn leader(&self) -> Option<MemberId> {
        self.leadership.borrow().leader
    }

    /// Has members that were added to vote do so once they have caught up, ends changes that an
    /// earlier leader left half done, and has the members agree on the cluster's version. Runs for
    /// as long as the node does.
    pub(crate) async fn tend(&self) {
        let mut tick = tokio::time::interval(TEND_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut leads_since = None;
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = self.news.notified() => {}
            }
            if self.leader() != Some(self.own) {
                leads_since = None;
                continue;
            }
            let since = *leads_since.get_or_insert_with(Instant::now);
            let Ok(_one) = self.busy.try_lock() else { continue };
            let work = self.tend_once(since.elapsed() >= UNDECIDED_MAX);
            let done = tokio::time::timeout(self.rules.timeout, work).await;
            if let Ok(Some(Answer::Refused(error))) = done {
                tracing::warn!(%error, "a membership change could not be completed");
            }
        }
    }

    /// Does one thing that is due, if anything is.
    async fn tend_once(&self, waited: bool) -> Option<Answer> {
        if let Some(changes) = self.unfinished() {
            return Some(self.write(changes).await);
        }
        if let Some((id, member)) = self.caught_up() {
            return self.have_vote(id, member).await;
        }
        let members = members(&self.raft);
        let servers: Vec<_> = members.iter().map(|row| row.member.version).collect();
        let agreement = self.roster.agreed().due(&servers, waited)?;
        Some(self.agree(agreement).await)
    }

    /// Nothing is changed while a change is under way.
    fn settled<T>(&self, look: impl FnOnce(&RaftMetrics<TypeConfig>) -> Option<T>) -> Option<T> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let last = metrics.membership_config.log_id();
        if last == metrics.committed_membership_config.log_id() { look(&metrics) } else { None }
    }

    fn unfinished(&self) -> Option<ChangeMembers<MemberId, Member>> {
        let joint = |metrics: &RaftMetrics<TypeConfig>| {
            let membership = metrics.membership_config.membership();
            let joint = membership.get_joint_config().len() > 1;
            joint.then(|| ChangeMembers::AddVoterIds(BTreeSet::new()))
        };
        self.settled(joint)
    }

    fn caught_up(&self) -> Option<(MemberId, Member)> {
        self.settled(|metrics| {
            let last = metrics.last_log_index.unwrap_or(0);
            let membership = metrics.membership_config.membership();
            let (id, member) = membership.nodes().find(|(id, member)| {
                let matched = metrics.replication.as_ref().and_then(|all| all.get(id)).copied();
                let caught_up = matched
                    .flatten()
                    .is_some_and(|at| last.saturating_sub(at.index) <= JOIN_LAG_MAX);
                member.joining && caught_up
            })?;
            Some((*id, member.clone()))
        })
    }

    /// Has a member vote that was added to, unless too few would be left for a quorum of the larger
    /// cluster: it is looked at again soon.
    async fn have_vote(&self, id: MemberId, member: Member) -> Option<Answer> {
        if self.rules.strict && !self.situation(&Change::Promote(id)).await.bears_voter(id) {
            return None;
        }
        tracing::info!(member = %id, "a new member has caught up and is to vote");
        let settled = Member { joining: false, ..member };
        let changes = ChangeMembers::Batch(vec![
            ChangeMembers::SetNodes(BTreeMap::from([(id, settled)])),
            ChangeMembers::AddVoterIds(BTreeSet::from([id])),
        ]);
        let answer = self.write(changes).await;
        if matches!(answer, Answer::Made(_)) {
            tracing::info!(member = %id, "a new member votes from now on");
        }
        Some(answer)
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
