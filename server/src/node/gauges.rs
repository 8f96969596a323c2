//! Metrics that are views on the node's state, set when somebody asks for them.

use std::sync::Arc;

use keelson_store::Store;
use keelson_store::command::KeyRange;

use super::identity::Identity;
use crate::cli::ETCD_VERSION;
use crate::observe::log::Log;
use crate::observe::metrics::Metrics;
use crate::raft::RaftHandle;

/// Has `metrics` follow the node.
pub(super) fn follow(
    metrics: &Metrics,
    identity: &Arc<Identity>,
    raft: RaftHandle,
    store: Store,
    quota_bytes: i64,
    log: Log,
) {
    metrics.server.identify(identity.member_id.0, ETCD_VERSION);
    metrics.server.quota_backend_bytes.set(quota_bytes);
    let id = identity.member_id;
    metrics.on_render(move |metrics| {
        let status = raft.status();
        let number = |index: u64| i64::try_from(index).unwrap_or(i64::MAX);
        let server = &metrics.server;
        if let Some(version) = raft.agreed().version {
            server.set_cluster_version(&version.short());
        }
        server.has_leader.set(i64::from(status.leader.is_some()));
        server.is_leader.set(i64::from(status.leader == Some(id)));
        server.is_learner.set(i64::from(status.is_learner));
        server.proposals_committed.set(number(status.committed_index));
        server.proposals_applied.set(number(status.applied_index));
        raise(&server.leader_changes_seen, raft.leader_changes());
        raise(&metrics.log_lines_dropped, log.dropped());
        state(metrics, &store);
    });
}

fn state(metrics: &Metrics, store: &Store) {
    let view = store.view();
    let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let mvcc = &metrics.mvcc;
    mvcc.current_revision.set(view.revision().0);
    mvcc.compact_revision.set(view.compacted().0);
    mvcc.keys.set(number(view.rows_at_most(&everything())));
    if let Ok(sizes) = store.sizes() {
        mvcc.db_total_size_bytes.set(number(sizes.allocated));
        mvcc.db_in_use_bytes.set(number(sizes.in_use));
    }
    let counted = store.metrics();
    raise(&mvcc.put, counted.puts.get());
    raise(&mvcc.delete, counted.deletes.get());
    raise(&mvcc.range, counted.ranges.get());
    raise(&mvcc.txn, counted.txns.get());
    mvcc.total_put_size_bytes.set(number(counted.written_bytes.get()));
}

fn everything() -> KeyRange {
    KeyRange { key: bytes::Bytes::from_static(b"\0"), end: bytes::Bytes::from_static(b"\0") }
}

/// A counter that somebody else counts.
fn raise(counter: &prometheus::IntCounter, to: u64) {
    counter.inc_by(to.saturating_sub(counter.get()));
}
