//! Timing, limits, storage, and what the member tells about itself.

use super::super::flag::{Kind, Section, Support};
use super::listen::LISTEN_METRICS;
use super::partly::{auto_compaction, log_outputs};
use super::{BOOL, DURATION, INT, LIST, MILLIS, TEXT, row, uint, used};

const NO_BBOLT: Support = Support::Inert("there is no bbolt file here");
/// Where etcd looks from time to time.
const LOOKS_ALWAYS: Support =
    Support::Inert("the leader looks at the members' versions all the time");

const NO_OTHER_MEMBER: Support = Support::Inert("members are not compared with each other yet");
const TRACING_MISSING: Support = Support::Missing("distributed tracing is not supported yet");
const OWN_PACE: Support =
    Support::Inert("old revisions are dropped by whole files, at their own pace");

pub(super) const RAFT: Section = Section {
    title: "Raft timing",
    flags: &[
        used("heartbeat-interval", MILLIS, "100", "ms between a leader's heartbeats"),
        used(
            "election-timeout",
            MILLIS,
            "1000",
            "ms without a leader before an election; at least 5 heartbeats, at most 50000",
        ),
        used(
            "initial-election-tick-advance",
            BOOL,
            "true",
            "let the first election after a start come sooner",
        ),
        used("pre-vote", BOOL, "true", "ask whether an election can be won before calling it"),
        used(
            "snapshot-count",
            uint(1, u64::MAX),
            "10000",
            "log entries applied between two snapshots",
        ),
        used(
            "snapshot-catchup-entries",
            uint(0, u64::MAX),
            "5000",
            "log entries kept behind a snapshot for slow members",
        ),
    ],
};

pub(super) const LIMITS: Section = Section {
    title: "Limits",
    flags: &[
        used("max-txn-ops", uint(1, 1_000_000), "128", "operations that a transaction may have"),
        used(
            "max-request-bytes",
            uint(1, 64 << 20),
            "1572864",
            "bytes that a request may have, once encoded for the log; at most 64 MiB",
        ),
        used(
            "quota-backend-bytes",
            INT,
            "0",
            "stored bytes that raise the NOSPACE alarm; 0: 2 GiB, negative: no quota",
        ),
        used("warning-apply-duration", DURATION, "100ms", "applying for longer is logged"),
        used(
            "warning-unary-request-duration",
            DURATION,
            "300ms",
            "requests that take longer are logged",
        ),
    ],
};

pub(super) const STORAGE: Section = Section {
    title: "Storage",
    flags: &[
        row("backend-batch-interval", DURATION, "0s", "time between bbolt commits", NO_BBOLT),
        row("backend-batch-limit", uint(0, u64::MAX), "0", "writes in a commit", NO_BBOLT),
        row(
            "backend-bbolt-freelist-type",
            Kind::OneOf(&["array", "map"]),
            "map",
            "how bbolt keeps its free pages",
            NO_BBOLT,
        ),
        row(
            "bootstrap-defrag-threshold-megabytes",
            uint(0, u64::MAX),
            "0",
            "free space that triggers a defragmentation at start",
            NO_BBOLT,
        ),
        row("memory-mlock", BOOL, "false", "lock the bbolt file in memory", NO_BBOLT),
        row(
            "unsafe-no-fsync",
            BOOL,
            "false",
            "skip fsync",
            Support::Inert("what is acknowledged is always on disk first"),
        ),
        row(
            "max-wals",
            uint(0, u64::MAX),
            "5",
            "log files kept",
            Support::Inert("log files go as soon as the store has flushed what they hold"),
        ),
        row(
            "max-snapshots",
            uint(0, u64::MAX),
            "5",
            "snapshot files kept",
            Support::Inert("snapshots go as soon as nothing needs them"),
        ),
    ],
};

pub(super) const COMPACTION: Section = Section {
    title: "Compaction",
    flags: &[
        used(
            "auto-compaction-mode",
            Kind::OneOf(&["periodic", "revision"]),
            "periodic",
            "what --auto-compaction-retention counts: periodic, revision",
        ),
        row(
            "auto-compaction-retention",
            TEXT,
            "0",
            "history kept: hours or a duration, or revisions; 0: all (the only value yet)",
            Support::Partly(auto_compaction),
        ),
        row("compaction-batch-limit", uint(0, u64::MAX), "1000", "revisions in a step", OWN_PACE),
        row("compaction-sleep-interval", DURATION, "10ms", "pause between steps", OWN_PACE),
    ],
};

pub(super) const WATCH: Section = Section {
    title: "Watch",
    flags: &[used(
        "watch-progress-notify-interval",
        DURATION,
        "10m",
        "time between the progress notes of an idle watch",
    )],
};

pub(super) const LOGGING: Section = Section {
    title: "Logging",
    flags: &[
        used("logger", Kind::OneOf(&["zap"]), "zap", "shape of log lines: zap, as etcd's"),
        used(
            "log-level",
            Kind::OneOf(&["debug", "info", "warn", "error", "dpanic", "panic", "fatal"]),
            "info",
            "least level that is logged: debug, info, warn, error",
        ),
        used("log-format", Kind::OneOf(&["json", "console"]), "json", "json or console"),
        row(
            "log-outputs",
            LIST,
            "default",
            "stderr, stdout, default (stderr), or paths of files, with commas",
            Support::Partly(log_outputs),
        ),
        row(
            "enable-log-rotation",
            BOOL,
            "false",
            "rotate log files",
            Support::Missing("log rotation is not supported yet"),
        ),
        row(
            "log-rotation-config-json",
            TEXT,
            "{\"maxsize\": 100, \"maxage\": 0, \"maxbackups\": 0, \"localtime\": false, \
             \"compress\": false}",
            "how log files are rotated",
            Support::Inert("log files are not rotated"),
        ),
    ],
};

pub(super) const METRICS: Section = Section {
    title: "Metrics and tracing",
    flags: &[
        used(
            "metrics",
            Kind::OneOf(&["basic", "extensive"]),
            "basic",
            "basic, or extensive, which adds the latency of every RPC",
        ),
        LISTEN_METRICS,
        row(
            "enable-pprof",
            BOOL,
            "false",
            "serve /debug/pprof/",
            Support::Inert("there is no Go runtime to profile"),
        ),
        row("enable-distributed-tracing", BOOL, "false", "send traces", TRACING_MISSING),
        row(
            "distributed-tracing-address",
            TEXT,
            "localhost:4317",
            "collector of traces",
            TRACING_MISSING,
        ),
        row("distributed-tracing-service-name", TEXT, "etcd", "name there", TRACING_MISSING),
        row("distributed-tracing-instance-id", TEXT, "", "id there", TRACING_MISSING),
        row(
            "distributed-tracing-sampling-rate",
            uint(0, 1_000_000),
            "0",
            "traces per million requests",
            TRACING_MISSING,
        ),
    ],
};

pub(super) const CHECKS: Section = Section {
    title: "Checks between members, feature gates",
    flags: &[
        row("corrupt-check-time", DURATION, "0s", "time between data checks", NO_OTHER_MEMBER),
        row("compact-hash-check-time", DURATION, "1m", "time between hash checks", NO_OTHER_MEMBER),
        row("downgrade-check-time", DURATION, "5s", "time between checks", LOOKS_ALWAYS),
        used("feature-gates", TEXT, "", "features to turn on or off: Name=true,..."),
    ],
};

pub(super) const KEELSON: Section = Section {
    title: "Keelson's own (variables: KEELSON_..., without ETCD_)",
    flags: &[
        used(
            "keelson-memory-budget-bytes",
            uint(64 << 20, 1 << 42),
            "134217728",
            "memory shared by write buffers, block cache and metadata cache; 64 MiB to 4 TiB",
        ),
        used(
            "keelson-client-threads",
            uint(0, 1_024),
            "0",
            "threads that serve clients; 0: one for each core",
        ),
        used(
            "keelson-wal-segment-bytes",
            uint(1 << 20, 1 << 32),
            "67108864",
            "size of a log file; 1 MiB to 4 GiB, at least twice --max-request-bytes",
        ),
        used(
            "keelson-catchup-bytes",
            uint(0, 1 << 42),
            "268435456",
            "log kept for members that lag, beyond --snapshot-catchup-entries; up to 4 TiB",
        ),
        used(
            "keelson-snapshot-bytes-per-second",
            uint(1 << 16, 1 << 40),
            "104857600",
            "pace of snapshots for members the log no longer reaches; 64 KiB to 1 TiB",
        ),
    ],
};
