//! Three members in one process: frames handed over by hand in the place of gRPC, which can be lost
//! at will, and disks that can stand still.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use std::{fmt, io};

use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use futures_util::{StreamExt, future};
use keelson_store::command::{Command, Put};
use keelson_store::engine::MemoryEngine;
use keelson_store::types::{LeaseId, Revision};
use keelson_store::{Options as StoreOptions, Store};
use keelson_wal::Wal;
use keelson_wal::disk::{DirLock, Disk, DiskFile, FaultyDisk, LockError};
use parking_lot::{Condvar, Mutex};
use tokio::time::Instant;

use openraft::raft::VoteRequest;

use super::change::{self, Change};
use super::codec;
use super::handle::RaftHandle;
use super::proposer::{Proposer, ProposerLimits};
use super::read_index::{Miss, confirm};
use super::reconfigure::ChangeRules;
use super::start::RaftOptions;
use super::types::{ClusterId, Member, MemberId, ProposalId, Vote};
use super::wire::{self, ReadId};
use crate::peer::{
    Answers, Call, Envelope, PeerError, PeerHandler, PeerTransport, Refusal, Requests,
};

const HEARTBEAT: Duration = Duration::from_millis(50);
const ELECTION: Duration = Duration::from_millis(500);
const REQUEST: Duration = Duration::from_secs(20);
const BOUND: Duration = Duration::from_secs(30);
const CLUSTER: ClusterId = ClusterId(77);

/// Hands frames over.
#[derive(Default)]
struct Net {
    handlers: Mutex<BTreeMap<MemberId, Arc<dyn PeerHandler>>>,
    /// Members that nothing reaches and that reach nobody.
    cut: Mutex<BTreeSet<MemberId>>,
    /// Answers to forwarded proposals that get lost on their way back.
    answers_to_lose: AtomicUsize,
}

impl Net {
    fn reach(&self, from: MemberId, to: MemberId) -> Result<Arc<dyn PeerHandler>, PeerError> {
        let not_sent = |why: &str| PeerError::NotSent { to, why: why.to_owned() };
        if !self.joins(from, to) {
            return Err(not_sent("cut"));
        }
        let handler = self.handlers.lock().get(&to).cloned().ok_or_else(|| not_sent("absent"))?;
        let envelope = Envelope { cluster: CLUSTER, from, to };
        handler.admit(&envelope).map_err(|refused| PeerError::Refused { to, refused })?;
        Ok(handler)
    }

    fn joins(&self, from: MemberId, to: MemberId) -> bool {
        let cut = self.cut.lock();
        !cut.contains(&from) && !cut.contains(&to)
    }

    fn loses_answer(&self, call: Call) -> bool {
        let lose = |left: usize| left.checked_sub(1);
        call == Call::Propose
            && self.answers_to_lose.fetch_update(Ordering::SeqCst, Ordering::SeqCst, lose).is_ok()
    }
}

struct Link {
    net: Arc<Net>,
    own: MemberId,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "link of {}", self.own)
    }
}

impl PeerTransport for Link {
    fn know(&self, _member: MemberId, _peer_urls: &[String]) {}

    fn call(
        &self,
        to: MemberId,
        call: Call,
        body: Bytes,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<Bytes, PeerError>> {
        let (net, from) = (Arc::clone(&self.net), self.own);
        Box::pin(async move {
            let handler = net.reach(from, to)?;
            // On a task of its own, as a request goes on when the one who asked has gone.
            let answering = tokio::spawn(handler.call(from, call, body));
            let no_answer = |why: &str| PeerError::NoAnswer { to, why: why.to_owned() };
            if net.loses_answer(call) {
                return Err(no_answer("lost"));
            }
            match tokio::time::timeout(timeout, answering).await {
                Ok(Ok(answer)) => answer.map_err(|refused| PeerError::Refused { to, refused }),
                Ok(Err(_)) | Err(_) => Err(no_answer("timed out")),
            }
        })
    }

    fn append(
        &self,
        to: MemberId,
        requests: Requests,
    ) -> BoxFuture<'static, Result<Answers<PeerError>, PeerError>> {
        let (net, from) = (Arc::clone(&self.net), self.own);
        Box::pin(async move {
            let handler = net.reach(from, to)?;
            let there = Arc::clone(&net);
            let requests = requests.take_while(move |_| future::ready(there.joins(from, to)));
            let answers = handler.append(from, Box::pin(requests));
            let answers = answers
                .map(move |answer| answer.map_err(|refused| PeerError::Refused { to, refused }))
                .take_while(move |_| future::ready(net.joins(from, to)));
            Ok(Box::pin(answers) as Answers<PeerError>)
        })
    }
}

/// Has syncs wait while it is stalled.
#[derive(Debug, Default)]
struct Stall {
    stalled: Mutex<bool>,
    ended: Condvar,
    since: Mutex<Option<Instant>>,
}

impl Stall {
    fn set(&self, stalled: bool) {
        *self.stalled.lock() = stalled;
        self.ended.notify_all();
    }

    fn wait(&self) {
        *self.since.lock() = Some(Instant::now());
        let mut stalled = self.stalled.lock();
        while *stalled {
            self.ended.wait(&mut stalled);
        }
        *self.since.lock() = None;
    }

    fn pending(&self) -> Duration {
        self.since.lock().map_or(Duration::ZERO, |since| since.elapsed())
    }
}

#[derive(Debug)]
struct StallDisk(FaultyDisk, Arc<Stall>);

#[derive(Debug)]
struct StallFile(Arc<dyn DiskFile>, Arc<Stall>);

impl StallDisk {
    fn file(&self, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(StallFile(file, Arc::clone(&self.1)))
    }
}

impl Disk for StallDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.0.create_dir_all(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.0.list(dir)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.file(self.0.open(path)?))
    }

    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.0.open_read(path)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.file(self.0.create(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.0.sync_dir(dir)
    }

    fn lock(&self, dir: &Path) -> Result<Box<dyn DirLock>, LockError> {
        self.0.lock(dir)
    }
}

impl DiskFile for StallFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buf, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.1.wait();
        self.0.sync()
    }

    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
}

struct Node {
    id: MemberId,
    raft: RaftHandle,
    proposer: Proposer,
    store: Store,
    stall: Arc<Stall>,
}

struct Three {
    net: Arc<Net>,
    nodes: Vec<Node>,
}

impl Three {
    async fn start() -> Self {
        let net = Arc::<Net>::default();
        let ids = [1, 2, 3].map(MemberId);
        let mut nodes = Vec::new();
        for id in ids {
            nodes.push(node(&net, id, &ids).await);
        }
        for node in &nodes {
            let recovered = tokio::time::timeout(BOUND, node.raft.recovered()).await;
            recovered.expect("there is a leader").unwrap();
        }
        Self { net, nodes }
    }

    /// The member that all of `among` take for the leader.
    async fn leader(&self, among: &[MemberId]) -> &Node {
        let start = Instant::now();
        loop {
            let rows = self.nodes.iter().filter(|node| among.contains(&node.id));
            let told: BTreeSet<_> = rows.map(|node| node.raft.status().leader).collect();
            if let (1, Some(Some(leader))) = (told.len(), told.first()) {
                return self.nodes.iter().find(|node| node.id == *leader).unwrap();
            }
            assert!(start.elapsed() < BOUND, "no leader: {told:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn ids(&self) -> Vec<MemberId> {
        self.nodes.iter().map(|node| node.id).collect()
    }

    fn others(&self, than: MemberId) -> Vec<&Node> {
        self.nodes.iter().filter(|node| node.id != than).collect()
    }

    /// Waits until all have the revision, and for good measure that none has another.
    async fn all_at(&self, revision: i64) {
        let start = Instant::now();
        loop {
            let at: Vec<_> = self.nodes.iter().map(|n| n.store.view().revision().0).collect();
            assert!(at.iter().all(|at| *at <= revision), "applied twice: {at:?}, not {revision}");
            if at.iter().all(|at| *at == revision) {
                return;
            }
            assert!(start.elapsed() < BOUND, "{at:?}, not {revision}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

async fn node(net: &Arc<Net>, id: MemberId, ids: &[MemberId]) -> Node {
    let stall = Arc::<Stall>::default();
    let disk = StallDisk(FaultyDisk::new(id.0), Arc::clone(&stall));
    disk.create_dir_all(Path::new("/wal")).unwrap();
    let options = keelson_wal::Options { segment_bytes: 1 << 20, ..Default::default() };
    let (wal, _) = Wal::open(Arc::new(disk), Path::new("/wal"), options).unwrap();
    let (store, applier) =
        Store::open(Arc::new(MemoryEngine::new()), StoreOptions::default()).unwrap();
    let pending = Arc::clone(&stall);
    let options = RaftOptions {
        cluster: CLUSTER,
        id,
        founders: ids.iter().map(|id| (*id, Member::default())).collect(),
        start: id.0 + 100,
        transport: Arc::new(Link { net: Arc::clone(net), own: id }),
        disk_pending: Arc::new(move || pending.pending()),
        write_here: Arc::default(),
        changes: ChangeRules {
            strict: true,
            learners_max: 1,
            timeout: REQUEST,
            silence_max: ELECTION,
        },
        pre_vote: true,
        heartbeat_interval: HEARTBEAT,
        election_timeout: ELECTION,
        catchup_entries: 1000,
    };
    let (raft, handler) = RaftHandle::start(options, wal, store.clone(), applier).await.unwrap();
    net.handlers.lock().insert(id, handler);
    let limits = ProposerLimits {
        batch_commands_max: 64,
        batch_bytes_max: 1 << 20,
        pending_commands_max: 1000,
        pending_bytes_max: 1 << 20,
        timeout: REQUEST,
    };
    Node { id, proposer: raft.proposer(limits), raft, store, stall }
}

async fn put(proposer: &Proposer, key: String) {
    let put = Put { key: key.into(), value: Bytes::from_static(b"v"), ..empty_put() };
    let proposed = proposer.propose(Command::Put(put), 100).await;
    proposed.expect("it is answered").outcome.expect("it is carried out");
}

fn empty_put() -> Put {
    Put {
        key: Bytes::new(),
        value: Bytes::new(),
        lease: LeaseId::NONE,
        prev_kv: false,
        ignore_value: false,
        ignore_lease: false,
    }
}

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
    assert_eq!(leader.raft.status().leader, None);
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
