//! The other members: what Raft is told about this node, and the listener that they reach it on.

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::clients::request_timeout;
use super::identity::Identity;
use super::secured::Listening;
use super::wal_timing::WalTiming;
use crate::cli::ETCD_VERSION;
use crate::config::Config;
use crate::lease::Lessor;
use crate::peer::{self, Dialer, GrpcTransport, PeerHandler, PeerHttp};
use crate::raft::{
    ChangeRules, LogKeep, Member, MemberId, RaftHandle, RaftOptions, Stores, Version, WriteHere,
};

/// The version of this server, as a number.
pub(super) fn own_version() -> Version {
    Version::parse(ETCD_VERSION).expect("the version is written as one")
}

/// What of this process Raft works with.
pub(super) struct Tools {
    pub(super) dialer: Dialer,
    pub(super) stores: Arc<Stores>,
    pub(super) timing: Arc<WalTiming>,
    pub(super) write_here: Arc<WriteHere>,
    pub(super) leases: Arc<Lessor>,
}

/// What Raft is told.
pub(super) fn raft_options(
    config: &Config,
    identity: &Identity,
    founders: BTreeMap<MemberId, Member>,
    tools: Tools,
) -> RaftOptions {
    let Tools { dialer, stores, timing, write_here, leases } = tools;
    let (cluster, id) = (identity.cluster_id, identity.member_id);
    let election_timeout = config.raft.election_timeout;
    RaftOptions {
        cluster,
        id,
        founders,
        start: RandomState::new().hash_one("keelson start"),
        transport: Arc::new(GrpcTransport::new(cluster, id, dialer, election_timeout)),
        disk_pending: Arc::new(move || timing.pending()),
        leases,
        write_here,
        version: own_version(),
        force_new_cluster: config.member.force_new_cluster,
        changes: ChangeRules {
            strict: config.member.strict_reconfig_check,
            learners_max: config.member.max_learners,
            timeout: request_timeout(config),
            silence_max: election_timeout,
        },
        pre_vote: config.raft.pre_vote,
        heartbeat_interval: config.raft.heartbeat_interval,
        election_timeout,
        keep: LogKeep {
            entries: config.raft.snapshot_catchup_entries,
            bytes: config.storage.catchup_bytes,
        },
        stores,
        snapshot_bytes_per_second: config.storage.snapshot_bytes_per_second,
    }
}

/// The listener at work.
#[derive(Debug)]
pub(super) struct PeerListener {
    stop: watch::Sender<bool>,
    tasks: [JoinHandle<()>; 2],
}

impl PeerListener {
    pub(super) fn start(
        config: &Config,
        identity: &Identity,
        raft: RaftHandle,
        handler: Arc<dyn PeerHandler>,
        (acceptor, mut connections): Listening,
    ) -> Self {
        let (stop, stopping) = watch::channel(false);
        let rows = raft.clone();
        let http = PeerHttp {
            cluster: identity.cluster_id,
            version: ETCD_VERSION,
            agreed: Box::new(move || raft.agreed()),
            members: Box::new(move || {
                let rows = rows.members().into_iter();
                rows.map(|row| (row.id, row.member.clone(), row.is_learner())).collect()
            }),
        };
        let keepalive = config.raft.election_timeout;
        tracing::info!(addresses = ?acceptor.addresses(), "listening for other members");
        let serving = peer::serve(
            handler,
            Arc::new(http),
            keepalive,
            connections.remove(0),
            stopping.clone(),
        );
        let tasks = [tokio::spawn(serving), tokio::spawn(acceptor.run(stopping))];
        Self { stop, tasks }
    }

    /// Ends all connections and stops listening.
    pub(super) async fn stop(self) {
        self.stop.send_replace(true);
        for task in self.tasks {
            if let Err(error) = task.await {
                tracing::error!(%error, "the peer listener ended in a panic");
            }
        }
    }
}
