//! The client runtimes, each with all that answers requests there. The first one is the node's own
//! runtime, which Raft runs on: what a lone client asks for crosses no thread but the log's. The
//! others have a thread each.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use keelson_store::Store;
use keelson_store::types::Revision;
use tokio::sync::watch;

use super::identity::Identity;
use super::run::{NodeError, runtime};
use crate::config::Config;
use crate::http::HttpState;
use crate::observe::metrics::Metrics;
use crate::raft::{ProposerLimits, RaftHandle};
use crate::rpc::{KvLimits, KvService, LeaseRoom, Router, Services};
use crate::transport::{Connections, ServeOptions, Server};
use crate::watch::{Hub, HubOptions};

/// Commands in one log entry; see [`ProposerLimits`].
const BATCH_COMMANDS_MAX: usize = 1024;

/// Bytes in one log entry: about what one disk sync writes in the time the sync itself takes.
const BATCH_BYTES_MAX: usize = 1 << 20;

/// Commands waiting on one runtime: twenty full entries. Beyond, a client is better told at once.
const PENDING_COMMANDS_MAX: usize = 20 * BATCH_COMMANDS_MAX;

/// Bytes waiting on one runtime; a hundred requests of the largest size.
const PENDING_BYTES_MAX: usize = 160 << 20;

/// etcd's allowance for what wraps a request, in the size that a watch response may have.
const FRAGMENT_OVERHEAD_BYTES: usize = 512 << 10;

/// etcd's `Status` shows this for a quota flag of 0.
const QUOTA_BYTES_DEFAULT: i64 = 2 << 30;

/// What every client runtime gets a handle of.
pub(super) struct Clients {
    pub(super) identity: Arc<Identity>,
    pub(super) raft: RaftHandle,
    pub(super) store: Store,
    pub(super) leases: LeaseRoom,
    pub(super) http: Arc<HttpState>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) removed: watch::Receiver<Revision>,
    pub(super) stopping: watch::Receiver<bool>,
}

/// The client runtimes while they serve.
pub(super) struct Serving {
    here: Option<tokio::task::JoinHandle<()>>,
    threads: Vec<JoinHandle<()>>,
}

impl Serving {
    /// Waits until all have stopped.
    pub(super) async fn join(self) {
        let here = match self.here {
            Some(here) => here.await.is_err(),
            None => false,
        };
        let threads = self.threads;
        let joined = tokio::task::spawn_blocking(move || {
            threads.into_iter().filter_map(|thread| thread.join().err()).count()
        });
        match joined.await {
            Ok(0) if !here => {}
            Ok(threads) => tracing::error!(here, threads, "client runtimes ended in a panic"),
            Err(error) => tracing::error!(%error, "client threads could not be joined"),
        }
    }
}

impl Clients {
    /// Serves the first receiver's connections on the current runtime, and each other's on a
    /// thread with a runtime of its own.
    pub(super) fn start(
        &self,
        config: &Config,
        connections: Vec<Connections>,
    ) -> Result<Serving, NodeError> {
        let mut connections = connections.into_iter().enumerate();
        let here = connections.next().map(|(_, first)| tokio::spawn(self.serve(config, first)));
        let thread = |(number, connections)| self.start_thread(config, number, connections);
        Ok(Serving { here, threads: connections.map(thread).collect::<Result<_, _>>()? })
    }

    fn start_thread(
        &self,
        config: &Config,
        number: usize,
        connections: Connections,
    ) -> Result<JoinHandle<()>, NodeError> {
        let name = format!("client-{number}");
        let runtime = runtime(&name)?;
        let serve = self.serve(config, connections);
        std::thread::Builder::new()
            .name(name)
            .spawn(move || runtime.block_on(serve))
            .map_err(NodeError::System)
    }

    /// Serves connections on whatever runtime this is polled on.
    fn serve(
        &self,
        config: &Config,
        connections: Connections,
    ) -> impl Future<Output = ()> + Send + use<> {
        let timeout = request_timeout(config);
        let (identity, raft, store) =
            (Arc::clone(&self.identity), self.raft.clone(), self.store.clone());
        let (http, metrics) = (Arc::clone(&self.http), Arc::clone(&self.metrics));
        let (removed, stopping) = (self.removed.clone(), self.stopping.clone());
        let (proposer_limits, limits) = (proposer_limits(timeout), kv_limits(config));
        let (options, quota_bytes) = (serve_options(config), quota_bytes(config));
        let watching = (config.watch.progress_notify_interval, config.raft.election_timeout);
        let leases = self.leases.clone();
        async move {
            // On its own runtime, because both start tasks that belong there.
            let proposer = raft.proposer(proposer_limits);
            let barrier = raft.barrier(timeout);
            let fed = raft.feed();
            let kv = KvService { store, proposer, barrier, removed, raft, identity, limits };
            let hub = Hub::new(hub_options(&kv, watching, Arc::clone(&metrics)));
            tokio::spawn(Arc::clone(&hub).run(fed, stopping.clone()));
            tokio::spawn(Arc::clone(&hub).catch_up());
            let router = Router::new(Services { kv, leases, hub, quota_bytes, metrics });
            Server::new(options, router, http).run(connections, stopping).await;
        }
    }
}

fn hub_options(
    kv: &KvService,
    (progress_interval, leader_interval): (Duration, Duration),
    metrics: Arc<Metrics>,
) -> HubOptions {
    let (raft, identity) = (kv.raft.clone(), Arc::clone(&kv.identity));
    let leading = kv.raft.clone();
    HubOptions {
        store: kv.store.clone(),
        header: Box::new(move |revision| identity.header(revision, raft.term())),
        has_leader: Box::new(move || leading.has_leader()),
        leader_interval,
        progress_interval,
        fragment_bytes: kv.limits.request_bytes_max + FRAGMENT_OVERHEAD_BYTES,
        metrics,
    }
}

pub(super) fn proposer_limits(timeout: Duration) -> ProposerLimits {
    ProposerLimits {
        batch_commands_max: BATCH_COMMANDS_MAX,
        batch_bytes_max: BATCH_BYTES_MAX,
        pending_commands_max: PENDING_COMMANDS_MAX,
        pending_bytes_max: PENDING_BYTES_MAX,
        timeout,
    }
}

fn kv_limits(config: &Config) -> KvLimits {
    KvLimits {
        txn_ops_max: config.limits.max_txn_ops,
        request_bytes_max: config.limits.max_request_bytes,
    }
}

pub(super) fn serve_options(config: &Config) -> ServeOptions {
    ServeOptions {
        max_concurrent_streams: config.client.max_concurrent_streams,
        keepalive_interval: config.client.keepalive_interval,
        keepalive_timeout: config.client.keepalive_timeout,
    }
}

/// One runtime for each core unless told otherwise.
pub(super) fn runtimes(config: &Config) -> usize {
    match config.client.threads {
        0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        threads => threads,
    }
}

/// etcd's: what a request may wait for a quorum.
pub(super) fn request_timeout(config: &Config) -> Duration {
    Duration::from_secs(5) + 2 * config.raft.election_timeout
}

pub(super) fn quota_bytes(config: &Config) -> i64 {
    match config.limits.quota_backend_bytes {
        None | Some(0) => QUOTA_BYTES_DEFAULT,
        Some(bytes) => i64::try_from(bytes).unwrap_or(i64::MAX),
    }
}
