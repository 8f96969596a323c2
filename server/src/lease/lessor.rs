//! The lessor: what the rest of the server asks about leases.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use keelson_store::LeaseChange;
use keelson_store::command::{Command, LeaseCheckpoint, Remaining};
use keelson_store::types::{LeaseId, Term};
use parking_lot::Mutex;

use super::asks::{Answer, Asks};
use super::deadlines::{Look, Millis};
use super::table::Table;
use super::wire::{self, Question};
use crate::observe::metrics::Metrics;
use crate::raft::{LeaseDesk, Proposer, RaftHandle};

/// Tells the time since the machine's boot, suspension included. Never goes back.
pub type Clock = Arc<dyn Fn() -> Duration + Send + Sync>;

/// Options of the lessor.
#[derive(Clone)]
pub struct LessorOptions {
    /// The time.
    pub clock: Clock,
    /// What a new leader gives every lease on top, for the time without a leader.
    pub election_timeout: Duration,
    /// How long a question about a lease waits for a leader's answer.
    pub timeout: Duration,
}

impl std::fmt::Debug for LessorOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LessorOptions").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

/// Keeps the time of leases while this member leads, and asks the leader while it does not; one for
/// the process.
pub struct Lessor {
    pub(super) options: LessorOptions,
    pub(super) table: Mutex<Table>,
    pub(super) asks: Asks,
    pub(super) metrics: Arc<Metrics>,
    /// Set when Raft has started.
    works: OnceLock<Works>,
}

/// What the lessor works with.
#[derive(Clone)]
pub(super) struct Works {
    pub(super) raft: RaftHandle,
    pub(super) proposer: Proposer,
}

impl std::fmt::Debug for Lessor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lessor").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Lessor {
    /// A lessor that begins to work with [`start`](Self::start).
    #[must_use]
    pub fn new(options: LessorOptions, metrics: Arc<Metrics>) -> Arc<Self> {
        let (table, asks) = (Mutex::default(), Asks::default());
        Arc::new(Self { options, table, asks, metrics, works: OnceLock::new() })
    }

    /// Sets it to work on the current runtime, once.
    pub fn start(self: &Arc<Self>, raft: RaftHandle, proposer: Proposer) {
        let works = Works { raft: raft.clone(), proposer };
        assert!(self.works.set(works.clone()).is_ok(), "the lessor is started once");
        tokio::spawn(Arc::clone(self).serve_asks(raft));
        tokio::spawn(Arc::clone(self).tend(works));
    }

    /// Sorts leases by how much is left of them, if this member leads; otherwise leaves them.
    pub fn sort_by_deadline(&self, leases: &mut [LeaseId]) {
        let table = self.table.lock();
        if let Some(deadlines) = table.deadlines() {
            leases.sort_by_cached_key(|id| deadlines.deadline(*id));
        }
    }

    pub(super) fn now(&self) -> Millis {
        Millis::try_from((self.options.clock)().as_millis()).unwrap_or(Millis::MAX)
    }

    /// Answers as the leader, after a quorum has confirmed that this member leads; nothing if it
    /// does not, or does not know all leases yet.
    ///
    /// Whoever leads next begins after the confirmation, and so after the question came: what is
    /// renewed now has its TTL at the next leader, too.
    pub(super) async fn answers(self: &Arc<Self>, questions: &[Question]) -> Option<Vec<Answer>> {
        let works = self.works.get()?;
        let term = works.raft.confirm_lead().await?;
        let (answers, to_clear) = self.look(term, questions)?;
        if !to_clear.is_empty() {
            tokio::spawn(Arc::clone(self).clear(works.proposer.clone(), term, to_clear));
        }
        Some(answers)
    }

    fn look(&self, term: u64, questions: &[Question]) -> Option<(Vec<Answer>, Vec<Remaining>)> {
        let now = self.now();
        let mut table = self.table.lock();
        let deadlines = table.leading(term)?;
        let (mut answers, mut to_clear) = (Vec::with_capacity(questions.len()), Vec::new());
        let mut renewed = 0;
        for Question { id, renew } in questions.iter().copied() {
            let look = if renew { deadlines.renew(id, now) } else { deadlines.time_left(id, now) };
            answers.push(match look {
                Look::Gone => Answer::Gone,
                Look::Lives(left) => {
                    renewed += u64::from(renew);
                    Answer::Lives(left)
                }
                Look::Again => Answer::Again,
                Look::Clear(granted) => {
                    to_clear.push(Remaining { id, granted, ttl: 0 });
                    Answer::Again
                }
            });
        }
        self.metrics.mvcc.leases_renewed.inc_by(renewed);
        Some((answers, to_clear))
    }

    /// Takes back what was noted of leases that somebody wants to live on.
    async fn clear(self: Arc<Self>, proposer: Proposer, term: u64, leases: Vec<Remaining>) {
        let checkpoint = LeaseCheckpoint { term: Term(term), leases: leases.clone() };
        let bytes = leases.len() * CHECKPOINT_BYTES;
        let proposed = proposer.propose(Command::LeaseCheckpoint(checkpoint), bytes).await;
        let certain = proposed.is_ok_and(|proposal| proposal.outcome.is_ok());
        if let Some(deadlines) = self.table.lock().leading(term) {
            for Remaining { id, granted, .. } in leases {
                deadlines.cleared(id, granted, certain);
            }
        }
    }
}

/// About what the note of one lease takes in the log.
pub(super) const CHECKPOINT_BYTES: usize = 24;

impl LeaseDesk for Lessor {
    fn applied(&self, changes: &[LeaseChange]) {
        let metrics = &self.metrics.mvcc;
        for change in changes {
            match change {
                LeaseChange::Granted(lease) => {
                    metrics.leases_granted.inc();
                    metrics.lease_ttl_seconds.observe(seconds(lease.ttl));
                }
                LeaseChange::Revoked(_) => metrics.leases_revoked.inc(),
            }
        }
        self.table.lock().applied(changes, self.now());
    }

    fn answer(self: Arc<Self>, body: Bytes) -> BoxFuture<'static, Option<Bytes>> {
        Box::pin(async move {
            let questions = wire::decode_questions(body)?;
            let answers = self.answers(&questions).await;
            Some(wire::encode_answers(answers.as_deref()))
        })
    }
}

#[expect(clippy::cast_precision_loss, reason = "a bucket of a histogram needs no more")]
fn seconds(ttl: i64) -> f64 {
    ttl as f64
}
