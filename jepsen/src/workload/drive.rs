//! Many clients at a pace, for a while.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::task::JoinSet;

use super::client::{Client, Shared};
use super::kind::Workload;
use super::session::{Deadlines, Session};
use crate::cluster::Endpoints;
use crate::history::Recorder;
use crate::random::Random;

/// Who asks, what, and how often.
#[derive(Debug, Clone)]
pub struct Load {
    /// Clients of each member.
    pub clients_per_node: usize,
    /// Requests per second of all clients together, if members answer quickly.
    pub rate: u64,
    /// What they ask.
    pub workloads: Vec<Workload>,
    /// How long they wait for answers.
    pub deadlines: Deadlines,
    /// Where their requests come from.
    pub seed: u64,
}

/// Pause of a client that cannot reach its member.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// Runs all clients until the time (of the recorder's clock) has come.
pub async fn drive(
    load: &Load,
    endpoints: &Arc<Endpoints>,
    recorder: &Arc<Recorder>,
    until: Duration,
) -> anyhow::Result<()> {
    let nodes = endpoints.addresses.len();
    let shared = Arc::new(Shared::default());
    let clients = load.clients_per_node * nodes;
    let mut tasks = JoinSet::new();
    for index in 0..clients {
        let process = u64::try_from(index).context("number of clients")?;
        let session = Session::new(
            process,
            index % nodes,
            Arc::clone(endpoints),
            Arc::clone(recorder),
            load.deadlines,
        );
        let client = Client::new(session, process, load.seed, Arc::clone(&shared), &load.workloads);
        let pace = Pace::new(load, clients, process);
        tasks.spawn(run(client, pace, Arc::clone(recorder), until));
    }
    while let Some(ended) = tasks.join_next().await {
        ended.context("a client panicked")?;
    }
    Ok(())
}

async fn run(mut client: Client, mut pace: Pace, recorder: Arc<Recorder>, until: Duration) {
    while recorder.clock().elapsed() < until {
        let pause = if client.step().await { pace.next() } else { RETRY_PAUSE };
        tokio::time::sleep(pause).await;
    }
}

/// Pauses of a client between requests.
#[derive(Debug)]
struct Pace {
    mean: Duration,
    random: Random,
}

impl Pace {
    fn new(load: &Load, clients: usize, process: u64) -> Self {
        let clients = u32::try_from(clients).unwrap_or(u32::MAX);
        let rate = u32::try_from(load.rate.max(1)).unwrap_or(u32::MAX);
        let mean = Duration::from_secs(1) * clients / rate;
        Self { mean, random: Random::new(load.seed, process + 1_000_000) }
    }

    /// From half to one and a half of the mean, and none now and then: bursts overlap more.
    fn next(&mut self) -> Duration {
        if self.random.percent(20) {
            return Duration::ZERO;
        }
        let share = u32::try_from(self.random.between(50, 150)).unwrap_or(100);
        self.mean * share / 80
    }
}
