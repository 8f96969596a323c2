//! Members that lag too far for the log.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use keelson_store::types::{LogIndex, Revision};
use tokio::time::Instant;

use super::rig::{BOUND, Node, Three, put, put_value};
use crate::raft::types::MemberId;

/// More than the log keeps.
const SINGLES: usize = 200;

const WRITES: usize = 1_500;

/// With all writes a snapshot takes several pieces.
const VALUE_BYTES: usize = 2 << 10;

async fn write_much(leader: &Node, prefix: &str) {
    let value = Bytes::from(vec![b'v'; VALUE_BYTES]);
    for first in (0..WRITES).step_by(50) {
        let puts = (first..first + 50)
            .map(|n| put_value(&leader.proposer, format!("{prefix}-{n}"), value.clone()));
        futures_util::future::join_all(puts).await;
    }
}

/// Has the leader flush and purge, until its log begins after what `lagging` has.
async fn purge_past(leader: &Node, lagging: &Node) {
    let start = Instant::now();
    loop {
        leader.raft.flush().await;
        let purged = leader.wal.state().purged.map(|at| LogIndex(at.index.0));
        if purged > lagging.store.applied().map(|at| at.index) {
            return;
        }
        assert!(start.elapsed() < BOUND, "the log is not purged: {purged:?}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// Cuts a follower off, and has the others go on until it needs a snapshot.
async fn left_behind(three: &Three) -> (&Node, &Node) {
    let leader = three.leader(&three.ids()).await;
    let lagging = three.others(leader.id)[0];
    put(&lagging.proposer, "before".to_owned()).await;
    three.net.cut.lock().insert(lagging.id);
    // One after the other, each an entry of its own; then enough to fill the log's active file.
    for n in 0..SINGLES {
        put(&leader.proposer, format!("single-{n}")).await;
    }
    write_much(leader, "meanwhile").await;
    purge_past(leader, lagging).await;
    (leader, lagging)
}

fn rejoin(three: &Three, id: MemberId) {
    assert!(three.net.cut.lock().remove(&id));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_behind_the_log_gets_a_snapshot() {
    let three = Three::start().await;
    let (leader, lagging) = left_behind(&three).await;
    let before = lagging.store.view();
    assert_eq!(before.revision(), Revision(2));
    let former = before.hash_kv(Revision(0)).unwrap();
    rejoin(&three, lagging.id);
    let last = leader.store.view().revision().0;
    three.all_at(last).await;
    assert_eq!(three.net.snapshots.load(Ordering::SeqCst), 1);
    assert!(three.net.snapshot_frames.load(Ordering::SeqCst) > 3, "in several pieces");
    // Whoever reads the former state goes on reading it.
    assert_eq!(before.revision(), Revision(2));
    assert_eq!(before.hash_kv(Revision(0)).unwrap(), former);
    let hash = |node: &Node| node.store.view().hash_kv(Revision(last)).unwrap();
    assert_eq!(hash(lagging), hash(leader));
    // It follows again, and its own clients write.
    put(&lagging.proposer, "after".to_owned()).await;
    three.all_at(last + 1).await;
    assert!(lagging.home.path().join("store-1").exists());
}

/// Each break loses the connection; what was received so far does not stand in the way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_may_break_anywhere() {
    let three = Three::start().await;
    let (leader, lagging) = left_behind(&three).await;
    *three.net.snapshots_to_break.lock() = vec![4, 3, 2, 1, 0];
    rejoin(&three, lagging.id);
    let last = leader.store.view().revision().0;
    three.all_at(last).await;
    assert!(three.net.snapshots_to_break.lock().is_empty());
    put(&lagging.proposer, "after".to_owned()).await;
    three.all_at(last + 1).await;
    assert!(!lagging.home.path().join("incoming").exists(), "nothing is left over");
}

/// What follows a snapshot is kept while it travels, or it would be in vain.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_waits_for_a_slow_snapshot() {
    let three = Three::start().await;
    let (leader, lagging) = left_behind(&three).await;
    three.net.snapshots_wait.send_replace(true);
    rejoin(&three, lagging.id);
    let start = Instant::now();
    while three.net.snapshot_frames.load(Ordering::SeqCst) < 3 {
        assert!(start.elapsed() < BOUND, "no snapshot is sent");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    // All members look at their logs once a second: when the other follower has purged its log
    // twice, the leader has looked at its own.
    let other = three.others(leader.id).into_iter().find(|node| node.id != lagging.id).unwrap();
    for part in 0..2 {
        let before = other.wal.state().purged.map(|at| at.index);
        write_much(leader, &format!("late-{part}")).await;
        while other.wal.state().purged.map(|at| at.index) <= before {
            leader.raft.flush().await;
            other.raft.flush().await;
            assert!(start.elapsed() < BOUND, "the log is not purged: {:?}", other.wal.state());
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
    three.net.snapshots_wait.send_replace(false);
    three.all_at(leader.store.view().revision().0).await;
    assert_eq!(three.net.snapshots.load(Ordering::SeqCst), 1, "one was enough");
}
