//! What clients of this member ask about leases, on its way to whoever leads.
//!
//! There is no timer: while one round is being confirmed, whatever is asked waits for the next. A
//! round that comes to nothing is asked again, until it is overdue.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use keelson_store::types::LeaseId;
use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::Instant;

use super::TimeLeft;
use super::lessor::Lessor;
use super::wire::{self, ASKS_MAX, Question};
use crate::peer::Call;
use crate::raft::{MemberId, RaftHandle};

/// Asks that wait at the most; beyond, a client is better told at once.
const WAITING_MAX: usize = 100_000;

/// Calls to the leader under way: enough to keep the connection busy, few enough that asks gather.
const FORWARDS_MAX: usize = 4;

/// Pause before what came to nothing is asked again.
const RETRY_PAUSE: Duration = Duration::from_millis(10);

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// Too much is being asked.
    #[error("too many requests")]
    TooManyRequests,
    /// Nobody could answer in time.
    #[error("request timed out")]
    Timeout,
    /// The node is stopping.
    #[error("server stopped")]
    Stopped,
}

/// What the leader says of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It is not there.
    Gone,
    /// It lives.
    Lives(TimeLeft),
    /// Ask again.
    Again,
}

type Reply = oneshot::Sender<Result<Option<TimeLeft>, AskError>>;

/// One question and who waits for its answer.
struct Ask {
    question: Question,
    deadline: Instant,
    reply: Reply,
    _room: OwnedSemaphorePermit,
}

impl Ask {
    fn answer(self, answer: Result<Option<TimeLeft>, AskError>) {
        // A client that has gone away needs no answer.
        let _heard: bool = self.reply.send(answer).is_ok();
    }
}

/// The questions that wait.
pub(super) struct Asks {
    waiting: Mutex<VecDeque<Ask>>,
    arrived: Notify,
    room: Arc<Semaphore>,
}

impl Default for Asks {
    fn default() -> Self {
        let room = Arc::new(Semaphore::new(WAITING_MAX));
        Self { waiting: Mutex::default(), arrived: Notify::new(), room }
    }
}

impl Asks {
    /// Takes the next round, once there is something to ask.
    async fn next(&self) -> Vec<Ask> {
        loop {
            let now = Instant::now();
            let taken: Vec<_> = {
                let mut waiting = self.waiting.lock();
                let count = waiting.len().min(ASKS_MAX);
                waiting.drain(..count).collect()
            };
            let (late, asks): (Vec<_>, Vec<_>) =
                taken.into_iter().partition(|ask| ask.deadline <= now);
            late.into_iter().for_each(|ask| ask.answer(Err(AskError::Timeout)));
            if !asks.is_empty() {
                return asks;
            }
            if self.waiting.lock().is_empty() {
                self.arrived.notified().await;
            }
        }
    }

    fn put(&self, asks: impl Iterator<Item = Ask>) {
        self.waiting.lock().extend(asks);
        self.arrived.notify_one();
    }
}

impl Lessor {
    /// Asks the leader about leases, and has those live on that are to be renewed; answers in
    /// order what is left of each, or nothing if it is not there.
    ///
    /// # Errors
    /// For each lease by itself, see [`AskError`].
    pub async fn ask(
        &self,
        leases: &[LeaseId],
        renew: bool,
    ) -> Vec<Result<Option<TimeLeft>, AskError>> {
        let deadline = Instant::now() + self.options.timeout;
        let (mut asks, mut answers) = (Vec::new(), Vec::new());
        for id in leases {
            let Ok(room) = Arc::clone(&self.asks.room).try_acquire_owned() else {
                answers.push(None);
                continue;
            };
            let (reply, answer) = oneshot::channel();
            let question = Question { id: *id, renew };
            asks.push(Ask { question, deadline, reply, _room: room });
            answers.push(Some(answer));
        }
        self.asks.put(asks.into_iter());
        let mut told = Vec::new();
        for answer in answers {
            told.push(match answer {
                None => Err(AskError::TooManyRequests),
                Some(answer) => answer.await.unwrap_or(Err(AskError::Stopped)),
            });
        }
        told
    }

    /// Has questions answered for as long as the runtime lives.
    pub(super) async fn serve_asks(self: Arc<Self>, raft: RaftHandle) {
        let forwards = Arc::new(Semaphore::new(FORWARDS_MAX));
        let leadership = raft.leadership();
        loop {
            let asks = self.asks.next().await;
            let leader = leadership.borrow().leader;
            match leader {
                None => self.again(asks),
                Some(leader) if leader == raft.member_id() => {
                    let answers = self.answers(&questions(&asks)).await;
                    self.settle(asks, answers);
                }
                Some(leader) => {
                    let permit = Arc::clone(&forwards).acquire_owned().await;
                    let permit = permit.expect("the semaphore is never closed");
                    tokio::spawn(Arc::clone(&self).forward(raft.clone(), leader, asks, permit));
                }
            }
        }
    }

    async fn forward(
        self: Arc<Self>,
        raft: RaftHandle,
        leader: MemberId,
        asks: Vec<Ask>,
        permit: OwnedSemaphorePermit,
    ) {
        let body = wire::encode_questions(questions(&asks).into_iter());
        let called = raft.call(leader, Call::Lease, body, self.options.election_timeout).await;
        drop(permit);
        let answers = called.ok().and_then(|body| wire::decode_answers(body, asks.len()));
        self.settle(asks, answers);
    }

    fn settle(self: &Arc<Self>, asks: Vec<Ask>, answers: Option<Vec<Answer>>) {
        let Some(answers) = answers else { return self.again(asks) };
        assert_eq!(asks.len(), answers.len(), "an answer to each question");
        let mut open = Vec::new();
        for (ask, answer) in asks.into_iter().zip(answers) {
            match answer {
                Answer::Gone => ask.answer(Ok(None)),
                Answer::Lives(left) => ask.answer(Ok(Some(left))),
                Answer::Again => open.push(ask),
            }
        }
        self.again(open);
    }

    /// Asks once more, after a pause.
    fn again(self: &Arc<Self>, asks: Vec<Ask>) {
        if asks.is_empty() {
            return;
        }
        let this = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep(RETRY_PAUSE).await;
            this.asks.put(asks.into_iter());
        });
    }
}

fn questions(asks: &[Ask]) -> Vec<Question> {
    asks.iter().map(|ask| ask.question).collect()
}
