//! `etcd_server_*` and the cluster version: leadership, proposals, health, requests.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::families::{Families, doubling};

/// Client versions that are told apart; further ones are counted as `other`, because the label
/// comes from the client and must not grow without bound.
const CLIENT_VERSIONS_MAX: usize = 64;
/// Longest client version that becomes a label.
const CLIENT_VERSION_BYTES_MAX: usize = 64;

/// Which health check: the label values of etcd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// `/livez`.
    Livez,
    /// `/readyz`.
    Readyz,
}

impl Health {
    fn label(self) -> &'static str {
        match self {
            Health::Livez => "livez",
            Health::Readyz => "readyz",
        }
    }
}

/// Handles of `etcd_server_*`.
#[derive(Debug)]
pub struct ServerMetrics {
    /// 1 while a leader is known.
    pub has_leader: IntGauge,
    /// 1 while this member leads.
    pub is_leader: IntGauge,
    /// 1 while this member has no vote.
    pub is_learner: IntGauge,
    /// Leaders seen, the first included.
    pub leader_changes_seen: IntCounter,
    /// Heartbeats that could not be sent in time.
    pub heartbeat_send_failures: IntCounter,
    /// Index of the last committed entry.
    pub proposals_committed: IntGauge,
    /// Index of the last applied entry.
    pub proposals_applied: IntGauge,
    /// Proposals waiting for an answer.
    pub proposals_pending: IntGauge,
    /// Proposals that failed.
    pub proposals_failed: IntCounter,
    /// Successful answers of `/health`.
    pub health_success: IntCounter,
    /// Failed answers of `/health`.
    pub health_failures: IntCounter,
    /// Stored bytes that raise the alarm.
    pub quota_backend_bytes: IntGauge,
    /// Read-index rounds that failed.
    pub read_indexes_failed: IntCounter,
    /// Read-index rounds that took long.
    pub slow_read_indexes: IntCounter,
    /// Applies that took long.
    pub slow_apply: IntCounter,
    /// Ranges that succeeded.
    pub range_ok_seconds: Histogram,
    /// Ranges that failed.
    pub range_failed_seconds: Histogram,
    apply_seconds: HistogramVec,
    client_requests: IntCounterVec,
    client_versions: Mutex<BTreeSet<String>>,
    healthcheck: IntGaugeVec,
    healthchecks: IntCounterVec,
    id: IntGaugeVec,
    version: IntGaugeVec,
    cluster_version: IntGaugeVec,
}

impl ServerMetrics {
    pub(super) fn new(f: &Families<'_>) -> ServerMetrics {
        let range = f.histograms(
            "etcd_server_range_duration_seconds",
            "time of one range request",
            doubling(0.0001, 20),
            &["success"],
        );
        ServerMetrics {
            has_leader: f.gauge("etcd_server_has_leader", "1 while a leader is known"),
            is_leader: f.gauge("etcd_server_is_leader", "1 while this member leads"),
            is_learner: f.gauge("etcd_server_is_learner", "1 while this member has no vote"),
            leader_changes_seen: f.counter("etcd_server_leader_changes_seen_total", "leaders seen"),
            heartbeat_send_failures: f.counter(
                "etcd_server_heartbeat_send_failures_total",
                "heartbeats that were not sent in time",
            ),
            proposals_committed: f.gauge(
                "etcd_server_proposals_committed_total",
                "index of the last committed entry",
            ),
            proposals_applied: f
                .gauge("etcd_server_proposals_applied_total", "index of the last applied entry"),
            proposals_pending: f
                .gauge("etcd_server_proposals_pending", "proposals waiting for an answer"),
            proposals_failed: f
                .counter("etcd_server_proposals_failed_total", "proposals that failed"),
            health_success: f.counter("etcd_server_health_success", "health checks that succeeded"),
            health_failures: f.counter("etcd_server_health_failures", "health checks that failed"),
            quota_backend_bytes: f.gauge(
                "etcd_server_quota_backend_bytes",
                "stored bytes that raise the NOSPACE alarm, 0 without quota",
            ),
            read_indexes_failed: f
                .counter("etcd_server_read_indexes_failed_total", "read-index rounds that failed"),
            slow_read_indexes: f
                .counter("etcd_server_slow_read_indexes_total", "read-index rounds that were slow"),
            slow_apply: f.counter("etcd_server_slow_apply_total", "applies that were slow"),
            range_ok_seconds: range.with_label_values(&["true"]),
            range_failed_seconds: range.with_label_values(&["false"]),
            apply_seconds: f.histograms(
                "etcd_server_apply_duration_seconds",
                "time to apply one command",
                doubling(0.0001, 20),
                &["version", "op", "success"],
            ),
            client_requests: f.counters(
                "etcd_server_client_requests_total",
                "requests by kind and client version",
                &["type", "client_api_version"],
            ),
            client_versions: Mutex::default(),
            healthcheck: f.gauges(
                "etcd_server_healthcheck",
                "last result of a health check: 1 is good",
                &["type", "name"],
            ),
            healthchecks: f.counters(
                "etcd_server_healthchecks_total",
                "results of health checks",
                &["type", "name", "status"],
            ),
            id: f.gauges("etcd_server_id", "id of this member, as a label", &["server_id"]),
            version: f.gauges("etcd_server_version", "version, as a label", &["server_version"]),
            cluster_version: f.gauges(
                "etcd_cluster_version",
                "version that the cluster agreed on, as a label",
                &["cluster_version"],
            ),
        }
    }

    /// Time to apply one operation (`Put`, `Range`, `Txn`, ...). Resolve it once per operation.
    pub fn apply_seconds(&self, op: &'static str, success: bool) -> Histogram {
        self.apply_seconds.with_label_values(&["v3", op, if success { "true" } else { "false" }])
    }

    /// Requests of `unary` or `stream` calls from clients of that version (its
    /// `client-api-version` metadata; `unknown` if it has none). Resolve it once per connection.
    pub fn client_requests(&self, kind: &'static str, version: &str) -> IntCounter {
        self.client_requests.with_label_values(&[kind, self.bounded(version)])
    }

    fn bounded<'a>(&self, version: &'a str) -> &'a str {
        const OTHER: &str = "other";
        if version.len() > CLIENT_VERSION_BYTES_MAX {
            return OTHER;
        }
        let mut seen = self.client_versions.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.contains(version) {
            return version;
        }
        if seen.len() >= CLIENT_VERSIONS_MAX {
            return OTHER;
        }
        seen.insert(version.to_owned());
        version
    }

    /// Notes the result of one check of `/livez` or `/readyz`.
    pub fn health_check(&self, health: Health, name: &'static str, good: bool) {
        let kind = health.label();
        self.healthcheck.with_label_values(&[kind, name]).set(i64::from(good));
        let status = if good { "success" } else { "error" };
        self.healthchecks.with_label_values(&[kind, name, status]).inc();
    }

    /// Says who this member is: its id as etcd writes it in logs (hexadecimal) and its version.
    pub fn identify(&self, server_id: u64, server_version: &str) {
        self.id.reset();
        self.id.with_label_values(&[format!("{server_id:x}").as_str()]).set(1);
        self.version.reset();
        self.version.with_label_values(&[server_version]).set(1);
    }

    /// Says which version the cluster agreed on, such as `3.7`.
    pub fn set_cluster_version(&self, version: &str) {
        self.cluster_version.reset();
        self.cluster_version.with_label_values(&[version]).set(1);
    }
}
