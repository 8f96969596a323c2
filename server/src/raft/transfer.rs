//! Hands leadership over.

use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use tokio::sync::watch;

use super::handle::Raft;
use super::leadership::Leadership;
use super::types::MemberId;

/// The voter that has most of the log and may take over, if this member leads and there is one.
pub(crate) fn successor(raft: &Raft, own: MemberId) -> Option<MemberId> {
    let metrics = raft.metrics();
    let metrics = metrics.borrow_watched();
    let replication = metrics.replication.as_ref()?;
    let voters = metrics.membership_config.voter_ids();
    voters
        .filter(|id| *id != own)
        .filter_map(|id| Some((replication.get(&id).copied().flatten()?, id)))
        .max()
        .map(|(_, id)| id)
}

/// Asks Raft to hand over, and waits until another leads; false if none does in time.
pub(crate) async fn to(
    raft: &Raft,
    leadership: &watch::Receiver<Leadership>,
    own: MemberId,
    to: MemberId,
    timeout: Duration,
) -> bool {
    tracing::info!(from = %own, %to, "handing leadership over");
    if raft.trigger().transfer_leader(to).await.is_err() {
        return false;
    }
    let mut leadership = leadership.clone();
    let other = |now: &Leadership| now.leader.is_some_and(|leader| leader != own);
    let handed_over =
        matches!(tokio::time::timeout(timeout, leadership.wait_for(other)).await, Ok(Ok(_)));
    if handed_over {
        tracing::info!(from = %own, %to, "leadership was handed over");
    } else {
        tracing::warn!(from = %own, %to, "leadership could not be handed over in time");
    }
    handed_over
}
