//! Runs a node from boot to a clean stop.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use keelson_store::Store;
use keelson_store::types::Revision;
use keelson_wal::Wal;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::boot::{BootError, Booted, boot};
use super::bootstrap;
use super::clients::{self, Clients};
use super::compactor::Compactor;
use super::gauges;
use super::identity::Identity;
use super::leases;
use super::peers::{self, PeerListener, Tools};
use super::probe::NodeProbe;
use super::secured::{Listeners, Listening, Secured};
use super::wal_timing::WalTiming;
use crate::config::Config;
use crate::http::HttpState;
use crate::lease::Lessor;
use crate::observe::log::{Log, LogError};
use crate::observe::metrics::Metrics;
use crate::peer::Dialer;
use crate::raft::{RaftHandle, StartError, WriteHere};
use crate::rpc::LeaseRoom;
use crate::tls::TlsError;
use crate::transport;

/// How long the end waits for its last log lines to be written.
const LOG_FLUSH: Duration = Duration::from_millis(200);

/// Threads of one runtime for reads that take long; further ones wait. Each of these reads is a
/// few milliseconds of CPU, or waits for the disk, and holds up to a megabyte.
const BLOCKING_THREADS_MAX: usize = 32;

/// How long a removed member stays; etcd's second.
const REMOVED_GRACE: Duration = Duration::from_secs(1);

/// Why a node ended.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// It did not boot.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// Certificates or keys cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Raft did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// An address cannot be listened on.
    #[error("listening for clients")]
    Listen(#[source] io::Error),
    /// The same for other members.
    #[error("listening for other members")]
    ListenPeers(#[source] io::Error),
    /// The log lines have nowhere to go.
    #[error("logging")]
    Log(#[from] LogError),
    /// The operating system refused a thread or a signal handler.
    #[error("starting")]
    System(#[source] io::Error),
    /// The node can no longer keep its log or its store.
    #[error("stopped, as going on would risk what was acknowledged: {0}")]
    Failed(String),
}

/// Runs a node until SIGTERM or SIGINT.
///
/// # Errors
/// When it cannot start, or must not go on.
pub fn run(config: &Config, notes: &[String]) -> Result<(), NodeError> {
    #[expect(clippy::disallowed_methods, reason = "the node is where clocks are read")]
    let log = Log::open(&config.logging, Arc::new(SystemTime::now))?;
    log.install()?;
    let ended = runtime("main")?.block_on(serve(config, notes, &log));
    if let Err(error) = &ended {
        tracing::error!(error = error_chain(error), "the node ended");
    }
    log.flush(LOG_FLUSH);
    ended
}

fn error_chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source())
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

pub(super) fn runtime(name: &str) -> Result<Runtime, NodeError> {
    let name = name.to_owned();
    Builder::new_current_thread()
        .thread_name(name)
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .enable_all()
        .build()
        .map_err(NodeError::System)
}

async fn serve(config: &Config, notes: &[String], log: &Log) -> Result<(), NodeError> {
    let mut stop_signal = StopSignal::new().map_err(NodeError::System)?;
    for note in notes {
        tracing::warn!(note, "a setting has no effect");
    }
    let secured = Secured::load(config)?;
    let Listeners { clients, metrics, peers } = Listeners::bind(config, &secured)?;
    let dialer = Dialer::new(secured.peers);
    let new = tokio::select! {
        new = bootstrap::new_identity(config, &dialer) => new?,
        () = stop_signal.received() => return Ok(()),
    };
    let node = Node::start(config, new, dialer, peers).await?;
    if let Some(end) = node.recover(config, &mut stop_signal).await? {
        return node.finish(end).await;
    }
    let serving = Serving::start(config, &node, log, clients, metrics)?;
    let end = End::of(&node.raft, &mut stop_signal).await;
    tracing::info!("stopping");
    if matches!(end, End::Asked) {
        // While clients are still served: what arrives meanwhile goes to the next leader.
        node.raft.hand_over().await;
    }
    serving.stop().await;
    node.finish(end).await
}

/// A member among the others, whether or not it serves clients.
struct Node {
    identity: Arc<Identity>,
    metrics: Arc<Metrics>,
    wal: Wal,
    store: Store,
    raft: RaftHandle,
    leases: LeaseRoom,
    peers: PeerListener,
    compactor: Compactor,
    removed: watch::Receiver<Revision>,
}

impl Node {
    /// Opens what is on disk, and takes part in the cluster.
    async fn start(
        config: &Config,
        new: Option<Identity>,
        dialer: Dialer,
        listening: Listening,
    ) -> Result<Self, NodeError> {
        let metrics = Arc::new(Metrics::new(config.metrics.extensive));
        let write_here = Arc::new(WriteHere::default());
        let timing = Arc::new(WalTiming::new(Arc::clone(&metrics), Arc::clone(&write_here)));
        let Booted { identity, founders, wal, stores, store, applier } =
            boot(config, new, Some(Arc::clone(&timing) as _))?;
        let identity = Arc::new(identity);
        let lessor = Lessor::new(leases::lessor_options(config), Arc::clone(&metrics));
        let tools = Tools { dialer, stores, timing, write_here, leases: Arc::clone(&lessor) };
        let options = peers::raft_options(config, &identity, founders, tools);
        let leases = leases::room(config, Arc::clone(&lessor), options.start);
        let (raft, handler) =
            RaftHandle::start(options, wal.clone(), store.clone(), applier).await?;
        let limits = clients::proposer_limits(clients::request_timeout(config));
        lessor.start(raft.clone(), raft.proposer(limits));
        let peers = PeerListener::start(config, &identity, raft.clone(), handler, listening);
        let (compactor, removed) = Compactor::start(store.clone()).map_err(NodeError::System)?;
        Ok(Self { identity, metrics, wal, store, raft, leases, peers, compactor, removed })
    }

    /// Comes to where the cluster is, and is published in it; the end, if that comes first.
    async fn recover(
        &self,
        config: &Config,
        stop_signal: &mut StopSignal,
    ) -> Result<Option<End>, NodeError> {
        let client_urls = bootstrap::text(&config.client.advertise_urls);
        let starting = async {
            self.raft.recovered().await?;
            self.raft.publish(&config.member.name, &client_urls).await?;
            self.raft.version_agreed().await;
            Ok::<_, StartError>(())
        };
        tokio::select! {
            started = starting => started?,
            end = End::of(&self.raft, stop_signal) => return Ok(Some(end)),
        }
        tracing::info!(name = config.member.name, "published local member to cluster through raft");
        Ok(None)
    }

    async fn finish(self, end: End) -> Result<(), NodeError> {
        self.compactor.stop();
        end.finish(&self.raft, &self.wal, self.peers).await
    }
}

/// The listeners of clients and of metrics, at work.
struct Serving {
    stop: watch::Sender<bool>,
    clients: clients::Serving,
    tasks: [JoinHandle<()>; 3],
}

impl Serving {
    fn start(
        config: &Config,
        node: &Node,
        log: &Log,
        (acceptor, connections): Listening,
        (metrics_acceptor, mut metrics_connections): Listening,
    ) -> Result<Self, NodeError> {
        let (stop, stopping) = watch::channel(false);
        let http = Arc::new(http_state(config, node, log));
        let plain = transport::run_plain(
            Arc::clone(&http),
            clients::serve_options(config),
            metrics_connections.remove(0),
            stopping.clone(),
        );
        let clients = Clients {
            identity: Arc::clone(&node.identity),
            raft: node.raft.clone(),
            store: node.store.clone(),
            leases: node.leases.clone(),
            http,
            metrics: Arc::clone(&node.metrics),
            removed: node.removed.clone(),
            stopping: stopping.clone(),
        }
        .start(config, connections)?;
        let shown = acceptor.addresses();
        let tasks = [
            tokio::spawn(plain),
            tokio::spawn(acceptor.run(stopping.clone())),
            tokio::spawn(metrics_acceptor.run(stopping)),
        ];
        tracing::info!(
            member_id = %node.identity.member_id,
            cluster_id = %node.identity.cluster_id,
            addresses = ?shown,
            "ready to serve client requests"
        );
        Ok(Self { stop, clients, tasks })
    }

    async fn stop(self) {
        self.stop.send_replace(true);
        for task in self.tasks {
            if let Err(error) = task.await {
                tracing::error!(%error, "a listener ended in a panic");
            }
        }
        self.clients.join().await;
    }
}

/// What the pages of HTTP are made of; the metrics follow the node from here on.
fn http_state(config: &Config, node: &Node, log: &Log) -> HttpState {
    gauges::follow(
        &node.metrics,
        &node.identity,
        node.raft.clone(),
        node.store.clone(),
        clients::quota_bytes(config),
        log.clone(),
    );
    let probe = NodeProbe {
        identity: Arc::clone(&node.identity),
        raft: node.raft.clone(),
        barrier: node.raft.barrier(clients::request_timeout(config)),
        store: node.store.clone(),
    };
    HttpState {
        probe: Arc::new(probe),
        metrics: Arc::clone(&node.metrics),
        cors: config.client.cors.clone(),
        hosts: config.client.host_whitelist.clone(),
        command_line: std::env::args().collect(),
    }
}

/// Why a node stops.
enum End {
    /// It was told to.
    Asked,
    /// It is no member of the cluster any more.
    Removed,
    /// It must not go on.
    Failed(String),
}

impl End {
    async fn of(raft: &RaftHandle, stop_signal: &mut StopSignal) -> Self {
        tokio::select! {
            () = stop_signal.received() => Self::Asked,
            () = raft.expelled() => Self::Removed,
            reason = raft.stopped() => Self::Failed(reason),
        }
    }

    async fn finish(
        self,
        raft: &RaftHandle,
        wal: &Wal,
        peers: PeerListener,
    ) -> Result<(), NodeError> {
        match self {
            Self::Failed(reason) => return Err(NodeError::Failed(reason)),
            Self::Removed => {
                tracing::warn!("this member has been permanently removed from the cluster");
                // A leader that was removed still has to tell the others so.
                tokio::time::sleep(REMOVED_GRACE).await;
            }
            Self::Asked => {}
        }
        peers.stop().await;
        stop_storage(raft, wal).await
    }
}

/// Stops Raft, then leaves nothing to replay: the next start reads a clean log and a flushed store.
async fn stop_storage(raft: &RaftHandle, wal: &Wal) -> Result<(), NodeError> {
    raft.shutdown().await;
    raft.flush().await;
    wal.close().map_err(BootError::Wal)?;
    tracing::info!("stopped");
    Ok(())
}

/// The signals that ask for a clean stop.
struct StopSignal {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl StopSignal {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn received(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
