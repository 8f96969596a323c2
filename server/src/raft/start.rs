//! Puts the Raft node together and sets it going.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use keelson_store::{Applier, Store};
use keelson_wal::Wal;
use openraft::errors::{Fatal, InitializeError, RaftError};
use openraft::{Config, SnapshotPolicy};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::change::ChangeError;
use super::codec::AppliedMembership;
use super::flights::Flights;
use super::force_new::{ForceError, force};
use super::handle::{Raft, RaftHandle};
use super::housekeeping::{Housekeeping, LogKeep};
use super::inbound::{Inbound, InboundHandle};
use super::leadership::{Heard, Leadership, LeadershipWatch};
use super::lease_desk::LeaseDesk;
use super::log_store::LogStore;
use super::network::Peers;
use super::read_index::ReadIndex;
use super::reconfigure::{ChangeRules, Reconfigurer};
use super::roster::Roster;
use super::snapshot::{Incoming, Outgoing, Stores};
use super::state_machine::{StateMachine, applied_membership};
use super::submit::Routes;
use super::types::{ClusterId, Member, MemberId, TypeConfig};
use super::version::Version;
use super::watched::Watched;
use super::write_here::WriteHere;
use crate::peer::{PeerHandler, PeerTransport};
use crate::watch::Feed;

/// Options of the Raft node.
#[derive(Clone)]
pub struct RaftOptions {
    /// The cluster's id.
    pub cluster: ClusterId,
    /// This member's id.
    pub id: MemberId,
    /// The members that found the cluster, this one among them; empty for a member that joins.
    pub founders: BTreeMap<MemberId, Member>,
    /// A number drawn by chance for this start of the process.
    pub start: u64,
    /// Carries messages to other members.
    pub transport: Arc<dyn PeerTransport>,
    /// How long the oldest write to the log has been under way.
    pub disk_pending: Arc<dyn Fn() -> Duration + Send + Sync>,
    /// Keeps the time of leases.
    pub leases: Arc<dyn LeaseDesk>,
    /// When Raft's thread writes the log itself.
    pub write_here: Arc<WriteHere>,
    /// The version of this server.
    pub version: Version,
    /// `--force-new-cluster`: whoever else belongs to the cluster is dropped from it.
    pub force_new_cluster: bool,
    /// Rules of membership changes.
    pub changes: ChangeRules,
    /// Whether who stands for election asks first.
    pub pre_vote: bool,
    /// Leader to followers, at rest.
    pub heartbeat_interval: Duration,
    /// Silence after which a follower stands for election.
    pub election_timeout: Duration,
    /// What the log keeps for members that lag.
    pub keep: LogKeep,
    /// The folders that snapshots are sent from and received in.
    pub stores: Arc<Stores>,
    /// Bytes of snapshots that are sent in a second, at least 1.
    pub snapshot_bytes_per_second: u64,
}

impl std::fmt::Debug for RaftOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RaftOptions").field("id", &self.id).finish_non_exhaustive()
    }
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
    /// This member cannot go on alone as it was told to.
    #[error(transparent)]
    Force(#[from] ForceError),
    /// The cluster has agreed on a version that this server is too old for.
    #[error(
        "this server stands for version {own}, the cluster has agreed on {cluster}: start a server \
         that is not older than the cluster"
    )]
    TooOld {
        /// This server's.
        own: Version,
        /// The cluster's.
        cluster: Version,
    },
    /// Log or store could not be read, or the node stopped at once.
    #[error("raft could not start: {0}")]
    Fatal(String),
    /// The cluster does not know this member.
    #[error("this member could not make itself known: {0}")]
    Unknown(ChangeError),
}

impl RaftHandle {
    /// Starts the node on the current runtime: recovers what the log holds, and founds the cluster
    /// where it is to be founded. The handler answers other members.
    ///
    /// # Errors
    /// When the configuration is contradictory, or the log or the store cannot be read.
    pub(crate) async fn start(
        options: RaftOptions,
        wal: Wal,
        store: Store,
        applier: Applier,
    ) -> Result<(Self, Arc<dyn PeerHandler>), StartError> {
        let applied = applied_membership(&store).map_err(|error| fatal_text(&error))?;
        check_log_reaches_store(options.id, &applied, &wal, &store)?;
        check_version(options.version, &applied)?;
        if options.force_new_cluster {
            force(options.id, &wal, &store, &applied).await?;
        }
        let config = config(&options).validate().map_err(StartError::Config)?;
        let roster = Arc::new(Roster::new(options.id, applied));
        let flights = Arc::new(Flights::new(options.id, options.start));
        let heard = Arc::<Heard>::default();
        let transport: Arc<dyn PeerTransport> = Arc::new(Watched::new(
            Arc::clone(&options.transport),
            Arc::clone(&roster),
            Arc::clone(&heard),
        ));
        let log = LogStore::new(wal.clone(), Arc::clone(&options.write_here));
        let feed = Feed::new();
        let (flying, members) = (Arc::clone(&flights), Arc::clone(&roster));
        let state_machine =
            StateMachine::new(store.clone(), applier, flying, members, feed.clone())
                .telling(Arc::clone(&options.leases));
        let outgoing = Outgoing::new(
            store.clone(),
            Arc::clone(&options.stores),
            options.start,
            options.snapshot_bytes_per_second,
        );
        let outgoing = Arc::new(outgoing);
        let peers = Peers { transport: Arc::clone(&transport), outgoing: Arc::clone(&outgoing) };
        let raft = Raft::new(options.id, Arc::new(config), peers, log.clone(), state_machine)
            .await
            .map_err(fatal)?;
        let parts = Parts {
            raft,
            log,
            roster,
            flights,
            transport,
            feed,
            heard,
            leadership: watch::Sender::default(),
        };
        let (handle, inbound) = parts.assemble(&options, store);
        let house = Housekeeping {
            handle: handle.clone(),
            wal,
            keep: options.keep,
            outgoing,
            stores: Arc::clone(&options.stores),
        };
        handle.begin(options).await?;
        tokio::spawn(house.run());
        Ok((handle, inbound))
    }

    async fn begin(&self, options: RaftOptions) -> Result<(), StartError> {
        tokio::spawn(self.clone().follow_members(options.write_here));
        let flights = Arc::clone(&self.routes.flights);
        tokio::spawn(async move { flights.sweep().await });
        let reconfigurer = Arc::clone(&self.reconfigurer);
        tokio::spawn(async move { reconfigurer.tend().await });
        tokio::spawn(self.clone().watch_disk(options.disk_pending, options.heartbeat_interval));
        self.found(options.founders).await
    }

    async fn found(&self, founders: BTreeMap<MemberId, Member>) -> Result<(), StartError> {
        if !founders.is_empty() {
            match self.raft.initialize(founders).await {
                Ok(()) => {
                    // Others are answered once this member knows who they are.
                    let known = self.raft.wait(None);
                    let known =
                        known.metrics(|m| m.membership_config.nodes().count() > 0, "members");
                    known.await.map_err(|error| StartError::Fatal(error.to_string()))?;
                    return Ok(());
                }
                // There is a log already.
                Err(RaftError::APIError(InitializeError::NotAllowed(_))) => {}
                Err(error) => return Err(StartError::Fatal(error.to_string())),
            }
        }
        let members = self.members();
        let voters: Vec<_> = members.iter().filter(|row| row.voting).map(|row| row.id).collect();
        if voters == [self.id] {
            // A lone voter need not wait for a leader to be silent.
            self.raft.trigger().elect(false).await.map_err(fatal)?;
        }
        Ok(())
    }
}

/// What everything else is made of.
struct Parts {
    raft: Raft,
    log: LogStore,
    roster: Arc<Roster>,
    flights: Arc<Flights>,
    transport: Arc<dyn PeerTransport>,
    feed: Feed,
    heard: Arc<Heard>,
    leadership: watch::Sender<Leadership>,
}

impl Parts {
    fn assemble(self, options: &RaftOptions, store: Store) -> (RaftHandle, Arc<dyn PeerHandler>) {
        let reconfigurer = Arc::new(self.reconfigurer(options));
        let handle = RaftHandle {
            raft: self.raft.clone(),
            store,
            id: options.id,
            version: options.version,
            election_timeout: options.election_timeout,
            term: Arc::default(),
            learner: Arc::default(),
            leadership: self.leadership.subscribe(),
            roster: Arc::clone(&self.roster),
            routes: Arc::new(self.routes(options)),
            index: Arc::new(self.read_index(options)),
            reconfigurer: Arc::clone(&reconfigurer),
            feed: self.feed.clone(),
        };
        let watching = LeadershipWatch {
            raft: self.raft.clone(),
            own: options.id,
            heard: Arc::clone(&self.heard),
            silence_max: options.election_timeout,
            interval: options.heartbeat_interval,
        };
        tokio::spawn(watching.run(self.leadership));
        let inbound = Inbound {
            raft: self.raft,
            log: self.log,
            cluster: options.cluster,
            own: options.id,
            roster: self.roster,
            heard: self.heard,
            reconfigurer,
            incoming: Arc::new(Incoming::new(Arc::clone(&options.stores))),
            leases: Arc::clone(&options.leases),
            logged: Mutex::default(),
        };
        (handle, Arc::new(InboundHandle(Arc::new(inbound))))
    }

    fn reconfigurer(&self, options: &RaftOptions) -> Reconfigurer {
        Reconfigurer {
            raft: self.raft.clone(),
            log: self.log.clone(),
            own: options.id,
            roster: Arc::clone(&self.roster),
            leadership: self.leadership.subscribe(),
            transport: Arc::clone(&self.transport),
            rules: options.changes,
            busy: tokio::sync::Mutex::default(),
            news: tokio::sync::Notify::default(),
        }
    }

    fn read_index(&self, options: &RaftOptions) -> ReadIndex {
        ReadIndex {
            raft: self.raft.clone(),
            own: options.id,
            leadership: self.leadership.subscribe(),
            transport: Arc::clone(&self.transport),
            start: options.start,
            next: AtomicU64::new(0),
            timeout: options.election_timeout,
        }
    }

    fn routes(&self, options: &RaftOptions) -> Routes {
        Routes {
            raft: self.raft.clone(),
            own: options.id,
            flights: Arc::clone(&self.flights),
            leadership: self.leadership.subscribe(),
            transport: Arc::clone(&self.transport),
        }
    }
}

/// A lone voter applies what its own log holds durably, and nothing else. (A member of a larger
/// cluster may have applied what a quorum holds before its own disk did, or have installed a
/// snapshot; Raft sees to both.)
fn check_log_reaches_store(
    id: MemberId,
    membership: &AppliedMembership,
    wal: &Wal,
    store: &Store,
) -> Result<(), StartError> {
    let mut voters = membership.stored.voter_ids();
    let lone = voters.next() == Some(id) && voters.next().is_none();
    let applied = store.applied().map_or(0, |at| at.index.0);
    let log = wal.state();
    let last = log.last.or(log.purged).map_or(0, |at| at.index.0);
    if lone && applied > last {
        return Err(StartError::LogLost { applied, last });
    }
    Ok(())
}

/// A server that is older than its cluster may not know what the cluster does.
fn check_version(own: Version, membership: &AppliedMembership) -> Result<(), StartError> {
    match membership.agreed.version {
        Some(cluster) if !own.may_join(&membership.agreed) => {
            Err(StartError::TooOld { own, cluster })
        }
        _ => Ok(()),
    }
}

fn fatal(error: Fatal<TypeConfig>) -> StartError {
    StartError::Fatal(error.to_string())
}

fn fatal_text(error: &std::io::Error) -> StartError {
    StartError::Fatal(error.to_string())
}

/// openraft waits for its lease, which is the longer bound, and then for a time drawn between the
/// two. With these a leader that is gone is replaced after 0.9 to 1.2 election timeouts, and a vote.
fn config(options: &RaftOptions) -> Config {
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let election = millis(options.election_timeout);
    Config {
        cluster_name: "keelson".to_owned(),
        heartbeat_interval: millis(options.heartbeat_interval),
        election_timeout_min: election * 3 / 10,
        election_timeout_max: election * 6 / 10,
        // What gates the purge is asked for by `Housekeeping`, not counted in entries.
        snapshot_policy: SnapshotPolicy::Never,
        // The log is purged by `Housekeeping`, which counts bytes as well.
        max_in_snapshot_log_to_keep: u64::MAX,
        enable_pre_vote: Some(options.pre_vote),
        // A restarted leader must prove itself by an election: the store may be behind its log.
        enable_leader_restore: Some(false),
        ..Config::default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::version::Agreed;
    use super::*;

    #[test]
    fn a_server_that_is_older_than_its_cluster_does_not_run() {
        let own = Version::new(3, 7, 1);
        let agreed =
            |minor, downgrade| Agreed { version: Some(Version::new(3, minor, 0)), downgrade };
        let check = |agreed| {
            let applied = AppliedMembership { agreed, ..AppliedMembership::default() };
            check_version(own, &applied).is_ok()
        };
        assert!(check(Agreed::default()) && check(agreed(7, None)) && check(agreed(5, None)));
        assert!(!check(agreed(8, None)) && !check(agreed(8, Some(Version::new(3, 6, 0)))));
        assert!(check(agreed(8, Some(Version::new(3, 7, 0)))), "what it is downgraded to");
    }
}
