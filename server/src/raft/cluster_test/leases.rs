//! Leases among three members, each with a clock of its own that the tests move.

use std::sync::atomic::Ordering;
use std::time::Duration;

use keelson_store::command::{Command, Expiry, LeaseGrant, LeaseRevoke, Put};
use keelson_store::response::Rejection;
use keelson_store::types::{LeaseId, LogIndex, Term};
use tokio::time::Instant;

use super::rig::{BOUND, ELECTION, HEARTBEAT, Node, Three};
use crate::lease::TimeLeft;
use crate::raft::types::MemberId;

const ID: LeaseId = LeaseId(7);

impl Node {
    fn pass(&self, seconds: u64) {
        self.clock.fetch_add(seconds * 1000, Ordering::SeqCst);
    }

    async fn run(&self, command: Command) {
        let proposed = self.proposer.propose(command, 30).await.expect("it is answered");
        proposed.outcome.expect("it is carried out");
    }

    /// Grants a lease and hangs a key on it.
    async fn grant(&self, id: i64, ttl: i64) {
        let id = LeaseId(id);
        self.run(Command::LeaseGrant(LeaseGrant { id, ttl })).await;
        let key = format!("key-{}", id.0).into();
        self.run(Command::Put(Put { key, lease: id, ..Put::default() })).await;
    }

    async fn renew(&self, id: LeaseId) -> Option<i64> {
        let told = self.lessor.ask(&[id], true).await.remove(0).expect("the leader answers");
        told.map(|left| left.granted)
    }

    async fn left(&self, id: LeaseId) -> Option<TimeLeft> {
        self.lessor.ask(&[id], false).await.remove(0).expect("the leader answers")
    }

    fn has_key(&self, id: i64) -> bool {
        self.store.view().get(format!("key-{id}").as_bytes()).unwrap().is_some()
    }
}

/// Waits for what comes with time that nobody need count.
async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < BOUND, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn another_leader(three: &Three, than: MemberId) -> &Node {
    let others: Vec<_> = three.others(than).iter().map(|node| node.id).collect();
    let start = Instant::now();
    loop {
        let leader = three.leader(&others).await;
        if leader.id != than {
            return leader;
        }
        assert!(start.elapsed() < BOUND, "it keeps the lead");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_member_keeps_a_lease_alive_and_time_alone_ends_it() {
    let three = Three::start().await;
    let leader = three.leader(&three.ids()).await;
    for (number, node) in three.nodes.iter().enumerate() {
        node.grant(i64::try_from(number).unwrap() + 1, 60).await;
    }
    for round in 0..5 {
        leader.pass(50);
        for node in &three.nodes {
            for id in [1, 2, 3].map(LeaseId) {
                assert_eq!(node.renew(id).await, Some(60), "round {round}");
                let left = TimeLeft { remaining: 60, granted: 60 };
                assert_eq!(node.left(id).await, Some(left));
            }
            assert_eq!(node.renew(LeaseId(99)).await, None);
            assert_eq!(node.left(LeaseId(99)).await, None);
        }
        // Others' clocks are of no matter.
        three.others(leader.id).iter().for_each(|node| node.pass(100_000));
    }
    leader.pass(59);
    assert_eq!(three.nodes[0].renew(LeaseId(2)).await, Some(60));
    leader.pass(1);
    until("two keys go", || three.nodes.iter().all(|node| !node.has_key(1) && !node.has_key(3)))
        .await;
    for node in &three.nodes {
        assert!(node.has_key(2), "it was renewed");
        assert_eq!(node.renew(LeaseId(1)).await, None);
    }
    assert_eq!(leader.store.view().revision().0, 6, "each at a revision of its own");
}

/// The next leader begins anew: no lease ends before its TTL, and none lives twice that and an
/// election.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_outlives_its_leader() {
    let three = Three::start().await;
    let old = three.leader(&three.ids()).await;
    old.grant(ID.0, 9).await;
    old.pass(8);
    assert_eq!(old.left(ID).await.unwrap().remaining, 1);
    three.net.cut.lock().insert(old.id);
    let new = another_leader(&three, old.id).await;
    let left = new.left(ID).await.expect("it lives");
    assert_eq!(left, TimeLeft { remaining: 9, granted: 9 });
    new.pass(9);
    assert_eq!(new.left(ID).await.expect("and has the election on top").remaining, 0);
    new.clock.fetch_add(u64::try_from(ELECTION.as_millis()).unwrap(), Ordering::SeqCst);
    until("it goes", || !new.has_key(ID.0)).await;
    three.net.cut.lock().clear();
    until("everywhere", || three.nodes.iter().all(|node| !node.has_key(ID.0))).await;
}

/// L1: it was cut off, and does not know what the others have renewed meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_was_cut_off_revokes_nothing() {
    let three = Three::start().await;
    let old = three.leader(&three.ids()).await;
    let term = old.raft.status().term;
    old.grant(ID.0, 60).await;
    let granted = old.store.view().lease(ID).unwrap().unwrap().granted;
    three.net.cut.lock().insert(old.id);
    // Before it can notice. It promises nothing that it cannot keep; and what it proposes of its
    // own is in its log, in its old term.
    let waiting = old.lessor.clone();
    let asked = tokio::spawn(async move { waiting.ask(&[ID], true).await.remove(0) });
    tokio::time::sleep(HEARTBEAT).await;
    old.pass(3600);
    let new = another_leader(&three, old.id).await;
    assert_eq!(new.renew(ID).await, Some(60));
    assert!(!asked.is_finished(), "it does not know that it leads");
    three.net.cut.lock().clear();
    let answer = tokio::time::timeout(BOUND, asked).await.expect("it asks the new one").unwrap();
    assert_eq!(answer.unwrap().map(|left| left.granted), Some(60));
    // And should it come to the new leader by any other way, it counts for nothing.
    for (term, granted, refused) in [
        (term, granted, Rejection::StaleTerm),
        (new.raft.status().term, LogIndex(granted.0 + 1), Rejection::LeaseNotFound),
    ] {
        let expiry = Some(Expiry { term: Term(term), granted });
        let revoke = Command::LeaseRevoke(LeaseRevoke { id: ID, expiry });
        let proposed = old.proposer.propose(revoke, 30).await.unwrap();
        assert_eq!(proposed.outcome, Err(refused));
    }
    assert_eq!(new.renew(ID).await, Some(60));
    assert!(new.has_key(ID.0));
    three.all_at(2).await;
}

/// L2: a renewal that meets the end of its lease is told of the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewal_that_comes_too_late_waits_for_the_end() {
    let three = Three::start().await;
    let leader = three.leader(&three.ids()).await;
    leader.grant(ID.0, 60).await;
    // Nothing is committed for now.
    for follower in three.others(leader.id) {
        follower.stall.set(true);
    }
    leader.pass(60);
    let follower = three.others(leader.id)[0];
    let lessors = [leader.lessor.clone(), follower.lessor.clone()];
    let asked =
        lessors.map(|lessor| tokio::spawn(async move { lessor.ask(&[ID], true).await.remove(0) }));
    assert_eq!(leader.left(ID).await, None, "nothing is left of it");
    assert!(leader.has_key(ID.0), "but it has not been revoked");
    assert!(asked.iter().all(|asked| !asked.is_finished()), "and nobody is told of it");
    for follower in three.others(leader.id) {
        follower.stall.set(false);
    }
    for asked in asked {
        let told = tokio::time::timeout(BOUND, asked).await.expect("they are told").unwrap();
        assert_eq!(told, Ok(None));
    }
    assert!(!leader.has_key(ID.0));
}

/// What is left is noted, so that a change of leaders does not give all of it once more; a renewal
/// takes the note back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_bounds_what_a_new_leader_gives() {
    let three = Three::start().await;
    let old = three.leader(&three.ids()).await;
    old.grant(ID.0, 100).await;
    old.grant(8, 100).await;
    let noted = |node: &Node, id| node.store.view().lease(id).unwrap().unwrap().remaining;
    old.pass(60);
    until("a note", || three.nodes.iter().all(|node| noted(node, ID) == 40)).await;
    assert_eq!(three.others(old.id)[0].renew(LeaseId(8)).await, Some(100));
    assert_eq!(noted(old, LeaseId(8)), 0, "taken back before it was answered");
    three.net.cut.lock().insert(old.id);
    let new = another_leader(&three, old.id).await;
    assert_eq!(new.left(ID).await, Some(TimeLeft { remaining: 40, granted: 100 }));
    assert_eq!(new.left(LeaseId(8)).await, Some(TimeLeft { remaining: 100, granted: 100 }));
    assert_eq!(new.renew(ID).await, Some(100), "the note of the old leader is taken back");
    assert_eq!(noted(new, ID), 0);
}

/// Very many leases in the same second.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn very_many_leases_end_together() {
    const LEASES: i64 = 20_000;
    let three = Three::start().await;
    let leader = three.leader(&three.ids()).await;
    for first in (1..=LEASES).step_by(500) {
        let grants = (first..first + 500).map(|id| leader.grant(id, 60));
        futures_util::future::join_all(grants).await;
    }
    assert_eq!(leader.renew(LeaseId(LEASES)).await, Some(60));
    leader.pass(59);
    let ids: Vec<_> = (1..=LEASES).step_by(2).map(LeaseId).collect();
    let told = leader.lessor.ask(&ids, true).await;
    assert!(told.iter().all(|told| matches!(told, Ok(Some(left)) if left.remaining == 60)));
    leader.pass(1);
    let gone = |node: &Node| {
        let view = node.store.view();
        view.leases(LeaseId(i64::MIN), usize::MAX).unwrap().len() == ids.len()
    };
    until("half of them go", || three.nodes.iter().all(gone)).await;
    for id in [1, 2, LEASES - 1, LEASES] {
        assert_eq!(leader.has_key(id), id % 2 == 1, "{id}");
    }
    three.all_at(1 + LEASES + LEASES / 2).await;
}
