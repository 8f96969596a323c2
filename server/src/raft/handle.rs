//! Starts Raft and is what the rest of the server holds of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use keelson_store::{Applier, Store};
use keelson_wal::Wal;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{ClientWriteError, Fatal, InitializeError, RaftError};
use openraft::{ChangeMembers, Config, SnapshotPolicy};
use tokio::time::MissedTickBehavior;

use super::barrier::ReadBarrier;
use super::log_store::LogStore;
use super::network::NoPeers;
use super::proposer::{Proposer, ProposerLimits};
use super::state_machine::{StateMachine, stored_membership};
use super::types::{Member, MemberId, TypeConfig};
use super::write_here::WriteHere;

pub(crate) type Raft = openraft::Raft<TypeConfig, StateMachine>;

/// How often the log's head is looked at for purging, and the store for flushing.
const HOUSEKEEPING_INTERVAL: Duration = Duration::from_secs(1);

/// Entries the store may be ahead of what it has flushed before it is asked to flush: bounds what
/// a restart has to replay, and with it the time to ready, to about a second.
const UNFLUSHED_ENTRIES_MAX: u64 = 200_000;

/// Superseded versions that readers may step over between two flushes: about a tenth of a second of
/// one core, a little more than the flush that ends it.
const STALE_STEPS_MAX: u64 = 1_000_000;

/// Options of the Raft node.
#[derive(Clone, Debug)]
pub struct RaftOptions {
    /// This member's id.
    pub id: MemberId,
    /// What the cluster should know of this member.
    pub member: Member,
    /// Leader to followers, at rest.
    pub heartbeat_interval: Duration,
    /// Silence after which a follower stands for election.
    pub election_timeout: Duration,
    /// Entries kept in the log beyond what the store has flushed, for followers that lag.
    pub catchup_entries: u64,
}

/// Why the Raft node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The timings contradict each other.
    #[error("raft configuration")]
    Config(#[source] openraft::ConfigError),
    /// A lone voter's store holds what its log does not: part of the log is gone, and with it what
    /// was acknowledged after the store's last flush.
    #[error(
        "the store holds entries up to {applied}, but the log ends at {last}: part of the log is \
         missing, or it is another node's; put the log back, or restore this member from a backup"
    )]
    LogLost {
        /// The last entry the store holds.
        applied: u64,
        /// The last entry of the log; 0 if it is empty.
        last: u64,
    },
    /// Log or store could not be read, or the node stopped at once.
    #[error("raft could not start: {0}")]
    Fatal(String),
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
    raft: Raft,
    store: Store,
    id: MemberId,
    /// The current term, where readers get it without a lock.
    term: Arc<AtomicU64>,
}

impl std::fmt::Debug for RaftHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RaftHandle").field("id", &self.id).finish_non_exhaustive()
    }
}

impl RaftHandle {
    /// Starts the node on the current runtime: recovers what the log holds, forms a cluster of
    /// one where there is none yet, and stands for election at once.
    ///
    /// # Errors
    /// When the configuration is contradictory, or the log or the store cannot be read.
    pub(crate) async fn start(
        options: RaftOptions,
        wal: Wal,
        write_here: Arc<WriteHere>,
        store: Store,
        applier: Applier,
    ) -> Result<Self, StartError> {
        let config = Arc::new(config(&options).validate().map_err(StartError::Config)?);
        check_log_reaches_store(options.id, &wal, &store)?;
        let state_machine = StateMachine::new(store.clone(), applier);
        let log_store = LogStore::new(wal, Arc::clone(&write_here));
        let raft = Raft::new(options.id, config, NoPeers, log_store, state_machine)
            .await
            .map_err(fatal)?;
        let handle = Self { raft, store, id: options.id, term: Arc::default() };
        tokio::spawn(handle.clone().follow(write_here));
        handle.join(options).await?;
        tokio::spawn(handle.clone().keep_house());
        Ok(handle)
    }

    async fn join(&self, options: RaftOptions) -> Result<(), StartError> {
        let members = BTreeMap::from([(options.id, options.member)]);
        match self.raft.initialize(members).await {
            Ok(()) => Ok(()),
            Err(RaftError::APIError(InitializeError::NotAllowed(_))) => {
                // There is a log already. A lone voter need not wait for a leader to be silent.
                self.raft.trigger().elect(false).await.map_err(fatal)
            }
            Err(error) => Err(StartError::Fatal(error.to_string())),
        }
    }

    /// Waits until this member leads and has applied everything that was in its log, so that no
    /// answer can be older than one given before a restart.
    ///
    /// # Errors
    /// When Raft stops first.
    pub async fn recovered(&self) -> Result<(), StartError> {
        let wait = self.raft.wait(None);
        let leads = wait.metrics(|metrics| metrics.current_leader.is_some(), "a leader").await;
        leads.map_err(|error| StartError::Fatal(error.to_string()))?;
        self.raft
            .ensure_linearizable(openraft::ReadPolicy::ReadIndex)
            .await
            .map_err(|error| StartError::Fatal(error.to_string()))?;
        Ok(())
    }

    /// Publishes this member's name and client URLs where the cluster knows others.
    ///
    /// # Errors
    /// When Raft stops first.
    pub async fn publish(&self, member: Member) -> Result<(), StartError> {
        if self.members().iter().any(|(id, known, _)| *id == self.id && *known == member) {
            return Ok(());
        }
        let change = ChangeMembers::SetNodes(BTreeMap::from([(self.id, member)]));
        match self.raft.change_membership(change, true).await {
            Ok(_) => Ok(()),
            Err(RaftError::APIError(error @ ClientWriteError::ChangeMembershipError(_))) => {
                Err(StartError::Fatal(error.to_string()))
            }
            Err(error) => Err(StartError::Fatal(error.to_string())),
        }
    }

    /// A proposer for the current runtime.
    #[must_use]
    pub fn proposer(&self, limits: ProposerLimits) -> Proposer {
        Proposer::start(self.raft.clone(), limits)
    }

    /// A read barrier for the current runtime.
    #[must_use]
    pub fn barrier(&self, timeout: Duration) -> ReadBarrier {
        ReadBarrier::new(self.raft.clone(), timeout)
    }

    /// Members by id, each with whether it votes.
    #[must_use]
    pub fn members(&self) -> Vec<(MemberId, Member, bool)> {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        let membership = metrics.membership_config.membership();
        let voters: Vec<_> = membership.voter_ids().collect();
        let voting = |id| voters.contains(id);
        membership.nodes().map(|(id, member)| (*id, member.clone(), voting(id))).collect()
    }

    /// The current term, for response headers.
    #[must_use]
    pub fn term(&self) -> u64 {
        self.term.load(Ordering::Relaxed)
    }

    /// Keeps what others read without a lock up to date: the term, and whether there are peers.
    async fn follow(self, write_here: Arc<WriteHere>) {
        let mut metrics = self.raft.server_metrics();
        loop {
            {
                let metrics = metrics.borrow_and_update();
                self.term.store(metrics.vote.leader_id().term, Ordering::Relaxed);
                let mut voters = metrics.membership_config.membership().voter_ids();
                let lone = voters.next() == Some(self.id) && voters.next().is_none();
                write_here.set_lone_voter(lone);
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
            leader: metrics.current_leader,
            committed_index: index(&metrics.cluster_committed).max(index(&metrics.last_applied)),
            applied_index: index(&metrics.last_applied),
            last_index: metrics.last_log_index.unwrap_or(0),
            vote: metrics.vote.leader_id().voted_for,
            is_learner: metrics.state.is_learner(),
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

    /// Lets the log be purged up to what the store has flushed, and has the store flush where the
    /// distance has grown too long to replay quickly.
    async fn keep_house(self) {
        let mut described = None;
        let mut stale_before = 0;
        let mut tick = tokio::time::interval(HOUSEKEEPING_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let persisted = match self.store.persisted() {
                Ok(persisted) => persisted,
                Err(error) => {
                    tracing::error!(%error, "cannot read how far the store has flushed");
                    continue;
                }
            };
            if persisted != described {
                described = persisted;
                if self.raft.trigger().snapshot().await.is_err() {
                    return;
                }
            }
            let applied = self.store.applied().map_or(0, |at| at.index.0);
            let behind = applied - persisted.map_or(0, |at| at.index.0).min(applied);
            let stale = self.store.stale_steps();
            if behind > UNFLUSHED_ENTRIES_MAX
                || stale.saturating_sub(stale_before) > STALE_STEPS_MAX
            {
                stale_before = stale;
                self.flush().await;
            }
        }
    }

    /// Has the store flush, off the runtime's thread.
    pub async fn flush(&self) {
        let store = self.store.clone();
        let flushed = tokio::task::spawn_blocking(move || store.flush()).await;
        match flushed {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the store could not flush"),
            Err(error) => tracing::error!(%error, "the flush did not end"),
        }
    }
}

/// A lone voter applies what its own log holds durably, and nothing else. (A member of a larger
/// cluster may have applied what a quorum holds before its own disk did, or have installed a
/// snapshot; Raft sees to both.)
fn check_log_reaches_store(id: MemberId, wal: &Wal, store: &Store) -> Result<(), StartError> {
    let membership = stored_membership(store).map_err(|e| StartError::Fatal(e.to_string()))?;
    let mut voters = membership.membership().voter_ids();
    let lone = voters.next() == Some(id) && voters.next().is_none();
    let applied = store.applied().map_or(0, |at| at.index.0);
    let log = wal.state();
    let last = log.last.or(log.purged).map_or(0, |at| at.index.0);
    if lone && applied > last {
        return Err(StartError::LogLost { applied, last });
    }
    Ok(())
}

fn fatal(error: Fatal<TypeConfig>) -> StartError {
    StartError::Fatal(error.to_string())
}

fn config(options: &RaftOptions) -> Config {
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let election = millis(options.election_timeout);
    Config {
        cluster_name: "keelson".to_owned(),
        heartbeat_interval: millis(options.heartbeat_interval),
        election_timeout_min: election,
        election_timeout_max: election * 2,
        // What gates the purge is asked for by `keep_house`, not counted in entries.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: options.catchup_entries,
        // A purge is one record in the log; many small ones would be noise.
        purge_batch_size: 1024,
        enable_pre_vote: Some(true),
        // A restarted leader must prove itself by an election: the store may be behind its log.
        enable_leader_restore: Some(false),
        ..Config::default()
    }
}
