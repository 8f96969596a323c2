//! Ways for a leader to go.

use anyhow::{Context, bail, ensure};
use clap::ValueEnum;
use keelson_api::client::Client;
use keelson_api::etcdserverpb::MoveLeaderRequest;

use crate::cluster::{Cluster, status};

/// How the leader goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Method {
    /// SIGKILL
    Kill,
    /// SIGTERM: a planned restart
    Term,
    /// SIGSTOP: it hangs, its connections stay
    Pause,
    /// Cut off from the other members (needs namespaces)
    Isolate,
    /// Asked to hand leadership to the next member
    Move,
}

impl Method {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Term => "term",
            Self::Pause => "pause",
            Self::Isolate => "isolate",
            Self::Move => "move",
        }
    }

    /// Does it to the leader.
    pub(super) async fn apply(self, cluster: &mut Cluster, leader: usize) -> anyhow::Result<()> {
        match self {
            Self::Kill => cluster.kill(leader),
            Self::Term => cluster.terminate(leader),
            Self::Pause => cluster.pause(leader),
            Self::Isolate => {
                let others = (0..cluster.len()).filter(|node| *node != leader);
                let dead = others.flat_map(|node| [(leader, node), (node, leader)]).collect();
                cluster.cut(&dead)?;
            }
            Self::Move => move_leader(cluster, leader).await?,
        }
        Ok(())
    }
}

async fn move_leader(cluster: &Cluster, leader: usize) -> anyhow::Result<()> {
    ensure!(cluster.len() > 1, "there is nobody to move leadership to");
    let endpoints = cluster.endpoints();
    let next = (leader + 1) % cluster.len();
    let Some(target) = status(&endpoints.addresses[next]).await else {
        bail!("n{} does not answer", next + 1);
    };
    let client = Client::connect(&[&endpoints.addresses[leader]]).await?;
    let request = MoveLeaderRequest { target_id: target.member };
    client.maintenance().move_leader(request).await.context("move leadership")?;
    Ok(())
}
