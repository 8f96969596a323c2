//! Runs a node from boot to a clean stop.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use keelson_wal::Wal;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::boot::{BootError, Booted, boot};
use super::bootstrap;
use super::clients::{self, Clients};
use super::compactor::Compactor;
use super::gauges;
use super::peers::{self, PeerListener};
use super::probe::NodeProbe;
use super::wal_timing::WalTiming;
use crate::config::{Config, Url};
use crate::http::HttpState;
use crate::observe::log::{Log, LogError};
use crate::observe::metrics::Metrics;
use crate::raft::{RaftHandle, StartError, WriteHere};
use crate::transport::{self, Acceptor};

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
    let addresses = listen_addresses(&config.client.listen_urls).map_err(NodeError::Listen)?;
    let runtimes = clients::runtimes(config);
    let (acceptor, connections) = Acceptor::bind(&addresses, runtimes, config.client.reuse_port)
        .map_err(NodeError::Listen)?;

    let addresses = listen_addresses(&config.metrics.listen_urls).map_err(NodeError::Listen)?;
    let (metrics_acceptor, mut metrics_connections) =
        Acceptor::bind(&addresses, 1, config.client.reuse_port).map_err(NodeError::Listen)?;

    let addresses = listen_addresses(&config.peer.listen_urls).map_err(NodeError::ListenPeers)?;
    let (peer_acceptor, mut peer_connections) =
        Acceptor::bind(&addresses, 1, config.client.reuse_port).map_err(NodeError::ListenPeers)?;

    let metrics = Arc::new(Metrics::new(config.metrics.extensive));
    let write_here = Arc::new(WriteHere::default());
    let timing = Arc::new(WalTiming::new(Arc::clone(&metrics), Arc::clone(&write_here)));
    let new = tokio::select! {
        new = bootstrap::new_identity(config) => new?,
        () = stop_signal.received() => return Ok(()),
    };
    let Booted { identity, founders, wal, stores, store, applier } =
        boot(config, new, Some(Arc::clone(&timing) as _))?;
    let identity = Arc::new(identity);
    let options = peers::raft_options(config, &identity, founders, stores, timing, write_here);
    let (raft, handler) = RaftHandle::start(options, wal.clone(), store.clone(), applier).await?;
    let peers = PeerListener::start(
        config,
        &identity,
        raft.clone(),
        handler,
        peer_acceptor,
        peer_connections.remove(0),
    );
    let (compactor, removed) = Compactor::start(store.clone()).map_err(NodeError::System)?;

    let client_urls = bootstrap::text(&config.client.advertise_urls);
    let starting = async {
        raft.recovered().await?;
        raft.publish(&config.member.name, &client_urls).await?;
        raft.version_agreed().await;
        Ok::<_, StartError>(())
    };
    let early_end = tokio::select! {
        started = starting => {
            started?;
            None
        }
        end = End::of(&raft, &mut stop_signal) => Some(end),
    };
    if let Some(end) = early_end {
        compactor.stop();
        return end.finish(&raft, &wal, peers).await;
    }
    tracing::info!(name = config.member.name, "published local member to cluster through raft");

    let (stop, stopping) = watch::channel(false);
    gauges::follow(
        &metrics,
        &identity,
        raft.clone(),
        store.clone(),
        clients::quota_bytes(config),
        log.clone(),
    );
    let probe = NodeProbe {
        identity: Arc::clone(&identity),
        raft: raft.clone(),
        barrier: raft.barrier(clients::request_timeout(config)),
        store: store.clone(),
    };
    let http = Arc::new(HttpState {
        probe: Arc::new(probe),
        metrics: Arc::clone(&metrics),
        cors: config.client.cors.clone(),
        hosts: config.client.host_whitelist.clone(),
        command_line: std::env::args().collect(),
    });
    let watching = tokio::spawn(transport::run_plain(
        Arc::clone(&http),
        metrics_connections.remove(0),
        stopping.clone(),
    ));
    let clients = Clients {
        identity: Arc::clone(&identity),
        raft: raft.clone(),
        store: store.clone(),
        http,
        metrics,
        removed,
        stopping: stopping.clone(),
    }
    .start(config, connections)?;
    let shown = acceptor.addresses();
    let accepting = tokio::spawn(acceptor.run(stopping.clone()));
    let metrics_accepting = tokio::spawn(metrics_acceptor.run(stopping));
    tracing::info!(
        member_id = %identity.member_id,
        cluster_id = %identity.cluster_id,
        addresses = ?shown,
        "ready to serve client requests"
    );

    let end = End::of(&raft, &mut stop_signal).await;
    tracing::info!("stopping");
    if matches!(end, End::Asked) {
        // While clients are still served: what arrives meanwhile goes to the next leader.
        raft.hand_over().await;
    }
    stop.send_replace(true);
    for task in [accepting, metrics_accepting, watching] {
        if let Err(error) = task.await {
            tracing::error!(%error, "a listener ended in a panic");
        }
    }
    clients.join().await;
    compactor.stop();
    end.finish(&raft, &wal, peers).await
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

fn listen_addresses(urls: &[Url]) -> io::Result<Vec<SocketAddr>> {
    let address = |url: &Url| {
        url.bind_address().ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, format!("{url} names no address"))
        })
    };
    let mut all = urls.iter().map(address).collect::<io::Result<Vec<_>>>()?;
    all.sort_unstable();
    all.dedup();
    Ok(all)
}
