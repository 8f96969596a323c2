//! Plain HTTP on the client port: health, versions, metrics; as etcd answers, where 3.5.1 does.

#![allow(clippy::unwrap_used, reason = "a test may panic and tell")]

mod common;

use common::requests::put;
use common::{HttpResponse, Kind, Request, Server, http_request, send};
use serde_json::Value;

/// The release whose behaviour keelson offers; the one that runs beside it is older.
const VERSION: &str = "3.7.1";

fn ask(server: &Server, method: &str, target: &str) -> HttpResponse {
    http_request(&server.endpoint(), method, target)
}

fn pair() -> (Server, Server) {
    (Server::start(Kind::subject()), Server::etcd())
}

#[test]
fn health_is_as_etcds() {
    let (keelson, etcd) = pair();
    for target in ["/health", "/health?serializable=true", "/health?exclude=NOSPACE"] {
        let (ours, theirs) = (ask(&keelson, "GET", target), ask(&etcd, "GET", target));
        assert_eq!(ours.status, 200, "{target}");
        let parsed: Value = serde_json::from_str(&ours.body).unwrap();
        assert_eq!(parsed, serde_json::from_str::<Value>(&theirs.body).unwrap(), "{target}");
        assert_eq!(parsed["health"], "true");
    }
    for method in ["POST", "PUT", "DELETE"] {
        let (ours, theirs) = (ask(&keelson, method, "/health"), ask(&etcd, method, "/health"));
        assert_eq!((ours.status, theirs.status), (405, 405), "{method}");
        assert_eq!(ours.header("allow"), theirs.header("allow"), "{method}");
    }
}

#[test]
fn version_has_etcds_fields() {
    let (keelson, etcd) = pair();
    let (ours, theirs) = (ask(&keelson, "GET", "/version"), ask(&etcd, "GET", "/version"));
    assert_eq!((ours.status, theirs.status), (200, 200));
    let ours: Value = serde_json::from_str(&ours.body).unwrap();
    let theirs: Value = serde_json::from_str(&theirs.body).unwrap();
    for field in theirs.as_object().unwrap().keys() {
        assert!(ours.get(field).is_some(), "{field} is missing: {ours}");
    }
    assert_eq!(ours["etcdserver"], VERSION);
    assert_eq!(ours["etcdcluster"], "3.7.0");
    assert_eq!(ask(&keelson, "POST", "/version").status, 405);
}

#[test]
fn probes_answer() {
    // 3.5.1 does not have them.
    let server = Server::start(Kind::Keelson);
    for target in ["/livez", "/readyz", "/livez/serializable_read", "/readyz/linearizable_read"] {
        let response = ask(&server, "GET", target);
        assert_eq!((response.status, response.body.as_str()), (200, "ok\n"), "{target}");
    }
    let verbose = ask(&server, "GET", "/readyz?verbose");
    assert_eq!(verbose.status, 200);
    assert!(verbose.body.contains("[+]data_corruption ok\n"), "{}", verbose.body);
    assert!(verbose.body.contains("[+]serializable_read ok\n"), "{}", verbose.body);
    assert!(verbose.body.ends_with("ok\n"), "{}", verbose.body);
    let shorter = ask(&server, "GET", "/readyz?verbose&exclude=data_corruption");
    assert!(!shorter.body.contains("[+]data_corruption ok"), "{}", shorter.body);
    let paths = ["/livez/nonsense", "/nothing"];
    for path in paths {
        assert_eq!(ask(&server, "GET", path).status, 404, "{path}");
    }
}

/// The value of a series, by its name with labels.
fn series(body: &str, name: &str) -> Option<f64> {
    let line =
        body.lines().find(|line| line.strip_prefix(name).is_some_and(|r| r.starts_with(' ')))?;
    line.rsplit(' ').next()?.parse().ok()
}

/// The families of a page, with their types.
fn families(body: &str) -> Vec<(String, String)> {
    let types = body.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let pairs = types.filter_map(|line| line.split_once(' '));
    pairs.map(|(name, kind)| (name.to_owned(), kind.to_owned())).collect()
}

/// What etcd's own alerts and dashboard read, as far as a single member has it.
const USED_BY_ALERTS: [&str; 15] = [
    "etcd_server_has_leader",
    "etcd_server_leader_changes_seen_total",
    "etcd_server_proposals_committed_total",
    "etcd_server_proposals_applied_total",
    "etcd_server_proposals_pending",
    "etcd_server_proposals_failed_total",
    "etcd_server_quota_backend_bytes",
    "etcd_mvcc_db_total_size_in_bytes",
    "etcd_mvcc_db_total_size_in_use_in_bytes",
    "etcd_disk_wal_fsync_duration_seconds",
    "etcd_disk_backend_commit_duration_seconds",
    "etcd_network_client_grpc_received_bytes_total",
    "etcd_network_client_grpc_sent_bytes_total",
    "grpc_server_started_total",
    "process_resident_memory_bytes",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_have_etcds_names_and_types() {
    let (keelson, etcd) = tokio::task::spawn_blocking(pair).await.unwrap();
    for server in [&keelson, &etcd] {
        let client = server.client().await;
        for n in 0..5 {
            send(&client, &Request::Put(put(format!("k{n}"), "v"))).await.unwrap();
        }
    }
    let pages = tokio::task::spawn_blocking(move || {
        let pages = (ask(&keelson, "GET", "/metrics"), ask(&etcd, "GET", "/metrics"));
        drop((keelson, etcd));
        pages
    });
    let (ours, theirs) = pages.await.unwrap();
    assert_eq!((ours.status, theirs.status), (200, 200));
    let content_type = ours.header("content-type").unwrap_or_default();
    assert!(content_type.starts_with("text/plain; version=0.0.4"), "{content_type}");

    let (have, want) = (families(&ours.body), families(&theirs.body));
    let lacking: Vec<_> = USED_BY_ALERTS
        .iter()
        .filter(|name| {
            want.iter().any(|(n, _)| n == *name) && !have.iter().any(|(n, _)| n == *name)
        })
        .collect();
    assert!(lacking.is_empty(), "alerts need {lacking:?}");
    for (name, kind) in &have {
        if let Some((_, etcds)) = want.iter().find(|(n, _)| n == name) {
            assert_eq!(kind, etcds, "the type of {name}");
        }
    }
    assert_eq!(series(&ours.body, "etcd_server_has_leader"), Some(1.0));
    assert_eq!(series(&ours.body, "etcd_server_is_leader"), Some(1.0));
    for name in ["etcd_mvcc_put_total", "etcd_debugging_mvcc_current_revision"] {
        assert_eq!(series(&ours.body, name), series(&theirs.body, name), "{name}");
    }
}
