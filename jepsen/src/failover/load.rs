//! Writes that are due at fixed times, whatever becomes of those before them.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use keelson_api::client::{Client, Options};
use keelson_api::etcdserverpb::PutRequest;
use tokio::task::JoinHandle;

use crate::clock::Clock;
use crate::cluster::Endpoints;

/// Connections to each member.
const CONNECTIONS_PER_NODE: usize = 4;
/// Longest wait of a request; one that takes longer counts as failed.
const DEADLINE: Duration = Duration::from_secs(5);
/// Requests under way at most. At 2,000 a second it holds what a stop of ten seconds gathers.
const UNDER_WAY_MAX: usize = 20_000;
const TICK: Duration = Duration::from_millis(1);
const RECONNECT_PAUSE: Duration = Duration::from_millis(20);
/// Keys in use: few, so that what is measured is not growth.
const KEYS: u64 = 1000;

/// One request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// When it was due, in nanoseconds.
    pub due: u64,
    /// When it ended.
    pub done: u64,
    /// How it ended.
    pub end: End,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It was acknowledged.
    Acknowledged,
    /// It was answered by an error, or there was nobody to send it to.
    Refused,
    /// The connection broke or the time ran out: nobody knows whether it took effect.
    Unanswered,
}

#[derive(Debug)]
struct Connection {
    address: String,
    client: Mutex<Option<Client>>,
    is_up: AtomicBool,
}

#[derive(Debug)]
struct Shared {
    clock: Clock,
    samples: Mutex<Vec<Sample>>,
    under_way: AtomicUsize,
    is_over: AtomicBool,
}

/// A running load.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    pacer: JoinHandle<()>,
}

impl Load {
    /// Connects to every member and begins. A client that finds its connection broken leaves it to
    /// be opened again and takes another member's, as etcd's own clients do.
    pub async fn start(endpoints: &Endpoints, clock: Clock, rate: u64) -> Self {
        let shared = Arc::new(Shared {
            clock,
            samples: Mutex::new(Vec::new()),
            under_way: AtomicUsize::new(0),
            is_over: AtomicBool::new(false),
        });
        let mut connections = Vec::new();
        for address in &endpoints.addresses {
            for _ in 0..CONNECTIONS_PER_NODE {
                let connection = Arc::new(Connection {
                    address: address.clone(),
                    client: Mutex::new(None),
                    is_up: AtomicBool::new(false),
                });
                connect(&connection, &shared).await;
                connections.push(connection);
            }
        }
        let pacer = tokio::spawn(pace(Arc::clone(&shared), connections, rate));
        Self { shared, pacer }
    }

    /// When a write was acknowledged last.
    pub fn last_ok(&self) -> Option<u64> {
        let samples = lock(&self.shared.samples);
        samples.iter().rev().filter(|s| s.end == End::Acknowledged).map(|s| s.done).next()
    }

    /// Ends the load and gives all requests.
    pub async fn stop(self) -> Vec<Sample> {
        self.shared.is_over.store(true, Ordering::SeqCst);
        // It ends at its next tick; that it panicked shows as missing requests.
        self.pacer.await.ok();
        let begin = self.shared.clock.elapsed();
        while self.shared.under_way.load(Ordering::SeqCst) > 0
            && self.shared.clock.elapsed() - begin < DEADLINE
        {
            tokio::time::sleep(TICK * 10).await;
        }
        std::mem::take(&mut *lock(&self.shared.samples))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn pace(shared: Arc<Shared>, connections: Vec<Arc<Connection>>, rate: u64) {
    let begin = shared.clock.nanos();
    let mut ticks = tokio::time::interval(TICK);
    let mut sent = 0_u64;
    while !shared.is_over.load(Ordering::SeqCst) {
        ticks.tick().await;
        let elapsed = u128::from(shared.clock.nanos() - begin);
        let due = u64::try_from(elapsed * u128::from(rate) / 1_000_000_000).unwrap_or(u64::MAX);
        while sent < due {
            let at = begin
                + u64::try_from(u128::from(sent) * 1_000_000_000 / u128::from(rate)).unwrap_or(0);
            send(&shared, &connections, sent, at);
            sent += 1;
        }
    }
}

fn send(shared: &Arc<Shared>, connections: &[Arc<Connection>], number: u64, due: u64) {
    let turn = usize::try_from(number).unwrap_or(0);
    let chosen = (0..connections.len())
        .map(|i| &connections[(turn + i) % connections.len()])
        .find(|connection| connection.is_up.load(Ordering::SeqCst));
    let room = shared.under_way.load(Ordering::SeqCst) < UNDER_WAY_MAX;
    let Some(connection) = chosen.filter(|_| room) else {
        let done = shared.clock.nanos();
        lock(&shared.samples).push(Sample { due, done, end: End::Refused });
        return;
    };
    let (shared, connection) = (Arc::clone(shared), Arc::clone(connection));
    shared.under_way.fetch_add(1, Ordering::SeqCst);
    tokio::spawn(async move {
        let end = put(&connection, &shared, number).await;
        let done = shared.clock.nanos();
        lock(&shared.samples).push(Sample { due, done, end });
        shared.under_way.fetch_sub(1, Ordering::SeqCst);
    });
}

async fn put(connection: &Arc<Connection>, shared: &Arc<Shared>, number: u64) -> End {
    let client = lock(&connection.client).clone();
    let Some(client) = client else { return End::Refused };
    let request = PutRequest {
        key: format!("f/{:04}", number % KEYS).into(),
        value: format!("{number:032}").into(),
        ..PutRequest::default()
    };
    match tokio::time::timeout(DEADLINE, client.kv().put(request)).await {
        Ok(Ok(_)) => End::Acknowledged,
        Ok(Err(status)) => {
            use std::error::Error;
            // Only a broken connection is left; an answer that says no leaves it whole.
            let is_broken = status.source().is_some();
            if is_broken && connection.is_up.swap(false, Ordering::SeqCst) {
                tokio::spawn(reconnect(Arc::clone(connection), Arc::clone(shared)));
            }
            if is_broken { End::Unanswered } else { End::Refused }
        }
        Err(_) => End::Unanswered,
    }
}

async fn reconnect(connection: Arc<Connection>, shared: Arc<Shared>) {
    while !shared.is_over.load(Ordering::SeqCst) && !connect(&connection, &shared).await {
        tokio::time::sleep(RECONNECT_PAUSE).await;
    }
}

async fn connect(connection: &Arc<Connection>, shared: &Arc<Shared>) -> bool {
    let options = Options { connect_timeout: Duration::from_millis(500), ..Options::default() };
    let connected = Client::connect_with(&[&connection.address], options).await;
    let is_up = connected.is_ok() && !shared.is_over.load(Ordering::SeqCst);
    *lock(&connection.client) = connected.ok();
    connection.is_up.store(is_up, Ordering::SeqCst);
    is_up
}
