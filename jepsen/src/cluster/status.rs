//! What a member says about itself.

use std::time::Duration;

use keelson_api::client::{Client, Options};
use keelson_api::etcdserverpb::{RangeRequest, StatusRequest};

/// Longest wait for an answer to a question of the harness itself.
const ANSWER_TIME: Duration = Duration::from_millis(1000);

/// A member's view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    /// Its id.
    pub member: u64,
    /// The leader's id as it believes, 0 for none.
    pub leader: u64,
    /// Its term.
    pub term: u64,
}

/// A connection for questions of the harness.
async fn connect(address: &str) -> Option<Client> {
    let options = Options { connect_timeout: ANSWER_TIME, ..Options::default() };
    tokio::time::timeout(ANSWER_TIME, Client::connect_with(&[address], options)).await.ok()?.ok()
}

/// Asks a member for its status; `None` if it does not answer in time.
pub async fn status(address: &str) -> Option<Probe> {
    let client = connect(address).await?;
    let mut maintenance = client.maintenance();
    let answer = tokio::time::timeout(ANSWER_TIME, maintenance.status(StatusRequest::default()));
    let status = answer.await.ok()?.ok()?.into_inner();
    let member = status.header.map_or(0, |header| header.member_id);
    Some(Probe { member, leader: status.leader, term: status.raft_term })
}

/// Whether a member answers a linearizable read.
pub(super) async fn serves(address: &str) -> bool {
    let Some(client) = connect(address).await else { return false };
    let mut kv = client.kv();
    let request = RangeRequest { key: "ready".into(), ..RangeRequest::default() };
    let answer = tokio::time::timeout(ANSWER_TIME, kv.range(request)).await;
    matches!(answer, Ok(Ok(_)))
}
