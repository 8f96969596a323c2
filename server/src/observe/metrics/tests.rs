//! Names, types, labels and buckets as etcd's dashboards expect them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::*;

/// Family → type, from the text.
fn types(text: &str) -> BTreeMap<&str, &str> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    lines.filter_map(|line| line.split_once(' ')).collect()
}

/// The value of one sample.
#[track_caller]
fn value<'a>(text: &'a str, sample: &str) -> &'a str {
    let found = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    found.unwrap_or_else(|| panic!("{sample} is missing"))
}

#[test]
fn families_have_etcds_names_and_types() {
    let metrics = Metrics::new(false);
    // Families with labels that only appear once they have a value.
    metrics.server.identify(0x8e9e_05c5_2164_694d, "3.7.1");
    metrics.server.set_cluster_version("3.7");
    metrics.server.client_requests("unary", "3.7").inc();
    metrics.server.health_check(Health::Readyz, "data_corruption", true);
    metrics.server.apply_seconds("Put", true).observe(0.1);
    let text = metrics.render();
    let types = types(&text);
    let wanted = "\
        counter: etcd_server_leader_changes_seen_total etcd_server_proposals_failed_total \
        etcd_server_health_success etcd_server_health_failures \
        etcd_server_read_indexes_failed_total etcd_server_slow_read_indexes_total \
        etcd_server_slow_apply_total etcd_server_heartbeat_send_failures_total \
        etcd_server_client_requests_total etcd_server_healthchecks_total \
        etcd_mvcc_put_total etcd_mvcc_delete_total etcd_mvcc_range_total etcd_mvcc_txn_total \
        etcd_debugging_mvcc_db_compaction_keys_total etcd_debugging_mvcc_events_total \
        etcd_network_client_grpc_received_bytes_total etcd_network_client_grpc_sent_bytes_total \
        grpc_server_started_total grpc_server_handled_total grpc_server_msg_received_total \
        grpc_server_msg_sent_total process_cpu_seconds_total \
        etcd_debugging_lease_granted_total etcd_debugging_lease_revoked_total \
        etcd_debugging_lease_renewed_total etcd_debugging_server_lease_expired_total; \
        gauge: etcd_server_has_leader etcd_server_is_leader etcd_server_is_learner etcd_server_id \
        etcd_server_proposals_committed_total etcd_server_proposals_applied_total \
        etcd_server_proposals_pending etcd_server_quota_backend_bytes etcd_server_version \
        etcd_server_healthcheck etcd_cluster_version etcd_disk_wal_write_bytes_total \
        etcd_disk_defrag_inflight etcd_mvcc_db_total_size_in_bytes \
        etcd_mvcc_db_total_size_in_use_in_bytes etcd_mvcc_db_open_read_transactions \
        etcd_debugging_mvcc_compact_revision etcd_debugging_mvcc_current_revision \
        etcd_debugging_mvcc_keys_total etcd_debugging_mvcc_total_put_size_in_bytes \
        etcd_debugging_mvcc_db_compaction_last etcd_debugging_mvcc_pending_events_total \
        etcd_debugging_mvcc_slow_watcher_total etcd_debugging_mvcc_watch_stream_total \
        etcd_debugging_mvcc_watcher_total process_resident_memory_bytes process_open_fds \
        process_max_fds process_start_time_seconds process_virtual_memory_bytes os_fd_limit \
        os_fd_used; \
        histogram: etcd_server_apply_duration_seconds etcd_server_range_duration_seconds \
        etcd_disk_wal_fsync_duration_seconds etcd_disk_wal_write_duration_seconds \
        etcd_disk_backend_commit_duration_seconds etcd_disk_backend_defrag_duration_seconds \
        etcd_disk_backend_snapshot_duration_seconds etcd_mvcc_hash_duration_seconds \
        etcd_mvcc_hash_rev_duration_seconds etcd_debugging_lease_ttl_total \
        etcd_debugging_mvcc_db_compaction_pause_duration_milliseconds \
        etcd_debugging_mvcc_db_compaction_total_duration_milliseconds";
    for group in wanted.split("; ") {
        let (kind, names) = group.trim().split_once(": ").unwrap();
        for name in names.split_whitespace() {
            assert_eq!(types.get(name), Some(&kind), "{name}");
        }
    }
    assert_eq!(value(&text, "etcd_server_id{server_id=\"8e9e05c52164694d\"}"), "1");
    assert_eq!(value(&text, "etcd_server_version{server_version=\"3.7.1\"}"), "1");
    assert_eq!(value(&text, "etcd_cluster_version{cluster_version=\"3.7\"}"), "1");
    let apply =
        "etcd_server_apply_duration_seconds_count{op=\"Put\",success=\"true\",version=\"v3\"}";
    assert_eq!(value(&text, apply), "1");
}

#[test]
fn histograms_have_etcds_buckets() {
    let text = Metrics::new(false).render();
    for (family, buckets, first, last) in [
        ("etcd_disk_wal_fsync_duration_seconds", 14, "0.001", "8.192"),
        ("etcd_disk_wal_write_duration_seconds", 14, "0.001", "8.192"),
        ("etcd_disk_backend_commit_duration_seconds", 14, "0.001", "8.192"),
        ("etcd_disk_backend_defrag_duration_seconds", 13, "0.1", "409.6"),
        ("etcd_disk_backend_snapshot_duration_seconds", 17, "0.01", "655.36"),
        ("etcd_mvcc_hash_duration_seconds", 15, "0.01", "163.84"),
        ("etcd_debugging_mvcc_db_compaction_pause_duration_milliseconds", 13, "1", "4096"),
        ("etcd_debugging_mvcc_db_compaction_total_duration_milliseconds", 14, "100", "819200"),
        ("etcd_debugging_lease_ttl_total", 24, "1", "8388608"),
    ] {
        let prefix = format!("{family}_bucket{{le=\"");
        let bounds: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix(&prefix)?.split('"').next())
            .filter(|bound| *bound != "+Inf")
            .collect();
        assert_eq!(
            (bounds.len(), bounds[0], bounds[bounds.len() - 1]),
            (buckets, first, last),
            "{family}"
        );
    }
    let range = "etcd_server_range_duration_seconds_bucket{success=\"true\",le=\"52.4288\"}";
    assert_eq!(value(&text, range), "0", "20 doubling buckets from 0.1 ms");
}

#[test]
fn every_rpc_starts_at_zero_under_every_code() {
    let metrics = Metrics::new(false);
    let text = metrics.render();
    let count = |prefix: &str| {
        text.lines().filter(|line| line.starts_with(prefix) && line.ends_with(" 0")).count()
    };
    assert_eq!(RPCS.len(), 51, "49 of etcd and 2 of the health service");
    assert_eq!(count("grpc_server_started_total{"), RPCS.len());
    assert_eq!(count("grpc_server_msg_sent_total{"), RPCS.len());
    assert_eq!(count("grpc_server_msg_received_total{"), RPCS.len());
    assert_eq!(count("grpc_server_handled_total{"), RPCS.len() * CODES.len());
    for (path, kind) in [
        ("/etcdserverpb.KV/Put", "unary"),
        ("/etcdserverpb.KV/RangeStream", "server_stream"),
        ("/etcdserverpb.Watch/Watch", "bidi_stream"),
        ("/etcdserverpb.Lease/LeaseKeepAlive", "bidi_stream"),
        ("/etcdserverpb.Maintenance/Snapshot", "server_stream"),
        ("/v3electionpb.Election/Observe", "server_stream"),
        ("/grpc.health.v1.Health/Check", "unary"),
    ] {
        assert_eq!(metrics.rpc.by_path(path).unwrap().def.kind.label(), kind, "{path}");
    }
    assert!(metrics.rpc.by_path("/etcdserverpb.KV/Nope").is_none());
    let paths: BTreeSet<_> = RPCS.iter().map(|def| (def.service, def.method)).collect();
    assert_eq!(paths.len(), RPCS.len(), "an RPC is listed twice");
    assert!(!text.contains("grpc_server_handling_seconds"));
}

#[test]
fn handles_count_under_their_labels() {
    let metrics = Metrics::new(true);
    let put = metrics.rpc.by_path("/etcdserverpb.KV/Put").unwrap();
    put.started.inc();
    put.msg_received.inc();
    put.msg_sent.inc_by(2);
    put.handled(0).inc();
    put.handled(8).inc();
    for odd in [-1, 17, i32::MAX] {
        put.handled(odd).inc();
    }
    put.handling_seconds.as_ref().unwrap().observe(0.001);
    let text = metrics.render();
    let rpc = "grpc_method=\"Put\",grpc_service=\"etcdserverpb.KV\",grpc_type=\"unary\"";
    for (sample, wanted) in [
        (format!("grpc_server_started_total{{{rpc}}}"), "1"),
        (format!("grpc_server_msg_received_total{{{rpc}}}"), "1"),
        (format!("grpc_server_msg_sent_total{{{rpc}}}"), "2"),
        (format!("grpc_server_handled_total{{grpc_code=\"OK\",{rpc}}}"), "1"),
        (format!("grpc_server_handled_total{{grpc_code=\"ResourceExhausted\",{rpc}}}"), "1"),
        (format!("grpc_server_handled_total{{grpc_code=\"Unknown\",{rpc}}}"), "3"),
        (format!("grpc_server_handling_seconds_count{{{rpc}}}"), "1"),
    ] {
        assert_eq!(value(&text, &sample), wanted, "{sample}");
    }
}

#[test]
fn hooks_set_views_when_rendered() {
    let metrics = Metrics::new(false);
    let revision = Arc::new(std::sync::atomic::AtomicI64::new(7));
    let seen = Arc::clone(&revision);
    metrics.on_render(move |metrics| {
        metrics.mvcc.current_revision.set(seen.load(std::sync::atomic::Ordering::Relaxed));
    });
    assert_eq!(value(&metrics.render(), "etcd_debugging_mvcc_current_revision"), "7");
    revision.store(9, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(value(&metrics.render(), "etcd_debugging_mvcc_current_revision"), "9");
}

#[test]
fn labels_from_clients_are_bounded() {
    let metrics = Metrics::new(false);
    for version in 0..1_000 {
        metrics.server.client_requests("unary", &version.to_string()).inc();
    }
    metrics.server.client_requests("unary", &"x".repeat(1_000)).inc();
    metrics.server.client_requests("stream", "3").inc();
    let text = metrics.render();
    let series = text.lines().filter(|line| line.starts_with("etcd_server_client_requests_total{"));
    assert_eq!(series.count(), 64 + 1 + 1);
    let other = "etcd_server_client_requests_total{client_api_version=\"other\",type=\"unary\"}";
    assert_eq!(value(&text, other), "937");
}

#[test]
fn a_member_has_one_identity() {
    let metrics = Metrics::new(false);
    metrics.server.set_cluster_version("3.0");
    metrics.server.set_cluster_version("3.7");
    let text = metrics.render();
    let lines = text.lines().filter(|line| line.starts_with("etcd_cluster_version{"));
    assert_eq!(lines.collect::<Vec<_>>(), ["etcd_cluster_version{cluster_version=\"3.7\"} 1"]);
}

#[test]
fn the_process_is_measured() {
    let text = Metrics::new(false).render();
    for name in [
        "process_resident_memory_bytes",
        "process_open_fds",
        "process_max_fds",
        "process_start_time_seconds",
        "os_fd_used",
    ] {
        let number: f64 = value(&text, name).parse().unwrap();
        assert!(number > 0.0, "{name} is {number}");
    }
}
