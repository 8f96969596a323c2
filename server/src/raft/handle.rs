//! Raft as the rest of the server holds it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use keelson_store::Store;
use openraft::async_runtime::WatchReceiver;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use super::barrier::ReadBarrier;
use super::change::{Change, ChangeError, Row};
use super::leadership::Leadership;
use super::proposer::{Proposer, ProposerLimits};
use super::read_index::{Miss, ReadIndex, confirm};
use super::reconfigure::{self, Reconfigurer};
use super::roster::Roster;
use super::start::StartError;
use super::state_machine::StateMachine;
use super::submit::{Routes, Submitter};
use super::transfer;
use super::types::{MemberId, TypeConfig};
use super::version::{Agreed, Version};
use super::write_here::WriteHere;
use crate::peer::{Call, PeerError};
use crate::watch::{Fed, Feed};

pub(crate) type Raft = openraft::Raft<TypeConfig, StateMachine>;

/// Pause before a start asks again who leads.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// Why leadership did not move.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MoveError {
    /// Only the leader can hand over.
    #[error("not leader")]
    NotLeader,
    /// The target is no member that votes.
    #[error("bad leader transferee")]
    BadTransferee,
    /// It did not happen in time.
    #[error("leader transfer took too long")]
    Timeout,
}

/// A moment's view of Raft.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RaftStatus {
    /// The current term.
    pub term: u64,
    /// The leader this member knows of.
    pub leader: Option<MemberId>,
    /// The last entry known to be committed.
    pub committed_index: u64,
    /// The last entry applied.
    pub applied_index: u64,
    /// The last entry in the log.
    pub last_index: u64,
    /// Whom this member voted for last.
    pub vote: MemberId,
    /// This member does not vote.
    pub is_learner: bool,
}

/// Raft as the server uses it; cheap to clone.
#[derive(Clone)]
pub struct RaftHandle {
    pub(super) raft: Raft,
    pub(super) store: Store,
    pub(super) id: MemberId,
    pub(super) version: Version,
    pub(super) election_timeout: Duration,
    /// The current term, where readers get it without a lock.
    pub(super) term: Arc<AtomicU64>,
    /// Whether this member is a learner, likewise.
    pub(super) learner: Arc<AtomicBool>,
    pub(super) leadership: watch::Receiver<Leadership>,
    pub(super) roster: Arc<Roster>,
    pub(super) routes: Arc<Routes>,
    pub(super) index: Arc<ReadIndex>,
    pub(super) reconfigurer: Arc<Reconfigurer>,
    pub(super) feed: Feed,
}

impl std::fmt::Debug for RaftHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RaftHandle").field("id", &self.id).finish_non_exhaustive()
    }
}

impl RaftHandle {
    /// Tells that something was applied.
    pub(crate) fn feed(&self) -> Fed {
        self.feed.subscribe()
    }

    /// Waits until there is a leader and this member has applied everything that was committed
    /// before, so that no answer can be older than one given before a restart.
    ///
    /// # Errors
    /// When Raft stops first.
    pub async fn recovered(&self) -> Result<(), StartError> {
        loop {
            let asked = match self.index.ask().await {
                Ok(at) => self.index.applied(&at).await,
                Err(miss) => Err(miss),
            };
            match asked {
                Ok(()) => return Ok(()),
                Err(Miss::Again) => tokio::time::sleep(RETRY_PAUSE).await,
                Err(Miss::Stopped) => {
                    return Err(StartError::Fatal("raft has stopped".to_owned()));
                }
            }
        }
    }

    /// Publishes this member's name, client URLs and version where the cluster knows others.
    ///
    /// # Errors
    /// When Raft stops first, or the cluster does not know this member.
    pub async fn publish(&self, name: &str, client_urls: &[String]) -> Result<(), StartError> {
        loop {
            let known = self.members().into_iter().find(|row| row.id == self.id);
            let is_known = |row: Row| {
                let member = row.member;
                (member.name.as_str(), member.client_urls.as_slice(), member.version)
                    == (name, client_urls, Some(self.version))
            };
            if known.is_some_and(is_known) {
                return Ok(());
            }
            let (name, client_urls) = (name.to_owned(), client_urls.to_vec());
            let version = self.version;
            match self.change(Change::Publish { id: self.id, name, client_urls, version }).await {
                Ok(_) => return Ok(()),
                Err(ChangeError::Timeout) => {}
                Err(error) => return Err(StartError::Unknown(error)),
            }
        }
    }

    /// Waits until the cluster has agreed on a version, which members that have not started yet may
    /// hold up: an election timeout at the longest.
    pub async fn version_agreed(&self) {
        let agreed = async {
            while self.agreed().version.is_none() {
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        };
        // Without one, the member says that it does not know.
        drop(tokio::time::timeout(self.election_timeout, agreed).await);
    }

    /// What the members have agreed on.
    #[must_use]
    pub fn agreed(&self) -> Agreed {
        self.roster.agreed()
    }

    /// Whether the cluster may be downgraded to a version, as this member knows it.
    ///
    /// # Errors
    /// It may not.
    pub fn check_downgrade(&self, target: Version) -> Result<(), ChangeError> {
        self.agreed().check_downgrade(target)
    }

    /// A proposer for the current runtime.
    #[must_use]
    pub fn proposer(&self, limits: ProposerLimits) -> Proposer {
        Proposer::start(Submitter::new(Arc::clone(&self.routes)), limits)
    }

    /// A read barrier for the current runtime.
    #[must_use]
    pub fn barrier(&self, timeout: Duration) -> ReadBarrier {
        ReadBarrier::new(Arc::clone(&self.index), timeout)
    }

    /// Members by id, each with whether it votes.
    #[must_use]
    pub fn members(&self) -> Vec<Row> {
        reconfigure::members(&self.raft)
    }

    /// Has the membership changed; any member may be asked.
    ///
    /// # Errors
    /// The change is refused, or its outcome is not known in time.
    pub async fn change(&self, change: Change) -> Result<Vec<Row>, ChangeError> {
        self.reconfigurer.change(change).await
    }

    /// Whether this member is a learner, which serves little.
    #[must_use]
    pub fn is_learner(&self) -> bool {
        self.learner.load(Ordering::Relaxed)
    }

    /// This member's id.
    #[must_use]
    pub fn member_id(&self) -> MemberId {
        self.id
    }

    /// The store that Raft applies to.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Who leads, as it changes.
    pub(crate) fn leadership(&self) -> watch::Receiver<Leadership> {
        self.leadership.clone()
    }

    /// The term that this member leads in, once a quorum has confirmed it and everything is applied
    /// that was committed before the call, earlier terms' entries among it; nothing if it does not
    /// lead.
    pub(crate) async fn confirm_lead(&self) -> Option<u64> {
        let at = confirm(&self.raft).await.ok()?;
        self.index.applied(&at).await.ok()?;
        Some(at.leader_id.term)
    }

    /// Asks another member.
    pub(crate) async fn call(
        &self,
        to: MemberId,
        call: Call,
        body: Bytes,
        timeout: Duration,
    ) -> Result<Bytes, PeerError> {
        self.routes.transport.call(to, call, body, timeout).await
    }

    /// Returns once this member has known no leader for `long`.
    pub async fn without_leader(&self, long: Duration) {
        let mut leadership = self.leadership.clone();
        loop {
            // The sender is gone only with Raft, and then there is no leader any more.
            drop(leadership.wait_for(|now| now.leader.is_none()).await);
            let found = leadership.wait_for(|now| now.leader.is_some());
            if !matches!(tokio::time::timeout(long, found).await, Ok(Ok(_))) {
                return;
            }
        }
    }

    /// Whether this member knows of a leader that lives.
    #[must_use]
    pub fn has_leader(&self) -> bool {
        self.leadership.borrow().leader.is_some()
    }

    /// How many leaders this member has seen since it started.
    #[must_use]
    pub fn leader_changes(&self) -> u64 {
        self.leadership.borrow().changes
    }

    /// Whether a request that has just waited for `timeout` in vain may have done so because the
    /// leader was lost: another one came after its start, and within two election timeouts of it.
    #[must_use]
    pub fn lost_leader_during(&self, timeout: Duration) -> bool {
        let since = self.leadership.borrow().since;
        let soon = timeout.saturating_sub(2 * self.election_timeout);
        since.is_some_and(|since| (soon..timeout).contains(&since.elapsed()))
    }

    /// Moves leadership to another member.
    ///
    /// # Errors
    /// This member does not lead, the target cannot, or it takes too long.
    pub async fn move_leader(&self, to: MemberId) -> Result<(), MoveError> {
        if self.leadership.borrow().leader != Some(self.id) {
            return Err(MoveError::NotLeader);
        }
        if !self.members().iter().any(|row| row.id == to && row.voting) {
            return Err(MoveError::BadTransferee);
        }
        if to == self.id {
            return Ok(());
        }
        let moved =
            transfer::to(&self.raft, &self.leadership, self.id, to, self.election_timeout).await;
        if moved { Ok(()) } else { Err(MoveError::Timeout) }
    }

    /// Hands leadership to whoever can take it, before this member stops. Returns when another
    /// member leads, at once if this one does not, and after an election timeout at the latest.
    pub async fn hand_over(&self) {
        if self.leadership.borrow().leader != Some(self.id) {
            return;
        }
        if let Some(to) = transfer::successor(&self.raft, self.id) {
            // Not having been in time is logged; the others will elect somebody.
            let _moved: bool =
                transfer::to(&self.raft, &self.leadership, self.id, to, self.election_timeout)
                    .await;
        }
    }

    /// Returns once this member has been removed from the cluster for good.
    pub async fn expelled(&self) {
        self.roster.expelled().await;
    }

    /// A leader whose disk does not answer holds everybody up: it gives the lead away.
    pub(super) async fn watch_disk(
        self,
        pending: Arc<dyn Fn() -> Duration + Send + Sync>,
        every: Duration,
    ) {
        let mut tick = tokio::time::interval(every);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told = false;
        loop {
            tick.tick().await;
            let stuck = pending();
            let too_long = stuck > self.election_timeout;
            if too_long && !told {
                tracing::warn!(pending = ?stuck, "the disk does not complete writes to the log");
            }
            told = too_long;
            if too_long {
                self.hand_over().await;
            }
        }
    }

    /// The current term, for response headers.
    #[must_use]
    pub fn term(&self) -> u64 {
        self.term.load(Ordering::Relaxed)
    }

    fn is_lone_voter(&self) -> bool {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        let mut voters = metrics.membership_config.voter_ids();
        voters.next() == Some(self.id) && voters.next().is_none()
    }

    /// Keeps the term, the addresses of others, and whether there are other voters up to date.
    pub(super) async fn follow_members(self, write_here: Arc<WriteHere>) {
        let mut metrics = self.raft.server_metrics();
        loop {
            let term = metrics.borrow_and_update().vote.leader_id().term;
            self.term.store(term, Ordering::Relaxed);
            write_here.set_lone_voter(self.is_lone_voter());
            for row in self.members() {
                if row.id == self.id {
                    self.learner.store(row.is_learner(), Ordering::Relaxed);
                } else {
                    self.routes.transport.know(row.id, &row.member.peer_urls);
                }
            }
            if metrics.changed().await.is_err() {
                return;
            }
        }
    }

    /// Where Raft stands now.
    #[must_use]
    pub fn status(&self) -> RaftStatus {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let index = |id: &Option<super::types::LogId>| id.as_ref().map_or(0, |id| id.index);
        RaftStatus {
            term: metrics.current_term,
            leader: self.leadership.borrow().leader,
            committed_index: index(&metrics.cluster_committed).max(index(&metrics.last_applied)),
            applied_index: index(&metrics.last_applied),
            last_index: metrics.last_log_index.unwrap_or(0),
            vote: metrics.vote.leader_id().voted_for,
            is_learner: self.is_learner(),
        }
    }

    /// Returns when Raft has stopped by itself, with the reason: a node that can no longer keep
    /// its log must not go on answering.
    pub async fn stopped(&self) -> String {
        let mut metrics = self.raft.metrics();
        loop {
            if let Err(error) = &metrics.borrow_and_update().running_state {
                return error.to_string();
            }
            if metrics.changed().await.is_err() {
                return "raft is gone".to_owned();
            }
        }
    }

    /// Stops Raft. What was proposed and not answered may or may not take effect.
    pub async fn shutdown(&self) {
        if let Err(error) = self.raft.shutdown().await {
            tracing::error!(%error, "raft did not stop cleanly");
        }
    }
}
