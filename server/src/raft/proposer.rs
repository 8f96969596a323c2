//! Gathers the commands of one runtime's clients into log entries.
//!
//! There is no timer. While one entry is being handed to Raft, whatever arrives waits for the
//! next; an idle node proposes single commands at once, a busy one large batches. Each runtime
//! has a proposer of its own, so that the path of a command crosses threads twice in all: once
//! with its batch towards Raft, once with the batch's outcomes back. Waking every client from
//! Raft's thread instead would cost a system call for each.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use keelson_store::command::{Command, codec};
use keelson_store::response::Outcome;
use openraft::errors::ClientWriteError;
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;

use super::codec::TAG_COMMANDS;
use super::handle::Raft;
use super::responder::Responder;
use super::types::{Batch, ClientWriteResult};

/// What a command came to.
#[derive(Debug)]
pub struct Proposal {
    /// The store's answer.
    pub outcome: Outcome,
    /// The term of the entry that carried the command, for the response header.
    pub term: u64,
}

/// Why a command got no outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Too much is waiting already; the command was not proposed.
    #[error("too many requests")]
    TooManyRequests,
    /// This member is not the leader; the command was not proposed here.
    #[error("no leader")]
    NoLeader,
    /// No answer in time. The command may still be applied.
    #[error("request timed out")]
    Timeout,
    /// The node is stopping. The command may still be applied.
    #[error("server stopped")]
    Stopped,
}

/// Bounds of one proposer.
#[derive(Clone, Copy, Debug)]
pub struct ProposerLimits {
    /// Commands in one log entry: enough that a full group of a thousand clients fits one entry,
    /// few enough that one entry is applied well within a heartbeat.
    pub batch_commands_max: usize,
    /// Bytes in one log entry, unless a single command is larger.
    pub batch_bytes_max: usize,
    /// Commands waiting or in flight before new ones are refused.
    pub pending_commands_max: usize,
    /// Bytes of commands waiting or in flight before new ones are refused.
    pub pending_bytes_max: usize,
    /// How long a command waits for its outcome; etcd's 5 s plus two election timeouts.
    pub timeout: Duration,
}

type Reply = oneshot::Sender<Result<Proposal, ProposeError>>;

struct Waiting {
    command: Command,
    bytes: usize,
    reply: Reply,
}

/// One entry on its way. Whoever takes the replies first answers them: the responder with
/// outcomes, or the sweep that finds it overdue.
struct Flight {
    replies: Mutex<Option<Vec<Reply>>>,
    commands: usize,
    bytes: usize,
    deadline: Instant,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Waiting>,
    pending_commands: usize,
    pending_bytes: usize,
}

struct Shared {
    limits: ProposerLimits,
    state: Mutex<State>,
    arrived: Notify,
}

/// Proposes commands; cheap to clone, meant for the runtime it was started on.
#[derive(Clone)]
pub struct Proposer {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Proposer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proposer").field("limits", &self.shared.limits).finish_non_exhaustive()
    }
}

type Landed = (Arc<Flight>, ClientWriteResult);

impl Proposer {
    /// Starts a proposer on the current runtime. It ends when `raft` does.
    pub(crate) fn start(raft: Raft, limits: ProposerLimits) -> Self {
        let shared = Arc::new(Shared { limits, state: Mutex::default(), arrived: Notify::new() });
        // Bounded by what is in flight, which `pending_commands_max` bounds.
        let (landed, landings) = mpsc::unbounded_channel();
        tokio::spawn(submit(Arc::clone(&shared), raft, landed));
        tokio::spawn(land(Arc::clone(&shared), landings));
        Self { shared }
    }

    /// Proposes a command and waits for its outcome. `bytes` is about what it takes in the log.
    ///
    /// A future that is dropped while waiting gives up the answer only: the command is in the
    /// queue or in the log already and takes effect all the same.
    ///
    /// # Errors
    /// [`ProposeError::TooManyRequests`] and [`ProposeError::NoLeader`] had no effect; after any
    /// other the effect is unknown.
    pub async fn propose(&self, command: Command, bytes: usize) -> Result<Proposal, ProposeError> {
        let (reply, answer) = oneshot::channel();
        self.enqueue(Waiting { command, bytes, reply })?;
        answer.await.unwrap_or(Err(ProposeError::Stopped))
    }

    fn enqueue(&self, waiting: Waiting) -> Result<(), ProposeError> {
        let limits = &self.shared.limits;
        let mut state = self.shared.state.lock();
        if state.pending_commands >= limits.pending_commands_max
            || state.pending_bytes + waiting.bytes > limits.pending_bytes_max
        {
            return Err(ProposeError::TooManyRequests);
        }
        state.pending_commands += 1;
        state.pending_bytes += waiting.bytes;
        let first = state.waiting.is_empty();
        state.waiting.push_back(waiting);
        drop(state);
        if first {
            self.shared.arrived.notify_one();
        }
        Ok(())
    }
}

impl Shared {
    /// Takes the next entry's worth of commands, encoded, and their flight.
    fn next_flight(&self) -> Option<(Batch, Arc<Flight>)> {
        let mut taken = Vec::new();
        let mut bytes = 0;
        {
            let mut state = self.state.lock();
            while let Some(next) = state.waiting.front() {
                let full = taken.len() >= self.limits.batch_commands_max
                    || bytes + next.bytes > self.limits.batch_bytes_max;
                if full && !taken.is_empty() {
                    break;
                }
                bytes += next.bytes;
                taken.extend(state.waiting.pop_front());
            }
        }
        if taken.is_empty() {
            return None;
        }
        let mut out = BytesMut::with_capacity(bytes + 16);
        out.extend_from_slice(&[TAG_COMMANDS]);
        codec::encode_to(&mut out, taken.iter().map(|waiting| &waiting.command));
        let flight = Flight {
            commands: taken.len(),
            bytes,
            replies: Mutex::new(Some(taken.into_iter().map(|waiting| waiting.reply).collect())),
            deadline: Instant::now() + self.limits.timeout,
        };
        Some((Batch(out.freeze()), Arc::new(flight)))
    }

    fn settle(&self, flight: &Flight) {
        let mut state = self.state.lock();
        state.pending_commands -= flight.commands;
        state.pending_bytes -= flight.bytes;
    }

    fn fail(&self, flight: &Flight, error: ProposeError) {
        if let Some(replies) = flight.replies.lock().take() {
            for reply in replies {
                // A client that has gone away does not want the error either.
                drop(reply.send(Err(error)));
            }
        }
    }
}

/// Hands entries to Raft, one after the other, until Raft is gone.
async fn submit(shared: Arc<Shared>, raft: Raft, landed: mpsc::UnboundedSender<Landed>) {
    let mut overdue = Overdue::new(Arc::clone(&shared));
    loop {
        let Some((batch, flight)) = shared.next_flight() else {
            overdue.sweep_until(shared.arrived.notified()).await;
            continue;
        };
        overdue.watch(&flight);
        let landed = landed.clone();
        let on_complete = {
            let flight = Arc::clone(&flight);
            // The runtime that waits for it is gone only when the node stops.
            Responder::new(move |result| drop(landed.send((flight, result))))
        };
        if raft.client_write_ff(batch, Some(on_complete)).await.is_err() {
            shared.fail(&flight, ProposeError::Stopped);
            shared.settle(&flight);
        }
    }
}

/// Spreads outcomes to those who wait, on their own runtime.
async fn land(shared: Arc<Shared>, mut landings: mpsc::UnboundedReceiver<Landed>) {
    while let Some((flight, result)) = landings.recv().await {
        shared.settle(&flight);
        match result {
            Ok(written) => {
                let term = written.log_id.leader_id.term;
                let outcomes = written.data.0;
                assert_eq!(outcomes.len(), flight.commands, "one outcome for each command");
                let Some(replies) = flight.replies.lock().take() else { continue };
                for (reply, outcome) in replies.into_iter().zip(outcomes) {
                    // A client that has gone away leaves its outcome behind.
                    drop(reply.send(Ok(Proposal { outcome, term })));
                }
            }
            Err(ClientWriteError::ForwardToLeader(_)) => {
                shared.fail(&flight, ProposeError::NoLeader);
            }
            // Another leader's entry took its place in the log.
            Err(ClientWriteError::LogEntryDiscarded(_)) => {
                shared.fail(&flight, ProposeError::NoLeader);
            }
            Err(
                ClientWriteError::ChangeMembershipError(_)
                | ClientWriteError::PreconditionFailed(_),
            ) => unreachable!("commands change no membership and have no precondition"),
        }
    }
}

/// Finds flights that are overdue. Entries are proposed in order, so the oldest is due first, and
/// one timer serves them all.
struct Overdue {
    shared: Arc<Shared>,
    flights: VecDeque<Arc<Flight>>,
}

impl Overdue {
    fn new(shared: Arc<Shared>) -> Self {
        Self { shared, flights: VecDeque::new() }
    }

    fn watch(&mut self, flight: &Arc<Flight>) {
        while self.flights.front().is_some_and(|oldest| oldest.replies.lock().is_none()) {
            self.flights.pop_front();
        }
        self.flights.push_back(Arc::clone(flight));
    }

    /// Waits for `arrival`, timing out what becomes overdue meanwhile.
    async fn sweep_until(&mut self, arrival: impl Future<Output = ()>) {
        tokio::pin!(arrival);
        loop {
            let now = Instant::now();
            while let Some(oldest) = self.flights.front() {
                if oldest.replies.lock().is_some() && oldest.deadline > now {
                    break;
                }
                self.shared.fail(oldest, ProposeError::Timeout);
                self.flights.pop_front();
            }
            let Some(oldest) = self.flights.front() else { return arrival.await };
            let due = oldest.deadline;
            tokio::select! {
                () = &mut arrival => return,
                () = tokio::time::sleep_until(due) => {}
            }
        }
    }
}
