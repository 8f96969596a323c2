//! A cluster under test, measured as one: what its members used is added up.
//!
//! A cluster of one is a node as ever.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use keelson_api::etcdserverpb::{StatusRequest, StatusResponse};
use prost::Message;
use serde::Serialize;

use crate::clock;
use crate::frame;
use crate::grpc::{self, Connection, Method};
use crate::proc;
use crate::server::{Server, Spec, Usage, settle};

/// Longest wait for all members to agree on a leader, once they are ready.
const LEADER_TIME_MAX: Duration = Duration::from_secs(30);
const LEADER_POLL: Duration = Duration::from_millis(50);

/// Which members clients connect to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// All, evenly, as a client does that knows every endpoint; the leader comes first, so that a
    /// single connection is to the leader
    Spread,
    /// The leader alone
    Leader,
    /// All but the leader, evenly
    Followers,
}

/// A running cluster.
#[derive(Debug)]
pub struct Cluster {
    name: String,
    is_null: bool,
    members: Vec<Server>,
}

impl Cluster {
    /// Starts so many members on empty folders below `parent` and waits until they have a leader.
    /// The null server has no cluster: there is one, whatever is asked for.
    pub fn start(spec: &Spec, parent: &Path, members: usize) -> anyhow::Result<Self> {
        ensure!(members > 0, "a cluster has at least one member");
        let members = if spec.is_null { 1 } else { members };
        let members = Server::start_members(spec, parent, members)?;
        let cluster = Self { name: spec.name.clone(), is_null: spec.is_null, members };
        cluster.leader()?;
        Ok(cluster)
    }

    /// Name in tables.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The member that leads, once all agree on it.
    fn leader(&self) -> anyhow::Result<usize> {
        if self.is_null || self.members.len() == 1 {
            return Ok(0);
        }
        let begin = clock::now();
        loop {
            let said = self.members.iter().map(|member| status(member.address()));
            let said = said.collect::<anyhow::Result<Vec<_>>>();
            if let Some(leader) = said.as_ref().ok().and_then(|said| agreed(said)) {
                return Ok(leader);
            }
            if begin.elapsed() > LEADER_TIME_MAX {
                let name = &self.name;
                bail!("members of {name} agree on no leader after {LEADER_TIME_MAX:?}: {said:?}");
            }
            std::thread::sleep(LEADER_POLL);
        }
    }

    /// Where clients connect to, in the order in which connections are dealt out, and the number
    /// of the member that leads.
    pub fn endpoints(&self, target: Target) -> anyhow::Result<(Vec<SocketAddr>, usize)> {
        let leader = self.leader()?;
        Ok((order(self.members.iter().map(Server::address).collect(), leader, target), leader))
    }

    /// Waits until no member does anything any more.
    pub fn settle(&self) -> anyhow::Result<()> {
        settle(&self.members.iter().collect::<Vec<_>>())
    }

    /// What each member has used so far.
    pub fn usage(&self) -> anyhow::Result<Vec<Usage>> {
        self.members.iter().map(Server::usage).collect()
    }

    /// Makes peaks of memory start again; says whether the system allows it.
    pub fn reset_rss_peak(&self) -> bool {
        self.members.iter().all(|member| proc::reset_rss_peak(member.pid()))
    }

    /// The sum of the members' largest resident memory.
    pub fn rss_peak(&self) -> anyhow::Result<u64> {
        self.members.iter().map(|member| proc::rss_peak(member.pid())).sum()
    }
}

/// What members say of each other.
fn status(address: SocketAddr) -> anyhow::Result<StatusResponse> {
    let body = grpc::block_on(async {
        let mut connection = Connection::open(address).await?;
        let mut body = Vec::new();
        let request = frame::encode(&StatusRequest::default());
        connection
            .call_with(Method::Status, request, |chunk| body.extend_from_slice(chunk))
            .await?;
        anyhow::Ok(body)
    })??;
    let message = body.get(frame::PREFIX_BYTES..).context("a status without a message")?;
    Ok(StatusResponse::decode(message)?)
}

/// The number of the member that all say leads.
fn agreed(said: &[StatusResponse]) -> Option<usize> {
    let leader = said.first()?.leader;
    let all = said.iter().all(|status| status.leader == leader);
    let leads = |status: &StatusResponse| {
        status.header.as_ref().is_some_and(|header| header.member_id == leader)
    };
    said.iter().position(leads).filter(|_| all)
}

fn order(mut addresses: Vec<SocketAddr>, leader: usize, target: Target) -> Vec<SocketAddr> {
    addresses.rotate_left(leader);
    match target {
        Target::Spread => addresses,
        Target::Leader => addresses.drain(..1).collect(),
        // A cluster of one has nobody else.
        Target::Followers if addresses.len() == 1 => addresses,
        Target::Followers => addresses.drain(1..).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keelson_api::etcdserverpb::ResponseHeader;

    fn said(member: u64, leader: u64) -> StatusResponse {
        let header = Some(ResponseHeader { member_id: member, ..Default::default() });
        StatusResponse { header, leader, ..Default::default() }
    }

    #[test]
    fn a_leader_is_whom_all_call_so() {
        assert_eq!(agreed(&[said(7, 9), said(8, 9), said(9, 9)]), Some(2));
        assert_eq!(agreed(&[said(7, 9), said(8, 8), said(9, 9)]), None);
        assert_eq!(agreed(&[said(7, 0), said(8, 0), said(9, 0)]), None, "nobody leads yet");
        assert_eq!(agreed(&[]), None);
    }

    #[test]
    fn the_leader_comes_first_alone_or_not_at_all() {
        let addresses: Vec<SocketAddr> =
            (1..=3).map(|port| SocketAddr::from(([127, 0, 0, 1], port))).collect();
        let ports = |target| -> Vec<u16> {
            order(addresses.clone(), 1, target).iter().map(SocketAddr::port).collect()
        };
        assert_eq!(ports(Target::Spread), [2, 3, 1]);
        assert_eq!(ports(Target::Leader), [2]);
        assert_eq!(ports(Target::Followers), [3, 1]);
        assert_eq!(order(addresses[..1].to_vec(), 0, Target::Followers), addresses[..1]);
    }
}
