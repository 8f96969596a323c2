//! The index that a linearizable read must not lie before, from whoever leads.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use openraft::ReadPolicy;
use openraft::errors::{LinearizableReadError, RaftError};
use tokio::sync::watch;

use super::handle::Raft;
use super::leadership::Leadership;
use super::types::{LogId, MemberId};
use super::wire::{self, ReadId};
use crate::peer::{Call, PeerTransport};

/// Why there is no index now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Miss {
    /// No leader is known, or it could not show in time that it leads: ask again.
    Again,
    /// The node is stopping.
    Stopped,
}

/// Asks for read indexes; one for the process.
pub(crate) struct ReadIndex {
    pub(crate) raft: Raft,
    pub(crate) own: MemberId,
    pub(crate) leadership: watch::Receiver<Leadership>,
    pub(crate) transport: Arc<dyn PeerTransport>,
    /// Drawn by chance at the start of the process.
    pub(crate) start: u64,
    pub(crate) next: AtomicU64,
    /// How long one question may take.
    pub(crate) timeout: Duration,
}

impl ReadIndex {
    /// Asks once: what was committed before this call is not behind the index.
    pub(crate) async fn ask(&self) -> Result<LogId, Miss> {
        #[cfg(feature = "planted-defects")]
        if let Some(at) = super::defects::unconfirmed_read(&self.raft) {
            return Ok(at);
        }
        let leader = self.leadership.borrow().leader.ok_or(Miss::Again)?;
        if leader == self.own { confirm(&self.raft).await } else { self.ask_leader(leader).await }
    }

    async fn ask_leader(&self, leader: MemberId) -> Result<LogId, Miss> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let id = ReadId { start: self.start, number };
        let body = wire::encode_read(id);
        let answer = self.transport.call(leader, Call::ReadIndex, body, self.timeout).await;
        let body = answer.map_err(|_| Miss::Again)?;
        match wire::decode_read_answer(body) {
            Ok((answered, Some(at))) if answered == id => Ok(at),
            // Does not lead, or answers another question, which says nothing of this one.
            Ok(_) | Err(_) => Err(Miss::Again),
        }
    }

    /// Waits until this member has applied an index.
    pub(crate) async fn applied(&self, at: &LogId) -> Result<(), Miss> {
        let wait = self.raft.wait(None);
        let waited = wait.applied_index_at_least(Some(at.index), "a read index").await;
        waited.map(drop).map_err(|_| Miss::Stopped)
    }
}

/// The read index of this member, after a quorum has confirmed that it leads.
pub(crate) async fn confirm(raft: &Raft) -> Result<LogId, Miss> {
    #[cfg(feature = "planted-defects")]
    if let Some(at) = super::defects::unconfirmed_read(raft) {
        return Ok(at);
    }
    match raft.get_read_linearizer(ReadPolicy::ReadIndex).await {
        Ok(linearizer) => Ok(*linearizer.read_log_id().log_id()),
        Err(RaftError::APIError(
            LinearizableReadError::ForwardToLeader(_) | LinearizableReadError::QuorumNotEnough(_),
        )) => Err(Miss::Again),
        Err(RaftError::Fatal(_)) => Err(Miss::Stopped),
    }
}
