//! The barrier before a linearizable read.
//!
//! A read may be answered from any state that is not older than what had been committed when the
//! read arrived. Asking Raft for that point costs a round with a quorum, so reads share rounds:
//! all that wait when a round starts are served by it, later ones wait for the next. A read never
//! joins a round that is already under way, because the point that round confirms may lie before
//! the read's arrival.

use std::sync::Arc;
use std::time::Duration;

use openraft::ReadPolicy;
use openraft::errors::{LinearizableReadError, RaftError};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::handle::Raft;

/// Why a read could not be shown to be current.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BarrierError {
    /// This member does not know a leader, or a quorum did not confirm it.
    #[error("no leader")]
    NoLeader,
    /// No answer in time.
    #[error("request timed out")]
    Timeout,
    /// The node is stopping.
    #[error("server stopped")]
    Stopped,
}

type Waiter = oneshot::Sender<Result<(), BarrierError>>;

#[derive(Default)]
struct State {
    waiting: Vec<Waiter>,
    running: bool,
}

/// Gives reads their barrier; cheap to clone, meant for the runtime it is used on.
#[derive(Clone)]
pub struct ReadBarrier {
    raft: Raft,
    timeout: Duration,
    state: Arc<Mutex<State>>,
}

impl std::fmt::Debug for ReadBarrier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReadBarrier").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

impl ReadBarrier {
    pub(crate) fn new(raft: Raft, timeout: Duration) -> Self {
        Self { raft, timeout, state: Arc::default() }
    }

    /// Returns once the store holds everything that was committed before the call.
    ///
    /// # Errors
    /// When that cannot be shown; the read must then not be answered.
    pub async fn pass(&self) -> Result<(), BarrierError> {
        let (waiter, passed) = oneshot::channel();
        let start = {
            let mut state = self.state.lock();
            state.waiting.push(waiter);
            !std::mem::replace(&mut state.running, true)
        };
        if start {
            tokio::spawn(self.clone().run());
        }
        passed.await.unwrap_or(Err(BarrierError::Stopped))
    }

    /// Runs rounds until nobody waits.
    async fn run(self) {
        loop {
            let waiting = {
                let mut state = self.state.lock();
                state.running = !state.waiting.is_empty();
                std::mem::take(&mut state.waiting)
            };
            if waiting.is_empty() {
                return;
            }
            let result = match tokio::time::timeout(self.timeout, self.round()).await {
                Ok(result) => result,
                Err(_) => Err(BarrierError::Timeout),
            };
            for waiter in waiting {
                // A client that has gone away needs no answer.
                let _answered: bool = waiter.send(result).is_ok();
            }
        }
    }

    async fn round(&self) -> Result<(), BarrierError> {
        let linearizer = match self.raft.get_read_linearizer(ReadPolicy::ReadIndex).await {
            Ok(linearizer) => linearizer,
            Err(RaftError::APIError(
                LinearizableReadError::ForwardToLeader(_)
                | LinearizableReadError::QuorumNotEnough(_),
            )) => return Err(BarrierError::NoLeader),
            Err(RaftError::Fatal(_)) => return Err(BarrierError::Stopped),
        };
        linearizer.await_ready(&self.raft).await.map_err(|_| BarrierError::Stopped)?;
        Ok(())
    }
}
