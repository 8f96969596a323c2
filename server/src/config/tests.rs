//! The three sources together, the table, and random input.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;

use super::table::{all, find};
use super::*;

fn no_file(_: &Path) -> io::Result<String> {
    Err(io::ErrorKind::NotFound.into())
}

fn load_all(args: &[&str], vars: &[(&str, &str)]) -> Result<Loaded, Rejected> {
    let vars = vars.iter().map(|(k, v)| (k.into(), v.into()));
    load(Sources::new(args.iter().map(OsString::from), vars), &no_file)
}

fn load_file(text: &str, args: &[&str]) -> Result<Loaded, Rejected> {
    let args = ["--config-file", "x.yaml"].iter().chain(args).map(OsString::from);
    load(Sources::new(args, []), &|_| Ok(text.to_owned()))
}

#[track_caller]
fn config(args: &[&str]) -> Config {
    load_all(args, &[]).unwrap_or_else(|e| panic!("{args:?}: {e}")).config
}

fn mistakes(args: &[&str]) -> Vec<String> {
    let rejected = load_all(args, &[]).map_err(|r| r.mistakes).err().unwrap_or_default();
    rejected.iter().map(Mistake::to_string).collect()
}

/// Every flag of etcd 3.7, and the older names of 3.6.
const ETCD_FLAGS: &str = "name data-dir wal-dir listen-peer-urls initial-advertise-peer-urls \
    listen-client-urls advertise-client-urls listen-client-http-urls listen-metrics-urls \
    initial-cluster initial-cluster-state initial-cluster-token heartbeat-interval \
    election-timeout initial-election-tick-advance pre-vote snapshot-count \
    snapshot-catchup-entries max-wals max-snapshots quota-backend-bytes backend-batch-interval \
    backend-batch-limit backend-bbolt-freelist-type max-txn-ops max-request-bytes \
    max-concurrent-streams grpc-keepalive-min-time grpc-keepalive-interval \
    grpc-keepalive-timeout socket-reuse-port socket-reuse-address enable-grpc-gateway \
    raft-read-timeout raft-write-timeout strict-reconfig-check max-learners auto-compaction-mode \
    auto-compaction-retention compaction-batch-limit compaction-sleep-interval \
    watch-progress-notify-interval warning-apply-duration warning-unary-request-duration \
    corrupt-check-time compact-hash-check-time downgrade-check-time \
    bootstrap-defrag-threshold-megabytes memory-mlock unsafe-no-fsync force-new-cluster cert-file \
    key-file trusted-ca-file client-crl-file client-cert-auth auto-tls client-cert-file \
    client-key-file client-cert-allowed-hostname peer-cert-file peer-key-file \
    peer-trusted-ca-file peer-crl-file peer-client-cert-file peer-client-key-file \
    peer-client-cert-auth peer-auto-tls peer-skip-client-san-verification peer-cert-allowed-cn \
    peer-cert-allowed-hostname self-signed-cert-validity cipher-suites tls-min-version \
    tls-max-version cors host-whitelist auth-token auth-token-ttl bcrypt-cost logger log-level \
    log-format log-outputs enable-log-rotation log-rotation-config-json metrics enable-pprof \
    enable-distributed-tracing distributed-tracing-address distributed-tracing-service-name \
    distributed-tracing-instance-id distributed-tracing-sampling-rate discovery-endpoints \
    discovery-token discovery-dial-timeout discovery-request-timeout discovery-keepalive-time \
    discovery-keepalive-timeout discovery-insecure-transport discovery-insecure-skip-tls-verify \
    discovery-cert discovery-key discovery-cacert discovery-user discovery-password discovery-srv \
    discovery-srv-name discovery discovery-fallback discovery-proxy feature-gates version help \
    config-file experimental-initial-corrupt-check experimental-corrupt-check-time \
    experimental-compact-hash-check-enabled experimental-compact-hash-check-time \
    experimental-enable-lease-checkpoint experimental-enable-lease-checkpoint-persist \
    experimental-compaction-batch-limit experimental-compaction-sleep-interval \
    experimental-watch-progress-notify-interval experimental-downgrade-check-time \
    experimental-warning-apply-duration experimental-warning-unary-request-duration \
    experimental-memory-mlock experimental-txn-mode-write-with-shared-buffer \
    experimental-bootstrap-defrag-threshold-megabytes experimental-max-learners \
    experimental-stop-grpc-service-on-defrag experimental-snapshot-catchup-entries \
    experimental-enable-distributed-tracing experimental-peer-skip-client-san-verification";

#[test]
fn the_table_knows_every_flag_of_etcd_once() {
    let missing: Vec<_> = ETCD_FLAGS.split_whitespace().filter(|n| find(n).is_none()).collect();
    assert_eq!(missing, Vec::<&str>::new());
    let names: BTreeSet<_> = all().map(|flag| flag.name).collect();
    assert_eq!(names.len(), all().count(), "a flag has two rows");
    for flag in all() {
        let default = Value::parse(flag.kind, flag.default);
        assert!(default.is_ok(), "default of {}: {default:?}", flag.name);
        if let Support::Alias(of) = flag.support {
            let target = find(of).unwrap();
            assert_eq!(target.kind == Kind::Bool, flag.kind == Kind::Bool, "{}", flag.name);
            assert_eq!(target.default, flag.default, "{}", flag.name);
        }
    }
}

/// Giving each flag its own default changes nothing, whatever its support.
#[test]
fn every_default_given_by_hand_is_the_default() {
    for flag in all().filter(|flag| flag.name != "config-file") {
        let mut args = vec![format!("--{}={}", flag.name, flag.default)];
        if flag.name == "listen-client-urls" {
            args.push("--advertise-client-urls=http://localhost:2379".into());
        }
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        let loaded = load_all(&args, &[]).unwrap_or_else(|e| panic!("{args:?}: {e}"));
        assert_eq!(loaded.config, Config::default(), "{args:?}");
        let aliases = matches!(flag.support, Support::Alias(_) | Support::Gate(_));
        assert_eq!(loaded.notes.len(), usize::from(aliases), "{args:?}: {:?}", loaded.notes);
    }
    assert_eq!(Config::default().validate(), []);
}

/// The bounds in the table must fit the types in `Config`; a misfit would panic here.
#[test]
fn both_ends_of_every_range_are_taken() {
    for flag in all() {
        let Kind::Uint { min, max } = flag.kind else { continue };
        for number in [min, max] {
            let wrong = mistakes(&[&format!("--{}={number}", flag.name)]).join("\n");
            assert!(!wrong.contains("whole number"), "{}: {wrong}", flag.name);
        }
        for number in [min.checked_sub(1), max.checked_add(1)].into_iter().flatten() {
            let wrong = mistakes(&[&format!("--{}={number}", flag.name)]).join("\n");
            assert!(wrong.contains("must be a whole number"), "{}={number}: {wrong}", flag.name);
        }
    }
}

#[test]
fn flags_reach_their_fields() {
    type Look = fn(&Config) -> String;
    let rows: &[(&[&str], Look, &str)] = &[
        (&["--name=a"], |c| format!("{:?}", c.member.data_dir), "\"a.etcd\""),
        (&["--data-dir=/d"], |c| format!("{:?}", c.member.data_dir), "\"/d\""),
        (&["--wal-dir", "/w"], |c| format!("{:?}", c.member.wal_dir), "Some(\"/w\")"),
        (&["--name", "m"], |c| c.member.initial_cluster[0].name.clone(), "m"),
        (
            &["--initial-cluster-state=existing"],
            |c| format!("{:?}", c.member.initial_cluster_state),
            "Existing",
        ),
        (&["--initial-cluster-token=t"], |c| c.member.initial_cluster_token.clone(), "t"),
        (
            &["--strict-reconfig-check=false"],
            |c| c.member.strict_reconfig_check.to_string(),
            "false",
        ),
        (&["--max-learners=3"], |c| c.member.max_learners.to_string(), "3"),
        (&["--experimental-max-learners=3"], |c| c.member.max_learners.to_string(), "3"),
        (&["--max-concurrent-streams=7"], |c| c.client.max_concurrent_streams.to_string(), "7"),
        (&["--grpc-keepalive-min-time=1s"], |c| format!("{:?}", c.client.keepalive_min_time), "1s"),
        (
            &["--grpc-keepalive-interval=0s"],
            |c| format!("{:?}", c.client.keepalive_interval),
            "0ns",
        ),
        (&["--grpc-keepalive-timeout=3s"], |c| format!("{:?}", c.client.keepalive_timeout), "3s"),
        (&["--socket-reuse-port"], |c| c.client.reuse_port.to_string(), "true"),
        (&["--socket-reuse-address"], |c| c.client.reuse_address.to_string(), "true"),
        (&["--enable-grpc-gateway=0"], |c| c.client.grpc_gateway.to_string(), "false"),
        (
            &["--cors=http://a,http://b"],
            |c| format!("{:?}", c.client.cors),
            "Only([\"http://a\", \"http://b\"])",
        ),
        (&["--host-whitelist=h"], |c| format!("{:?}", c.client.host_whitelist), "Only([\"h\"])"),
        (&["--keelson-client-threads=4"], |c| c.client.threads.to_string(), "4"),
        (&["--raft-read-timeout=9s"], |c| format!("{:?}", c.peer.read_timeout), "9s"),
        (&["--raft-write-timeout=9s"], |c| format!("{:?}", c.peer.write_timeout), "9s"),
        (&["--heartbeat-interval=50"], |c| format!("{:?}", c.raft.heartbeat_interval), "50ms"),
        (&["--heartbeat-interval=50ms"], |c| format!("{:?}", c.raft.heartbeat_interval), "50ms"),
        (&["--election-timeout=2000"], |c| format!("{:?}", c.raft.election_timeout), "2s"),
        (
            &["--initial-election-tick-advance=false"],
            |c| c.raft.initial_election_tick_advance.to_string(),
            "false",
        ),
        (&["--pre-vote=f"], |c| c.raft.pre_vote.to_string(), "false"),
        (&["--snapshot-count=5"], |c| c.raft.snapshot_count.to_string(), "5"),
        (&["--snapshot-catchup-entries=6"], |c| c.raft.snapshot_catchup_entries.to_string(), "6"),
        (&["--max-txn-ops=9"], |c| c.limits.max_txn_ops.to_string(), "9"),
        (&["--max-request-bytes=99"], |c| c.limits.max_request_bytes.to_string(), "99"),
        (
            &["--quota-backend-bytes=0"],
            |c| format!("{:?}", c.limits.quota_backend_bytes),
            "Some(2147483648)",
        ),
        (
            &["--quota-backend-bytes=8589934592"],
            |c| format!("{:?}", c.limits.quota_backend_bytes),
            "Some(8589934592)",
        ),
        (
            &["--quota-backend-bytes", "-1"],
            |c| format!("{:?}", c.limits.quota_backend_bytes),
            "None",
        ),
        (
            &["--warning-apply-duration=1s"],
            |c| format!("{:?}", c.limits.warning_apply_duration),
            "1s",
        ),
        (
            &["--warning-unary-request-duration=1s"],
            |c| format!("{:?}", c.limits.warning_unary_request_duration),
            "1s",
        ),
        (
            &["--keelson-memory-budget-bytes=100000000"],
            |c| c.storage.memory_budget_bytes.to_string(),
            "100000000",
        ),
        (
            &["--keelson-wal-segment-bytes=16777216"],
            |c| c.storage.wal_segment_bytes.to_string(),
            "16777216",
        ),
        (&["--auto-compaction-mode=revision"], |c| format!("{:?}", c.compaction.auto), "Off"),
        (
            &["--watch-progress-notify-interval=5s"],
            |c| format!("{:?}", c.watch.progress_notify_interval),
            "5s",
        ),
        (
            &["--experimental-watch-progress-notify-interval=5s"],
            |c| format!("{:?}", c.watch.progress_notify_interval),
            "5s",
        ),
        (&["--auth-token-ttl=60"], |c| format!("{:?}", c.security.auth_token_ttl), "60s"),
        (&["--bcrypt-cost=4"], |c| c.security.bcrypt_cost.to_string(), "4"),
        (&["--log-level=debug"], |c| format!("{:?}", c.logging.level), "Debug"),
        (&["--log-level=panic"], |c| format!("{:?}", c.logging.level), "Error"),
        (&["--log-format=console"], |c| format!("{:?}", c.logging.format), "Console"),
        (
            &["--log-outputs=stdout,default,stderr,/l"],
            |c| format!("{:?}", c.logging.outputs),
            "[Stdout, Stderr, File(\"/l\")]",
        ),
        (&["--metrics=extensive"], |c| c.metrics.extensive.to_string(), "true"),
        (
            &["--listen-metrics-urls=http://127.0.0.1:2381"],
            |c| c.metrics.listen_urls[0].to_string(),
            "http://127.0.0.1:2381",
        ),
    ];
    for (args, look, wanted) in rows {
        assert_eq!(look(&config(args)), *wanted, "{args:?}");
    }
    let fields = Config::default();
    let changed = rows.iter().filter(|(args, ..)| config(args) != fields).count();
    assert_eq!(
        changed,
        rows.len() - 2,
        "all rows but the two that give a default change something"
    );
}

#[test]
fn urls_of_one_member() {
    let config = config(&[
        "--name=infra0",
        "--initial-advertise-peer-urls=http://10.0.1.10:2380",
        "--listen-peer-urls=http://10.0.1.10:2380",
        "--listen-client-urls=http://10.0.1.10:2379,http://127.0.0.1:2379",
        "--advertise-client-urls=http://infra0.example:2379",
        "--initial-cluster=infra0=http://10.0.1.10:2380",
    ]);
    let bound: Vec<_> = config.client.listen_urls.iter().filter_map(Url::bind_address).collect();
    assert_eq!(bound, ["10.0.1.10:2379".parse().unwrap(), "127.0.0.1:2379".parse().unwrap()]);
    assert_eq!(config.client.advertise_urls[0].to_string(), "http://infra0.example:2379");
    assert_eq!(config.member.data_dir, PathBuf::from("infra0.etcd"));
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    for (arg, why) in [
        (
            "--discovery-endpoints=http://x:1",
            "discovery of other members is not supported yet: name them in --initial-cluster",
        ),
        (
            "--discovery-srv=example.org",
            "discovery of other members is not supported yet: name them in --initial-cluster",
        ),
        ("--enable-log-rotation", "log rotation is not supported yet"),
        ("--enable-distributed-tracing", "distributed tracing is not supported yet"),
        (
            "--listen-client-http-urls=http://127.0.0.1:9",
            "a listener for HTTP alone is not supported yet: both share --listen-client-urls",
        ),
        (
            "--listen-peer-urls=unix://s",
            "unix://s: Unix sockets are not supported yet: use http or https",
        ),
        (
            "--listen-metrics-urls=unixs://s",
            "unixs://s: Unix sockets are not supported yet: use http or https",
        ),
        ("--auth-token=jwt,pub-key=a", "JWT tokens are not supported yet: use simple"),
        ("--auth-token=other", "must be \"simple\""),
        (
            "--auto-compaction-retention=1",
            "automatic compaction is not supported yet: leave it at 0",
        ),
        (
            "--auto-compaction-retention=10m",
            "automatic compaction is not supported yet: leave it at 0",
        ),
        (
            "--log-outputs=systemd/journal",
            "systemd/journal is not supported yet: write to stderr, which journald keeps as well",
        ),
    ] {
        let flag = arg.split('=').next().unwrap();
        assert_eq!(mistakes(&[arg]), [format!("{flag}: {why}")], "{arg}");
    }
    for zero in ["0", "0s", "0h", "00"] {
        assert_eq!(mistakes(&[&format!("--auto-compaction-retention={zero}")]), [""; 0], "{zero}");
    }
}

#[test]
fn what_has_no_effect_is_noted() {
    for (arg, note) in [
        (
            "--backend-bbolt-freelist-type=array",
            "--backend-bbolt-freelist-type has no effect: there is no bbolt file here",
        ),
        (
            "--backend-batch-interval=5ms",
            "--backend-batch-interval has no effect: there is no bbolt file here",
        ),
        (
            "--max-wals=9",
            "--max-wals has no effect: log files go as soon as the store has flushed what they hold",
        ),
        (
            "--unsafe-no-fsync",
            "--unsafe-no-fsync has no effect: what is acknowledged is always on disk first",
        ),
        ("--enable-pprof", "--enable-pprof has no effect: there is no Go runtime to profile"),
        (
            "--corrupt-check-time=1h",
            "--corrupt-check-time has no effect: members are not compared with each other yet",
        ),
        (
            "--feature-gates=InitialCorruptCheck=true",
            "feature gate InitialCorruptCheck=true has no effect: members are not compared with each other yet",
        ),
    ] {
        let loaded = load_all(&[arg], &[]).unwrap();
        assert_eq!(loaded.notes, [note]);
        assert_eq!(loaded.config, Config::default());
    }
    let old = load_all(
        &["--experimental-initial-corrupt-check=true", "--experimental-memory-mlock"],
        &[],
    );
    assert_eq!(
        old.unwrap().notes,
        [
            "--experimental-initial-corrupt-check is an older name of --feature-gates",
            "--experimental-memory-mlock is an older name of --memory-mlock",
            "--memory-mlock has no effect: there is no bbolt file here",
            "feature gate InitialCorruptCheck=true has no effect: members are not compared with each other yet",
        ]
    );
}

#[test]
fn all_mistakes_are_found_at_once() {
    let found = mistakes(&[
        "--name=a=b",
        "--listen-client-urls=http://example.org:2379",
        "--election-timeout=60000",
        "--heartbeat-interval=20000",
        "--max-txn-ops=0",
        "--pre-vote=maybe",
        "--listen-peer-urls=nonsense",
        "--log-level=loud",
        "--watch-progress-notify-interval=0s",
        "--keelson-wal-segment-bytes=1048576",
        "--enable-log-rotation",
        "--unheard-of",
    ]);
    assert_eq!(
        found,
        [
            "--unheard-of: unknown flag",
            "--enable-log-rotation: log rotation is not supported yet",
            "--listen-peer-urls: \"nonsense\" is not a URL of the form http://host:port",
            "--log-level: must be one of \"debug\", \"info\", \"warn\", \"error\", \"dpanic\", \"panic\", \"fatal\"; got \"loud\"",
            "--max-txn-ops: must be a whole number from 1 to 1000000; got \"0\"",
            "--pre-vote: must be true or false; got \"maybe\"",
            "--name: must not contain '=', ',' or a zero byte",
            "--listen-client-urls: http://example.org:2379: the host must be an IP address or localhost",
            "--election-timeout: must be at least 5 times --heartbeat-interval; got 60000ms and 20000ms",
            "--election-timeout: must be at most 50000ms; got 60000ms",
            "--keelson-wal-segment-bytes: must be at least 2 times --max-request-bytes, 3145728; got 1048576",
            "--watch-progress-notify-interval: must be more than zero",
            "--listen-client-urls: needs --advertise-client-urls too, so that clients are told how to reach it",
        ]
    );
}

#[test]
fn rules_between_settings() {
    for (args, wanted) in [
        (
            &["--initial-cluster=other=http://localhost:2380"][..],
            "--initial-cluster: does not name this member, \"default\"",
        ),
        (
            &["--initial-cluster=default=http://h:1"],
            "--initial-cluster: gives http://h:1 for \"default\", but --initial-advertise-peer-urls gives http://localhost:2380",
        ),
        (
            &["--initial-cluster=default"],
            "--initial-cluster: \"default\" is not of the form name=url",
        ),
        (
            &["--initial-cluster=default=http://localhost:2380,b=http://localhost:2380"],
            "--initial-cluster: http://localhost:2380 is given to two members",
        ),
        (&["--name="], "--name: must not be empty"),
        (
            &["--election-timeout=499"],
            "--election-timeout: must be at least 5 times --heartbeat-interval; got 499ms and 100ms",
        ),
        (&["--heartbeat-interval=0"], "--heartbeat-interval: must be more than zero"),
        (&["--advertise-client-urls="], "--advertise-client-urls: must name at least one URL"),
        (
            &["--listen-metrics-urls=http://127.0.0.1:2379"],
            "--listen-metrics-urls: 127.0.0.1:2379 is listened on twice",
        ),
        (&["--log-outputs=,"], "--log-outputs: must name at least one output"),
        (
            &["--max-learners=2", "--experimental-max-learners=3"],
            "--experimental-max-learners: is an older name of --max-learners, which is given too: remove it",
        ),
        (
            &["--auto-compaction-retention=x"],
            "--auto-compaction-retention: automatic compaction is not supported yet: leave it at 0",
        ),
        (&["--data-dir=a\0b"], "--data-dir: a path must not contain a zero byte"),
    ] {
        assert_eq!(mistakes(args).first().map(String::as_str), Some(wanted), "{args:?}");
    }
    for args in [&["--election-timeout=500"][..], &["--election-timeout=50000"]] {
        assert_eq!(mistakes(args), [""; 0], "{args:?}");
    }
}

#[test]
fn the_environment_is_read_and_clashes_with_flags() {
    let vars = [
        ("ETCD_NAME", "e"),
        ("ETCD_WAL_DIR", ""),
        ("ETCD_NO_SUCH", "1"),
        ("ETCDCTL_API", "3"),
        ("KEELSON_CLIENT_THREADS", "2"),
    ];
    let loaded = load_all(&[], &vars).unwrap();
    assert_eq!(loaded.config.member.name, "e");
    assert_eq!(loaded.config.client.threads, 2);
    assert_eq!(loaded.notes, ["variable ETCD_NO_SUCH belongs to no flag"]);
    let clash = load_all(&["--name=f"], &vars).unwrap_err();
    assert_eq!(clash.to_string(), "ETCD_NAME: is also given as --name: remove one of them");
    assert_eq!(clash.exit_code(), 1);
    let bad = load_all(&[], &[("ETCD_MAX_TXN_OPS", "many")]).unwrap_err();
    assert_eq!(
        bad.to_string(),
        "ETCD_MAX_TXN_OPS: must be a whole number from 1 to 1000000; got \"many\""
    );
    assert_eq!(bad.exit_code(), 1);
}

#[test]
fn a_file_replaces_all_other_sources() {
    let loaded = load_file(
        "name: f\nwarning-apply-duration: 2000000000\nmade-up: 1\n",
        &["--max-txn-ops=7"],
    );
    let loaded = loaded.unwrap();
    assert_eq!(loaded.config.member.name, "f");
    assert_eq!(loaded.config.limits.max_txn_ops, 128);
    assert_eq!(loaded.config.limits.warning_apply_duration, Duration::from_secs(2));
    assert_eq!(
        loaded.notes,
        [
            "--config-file is given, so these are ignored: --max-txn-ops",
            "key \"made-up\" of the file belongs to no flag",
        ]
    );
    let bad = load_file("name: ''\nclient-transport-security: {cert-file: /c}\n", &[]).unwrap_err();
    assert_eq!(bad.exit_code(), 1);
    assert_eq!(
        bad.mistakes.iter().map(Mistake::to_string).collect::<Vec<_>>(),
        ["--name: must not be empty", "--cert-file: needs --key-file too"]
    );
    let by_env = Sources::new([], [("ETCD_CONFIG_FILE".into(), "x.yaml".into())]);
    let loaded = load(by_env, &|_| Ok("name: g".into())).unwrap();
    assert_eq!(loaded.config.member.name, "g");
}

#[test]
fn tls_of_both_sides() {
    let own = ["--cert-file=/c", "--key-file=/k", "--listen-client-urls=https://127.0.0.1:1"];
    let more = [
        "--advertise-client-urls=https://a:1",
        "--trusted-ca-file=/ca",
        "--client-crl-file=/crl",
        "--client-cert-allowed-hostname=a,b",
        "--cipher-suites=TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305,TLS_AES_128_GCM_SHA256",
        "--tls-max-version=TLS1.2",
        "--listen-peer-urls=https://127.0.0.1:2",
        "--peer-auto-tls",
        "--self-signed-cert-validity=3",
        "--client-cert-file=/unused",
    ];
    let config = config(&[&own[..], &more].concat());
    let client = &config.client.tls;
    assert_eq!(client.cert_file, Some("/c".into()));
    assert_eq!(client.key_file, Some("/k".into()));
    assert_eq!(client.trusted_ca_file, Some("/ca".into()));
    assert_eq!(client.crl_file, Some("/crl".into()));
    assert_eq!(client.allowed_hostname, ["a", "b"]);
    assert_eq!(client.client_cert_file, None, "it has no use");
    assert!(config.peer.tls.auto && !client.auto && !config.peer.tls.skip_client_san_verification);
    assert_eq!(config.tls.cipher_suites, ["TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"]);
    assert_eq!(
        (config.tls.min_version, config.tls.max_version),
        (TlsVersion::Tls12, TlsVersion::Tls12)
    );
    assert_eq!(config.tls.self_signed_years, 3);
}

#[test]
fn tls_that_cannot_work_is_refused() {
    let suites = OFFERED_CIPHER_SUITES.join(", ");
    for (args, expected) in [
        (&["--cert-file=/c"][..], "--cert-file: needs --key-file too".to_owned()),
        (&["--peer-key-file=/k"], "--peer-key-file: needs --peer-cert-file too".to_owned()),
        (
            &["--peer-client-cert-file=/k"],
            "--peer-client-cert-file: needs --peer-client-key-file too".to_owned(),
        ),
        (
            &["--client-cert-auth"],
            "--client-cert-auth: needs --trusted-ca-file, or no certificate is checked".to_owned(),
        ),
        (
            &["--client-crl-file=/c"],
            "--client-crl-file: needs --trusted-ca-file, or no certificate is checked".to_owned(),
        ),
        (
            &["--peer-cert-allowed-cn=a", "--peer-auto-tls"],
            "--peer-cert-allowed-cn: needs --peer-trusted-ca-file, or no certificate is checked"
                .to_owned(),
        ),
        (
            &[
                "--peer-cert-allowed-cn=a",
                "--peer-cert-allowed-hostname=b",
                "--peer-trusted-ca-file=c",
            ],
            "--peer-cert-allowed-cn: excludes --peer-cert-allowed-hostname: give one of them"
                .to_owned(),
        ),
        (
            &["--listen-peer-urls=https://127.0.0.1:9"],
            "--listen-peer-urls: https://127.0.0.1:9 needs --peer-cert-file and --peer-key-file, \
             or --peer-auto-tls"
                .to_owned(),
        ),
        (
            &["--listen-metrics-urls=https://127.0.0.1:9"],
            "--listen-metrics-urls: https://127.0.0.1:9 needs --cert-file and --key-file, or \
             --auto-tls"
                .to_owned(),
        ),
        (
            &["--initial-cluster=default=http://localhost:2380,b=https://127.0.0.1:9"],
            "--initial-cluster: https://127.0.0.1:9 needs --peer-trusted-ca-file, the authorities \
             that other members' certificates are checked against, or --peer-auto-tls"
                .to_owned(),
        ),
        (
            &["--tls-min-version=TLS1.3", "--tls-max-version=TLS1.2"],
            "--tls-max-version: must not be older than --tls-min-version".to_owned(),
        ),
        (
            &["--tls-min-version=TLS1.3", &format!("--cipher-suites={}", OFFERED_CIPHER_SUITES[0])],
            "--cipher-suites: has no meaning for TLS 1.3, which --tls-min-version demands: leave \
             it out"
                .to_owned(),
        ),
        (
            &["--cipher-suites=TLS_RSA_WITH_AES_128_CBC_SHA"],
            format!(
                "--cipher-suites: TLS_RSA_WITH_AES_128_CBC_SHA is not offered, as it has no \
                 forward secrecy or is in CBC mode: leave it out; there are {suites}"
            ),
        ),
        (
            &["--cipher-suites=TLS_ECDHE_RSA_WITH_RC4_128_SHA"],
            format!(
                "--cipher-suites: TLS_ECDHE_RSA_WITH_RC4_128_SHA is broken and not offered: leave \
                 it out; there are {suites}"
            ),
        ),
        (
            &["--cipher-suites=AES"],
            format!(
                "--cipher-suites: \"AES\" is no cipher suite that is known here; there are {suites}"
            ),
        ),
        (&["--key-file=a\0b"], "--key-file: a path must not contain a zero byte".to_owned()),
    ] {
        assert!(mistakes(args).contains(&expected), "{args:?}: {:?}", mistakes(args));
    }
}

fn word() -> impl Strategy<Value = OsString> {
    use std::os::unix::ffi::OsStringExt;
    let names: Vec<&'static str> = all().map(|flag| flag.name).collect();
    let values = [
        "0",
        "-1",
        "18446744073709551615",
        "99999999999999999999h",
        "1h",
        "true",
        "http://[::1]:1",
        "unix://x",
        "a=http://b:1",
        "https://é:9",
        ",",
    ];
    prop_oneof![
        3 => (proptest::sample::select(names.clone()), any::<String>())
            .prop_map(|(name, value)| format!("--{name}={value}").into()),
        3 => (proptest::sample::select(names.clone()), proptest::sample::select(values.to_vec()))
            .prop_map(|(name, value)| format!("--{name}={value}").into()),
        2 => proptest::sample::select(names).prop_map(|name| format!("-{name}").into()),
        1 => any::<String>().prop_map(OsString::from),
        1 => any::<Vec<u8>>().prop_map(OsString::from_vec),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_000) })]

    /// Whatever is given, there is a config that holds its rules, or a mistake is named.
    #[test]
    fn random_arguments_never_panic(args in proptest::collection::vec(word(), 0..12), file in any::<String>()) {
        match load(Sources::new(args, []), &|_| Ok(file.clone())) {
            Ok(loaded) => prop_assert_eq!(loaded.config.validate(), vec![]),
            Err(rejected) => prop_assert!(!rejected.mistakes.is_empty()),
        }
    }

    #[test]
    fn random_files_never_panic(key in "[a-z-]{1,12}|name|socket-options|feature-gates|discovery-config", value in "\\PC{0,20}|[\\[\\]{}&*a:, -]{0,12}") {
        let text = format!("{key}: {value}\n");
        match load_file(&text, &[]) {
            Ok(loaded) => prop_assert_eq!(loaded.config.validate(), vec![]),
            Err(rejected) => prop_assert!(!rejected.mistakes.is_empty()),
        }
    }
}
