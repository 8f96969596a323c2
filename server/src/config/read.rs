//! From checked values to the structs of `Config`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::cluster::{self, ClusterMember, ClusterState};
use super::duration;
use super::flag::Flag;
use super::member_config::{
    AllowList, AutoCompaction, Client, Compaction, Config, Limits, LogFormat, LogLevel, LogOutput,
    Logging, Member, Metrics, Peer, Raft, Security, Storage, Watch,
};
use super::mistake::Mistake;
use super::table;
use super::url::Url;
use super::value::{Value, shown};

/// What a quota of 0 stands for, as in etcd.
const QUOTA_DEFAULT_BYTES: u64 = 2 << 30;

/// Values that were given; everything else stands at the default of its row.
#[derive(Debug, Default)]
pub(super) struct Settings {
    given: BTreeMap<&'static str, (Value, String)>,
}

impl Settings {
    pub(super) fn set(&mut self, flag: &'static Flag, value: Value, setting: String) {
        self.given.insert(flag.name, (value, setting));
    }

    pub(super) fn is_set(&self, name: &str) -> bool {
        self.given.contains_key(name)
    }

    /// The setting as the user wrote it, or as a flag.
    pub(super) fn setting(&self, name: &str) -> String {
        self.given.get(name).map_or_else(|| format!("--{name}"), |(_, setting)| setting.clone())
    }

    /// The given value, or the row's default. Names come from this file alone.
    fn value(&self, name: &str) -> Value {
        if let Some((value, _)) = self.given.get(name) {
            return value.clone();
        }
        let flag = table::find(name).expect("only names of the table are asked for");
        Value::parse(flag.kind, flag.default).expect("every default of the table reads")
    }

    pub(super) fn text(&self, name: &str) -> String {
        let Value::Text(text) = self.value(name) else { panic!("{name} is not a text") };
        text
    }

    pub(super) fn bool(&self, name: &str) -> bool {
        let Value::Bool(on) = self.value(name) else { panic!("{name} is not a boolean") };
        on
    }

    pub(super) fn uint<T: TryFrom<u64>>(&self, name: &str) -> T {
        let Value::Uint(number) = self.value(name) else { panic!("{name} is not a number") };
        T::try_from(number).ok().expect("the bounds in the table fit the type")
    }

    fn int(&self, name: &str) -> i64 {
        let Value::Int(number) = self.value(name) else { panic!("{name} is not an integer") };
        number
    }

    fn duration(&self, name: &str) -> Duration {
        let Value::Duration(span) = self.value(name) else { panic!("{name} is not a duration") };
        span
    }

    pub(super) fn list(&self, name: &str) -> Vec<String> {
        let Value::List(parts) = self.value(name) else { panic!("{name} is not a list") };
        parts
    }

    fn urls(&self, name: &str) -> Vec<Url> {
        let Value::Urls(urls) = self.value(name) else { panic!("{name} is not a list of URLs") };
        urls
    }

    /// The whole. What does not read is added to `mistakes` and stands at its default.
    pub(super) fn config(&self, mistakes: &mut Vec<Mistake>) -> Config {
        Config {
            member: self.member(mistakes),
            client: self.client(),
            peer: self.peer(),
            raft: self.raft(),
            limits: self.limits(),
            storage: self.storage(),
            compaction: Compaction { auto: self.auto_compaction(mistakes) },
            watch: Watch {
                progress_notify_interval: self.duration("watch-progress-notify-interval"),
            },
            security: Security {
                auth_token_ttl: Duration::from_secs(self.uint("auth-token-ttl")),
                bcrypt_cost: self.uint("bcrypt-cost"),
            },
            tls: self.tls_protocol(),
            logging: self.logging(),
            metrics: Metrics {
                extensive: self.text("metrics") == "extensive",
                listen_urls: self.urls("listen-metrics-urls"),
            },
        }
    }

    fn member(&self, mistakes: &mut Vec<Mistake>) -> Member {
        let name = self.text("name");
        let data_dir = Some(self.text("data-dir")).filter(|dir| !dir.is_empty());
        Member {
            data_dir: data_dir.unwrap_or_else(|| format!("{name}.etcd")).into(),
            wal_dir: Some(self.text("wal-dir")).filter(|dir| !dir.is_empty()).map(PathBuf::from),
            initial_cluster: self.initial_cluster(&name, mistakes),
            initial_cluster_state: match self.text("initial-cluster-state").as_str() {
                "existing" => ClusterState::Existing,
                _ => ClusterState::New,
            },
            initial_cluster_token: self.text("initial-cluster-token"),
            strict_reconfig_check: self.bool("strict-reconfig-check"),
            force_new_cluster: self.bool("force-new-cluster"),
            max_learners: self.uint("max-learners"),
            name,
        }
    }

    /// As given, or this member alone.
    fn initial_cluster(&self, name: &str, mistakes: &mut Vec<Mistake>) -> Vec<ClusterMember> {
        let read = cluster::parse(&self.text("initial-cluster")).unwrap_or_else(|why| {
            mistakes.push(Mistake::new(self.setting("initial-cluster"), why));
            Vec::new()
        });
        if !read.is_empty() {
            return read;
        }
        let peer_urls = self.urls("initial-advertise-peer-urls");
        vec![ClusterMember { name: name.to_owned(), peer_urls }]
    }

    fn client(&self) -> Client {
        Client {
            listen_urls: self.urls("listen-client-urls"),
            advertise_urls: self.urls("advertise-client-urls"),
            listen_http_urls: self.urls("listen-client-http-urls"),
            max_concurrent_streams: self.uint("max-concurrent-streams"),
            keepalive_min_time: self.duration("grpc-keepalive-min-time"),
            keepalive_interval: self.duration("grpc-keepalive-interval"),
            keepalive_timeout: self.duration("grpc-keepalive-timeout"),
            reuse_port: self.bool("socket-reuse-port"),
            reuse_address: self.bool("socket-reuse-address"),
            grpc_gateway: self.bool("enable-grpc-gateway"),
            cors: AllowList::of(&self.list("cors")),
            host_whitelist: AllowList::of(&self.list("host-whitelist")),
            threads: self.uint("keelson-client-threads"),
            tls: self.client_security(),
        }
    }

    fn peer(&self) -> Peer {
        Peer {
            listen_urls: self.urls("listen-peer-urls"),
            advertise_urls: self.urls("initial-advertise-peer-urls"),
            read_timeout: self.duration("raft-read-timeout"),
            write_timeout: self.duration("raft-write-timeout"),
            tls: self.peer_security(),
        }
    }

    fn raft(&self) -> Raft {
        Raft {
            heartbeat_interval: self.duration("heartbeat-interval"),
            election_timeout: self.duration("election-timeout"),
            initial_election_tick_advance: self.bool("initial-election-tick-advance"),
            pre_vote: self.bool("pre-vote"),
            snapshot_count: self.uint("snapshot-count"),
            snapshot_catchup_entries: self.uint("snapshot-catchup-entries"),
        }
    }

    fn limits(&self) -> Limits {
        Limits {
            max_txn_ops: self.uint("max-txn-ops"),
            max_request_bytes: self.uint("max-request-bytes"),
            quota_backend_bytes: match u64::try_from(self.int("quota-backend-bytes")) {
                Ok(0) => Some(QUOTA_DEFAULT_BYTES),
                Ok(bytes) => Some(bytes),
                Err(_) => None, // negative
            },
            warning_apply_duration: self.duration("warning-apply-duration"),
            warning_unary_request_duration: self.duration("warning-unary-request-duration"),
        }
    }

    fn storage(&self) -> Storage {
        Storage {
            memory_budget_bytes: self.uint("keelson-memory-budget-bytes"),
            wal_segment_bytes: self.uint("keelson-wal-segment-bytes"),
            catchup_bytes: self.uint("keelson-catchup-bytes"),
            snapshot_bytes_per_second: self.uint("keelson-snapshot-bytes-per-second"),
        }
    }

    /// A bare number counts hours in one mode and revisions in the other.
    fn auto_compaction(&self, mistakes: &mut Vec<Mistake>) -> AutoCompaction {
        let text = self.text("auto-compaction-retention");
        let number = text.parse::<u64>().ok();
        let read = match self.text("auto-compaction-mode").as_str() {
            "revision" => number.map(AutoCompaction::Revision),
            _ => match number {
                Some(hours) => hours.checked_mul(3_600).map(Duration::from_secs),
                None => duration::parse(&text).ok(),
            }
            .map(AutoCompaction::Periodic),
        };
        match read {
            Some(AutoCompaction::Revision(0) | AutoCompaction::Periodic(Duration::ZERO)) => {
                AutoCompaction::Off
            }
            Some(auto) => auto,
            None => {
                let why = format!("must be hours, a duration or revisions; got {}", shown(&text));
                let setting = self.setting("auto-compaction-retention");
                mistakes.push(Mistake::new(setting, why));
                AutoCompaction::Off
            }
        }
    }

    fn logging(&self) -> Logging {
        let level = match self.text("log-level").as_str() {
            "debug" => LogLevel::Debug,
            "info" => LogLevel::Info,
            "warn" => LogLevel::Warn,
            _ => LogLevel::Error, // error, and etcd's three levels above it
        };
        let format = match self.text("log-format").as_str() {
            "console" => LogFormat::Console,
            _ => LogFormat::Json,
        };
        let mut outputs: Vec<LogOutput> = Vec::new();
        for name in self.list("log-outputs") {
            let output = match name.as_str() {
                "default" | "stderr" => LogOutput::Stderr,
                "stdout" => LogOutput::Stdout,
                path => LogOutput::File(path.into()),
            };
            if !outputs.contains(&output) {
                outputs.push(output);
            }
        }
        Logging { level, format, outputs }
    }
}

impl Default for Config {
    fn default() -> Config {
        let mut mistakes = Vec::new();
        let config = Settings::default().config(&mut mistakes);
        assert!(mistakes.is_empty(), "the defaults of the table are wrong: {mistakes:?}");
        config
    }
}
