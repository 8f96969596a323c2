//! `etcd_disk_*` and `etcd_snap_*`: what the log and the store do to the disk.

use prometheus::{Histogram, IntGauge};

use super::families::{Families, doubling};

/// Handles of `etcd_disk_*`.
#[derive(Debug)]
pub struct DiskMetrics {
    /// One sync of the log.
    pub wal_fsync_seconds: Histogram,
    /// One write to the log.
    pub wal_write_seconds: Histogram,
    /// Bytes written to the log since the start. A gauge, as in etcd.
    pub wal_write_bytes: IntGauge,
    /// One write batch of the store.
    pub backend_commit_seconds: Histogram,
    /// One defragmentation.
    pub backend_defrag_seconds: Histogram,
    /// One snapshot sent to a client.
    pub backend_snapshot_seconds: Histogram,
    /// Defragmentations that run.
    pub defrag_inflight: IntGauge,
}

impl DiskMetrics {
    pub(super) fn new(f: &Families<'_>) -> DiskMetrics {
        DiskMetrics {
            wal_fsync_seconds: f.histogram(
                "etcd_disk_wal_fsync_duration_seconds",
                "time of one sync of the log",
                doubling(0.001, 14),
            ),
            wal_write_seconds: f.histogram(
                "etcd_disk_wal_write_duration_seconds",
                "time of one write to the log",
                doubling(0.001, 14),
            ),
            wal_write_bytes: f.gauge("etcd_disk_wal_write_bytes_total", "bytes written to the log"),
            backend_commit_seconds: f.histogram(
                "etcd_disk_backend_commit_duration_seconds",
                "time of one write batch of the store",
                doubling(0.001, 14),
            ),
            backend_defrag_seconds: f.histogram(
                "etcd_disk_backend_defrag_duration_seconds",
                "time of one defragmentation",
                doubling(0.1, 13),
            ),
            backend_snapshot_seconds: f.histogram(
                "etcd_disk_backend_snapshot_duration_seconds",
                "time of one snapshot",
                doubling(0.01, 17),
            ),
            defrag_inflight: f.gauge("etcd_disk_defrag_inflight", "defragmentations that run"),
        }
    }
}
