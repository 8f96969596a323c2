//! Everything that a member is told, one struct for each concern.

use std::path::PathBuf;
use std::time::Duration;

use super::cluster::{ClusterMember, ClusterState};
use super::transport_security::{TlsProtocol, TransportSecurity};
use super::url::Url;

/// All settings of a member. `Config::default()` is what a start without any flag gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Who it is, and its cluster.
    pub member: Member,
    /// How clients reach it.
    pub client: Client,
    /// How other members reach it.
    pub peer: Peer,
    /// Elections and log retention.
    pub raft: Raft,
    /// What a request may be.
    pub limits: Limits,
    /// The engine under it.
    pub storage: Storage,
    /// Automatic compaction.
    pub compaction: Compaction,
    /// Watchers.
    pub watch: Watch,
    /// Tokens and passwords.
    pub security: Security,
    /// What is spoken on secured connections.
    pub tls: TlsProtocol,
    /// Log lines.
    pub logging: Logging,
    /// Metrics.
    pub metrics: Metrics,
}

/// Who a member is, and the cluster it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// `--name`: the member's name; not empty, no `=` or `,`. Default `default`.
    pub name: String,
    /// `--data-dir`: the folder that holds everything. Default `<name>.etcd`.
    pub data_dir: PathBuf,
    /// `--wal-dir`: the folder of the log if it is not inside `data_dir`. Default none.
    pub wal_dir: Option<PathBuf>,
    /// `--initial-cluster`: the members that found the cluster, this one among them. Default this
    /// one alone at its advertised peer URLs.
    pub initial_cluster: Vec<ClusterMember>,
    /// `--initial-cluster-state`. Default new.
    pub initial_cluster_state: ClusterState,
    /// `--initial-cluster-token`: part of the ids. Default `etcd-cluster`.
    pub initial_cluster_token: String,
    /// `--strict-reconfig-check`: refuse membership changes that cost the quorum. Default true.
    pub strict_reconfig_check: bool,
    /// `--force-new-cluster`: this member goes on as the only one of its cluster. Default false.
    pub force_new_cluster: bool,
    /// `--max-learners`: learners in a cluster, 1 to 1000. Default 1.
    pub max_learners: usize,
}

/// How clients reach a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// `--listen-client-urls`: where to bind, at least one; port 0 is any free port. Default
    /// `http://localhost:2379`.
    pub listen_urls: Vec<Url>,
    /// `--advertise-client-urls`: what the member list says. Default `http://localhost:2379`.
    pub advertise_urls: Vec<Url>,
    /// `--listen-client-http-urls`: HTTP apart from gRPC. Default none, and refused for now.
    pub listen_http_urls: Vec<Url>,
    /// `--max-concurrent-streams`: open calls on one connection, at least 1. Default `u32::MAX`.
    pub max_concurrent_streams: u32,
    /// `--grpc-keepalive-min-time`: clients that ping more often are sent away. Default 5 s.
    pub keepalive_min_time: Duration,
    /// `--grpc-keepalive-interval`: silence before the server pings; zero is never. Default 2 h.
    pub keepalive_interval: Duration,
    /// `--grpc-keepalive-timeout`: time for the answer; zero gives up never. Default 20 s.
    pub keepalive_timeout: Duration,
    /// `--socket-reuse-port`. Default false.
    pub reuse_port: bool,
    /// `--socket-reuse-address`. Default false.
    pub reuse_address: bool,
    /// `--enable-grpc-gateway`: serve `/v3/`. Default true.
    pub grpc_gateway: bool,
    /// `--cors`: origins that browsers may call from. Default any.
    pub cors: AllowList,
    /// `--host-whitelist`: `Host` names taken from plain HTTP requests. Default any.
    pub host_whitelist: AllowList,
    /// `--keelson-client-threads`: threads that serve clients, 0 to 1024; 0, the default, is one
    /// for each core.
    pub threads: usize,
    /// Certificates of `https` URLs.
    pub tls: TransportSecurity,
}

/// How other members reach a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// `--listen-peer-urls`, at least one. Default `http://localhost:2380`.
    pub listen_urls: Vec<Url>,
    /// `--initial-advertise-peer-urls`, at least one. Default `http://localhost:2380`.
    pub advertise_urls: Vec<Url>,
    /// `--raft-read-timeout`: silence that ends a connection. Default 5 s.
    pub read_timeout: Duration,
    /// `--raft-write-timeout`: a stuck write that ends a connection. Default 5 s.
    pub write_timeout: Duration,
    /// Certificates of `https` URLs.
    pub tls: TransportSecurity,
}

/// Elections, and how much of the log is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raft {
    /// `--heartbeat-interval`: more than zero. Default 100 ms.
    pub heartbeat_interval: Duration,
    /// `--election-timeout`: 5 heartbeats to 50 s. Default 1 s.
    pub election_timeout: Duration,
    /// `--initial-election-tick-advance`: a sooner first election. Default true.
    pub initial_election_tick_advance: bool,
    /// `--pre-vote`. Default true.
    pub pre_vote: bool,
    /// `--snapshot-count`: applied entries between two snapshots, at least 1. Default 10000.
    pub snapshot_count: u64,
    /// `--snapshot-catchup-entries`: entries kept behind a snapshot. Default 5000.
    pub snapshot_catchup_entries: u64,
}

/// What a request may be, and what is slow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// `--max-txn-ops`: operations in a transaction, 1 to a million. Default 128.
    pub max_txn_ops: usize,
    /// `--max-request-bytes`: an encoded request, 1 byte to 64 MiB. Default 1.5 MiB.
    pub max_request_bytes: usize,
    /// `--quota-backend-bytes`: stored bytes that raise the alarm; `None` is no quota. Default
    /// 2 GiB.
    pub quota_backend_bytes: Option<u64>,
    /// `--warning-apply-duration`: slower applies are logged. Default 100 ms.
    pub warning_apply_duration: Duration,
    /// `--warning-unary-request-duration`: slower requests are logged. Default 300 ms.
    pub warning_unary_request_duration: Duration,
}

/// The engine under a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Storage {
    /// `--keelson-memory-budget-bytes`: write buffers, block cache and metadata cache together,
    /// 64 MiB to 4 TiB. Default 128 MiB.
    pub memory_budget_bytes: u64,
    /// `--keelson-wal-segment-bytes`: one log file, 1 MiB to 4 GiB and at least twice the largest
    /// request. Default 64 MiB.
    pub wal_segment_bytes: u64,
    /// `--keelson-catchup-bytes`: log that is kept for members that lag, where it is more than
    /// `--snapshot-catchup-entries`; up to 4 TiB. Default 256 MiB.
    pub catchup_bytes: u64,
    /// `--keelson-snapshot-bytes-per-second`: how fast snapshots for other members are read and
    /// sent, all together, 64 KiB to 1 TiB. Default 100 MiB.
    pub snapshot_bytes_per_second: u64,
}

/// When history is dropped without being asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AutoCompaction {
    /// Never.
    Off,
    /// What is older than this, more than zero.
    Periodic(Duration),
    /// All but this many revisions, at least one.
    Revision(u64),
}

/// Automatic compaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compaction {
    /// `--auto-compaction-mode` and `--auto-compaction-retention`. Default off, and refused
    /// otherwise for now.
    pub auto: AutoCompaction,
}

/// Watchers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watch {
    /// `--watch-progress-notify-interval`: more than zero. Default 10 min.
    pub progress_notify_interval: Duration,
}

/// Tokens and passwords. Tokens are simple ones, the only kind there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Security {
    /// `--auth-token-ttl`: how long an unused token lives, 1 s to a year. Default 300 s.
    pub auth_token_ttl: Duration,
    /// `--bcrypt-cost`: rounds as a power of two, 4 to 31. Default 10.
    pub bcrypt_cost: u32,
}

/// Least level that is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// Everything.
    Debug,
    /// What an operator wants to know.
    Info,
    /// What may become a problem.
    Warn,
    /// What is one.
    Error,
}

/// Shape of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// Columns for people.
    Console,
}

/// Where log lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogOutput {
    /// `stderr` and `default`.
    Stderr,
    /// `stdout`.
    Stdout,
    /// A path; appended to, made if it is not there.
    File(PathBuf),
}

/// Log lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logging {
    /// `--log-level`. Default info.
    pub level: LogLevel,
    /// `--log-format`. Default JSON.
    pub format: LogFormat,
    /// `--log-outputs`, at least one, none twice. Default stderr.
    pub outputs: Vec<LogOutput>,
}

/// Metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metrics {
    /// `--metrics=extensive`: latency histograms of every RPC. Default false.
    pub extensive: bool,
    /// `--listen-metrics-urls`: further listeners for metrics and health. Default none.
    pub listen_urls: Vec<Url>,
}

/// Names that are let through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AllowList {
    /// `*` or an empty list.
    Any,
    /// Exactly these, without regard to case.
    Only(Vec<String>),
}

impl AllowList {
    /// Reads the parts of a comma list.
    pub fn of(names: &[String]) -> AllowList {
        if names.is_empty() || names.iter().any(|name| name == "*") {
            return AllowList::Any;
        }
        AllowList::Only(names.to_vec())
    }

    /// Whether a name is let through.
    pub fn allows(&self, name: &str) -> bool {
        match self {
            AllowList::Any => true,
            AllowList::Only(names) => names.iter().any(|known| known.eq_ignore_ascii_case(name)),
        }
    }
}
