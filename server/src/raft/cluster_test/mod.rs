//! Three members in one process, and what becomes of messages, disks and leaders.

mod leases;
mod rig;
mod snapshots;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use keelson_store::types::Revision;
use openraft::raft::VoteRequest;
use tokio::time::Instant;

use super::change::Change;
use super::change_wire;
use super::codec;
use super::read_index::{Miss, confirm};
use super::types::{ClusterId, MemberId, ProposalId, Vote};
use super::version::{Agreed, Version};
use super::wire::{self, ReadId};
use crate::peer::{Call, Envelope, Refusal};
use rig::{BOUND, CLUSTER, ELECTION, HEARTBEAT, Net, Node, REQUEST, Three, node, put};

/// What was forwarded is answered by its own entry, whatever becomes of the leader's word.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_gets_lost_costs_nothing() {
    let three = Three::start().await;
    let leader = three.leader(&three.ids()).await.id;
    let follower = three.others(leader)[0];
    three.net.answers_to_lose.store(50, Ordering::SeqCst);
    for n in 0..50 {
        put(&follower.proposer, format!("key-{n}")).await;
        assert_eq!(follower.store.view().revision(), Revision(n + 2), "it reads what it wrote");
    }
    assert_eq!(three.net.answers_to_lose.load(Ordering::SeqCst), 0, "all of them were lost");
    three.all_at(51).await;
}

/// Everybody writes while the lead goes round: nothing fails, nothing is applied twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_follow_the_leader() {
    let three = Three::start().await;
    let done = Arc::new(AtomicUsize::new(0));
    let moved = Arc::new(AtomicUsize::new(0));
    let mut writers = Vec::new();
    for (number, node) in three.nodes.iter().enumerate() {
        for writer in 0..4 {
            let (proposer, done, moved) =
                (node.proposer.clone(), Arc::clone(&done), Arc::clone(&moved));
            writers.push(tokio::spawn(async move {
                for n in 0.. {
                    if moved.load(Ordering::SeqCst) >= MOVES {
                        return;
                    }
                    put(&proposer, format!("{number}-{writer}-{n}")).await;
                    done.fetch_add(1, Ordering::SeqCst);
                }
            }));
        }
    }
    while moved.load(Ordering::SeqCst) < MOVES {
        let leader = three.leader(&three.ids()).await;
        leader.raft.hand_over().await;
        assert_ne!(three.leader(&three.ids()).await.id, leader.id);
        moved.fetch_add(1, Ordering::SeqCst);
    }
    for writer in writers {
        tokio::time::timeout(BOUND, writer).await.expect("it ends").unwrap();
    }
    let done = done.load(Ordering::SeqCst);
    assert!(done > MOVES * 10, "{done} writes show little");
    three.all_at(1 + i64::try_from(done).unwrap()).await;
}

/// How often the lead goes round.
const MOVES: usize = 8;

/// It notices that nobody answers, and does not disturb the others when it is back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_cut_off_steps_back() {
    let three = Three::start().await;
    let leader = three.leader(&three.ids()).await;
    three.net.cut.lock().insert(leader.id);
    let others: Vec<_> = three.others(leader.id).iter().map(|node| node.id).collect();
    let start = Instant::now();
    let next = loop {
        let next = three.leader(&others).await;
        if next.id != leader.id {
            break next;
        }
        assert!(start.elapsed() < BOUND, "it keeps the lead");
        tokio::time::sleep(HEARTBEAT).await;
    };
    // By now no quorum can answer it: this one waits, and is refused at the door until it is back.
    let proposer = leader.proposer.clone();
    let waiting = tokio::spawn(async move { put(&proposer, "cut off".to_owned()).await });
    put(&next.proposer, "meanwhile".to_owned()).await;
    while leader.raft.status().leader.is_some() {
        assert!(start.elapsed() < BOUND, "it does not notice");
        tokio::time::sleep(HEARTBEAT).await;
    }
    // Raft itself still thinks that it leads: only a quorum could tell it.
    assert_eq!(confirm(&leader.raft.raft).await, Err(Miss::Again), "no read may lie so far back");
    assert!(!waiting.is_finished());
    let term = next.raft.status().term;
    three.net.cut.lock().clear();
    let back = three.leader(&three.ids()).await;
    assert_eq!((back.id, back.raft.status().term), (next.id, term));
    tokio::time::timeout(BOUND, waiting).await.expect("it goes on").unwrap();
    three.all_at(3).await;
}

/// It knows the leader and the index, but not yet what stands there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_reads_when_it_has_what_was_committed() {
    let three = Three::start().await;
    let leader = three.leader(&three.ids()).await;
    let follower = three.others(leader.id)[0];
    three.net.withheld.lock().insert(follower.id);
    put(&leader.proposer, "a".to_owned()).await;
    let barrier = follower.raft.barrier(REQUEST);
    let reading = tokio::spawn(async move { barrier.pass().await });
    let others = leader.raft.barrier(REQUEST);
    for _ in 0..10 {
        others.pass().await.unwrap();
        tokio::time::sleep(HEARTBEAT).await;
    }
    assert_eq!(follower.store.view().revision(), Revision(1), "nothing has come");
    assert!(!reading.is_finished(), "it would read what was");
    three.net.withheld.lock().clear();
    tokio::time::timeout(BOUND, reading).await.expect("it goes on").unwrap().unwrap();
    assert_eq!(follower.store.view().revision(), Revision(2));
}

/// It cannot know of another one, and says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_forgets_a_leader_that_is_silent() {
    let three = Three::start().await;
    let leader = three.leader(&three.ids()).await.id;
    let others = three.others(leader);
    let (left, lost) = (others[0], others[1]);
    three.net.cut.lock().extend([leader, lost.id]);
    let start = Instant::now();
    while left.raft.status().leader.is_some() {
        assert!(start.elapsed() < BOUND, "it names {:?}", left.raft.status().leader);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    three.net.cut.lock().clear();
    put(&left.proposer, "back".to_owned()).await;
    three.all_at(2).await;
}

/// Who does not belong here is told why.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn foreign_and_misled_members_are_refused() {
    let three = Three::start().await;
    let (from, to) = (MemberId(2), MemberId(1));
    let handler = three.net.handlers.lock().get(&to).cloned().unwrap();
    let ours = Envelope { cluster: CLUSTER, from, to };
    let why = |envelope| handler.admit(&envelope).map_err(|refused| refused.why);
    assert_eq!(why(ours), Ok(()));
    let foreign = Envelope { cluster: ClusterId(9), ..ours };
    assert_eq!(why(foreign), Err(Refusal::ForeignCluster));
    assert_eq!(why(Envelope { to: MemberId(3), ..ours }), Err(Refusal::WrongTarget));
    let mut asked = Vec::new();
    let calls =
        [Call::Propose, Call::ReadIndex, Call::Vote, Call::PreVote, Call::Reconfigure, Call::Lease];
    for call in calls {
        asked.push((call, handler.call(MemberId(9), call, nonsense(call)).await));
    }
    for (call, answer) in asked {
        assert_eq!(answer.unwrap_err().why, Refusal::Unknown, "{call:?} of a stranger");
    }
    let calls = [Call::Heartbeat, Call::Vote, Call::Propose, Call::Reconfigure, Call::ReadIndex];
    for call in calls.into_iter().chain([Call::Lease]) {
        let answer = handler.call(from, call, Bytes::from_static(b"\xff")).await;
        assert_eq!(answer.unwrap_err().why, Refusal::Malformed, "{call:?}");
    }
    let foreign_proposal = handler.call(from, Call::Propose, nonsense(Call::Propose)).await;
    assert_eq!(foreign_proposal.unwrap_err().why, Refusal::Malformed, "of another proposer");
}

/// Whoever is alone by its log is told nothing by members that it does not know, be it that they
/// lead others: it has not heard of their removal only because it has not applied it yet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_alone_takes_nothing_from_strangers() {
    let net = Arc::<Net>::default();
    let (own, other) = (MemberId(1), MemberId(2));
    let node = node(&net, own, &[own], 7).await;
    tokio::time::timeout(BOUND, node.raft.recovered()).await.expect("it leads").unwrap();
    let handler = net.handlers.lock().get(&own).cloned().unwrap();
    let envelope = Envelope { cluster: CLUSTER, from: other, to: own };
    let why = || handler.admit(&envelope).map_err(|refused| refused.why);
    assert_eq!(why(), Err(Refusal::Unknown));
    node.raft.publish("n", &[]).await.unwrap();
    let peer_urls = vec!["http://h:1".to_owned()];
    node.raft.change(Change::Add { id: other, learner: true, peer_urls }).await.unwrap();
    assert_eq!(why(), Ok(()));
    node.raft.change(Change::Remove(other)).await.unwrap();
    assert_eq!(why(), Err(Refusal::Removed));
}

/// What reads well and comes from nobody.
fn nonsense(call: Call) -> Bytes {
    let vote = VoteRequest::new(Vote::new(99, MemberId(9)), None);
    match call {
        Call::Propose => {
            let mut batch = BytesMut::new();
            let id = ProposalId { member: MemberId(9), start: 1, number: 1 };
            codec::put_proposal_header(&mut batch, id, false);
            batch.extend_from_slice(&keelson_store::command::codec::encode(&[]));
            batch.freeze()
        }
        Call::ReadIndex => wire::encode_read(ReadId { start: 1, number: 1 }),
        Call::Vote | Call::PreVote => wire::encode_vote_request(&vote),
        Call::Reconfigure => change_wire::encode_change(&Change::Remove(MemberId(1)), false),
        Call::Lease => Bytes::from_static(&[1]),
        Call::Heartbeat | Call::TransferLeader => Bytes::new(),
    }
}

/// The cluster has the version of its oldest server, and rises with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_agree_on_the_lowest_of_their_versions() {
    let three = Three::start_with([7, 6, 7]).await;
    let publish = async |node: &Node, minor| {
        let version = Version::new(3, minor, 1);
        let (name, client_urls) = (format!("{}", node.id), vec![]);
        node.raft
            .change(Change::Publish { id: node.id, name, client_urls, version })
            .await
            .unwrap();
    };
    let agreed = async |version, downgrade| {
        let wanted = Agreed { version: Some(version), downgrade };
        let start = Instant::now();
        for node in &three.nodes {
            while node.raft.agreed() != wanted {
                let told = node.raft.agreed();
                assert!(start.elapsed() < BOUND, "{told:?}, not {wanted:?}");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    };
    let [six, seven] = [6, 7].map(|minor| Version::new(3, minor, 0));
    for node in &three.nodes[..2] {
        node.raft.publish("n", &[]).await.unwrap();
    }
    assert_eq!(three.nodes[0].raft.agreed().version, None, "one has not said what it is");
    three.nodes[2].raft.publish("n", &[]).await.unwrap();
    agreed(six, None).await;
    publish(&three.nodes[1], 7).await;
    agreed(seven, None).await;
    // Down again only as it was told to, once all are; then it is over.
    for node in &three.nodes {
        publish(node, 6).await;
    }
    put(&three.nodes[0].proposer, "later".to_owned()).await;
    agreed(seven, None).await;
    three.nodes[1].raft.change(Change::Downgrade(Some(six))).await.unwrap();
    agreed(six, None).await;
}

/// The lead goes to a member whose disk answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_disk_stands_still_gives_the_lead_away() {
    let three = Three::start().await;
    let stuck = three.leader(&three.ids()).await;
    stuck.stall.set(true);
    // The followers commit it without the leader's disk, so that nobody would notice.
    put(&stuck.proposer, "a".to_owned()).await;
    let others: Vec<_> = three.others(stuck.id).iter().map(|node| node.id).collect();
    let start = Instant::now();
    let next = loop {
        let next = three.leader(&others).await;
        if next.id != stuck.id {
            break next;
        }
        assert!(start.elapsed() < BOUND, "it keeps the lead");
        tokio::time::sleep(HEARTBEAT).await;
    };
    put(&next.proposer, "b".to_owned()).await;
    stuck.stall.set(false);
    three.all_at(3).await;
}

/// Followers whose disks stand still hold up writes, but neither the lead nor reads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heartbeats_do_not_wait_for_disks() {
    let three = Three::start().await;
    let leader = three.leader(&three.ids()).await;
    let term = leader.raft.status().term;
    for follower in three.others(leader.id) {
        follower.stall.set(true);
    }
    let proposer = leader.proposer.clone();
    let waiting = tokio::spawn(async move { put(&proposer, "a".to_owned()).await });
    let barrier = leader.raft.barrier(REQUEST);
    let start = Instant::now();
    let mut reads = 0;
    // Each read fails by itself if it has to wait for a disk.
    while reads <= 10 || start.elapsed() < 4 * ELECTION {
        barrier.pass().await.unwrap();
        reads += 1;
        tokio::time::sleep(HEARTBEAT).await;
    }
    assert!(!waiting.is_finished(), "a quorum of disks stands still");
    let status = leader.raft.status();
    assert_eq!((status.leader, status.term), (Some(leader.id), term));
    for follower in three.others(leader.id) {
        follower.stall.set(false);
    }
    tokio::time::timeout(BOUND, waiting).await.expect("it goes on").unwrap();
    three.all_at(2).await;
}
