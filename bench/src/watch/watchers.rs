//! The watching side: streams of watchers on a thread of their own, their events counted.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use bytes::{Bytes, BytesMut};
use hdrhistogram::Histogram;
use keelson_api::etcdserverpb::watch_request::RequestUnion;
use keelson_api::etcdserverpb::{WatchCreateRequest, WatchRequest};
use tokio::sync::oneshot;

use super::scan::{Said, Scan};
use super::stamp;
use crate::clock;
use crate::frame;
use crate::grpc::{self, Connection, Duplex, Method, WINDOW_BYTES_MIN};

/// Longest wait for all watchers to be there.
const OPEN_TIME_MAX: Duration = Duration::from_secs(30);
/// Longest lag told apart from longer ones.
const LAG_NS_MAX: u64 = 120_000_000_000;
/// How often a wait for events looks again.
const POLL_TIME: Duration = Duration::from_millis(2);

/// What one watcher watches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Watched {
    pub(super) key: Bytes,
    /// End of a range; empty for a single key.
    pub(super) end: Bytes,
    /// Where it starts; 0 for now.
    pub(super) from: i64,
}

impl Watched {
    fn request(&self) -> Bytes {
        frame::encode(&WatchRequest {
            request_union: Some(RequestUnion::CreateRequest(WatchCreateRequest {
                key: self.key.clone(),
                range_end: self.end.clone(),
                start_revision: self.from,
                ..Default::default()
            })),
        })
    }
}

/// The watchers of a run.
#[derive(Debug, Clone, Default)]
pub(super) struct Plan {
    pub(super) watched: Vec<Watched>,
    pub(super) per_stream: usize,
    pub(super) conns: usize,
    /// Streams, each on a connection of its own, whose client takes nothing from its socket once
    /// its one watcher is there.
    pub(super) stuck: Vec<Watched>,
}

/// What has been seen so far. Only events of watchers that are not stuck count.
#[derive(Debug)]
pub(super) struct Seen {
    created: AtomicU64,
    events: AtomicU64,
    /// When the last event came.
    last_ns: AtomicU64,
    lag_ns: Mutex<Histogram<u64>>,
    failure: Mutex<Option<String>>,
}

impl Seen {
    fn new() -> Self {
        let lag_ns = Histogram::new_with_bounds(1, LAG_NS_MAX, 3)
            .expect("the bounds are constants that fit each other");
        Self {
            created: AtomicU64::new(0),
            events: AtomicU64::new(0),
            last_ns: AtomicU64::new(0),
            lag_ns: Mutex::new(lag_ns),
            failure: Mutex::new(None),
        }
    }

    fn fail(&self, error: &anyhow::Error) {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.get_or_insert_with(|| format!("{error:#}"));
    }

    /// What one chunk said: equal stamps in a row, as a stream's watchers of a key get them, are
    /// taken down at once.
    fn take(&self, stamps: &[(u64, u64)]) {
        let now = stamp::now();
        let mut lag_ns = self.lag_ns.lock().unwrap_or_else(PoisonError::into_inner);
        let mut events = 0;
        for &(stamp, n) in stamps {
            lag_ns.saturating_record_n(now.saturating_sub(stamp), n);
            events += n;
        }
        self.last_ns.store(now, Ordering::Relaxed);
        self.events.fetch_add(events, Ordering::Release);
    }
}

/// Running watchers. They end with this value.
#[derive(Debug)]
pub(super) struct Watchers {
    seen: Arc<Seen>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watchers {
    /// Opens all and returns when the server has said that they are there.
    pub(super) fn open(address: SocketAddr, plan: Plan) -> anyhow::Result<Self> {
        let seen = Arc::new(Seen::new());
        let (stop, stopped) = oneshot::channel();
        let (ready, is_ready) = mpsc::sync_channel(1);
        let theirs = Arc::clone(&seen);
        let thread = std::thread::Builder::new()
            .name("watchers".to_owned())
            .spawn(move || {
                let run = async {
                    // Whoever opened them is told; then they are read until they are to end.
                    let opened = open_all(address, plan, &theirs).await;
                    let (opened, streams) = match opened {
                        Ok(streams) => (Ok(()), Some(streams)),
                        Err(e) => (Err(e), None),
                    };
                    ready.send(opened).ok();
                    stopped.await.ok();
                    drop(streams);
                };
                if let Err(e) = grpc::block_on(run) {
                    ready.send(Err(e)).ok();
                }
            })
            .context("start the watchers' thread")?;
        let watchers = Self { seen, stop: Some(stop), thread: Some(thread) };
        is_ready.recv().map_err(|_| anyhow!("the watchers' thread is gone"))??;
        Ok(watchers)
    }

    /// Waits until so many events have come in all, or too long; gives how many have.
    pub(super) fn wait_for(&self, events: u64, patience: Duration) -> anyhow::Result<u64> {
        let begin = clock::now();
        loop {
            let failure = self.seen.failure.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if let Some(failure) = failure {
                return Err(anyhow!(failure));
            }
            let seen = self.seen.events.load(Ordering::Acquire);
            if seen >= events || begin.elapsed() >= patience {
                ensure!(seen <= events, "{seen} events came where {events} were due");
                return Ok(seen);
            }
            std::thread::sleep(POLL_TIME);
        }
    }

    /// Events so far.
    pub(super) fn events(&self) -> u64 {
        self.seen.events.load(Ordering::Acquire)
    }

    /// When the last event came.
    pub(super) fn last_ns(&self) -> u64 {
        self.seen.last_ns.load(Ordering::Relaxed)
    }

    /// Lags since the last call.
    pub(super) fn take_lag(&self) -> Histogram<u64> {
        let mut lag_ns = self.seen.lag_ns.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = lag_ns.clone();
        lag_ns.reset();
        taken
    }
}

impl Drop for Watchers {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            stop.send(()).ok();
        }
        if let Some(thread) = self.thread.take() {
            // Had it panicked, the events that are missing would have told.
            thread.join().ok();
        }
    }
}

/// What holds streams open that nobody reads.
type Held = Vec<(Connection, Duplex)>;

async fn open_all(address: SocketAddr, plan: Plan, seen: &Arc<Seen>) -> anyhow::Result<Held> {
    let due = u64::try_from(plan.watched.len())?;
    // A plan without watchers says nothing of streams.
    let per_stream = plan.per_stream.max(1);
    let mut connections = Vec::new();
    for _ in 0..plan.conns.min(plan.watched.len().div_ceil(per_stream)) {
        connections.push(Connection::open(address).await.context("connect a watcher")?);
    }
    let held = open_stuck(address, &plan.stuck).await.context("open stuck watchers")?;
    let watched = Rc::new(plan.watched);
    for (number, first) in (0..watched.len()).step_by(per_stream).enumerate() {
        let mut connection = connections[number % connections.len()].clone();
        let last = watched.len().min(first + per_stream);
        let (seen, watched) = (Arc::clone(seen), Rc::clone(&watched));
        tokio::task::spawn_local(async move {
            let run = async {
                let stream = open_stream(&mut connection, &watched[first..last]).await?;
                read(stream, &seen).await
            };
            if let Err(e) = run.await {
                seen.fail(&e);
            }
        });
    }
    let begin = clock::now();
    while seen.created.load(Ordering::Relaxed) < due {
        if let Some(failure) = seen.failure.lock().unwrap_or_else(PoisonError::into_inner).clone() {
            return Err(anyhow!(failure));
        }
        ensure!(begin.elapsed() < OPEN_TIME_MAX, "watchers are not there after {OPEN_TIME_MAX:?}");
        tokio::time::sleep(POLL_TIME).await;
    }
    Ok(held)
}

async fn open_stream(connection: &mut Connection, watched: &[Watched]) -> anyhow::Result<Duplex> {
    let mut requests = BytesMut::new();
    watched.iter().for_each(|watched| requests.extend_from_slice(&watched.request()));
    connection.duplex(Method::Watch, requests.freeze()).await.context("open a stream")
}

async fn read(mut stream: Duplex, seen: &Seen) -> anyhow::Result<()> {
    let (mut scan, mut stamps) = (Scan::default(), Vec::new());
    while let Some(chunk) = stream.next().await? {
        let (mut created, mut canceled) = (0, false);
        scan.feed(&chunk, &mut |said| match said {
            Said::Created => created += 1,
            Said::Canceled => canceled = true,
            Said::Event { stamp, .. } => match stamps.last_mut() {
                Some((last, n)) if *last == stamp => *n += 1,
                _ => stamps.push((stamp, 1)),
            },
        })?;
        ensure!(!canceled, "the server has canceled a watcher");
        seen.created.fetch_add(created, Ordering::Relaxed);
        if !stamps.is_empty() {
            seen.take(&stamps);
            stamps.clear();
        }
    }
    Err(anyhow!("the server has ended a stream"))
}

/// Opens streams, waits until their watchers are there, and takes nothing from then on.
async fn open_stuck(address: SocketAddr, watched: &[Watched]) -> anyhow::Result<Held> {
    let mut held = Vec::new();
    for one in watched {
        let mut connection = Connection::open_with(address, WINDOW_BYTES_MIN).await?;
        let mut stream = open_stream(&mut connection, std::slice::from_ref(one)).await?;
        let (mut scan, mut created) = (Scan::default(), false);
        while !created {
            let chunk = stream.next().await?.context("the server has ended a stream")?;
            scan.feed(&chunk, &mut |said| created |= said == Said::Created)?;
        }
        connection.park();
        held.push((connection, stream));
    }
    Ok(held)
}
