//! Three members in one process, and what becomes of messages, disks and leaders.

mod rig;
mod snapshots;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Bytes, BytesMut};
use keelson_store::types::Revision;
use openraft::raft::VoteRequest;
use tokio::time::Instant;

use super::change::{self, Change};
use super::codec;
use super::read_index::{Miss, confirm};
use super::types::{ClusterId, MemberId, ProposalId, Vote};
use super::wire::{self, ReadId};
use crate::peer::{Call, Envelope, Refusal};
use rig::{BOUND, CLUSTER, ELECTION, HEARTBEAT, REQUEST, Three, put};

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
    for call in [Call::Propose, Call::ReadIndex, Call::Vote, Call::PreVote, Call::Reconfigure] {
        asked.push((call, handler.call(MemberId(9), call, nonsense(call)).await));
    }
    for (call, answer) in asked {
        assert_eq!(answer.unwrap_err().why, Refusal::Unknown, "{call:?} of a stranger");
    }
    for call in [Call::Heartbeat, Call::Vote, Call::Propose, Call::Reconfigure, Call::ReadIndex] {
        let answer = handler.call(from, call, Bytes::from_static(b"\xff")).await;
        assert_eq!(answer.unwrap_err().why, Refusal::Malformed, "{call:?}");
    }
    let foreign_proposal = handler.call(from, Call::Propose, nonsense(Call::Propose)).await;
    assert_eq!(foreign_proposal.unwrap_err().why, Refusal::Malformed, "of another proposer");
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
        Call::Reconfigure => change::encode_change(&Change::Remove(MemberId(1)), false),
        Call::Heartbeat | Call::TransferLeader => Bytes::new(),
    }
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
