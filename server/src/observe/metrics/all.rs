//! All metrics of a member, and their text.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::{IntCounter, Registry, TextEncoder};

use super::disk::DiskMetrics;
use super::families::Families;
use super::mvcc::MvccMetrics;
use super::network::NetworkMetrics;
use super::process::ProcessMetrics;
use super::rpc::RpcMetrics;
use super::server::ServerMetrics;

/// Called before metrics are rendered, to set what is a view on some state. It must not wait.
type Hook = Arc<dyn Fn(&Metrics) + Send + Sync>;

/// Handles of everything that is counted, made once and shared behind an `Arc`.
pub struct Metrics {
    /// Leadership, proposals, health, requests.
    pub server: ServerMetrics,
    /// The log and the store on disk.
    pub disk: DiskMetrics,
    /// What is stored, watched and leased.
    pub mvcc: MvccMetrics,
    /// Bytes on client connections.
    pub network: NetworkMetrics,
    /// Calls.
    pub rpc: RpcMetrics,
    /// Log lines that were left out; Keelson's own. Set by a hook or where lines are dropped.
    pub log_lines_dropped: IntCounter,
    process: ProcessMetrics,
    registry: Registry,
    hooks: Mutex<Vec<Hook>>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    /// All at zero. `extensive` adds the latency of every RPC, as `--metrics=extensive`.
    pub fn new(extensive: bool) -> Metrics {
        let registry = Registry::new();
        let families = Families(&registry);
        Metrics {
            server: ServerMetrics::new(&families),
            disk: DiskMetrics::new(&families),
            mvcc: MvccMetrics::new(&families),
            network: NetworkMetrics::new(&families),
            rpc: RpcMetrics::new(&families, extensive),
            log_lines_dropped: families
                .counter("keelson_log_lines_dropped_total", "log lines that found no room"),
            process: ProcessMetrics::new(&families),
            registry,
            hooks: Mutex::default(),
        }
    }

    /// Adds a hook that sets gauges whenever metrics are rendered.
    pub fn on_render(&self, hook: impl Fn(&Metrics) + Send + Sync + 'static) {
        self.hooks.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::new(hook));
    }

    /// The text of `/metrics`.
    pub fn render(&self) -> String {
        let hooks = self.hooks.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for hook in hooks {
            hook(self);
        }
        self.process.refresh();
        let families = self.registry.gather();
        TextEncoder::new().encode_to_string(&families).unwrap_or_else(|error| {
            tracing::error!(%error, "metrics cannot be rendered");
            String::new()
        })
    }
}
