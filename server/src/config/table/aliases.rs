//! Names that etcd 3.4 to 3.6 used for what has a plain name or a feature gate now.

use super::super::flag::{Flag, Kind, Section, Support};
use super::{BOOL, DURATION, TEXT, row, uint};

const UINT: Kind = uint(0, u64::MAX);

const fn alias(name: &'static str, kind: Kind, default: &'static str, of: &'static str) -> Flag {
    row(name, kind, default, "older name", Support::Alias(of))
}

const fn gate(name: &'static str, default: &'static str, of: &'static str) -> Flag {
    row(name, BOOL, default, "older form of a feature gate", Support::Gate(of))
}

pub(super) const OLDER_NAMES: Section = Section {
    title: "Older names",
    flags: &[
        alias("experimental-corrupt-check-time", DURATION, "0s", "corrupt-check-time"),
        alias("experimental-compact-hash-check-time", DURATION, "1m", "compact-hash-check-time"),
        alias("experimental-compaction-batch-limit", UINT, "1000", "compaction-batch-limit"),
        alias(
            "experimental-compaction-sleep-interval",
            DURATION,
            "10ms",
            "compaction-sleep-interval",
        ),
        alias(
            "experimental-watch-progress-notify-interval",
            DURATION,
            "10m",
            "watch-progress-notify-interval",
        ),
        alias("experimental-downgrade-check-time", DURATION, "5s", "downgrade-check-time"),
        alias("experimental-warning-apply-duration", DURATION, "100ms", "warning-apply-duration"),
        alias(
            "experimental-warning-unary-request-duration",
            DURATION,
            "300ms",
            "warning-unary-request-duration",
        ),
        alias("experimental-memory-mlock", BOOL, "false", "memory-mlock"),
        alias(
            "experimental-bootstrap-defrag-threshold-megabytes",
            UINT,
            "0",
            "bootstrap-defrag-threshold-megabytes",
        ),
        alias("experimental-max-learners", uint(1, 1_000), "1", "max-learners"),
        alias("experimental-snapshot-catchup-entries", UINT, "5000", "snapshot-catchup-entries"),
        alias(
            "experimental-backend-bbolt-freelist-type",
            Kind::OneOf(&["array", "map"]),
            "map",
            "backend-bbolt-freelist-type",
        ),
        alias(
            "experimental-peer-skip-client-san-verification",
            BOOL,
            "false",
            "peer-skip-client-san-verification",
        ),
        alias(
            "experimental-enable-distributed-tracing",
            BOOL,
            "false",
            "enable-distributed-tracing",
        ),
        alias(
            "experimental-distributed-tracing-address",
            TEXT,
            "localhost:4317",
            "distributed-tracing-address",
        ),
        alias(
            "experimental-distributed-tracing-service-name",
            TEXT,
            "etcd",
            "distributed-tracing-service-name",
        ),
        alias(
            "experimental-distributed-tracing-instance-id",
            TEXT,
            "",
            "distributed-tracing-instance-id",
        ),
        alias(
            "experimental-distributed-tracing-sampling-rate",
            uint(0, 1_000_000),
            "0",
            "distributed-tracing-sampling-rate",
        ),
        gate("experimental-initial-corrupt-check", "false", "InitialCorruptCheck"),
        gate("experimental-compact-hash-check-enabled", "false", "CompactHashCheck"),
        gate("experimental-enable-lease-checkpoint", "false", "LeaseCheckpoint"),
        gate("experimental-enable-lease-checkpoint-persist", "false", "LeaseCheckpointPersist"),
        gate("experimental-stop-grpc-service-on-defrag", "false", "StopGRPCServiceOnDefrag"),
        gate(
            "experimental-txn-mode-write-with-shared-buffer",
            "true",
            "TxnModeWriteWithSharedBuffer",
        ),
        gate("experimental-set-member-localaddr", "false", "SetMemberLocalAddr"),
        row(
            "experimental-wait-cluster-ready-timeout",
            DURATION,
            "5s",
            "time to wait for the cluster before serving",
            Support::Inert("clients are served once the member can answer"),
        ),
    ],
};
