//! The barrier before a linearizable read.
//!
//! A read may be answered from any state that is not older than what had been committed when the
//! read arrived. Asking Raft for that point costs a round with a quorum, so reads share rounds:
//! all that wait when a round starts are served by it, later ones wait for the next. A read never
//! joins a round that is already under way, because the point that round confirms may lie before
//! the read's arrival.
//!
//! A round that comes to nothing, because leaders change or a quorum does not answer, is tried
//! again until the reads are overdue; whoever arrived meanwhile takes part in the next try.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::read_index::{Miss, ReadIndex};

/// Pause after a round that came to nothing.
const RETRY_PAUSE: Duration = Duration::from_millis(10);

/// Why a read could not be shown to be current.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BarrierError {
    /// No answer in time.
    #[error("request timed out")]
    Timeout,
    /// The node is stopping.
    #[error("server stopped")]
    Stopped,
}

struct Waiter {
    deadline: Instant,
    answer: oneshot::Sender<Result<(), BarrierError>>,
}

impl Waiter {
    fn answer(self, result: Result<(), BarrierError>) {
        // A client that has gone away needs no answer.
        let _answered: bool = self.answer.send(result).is_ok();
    }
}

#[derive(Default)]
struct State {
    waiting: Vec<Waiter>,
    running: bool,
}

/// Gives reads their barrier; cheap to clone, meant for the runtime it is used on.
#[derive(Clone)]
pub struct ReadBarrier {
    index: Arc<ReadIndex>,
    timeout: Duration,
    state: Arc<Mutex<State>>,
}

impl std::fmt::Debug for ReadBarrier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReadBarrier").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

impl ReadBarrier {
    pub(crate) fn new(index: Arc<ReadIndex>, timeout: Duration) -> Self {
        Self { index, timeout, state: Arc::default() }
    }

    /// Returns once the store holds everything that was committed before the call.
    ///
    /// # Errors
    /// When that cannot be shown; the read must then not be answered.
    pub async fn pass(&self) -> Result<(), BarrierError> {
        let (answer, passed) = oneshot::channel();
        let deadline = Instant::now() + self.timeout;
        let start = {
            let mut state = self.state.lock();
            state.waiting.push(Waiter { deadline, answer });
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
            let Some(oldest) = waiting.iter().map(|waiter| waiter.deadline).min() else { return };
            let result = match tokio::time::timeout_at(oldest, self.round()).await {
                Ok(Ok(())) => Ok(()),
                Ok(Err(Miss::Stopped)) => Err(BarrierError::Stopped),
                Ok(Err(Miss::Again)) | Err(_) => {
                    self.put_back(waiting);
                    tokio::time::sleep(RETRY_PAUSE).await;
                    continue;
                }
            };
            waiting.into_iter().for_each(|waiter| waiter.answer(result));
        }
    }

    async fn round(&self) -> Result<(), Miss> {
        let at = self.index.ask().await?;
        self.index.applied(&at).await
    }

    /// Has those that still have time wait for the next round.
    fn put_back(&self, waiting: Vec<Waiter>) {
        let now = Instant::now();
        let (late, rest): (Vec<_>, Vec<_>) =
            waiting.into_iter().partition(|waiter| waiter.deadline <= now);
        self.state.lock().waiting.extend(rest);
        late.into_iter().for_each(|waiter| waiter.answer(Err(BarrierError::Timeout)));
    }
}
