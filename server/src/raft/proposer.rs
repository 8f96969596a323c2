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
use keelson_store::command::{Command, Op, codec};
use keelson_store::response::Outcome;
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;

use super::codec::{PROPOSAL_HEADER_BYTES, put_proposal_header};
use super::flights::Landing;
use super::submit::Submitter;
use super::types::{Batch, ProposalId};

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
    deadline: Instant,
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

type Landed = (Arc<Flight>, Result<Landing, ProposeError>);

impl Proposer {
    /// Starts a proposer on the current runtime.
    pub(crate) fn start(submitter: Submitter, limits: ProposerLimits) -> Self {
        let shared = Arc::new(Shared { limits, state: Mutex::default(), arrived: Notify::new() });
        // Bounded by what is in flight, which `pending_commands_max` bounds.
        let (landed, landings) = mpsc::unbounded_channel();
        tokio::spawn(submit(Arc::clone(&shared), submitter, landed));
        tokio::spawn(land(Arc::clone(&shared), landings));
        Self { shared }
    }

    /// How long a command waits for its outcome.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.shared.limits.timeout
    }

    /// Proposes a command and waits for its outcome. `bytes` is about what it takes in the log.
    ///
    /// A future that is dropped while waiting gives up the answer only: the command is in the
    /// queue or in the log already and takes effect all the same.
    ///
    /// # Errors
    /// [`ProposeError::TooManyRequests`] had no effect; after any other the effect is unknown.
    pub async fn propose(&self, command: Command, bytes: usize) -> Result<Proposal, ProposeError> {
        let (reply, answer) = oneshot::channel();
        let deadline = Instant::now() + self.shared.limits.timeout;
        self.enqueue(Waiting { command, bytes, reply, deadline })?;
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
    fn next_flight(&self, id: ProposalId) -> Option<(Batch, Arc<Flight>)> {
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
        let deadline = taken.first()?.deadline;
        let mut out = BytesMut::with_capacity(PROPOSAL_HEADER_BYTES + bytes + 16);
        let long = taken.iter().any(|waiting| may_take_long(&waiting.command));
        put_proposal_header(&mut out, id, long);
        codec::encode_to(&mut out, taken.iter().map(|waiting| &waiting.command));
        let flight = Flight {
            commands: taken.len(),
            bytes,
            replies: Mutex::new(Some(taken.into_iter().map(|waiting| waiting.reply).collect())),
            deadline,
        };
        Some((Batch(out.freeze()), Arc::new(flight)))
    }

    fn is_idle(&self) -> bool {
        self.state.lock().waiting.is_empty()
    }

    /// Answers commands that are overdue before they could be proposed; returns when the next
    /// one will be.
    fn expire(&self, now: Instant) -> Option<Instant> {
        let mut state = self.state.lock();
        while state.waiting.front()?.deadline <= now {
            let overdue = state.waiting.pop_front()?;
            state.pending_commands -= 1;
            state.pending_bytes -= overdue.bytes;
            // A client that has gone away does not want the error either.
            drop(overdue.reply.send(Err(ProposeError::Timeout)));
        }
        state.waiting.front().map(|next| next.deadline)
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

/// Whether applying a command may take long although it is small: it names a range, or nests. In a
/// txn of many operations the size tells.
fn may_take_long(command: &Command) -> bool {
    match command {
        Command::Put(_)
        | Command::Compact(_)
        | Command::LeaseGrant(_)
        | Command::LeaseCheckpoint(_) => false,
        // All that hangs on it goes with it.
        Command::LeaseRevoke(_) => true,
        Command::DeleteRange(delete) => !delete.range.end.is_empty(),
        Command::Txn(txn) => txn.success.iter().chain(&txn.failure).any(|op| match op {
            Op::Put(_) => false,
            Op::Range(range) => !range.range.end.is_empty(),
            Op::DeleteRange(delete) => !delete.range.end.is_empty(),
            Op::Txn(_) => true,
        }),
    }
}

/// Sends entries on their way, one after the other, for as long as the runtime lives.
async fn submit(shared: Arc<Shared>, submitter: Submitter, landed: mpsc::UnboundedSender<Landed>) {
    let mut overdue = Overdue::new(Arc::clone(&shared));
    loop {
        if shared.is_idle() {
            overdue.sweep_until(shared.arrived.notified()).await;
            continue;
        }
        // Without a leader commands wait and gather here.
        let way = overdue.sweep_until(submitter.way()).await;
        let id = submitter.next_id();
        let Some((batch, flight)) = shared.next_flight(id) else { continue };
        overdue.watch(&flight);
        let (landed, deadline) = (landed.clone(), flight.deadline);
        // The runtime that waits for it is gone only when the node stops.
        let land = Box::new(move |result| drop(landed.send((flight, result))));
        submitter.submit(way, id, batch, deadline, land).await;
    }
}

/// Spreads outcomes to those who wait, on their own runtime.
async fn land(shared: Arc<Shared>, mut landings: mpsc::UnboundedReceiver<Landed>) {
    while let Some((flight, result)) = landings.recv().await {
        shared.settle(&flight);
        let Landing { term, outcomes } = match result {
            Ok(landing) => landing,
            Err(error) => {
                shared.fail(&flight, error);
                continue;
            }
        };
        assert_eq!(outcomes.len(), flight.commands, "one outcome for each command");
        let Some(replies) = flight.replies.lock().take() else { continue };
        for (reply, outcome) in replies.into_iter().zip(outcomes) {
            // A client that has gone away leaves its outcome behind.
            drop(reply.send(Ok(Proposal { outcome, term })));
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
    async fn sweep_until<T>(&mut self, arrival: impl Future<Output = T>) -> T {
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
            let oldest = self.flights.front().map(|oldest| oldest.deadline);
            let due = [oldest, self.shared.expire(now)].into_iter().flatten().min();
            let Some(due) = due else { return arrival.await };
            tokio::select! {
                biased;
                arrived = &mut arrival => return arrived,
                () = tokio::time::sleep_until(due) => {}
            }
        }
    }
}
