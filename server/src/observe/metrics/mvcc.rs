//! `etcd_mvcc_*`, `etcd_debugging_mvcc_*` and leases: what is stored, and who watches it.

use prometheus::{Histogram, IntCounter, IntGauge};

use super::families::{Families, doubling};

/// Handles of the store's metrics.
#[derive(Debug)]
pub struct MvccMetrics {
    /// Puts, those in transactions included.
    pub put: IntCounter,
    /// Deletions, those in transactions included.
    pub delete: IntCounter,
    /// Ranges, those in transactions included.
    pub range: IntCounter,
    /// Transactions.
    pub txn: IntCounter,
    /// Read views that are open. Set by a hook.
    pub open_read_transactions: IntGauge,
    /// Bytes that the store takes on disk. Set by a hook.
    pub db_total_size_bytes: IntGauge,
    /// Bytes of these that hold live data. Set by a hook.
    pub db_in_use_bytes: IntGauge,
    /// One hash of everything.
    pub hash_seconds: Histogram,
    /// One hash of a revision.
    pub hash_rev_seconds: Histogram,
    /// Set by a hook.
    pub compact_revision: IntGauge,
    /// Set by a hook.
    pub current_revision: IntGauge,
    /// Keys at the current revision. Set by a hook.
    pub keys: IntGauge,
    /// Bytes of keys and values that were put. A gauge, as in etcd.
    pub total_put_size_bytes: IntGauge,
    /// Versions dropped by compactions.
    pub compacted_keys: IntCounter,
    /// When the last compaction ended, in Unix seconds.
    pub compaction_last: IntGauge,
    /// Pauses that a compaction causes, in milliseconds.
    pub compaction_pause_ms: Histogram,
    /// Whole compactions, in milliseconds.
    pub compaction_total_ms: Histogram,
    /// Events sent to watchers.
    pub events: IntCounter,
    /// Events that wait to be sent.
    pub pending_events: IntGauge,
    /// Watchers behind the current revision.
    pub slow_watchers: IntGauge,
    /// Watch streams.
    pub watch_streams: IntGauge,
    /// Watchers.
    pub watchers: IntGauge,
    /// Leases granted.
    pub leases_granted: IntCounter,
    /// Leases revoked.
    pub leases_revoked: IntCounter,
    /// Keep-alives.
    pub leases_renewed: IntCounter,
    /// Leases that ran out.
    pub leases_expired: IntCounter,
    /// Granted times to live, in seconds.
    pub lease_ttl_seconds: Histogram,
}

impl MvccMetrics {
    pub(super) fn new(f: &Families<'_>) -> MvccMetrics {
        let debugging = |name: &str| format!("etcd_debugging_mvcc_{name}");
        let lease = |name: &str| format!("etcd_debugging_lease_{name}");
        MvccMetrics {
            put: f.counter("etcd_mvcc_put_total", "puts"),
            delete: f.counter("etcd_mvcc_delete_total", "deletions"),
            range: f.counter("etcd_mvcc_range_total", "ranges"),
            txn: f.counter("etcd_mvcc_txn_total", "transactions"),
            open_read_transactions: f
                .gauge("etcd_mvcc_db_open_read_transactions", "read views that are open"),
            db_total_size_bytes: f
                .gauge("etcd_mvcc_db_total_size_in_bytes", "bytes of the store on disk"),
            db_in_use_bytes: f
                .gauge("etcd_mvcc_db_total_size_in_use_in_bytes", "bytes of live data on disk"),
            hash_seconds: f.histogram(
                "etcd_mvcc_hash_duration_seconds",
                "time to hash everything",
                doubling(0.01, 15),
            ),
            hash_rev_seconds: f.histogram(
                "etcd_mvcc_hash_rev_duration_seconds",
                "time to hash a revision",
                doubling(0.01, 15),
            ),
            compact_revision: f.gauge(&debugging("compact_revision"), "compacted revision"),
            current_revision: f.gauge(&debugging("current_revision"), "current revision"),
            keys: f.gauge(&debugging("keys_total"), "keys at the current revision"),
            total_put_size_bytes: f
                .gauge(&debugging("total_put_size_in_bytes"), "bytes of keys and values put"),
            compacted_keys: f
                .counter(&debugging("db_compaction_keys_total"), "versions dropped by compactions"),
            compaction_last: f
                .gauge(&debugging("db_compaction_last"), "end of the last compaction, Unix time"),
            compaction_pause_ms: f.histogram(
                &debugging("db_compaction_pause_duration_milliseconds"),
                "pauses caused by a compaction",
                doubling(1.0, 13),
            ),
            compaction_total_ms: f.histogram(
                &debugging("db_compaction_total_duration_milliseconds"),
                "whole compactions",
                doubling(100.0, 14),
            ),
            events: f.counter(&debugging("events_total"), "events sent to watchers"),
            pending_events: f
                .gauge(&debugging("pending_events_total"), "events that wait to be sent"),
            slow_watchers: f
                .gauge(&debugging("slow_watcher_total"), "watchers behind the current revision"),
            watch_streams: f.gauge(&debugging("watch_stream_total"), "watch streams"),
            watchers: f.gauge(&debugging("watcher_total"), "watchers"),
            leases_granted: f.counter(&lease("granted_total"), "leases granted"),
            leases_revoked: f.counter(&lease("revoked_total"), "leases revoked"),
            leases_renewed: f.counter(&lease("renewed_total"), "keep-alives"),
            leases_expired: f
                .counter("etcd_debugging_server_lease_expired_total", "leases that ran out"),
            lease_ttl_seconds: f.histogram(
                &lease("ttl_total"),
                "granted times to live in seconds",
                doubling(1.0, 24),
            ),
        }
    }
}
