//! Three members in one process: frames handed over by hand in the place of gRPC, which can be lost
//! at will, and disks that can stand still.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use std::{fmt, io};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{StreamExt, future};
use keelson_store::command::{Command, Put};
use keelson_store::engine::{Engine, MemoryEngine};
use keelson_store::types::LeaseId;
use keelson_store::{Options as StoreOptions, Store};
use keelson_wal::Wal;
use keelson_wal::disk::{DirLock, Disk, DiskFile, FaultyDisk, LockError, RealDisk};
use parking_lot::{Condvar, Mutex};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::lease::{Lessor, LessorOptions};
use crate::observe::metrics::Metrics;
use crate::peer::{Answers, Call, Envelope, PeerError, PeerHandler, PeerTransport, Requests};
use crate::raft::handle::RaftHandle;
use crate::raft::housekeeping::LogKeep;
use crate::raft::lease_desk::LeaseDesk;
use crate::raft::proposer::{Proposer, ProposerLimits};
use crate::raft::reconfigure::ChangeRules;
use crate::raft::snapshot::Stores;
use crate::raft::start::RaftOptions;
use crate::raft::types::{ClusterId, Member, MemberId};
use crate::raft::version::Version;

pub(super) const HEARTBEAT: Duration = Duration::from_millis(50);
pub(super) const ELECTION: Duration = Duration::from_millis(500);
pub(super) const REQUEST: Duration = Duration::from_secs(20);
pub(super) const BOUND: Duration = Duration::from_secs(30);
pub(super) const CLUSTER: ClusterId = ClusterId(77);

/// Hands frames over.
#[derive(Default)]
pub(super) struct Net {
    pub(super) handlers: Mutex<BTreeMap<MemberId, Arc<dyn PeerHandler>>>,
    /// Members that nothing reaches and that reach nobody.
    pub(super) cut: Mutex<BTreeSet<MemberId>>,
    /// Members that no entries reach, though calls do.
    pub(super) withheld: Mutex<BTreeSet<MemberId>>,
    /// Answers to forwarded proposals that get lost on their way back.
    pub(super) answers_to_lose: AtomicUsize,
    /// Transfers of snapshots that break, each after as many frames from the leader.
    pub(super) snapshots_to_break: Mutex<Vec<usize>>,
    /// Snapshots stand still at their first piece.
    pub(super) snapshots_wait: watch::Sender<bool>,
    /// Snapshots that were begun, and frames of them that were handed over.
    pub(super) snapshots: AtomicUsize,
    pub(super) snapshot_frames: AtomicUsize,
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

    fn delivers(&self, to: MemberId) -> bool {
        !self.withheld.lock().contains(&to)
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
            if !net.delivers(to) {
                return Err(PeerError::NotSent { to, why: "withheld".to_owned() });
            }
            let there = Arc::clone(&net);
            let requests = requests
                .take_while(move |_| future::ready(there.joins(from, to) && there.delivers(to)));
            let answers = handler.append(from, Box::pin(requests));
            let answers = answers
                .map(move |answer| answer.map_err(|refused| PeerError::Refused { to, refused }))
                .take_while(move |_| future::ready(net.joins(from, to)));
            Ok(Box::pin(answers) as Answers<PeerError>)
        })
    }

    fn snapshot(
        &self,
        to: MemberId,
        requests: Requests,
    ) -> BoxFuture<'static, Result<Answers<PeerError>, PeerError>> {
        let (net, from) = (Arc::clone(&self.net), self.own);
        Box::pin(async move {
            let handler = net.reach(from, to)?;
            let frames = net.snapshots_to_break.lock().pop().unwrap_or(usize::MAX);
            net.snapshots.fetch_add(1, Ordering::SeqCst);
            let there = Arc::clone(&net);
            let requests = requests.take(frames).enumerate().filter_map(move |(number, frame)| {
                let there = Arc::clone(&there);
                async move {
                    there.snapshot_frames.fetch_add(1, Ordering::SeqCst);
                    let mut waits = there.snapshots_wait.subscribe();
                    if number > 1 {
                        waits.wait_for(|waits| !waits).await.ok()?;
                    }
                    there.joins(from, to).then_some(frame)
                }
            });
            let answers = handler.snapshot(from, Box::pin(requests));
            let answers = answers
                .map(move |answer| answer.map_err(|refused| PeerError::Refused { to, refused }))
                .take_while(move |_| future::ready(net.joins(from, to)));
            Ok(Box::pin(answers) as Answers<PeerError>)
        })
    }
}

/// Has syncs wait while it is stalled.
#[derive(Debug, Default)]
pub(super) struct Stall {
    stalled: Mutex<bool>,
    ended: Condvar,
    since: Mutex<Option<Instant>>,
}

impl Stall {
    pub(super) fn set(&self, stalled: bool) {
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

pub(super) struct Node {
    pub(super) id: MemberId,
    pub(super) raft: RaftHandle,
    pub(super) proposer: Proposer,
    pub(super) store: Store,
    pub(super) stall: Arc<Stall>,
    pub(super) wal: Wal,
    pub(super) lessor: Arc<Lessor>,
    /// Milliseconds since the machine's boot.
    pub(super) clock: Arc<AtomicU64>,
    /// Where snapshots are sent from and received in.
    pub(super) home: tempfile::TempDir,
}

pub(super) struct Three {
    pub(super) net: Arc<Net>,
    pub(super) nodes: Vec<Node>,
}

impl Three {
    pub(super) async fn start() -> Self {
        Self::start_with([7, 7, 7]).await
    }

    /// Each with a server of its own minor version.
    pub(super) async fn start_with(minors: [u16; 3]) -> Self {
        let net = Arc::<Net>::default();
        let ids = [1, 2, 3].map(MemberId);
        let mut nodes = Vec::new();
        for (id, minor) in ids.into_iter().zip(minors) {
            nodes.push(node(&net, id, &ids, minor).await);
        }
        for node in &nodes {
            let recovered = tokio::time::timeout(BOUND, node.raft.recovered()).await;
            recovered.expect("there is a leader").unwrap();
        }
        Self { net, nodes }
    }

    /// The member that all of `among` take for the leader.
    pub(super) async fn leader(&self, among: &[MemberId]) -> &Node {
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

    pub(super) fn ids(&self) -> Vec<MemberId> {
        self.nodes.iter().map(|node| node.id).collect()
    }

    pub(super) fn others(&self, than: MemberId) -> Vec<&Node> {
        self.nodes.iter().filter(|node| node.id != than).collect()
    }

    /// Waits until all have the revision, and for good measure that none has another.
    pub(super) async fn all_at(&self, revision: i64) {
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

/// An engine in memory, empty or as a checkpoint says.
fn open(dir: &Path) -> Result<Arc<dyn Engine>, keelson_store::engine::Error> {
    if dir.exists() {
        return Ok(Arc::new(MemoryEngine::open_checkpoint(dir)?));
    }
    Ok(Arc::new(MemoryEngine::new()))
}

pub(super) async fn node(net: &Arc<Net>, id: MemberId, ids: &[MemberId], minor: u16) -> Node {
    let stall = Arc::<Stall>::default();
    let disk = StallDisk(FaultyDisk::new(id.0), Arc::clone(&stall));
    disk.create_dir_all(Path::new("/wal")).unwrap();
    let options = keelson_wal::Options { segment_bytes: 1 << 20, ..Default::default() };
    let (wal, _) = Wal::open(Arc::new(disk), Path::new("/wal"), options).unwrap();
    let home = tempfile::tempdir().unwrap();
    let stores = Stores::read(Arc::new(RealDisk), home.path(), Box::new(open)).unwrap();
    let engine = stores.open_current().unwrap();
    let (store, applier) = Store::open(engine, StoreOptions::default()).unwrap();
    let pending = Arc::clone(&stall);
    // Each machine was booted at another time.
    let clock = Arc::new(AtomicU64::new(id.0 * 1_000_000));
    let lessor = lessor(Arc::clone(&clock));
    let options = RaftOptions {
        cluster: CLUSTER,
        id,
        founders: ids.iter().map(|id| (*id, Member::default())).collect(),
        start: id.0 + 100,
        transport: Arc::new(Link { net: Arc::clone(net), own: id }),
        disk_pending: Arc::new(move || pending.pending()),
        leases: Arc::clone(&lessor) as Arc<dyn LeaseDesk>,
        write_here: Arc::default(),
        version: Version::new(3, minor, 1),
        force_new_cluster: false,
        changes: ChangeRules {
            strict: true,
            learners_max: 1,
            timeout: REQUEST,
            silence_max: ELECTION,
        },
        pre_vote: true,
        heartbeat_interval: HEARTBEAT,
        election_timeout: ELECTION,
        keep: LogKeep { entries: 100, bytes: 0 },
        stores: Arc::new(stores),
        snapshot_bytes_per_second: 1 << 30,
    };
    let (raft, handler) =
        RaftHandle::start(options, wal.clone(), store.clone(), applier).await.unwrap();
    net.handlers.lock().insert(id, handler);
    let limits = ProposerLimits {
        batch_commands_max: 64,
        batch_bytes_max: 1 << 20,
        pending_commands_max: 1000,
        pending_bytes_max: 1 << 20,
        timeout: REQUEST,
    };
    lessor.start(raft.clone(), raft.proposer(limits));
    Node { id, proposer: raft.proposer(limits), raft, store, stall, wal, lessor, clock, home }
}

fn lessor(clock: Arc<AtomicU64>) -> Arc<Lessor> {
    let options = LessorOptions {
        clock: Arc::new(move || Duration::from_millis(clock.load(Ordering::SeqCst))),
        election_timeout: ELECTION,
        timeout: REQUEST,
    };
    Lessor::new(options, Arc::new(Metrics::new(false)))
}

pub(super) async fn put(proposer: &Proposer, key: String) {
    put_value(proposer, key, Bytes::from_static(b"v")).await;
}

pub(super) async fn put_value(proposer: &Proposer, key: String, value: Bytes) {
    let put = Put { key: key.into(), value, ..empty_put() };
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
