//! The load generator: clients, each with one request under way, on shared connections.
//!
//! `run` starts a few threads, each with its own single-threaded runtime and its share of the
//! connections; a client is a task that sends, waits, checks and records. In a closed loop the next
//! request starts when the last one ended. In an open loop requests are due at fixed times, and
//! latency counts from the time they were due, so that a server that stalls cannot hide it.

mod client;
mod pacer;
mod shared;

use std::cell::RefCell;
use std::net::{SocketAddr, ToSocketAddrs};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail, ensure};
use tokio::runtime::Builder;
use tokio::task::LocalSet;

use crate::grpc::Connection;
use crate::proc;
use crate::report::{Report, Tally};
use crate::workload::Workload;

use client::Client;
use pacer::Pacer;
use shared::Shared;

/// How long requests may still come back after the end of the run.
const GRACE: Duration = Duration::from_secs(10);

/// How much to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// So many requests.
    Total(u64),
    /// As many as the time allows.
    For(Duration),
}

/// A run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Servers; connections are spread over them.
    pub endpoints: Vec<SocketAddr>,
    /// Requests under way at a time.
    pub clients: usize,
    /// Connections that carry them.
    pub conns: usize,
    /// Threads of the generator.
    pub threads: usize,
    /// What to send.
    pub workload: Arc<Workload>,
    /// How much.
    pub limit: Limit,
    /// Time before measuring starts.
    pub warmup: Duration,
    /// Requests per second of an open loop; none for a closed one.
    pub rate: Option<f64>,
    /// Where the sequence of random keys starts.
    pub seed: u64,
}

impl Plan {
    fn validate(&self) -> anyhow::Result<()> {
        ensure!(!self.endpoints.is_empty(), "no endpoint given");
        ensure!(self.clients > 0, "--clients must be at least 1");
        ensure!(self.threads > 0, "--threads must be at least 1");
        ensure!(
            (1..=self.clients).contains(&self.conns),
            "--conns must be between 1 and the number of clients"
        );
        ensure!(self.rate.is_none_or(|r| r.is_finite() && r > 0.0), "--rate must be above 0");
        Ok(())
    }
}

/// Addresses behind `host:port` or `http://host:port`.
pub fn resolve(endpoints: &[String]) -> anyhow::Result<Vec<SocketAddr>> {
    let one = |endpoint: &String| {
        let plain = endpoint.strip_prefix("http://").unwrap_or(endpoint);
        ensure!(!plain.contains("://"), "endpoint {endpoint}: only http is supported");
        plain
            .trim_end_matches('/')
            .to_socket_addrs()
            .with_context(|| format!("resolve endpoint {endpoint}"))?
            .next()
            .with_context(|| format!("endpoint {endpoint} has no address"))
    };
    endpoints.iter().map(one).collect()
}

/// Runs a plan to its end.
pub fn run(plan: &Plan) -> anyhow::Result<Report> {
    plan.validate()?;
    let threads = plan.threads.min(plan.conns);
    let shared = Shared::new(plan, threads);
    let tallies: Vec<anyhow::Result<Tally>> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|thread| {
                let shared = Arc::clone(&shared);
                scope.spawn(move || worker(plan, thread, threads, &shared))
            })
            .collect();
        workers.into_iter().map(|w| w.join().map_err(|_| anyhow!("a worker panicked"))?).collect()
    });
    let mut all = Tally::default();
    for tally in tallies {
        all.merge(&tally?);
    }
    let cpu = proc::own_cpu()?.saturating_sub(shared.cpu_before());
    Ok(all.report(shared.elapsed(), cpu))
}

fn worker(
    plan: &Plan,
    thread: usize,
    threads: usize,
    shared: &Arc<Shared>,
) -> anyhow::Result<Tally> {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = shared.note(runtime.context("start a runtime"));
    let local = LocalSet::new();
    let clients = match &runtime {
        Ok(runtime) => shared.note(local.block_on(runtime, connect(plan, thread, threads))),
        Err(_) => Err(anyhow!("no runtime")),
    };
    // Every thread comes here, whatever happened before, or the others would wait for ever.
    if !shared.line_up() {
        clients?;
        bail!("another thread could not connect");
    }
    let (runtime, clients) = (runtime?, clients?);
    let rate = plan.rate.map(|rate| rate / threads as f64);
    local.block_on(&runtime, drive(plan, clients, rate, shared))
}

/// Runs this thread's clients to their end.
async fn drive(
    plan: &Plan,
    clients: Vec<Connection>,
    rate: Option<f64>,
    shared: &Arc<Shared>,
) -> anyhow::Result<Tally> {
    let tally = Rc::new(RefCell::new(Tally::default()));
    let pacer = rate.map(|rate| Rc::new(Pacer::new(rate, Arc::clone(shared))));
    let tasks: Vec<_> = clients
        .into_iter()
        .map(|connection| {
            let client = Client {
                connection,
                workload: Arc::clone(&plan.workload),
                shared: Arc::clone(shared),
                pacer: pacer.clone(),
                tally: Rc::clone(&tally),
            };
            tokio::task::spawn_local(client.run(plan.seed, shared.client_number()))
        })
        .collect();
    if let Some(pacer) = &pacer {
        pacer.run().await?;
    }
    let unfinished = client::join(tasks, shared.deadline(GRACE)).await;
    let mut tally = tally.borrow().clone();
    (0..unfinished).for_each(|_| tally.error("no answer until the end".to_owned()));
    if let Some(pacer) = &pacer {
        pacer.count_unstarted(&mut tally);
    }
    Ok(tally)
}

/// Opens this thread's connections and hands one to each of its clients.
async fn connect(plan: &Plan, thread: usize, threads: usize) -> anyhow::Result<Vec<Connection>> {
    let mut clients = Vec::new();
    for conn in (thread..plan.conns).step_by(threads) {
        let endpoint = plan.endpoints[conn % plan.endpoints.len()];
        let open = tokio::time::timeout(GRACE, Connection::open(endpoint)).await;
        let connection = open
            .unwrap_or_else(|_| Err(anyhow!("timed out")))
            .with_context(|| format!("connect to {endpoint}"))?;
        let share = (conn..plan.clients).step_by(plan.conns).count();
        clients.extend(std::iter::repeat_n(connection, share));
    }
    Ok(clients)
}
