//! The members of one cluster and what can be done to them.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};

use super::leftovers;
use super::network::Network;
use super::node::Node;
use super::status::{serves, status};
use super::subject::Subject;
use crate::clock::Clock;

/// How often a starting cluster is asked whether it serves.
const READY_POLL: Duration = Duration::from_millis(100);

/// What clients know: where members are, and how often each has been started.
#[derive(Debug)]
pub struct Endpoints {
    /// `host:port` of each member.
    pub addresses: Vec<String>,
    lives: Vec<AtomicU32>,
}

impl Endpoints {
    /// How often the member has been started.
    pub fn life(&self, node: usize) -> u32 {
        self.lives[node].load(Ordering::SeqCst)
    }
}

/// A cluster. Its processes end with it.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Node>,
    network: Network,
    endpoints: Arc<Endpoints>,
}

impl Cluster {
    /// Members with fresh data below a folder; none runs yet.
    pub fn new(subject: &Subject, network: Network, folder: &Path) -> anyhow::Result<Self> {
        let places = network.places();
        let mut nodes = Vec::new();
        for index in 0..places.len() {
            let own = folder.join(format!("n{}", index + 1));
            leftovers::add_folder(&own)?;
            std::fs::create_dir_all(&own).with_context(|| format!("make {}", own.display()))?;
            let arguments = subject.arguments(index, places, &own.join("data"));
            let program = subject.program.to_string_lossy().into_owned();
            let namespace = network.namespace(index);
            let log = folder.join(format!("n{}.log", index + 1));
            nodes.push(Node::new(namespace, program, arguments, subject.env.clone(), log));
        }
        let endpoints = Arc::new(Endpoints {
            addresses: places.iter().map(|place| place.client.clone()).collect(),
            lives: nodes.iter().map(|_| AtomicU32::new(0)).collect(),
        });
        Ok(Self { nodes, network, endpoints })
    }

    /// Ends all members and gives the network back for the next cluster.
    pub fn stop(mut self) -> Network {
        for node in &mut self.nodes {
            node.kill();
        }
        self.network
    }

    /// Where members are.
    pub fn endpoints(&self) -> Arc<Endpoints> {
        Arc::clone(&self.endpoints)
    }

    /// Number of members.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there are none; there is always one.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Starts a member that does not run.
    pub fn start(&mut self, index: usize) -> anyhow::Result<()> {
        if self.nodes[index].is_started() {
            return Ok(());
        }
        self.endpoints.lives[index].fetch_add(1, Ordering::SeqCst);
        self.nodes[index].start().with_context(|| format!("start n{}", index + 1))
    }

    /// Starts all members that do not run.
    pub fn start_all(&mut self) -> anyhow::Result<()> {
        (0..self.nodes.len()).try_for_each(|index| self.start(index))
    }

    /// SIGKILL. The end of a life comes before its successor's first answer, never after.
    pub fn kill(&mut self, index: usize) {
        self.nodes[index].kill();
        self.endpoints.lives[index].fetch_add(1, Ordering::SeqCst);
    }

    /// SIGTERM; the process is reaped by the next [`Self::kill`].
    pub fn terminate(&mut self, index: usize) {
        self.nodes[index].terminate();
    }

    /// SIGSTOP.
    pub fn pause(&mut self, index: usize) {
        self.nodes[index].pause();
    }

    /// SIGCONT.
    pub fn resume(&mut self, index: usize) {
        self.nodes[index].resume();
    }

    /// Makes exactly these directions dead.
    pub fn cut(&mut self, dead: &BTreeSet<(usize, usize)>) -> anyhow::Result<()> {
        self.network.cut(dead)
    }

    /// The leader, as the member of the highest term that believes in one says.
    pub async fn leader(&self) -> Option<usize> {
        let mut best: Option<(u64, usize)> = None;
        for (index, node) in self.nodes.iter().enumerate() {
            if !node.is_started() || node.is_paused() {
                continue;
            }
            let Some(probe) = status(&self.endpoints.addresses[index]).await else { continue };
            let leads = probe.leader != 0 && probe.leader == probe.member;
            if leads && best.is_none_or(|(term, _)| probe.term > term) {
                best = Some((probe.term, index));
            }
        }
        best.map(|(_, index)| index)
    }

    /// Members that have ended without having been told to, with what they say last.
    pub fn crashed(&mut self) -> Vec<String> {
        let mut crashes = Vec::new();
        for (index, node) in self.nodes.iter_mut().enumerate() {
            if let Some(status) = node.crashed() {
                crashes.push(format!("n{} ended with {status}: {}", index + 1, node.log_tail()));
            }
        }
        crashes
    }

    /// Waits until every member answers linearizable reads.
    pub async fn wait_until_served(
        &mut self,
        clock: Clock,
        patience: Duration,
    ) -> anyhow::Result<()> {
        let begin = clock.elapsed();
        let mut index = 0;
        while index < self.nodes.len() {
            if serves(&self.endpoints.addresses[index]).await {
                index += 1;
                continue;
            }
            if let Some(crash) = self.crashed().first() {
                bail!("{crash}");
            }
            if clock.elapsed() - begin > patience {
                let tail = self.nodes[index].log_tail();
                bail!("n{} does not serve after {patience:?}: {tail}", index + 1);
            }
            tokio::time::sleep(READY_POLL).await;
        }
        Ok(())
    }
}
