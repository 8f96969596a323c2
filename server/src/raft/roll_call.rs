//! Who can take part right now.
//!
//! A change of voters has to be stored by quorums of the old and of the new voters; if it is not,
//! no other write gets through either. So before such a change the leader asks everybody for a
//! fresh sign of life: it appends an entry that says nothing, and counts who has stored it within
//! a short time. Who answered heartbeats a moment ago may have been stopped since, and one that
//! answers them still may have a disk that does not.

use std::collections::BTreeSet;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use tokio::time::Instant;

use super::codec;
use super::handle::Raft;
use super::log_store::LogStore;
use super::types::{LogId, MemberId};
use super::version::Agreement;

/// The members that store something new before `patience` ends, this one, which leads, included.
pub(super) async fn roll_call(
    raft: &Raft,
    log: &LogStore,
    own: MemberId,
    patience: Duration,
) -> BTreeSet<MemberId> {
    let mut present = BTreeSet::from([own]);
    let before = log.last().map(|last| last.index);
    let sign = codec::encode_agreement(Agreement::Nothing);
    if raft.client_write_ff(sign, None).await.is_err() {
        return present;
    }
    let end = Instant::now() + patience;
    let mut metrics = raft.metrics();
    loop {
        let asked: usize = {
            let metrics = metrics.borrow_watched();
            let Some(replication) = metrics.replication.as_ref() else { return present };
            let fresh = |at: &LogId| Some(at.index) > before;
            let stored = replication.iter().filter(|(_, at)| at.as_ref().is_some_and(fresh));
            present.extend(stored.map(|(id, _)| *id));
            replication.keys().filter(|id| **id != own).count()
        };
        if present.len() > asked {
            return present;
        }
        if !matches!(tokio::time::timeout_at(end, metrics.changed()).await, Ok(Ok(()))) {
            tracing::warn!(?present, "not all members answered the roll call");
            return present;
        }
    }
}
