//! The leader's work: it learns all leases when it begins, revokes those that have run out, and
//! notes now and then how much is left.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use keelson_store::Lease;
use keelson_store::command::{Command, Expiry, LeaseCheckpoint, LeaseRevoke, Remaining};
use keelson_store::response::Rejection;
use keelson_store::types::{LeaseId, LogIndex, Term};
use tokio::sync::watch;

use super::deadlines::Millis;
use super::lessor::{CHECKPOINT_BYTES, Lessor, Works};
use crate::raft::{Leadership, Proposer};

/// The longest between two looks at the clock: a machine that was suspended finds out that late.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// The shortest, so that leases which end one after the other end a few at a time.
const LOOK_INTERVAL_MIN: Duration = Duration::from_millis(10);

/// Leases in one round of revocations, which becomes one log entry: applied within milliseconds,
/// so that puts in between do not wait long.
const REVOKE_MAX: usize = 256;

/// Rounds of revocations under way: one is applied while the next one is written.
const ROUNDS_MAX: usize = 2;

/// Pause before a revocation that came to nothing is proposed again.
const RETRY_PAUSE: Millis = 1_000;

/// Notes in one command.
const NOTES_MAX: usize = 1024;

/// Leases that are read at a time.
const READ_SLICE: usize = 10_000;

/// About what a revocation takes in the log.
const REVOKE_BYTES: usize = 24;

/// Pause before leases are read again.
const READ_AGAIN_PAUSE: Duration = Duration::from_millis(10);

impl Lessor {
    /// Follows who leads for as long as the runtime lives.
    pub(super) async fn tend(self: Arc<Self>, works: Works) {
        let mut leadership = works.raft.leadership();
        loop {
            let Leadership { term, leader, .. } = *leadership.borrow_and_update();
            let ended = if leader == Some(works.raft.member_id()) {
                tokio::select! {
                    ended = changed(&mut leadership) => ended,
                    never = self.lead(&works, term) => match never {},
                }
            } else {
                changed(&mut leadership).await
            };
            // What it knew is worth nothing when it leads again: others may have led meanwhile.
            self.table.lock().leave();
            if ended {
                return;
            }
        }
    }

    async fn lead(&self, works: &Works, term: u64) -> std::convert::Infallible {
        self.learn(works, term).await;
        let mut rounds = FuturesUnordered::new();
        let mut notes = FuturesUnordered::new();
        loop {
            let (expired, due, next) = self.due(term, rounds.len(), notes.len());
            if !expired.is_empty() {
                rounds.push(self.revoke(&works.proposer, term, expired));
            }
            if !due.is_empty() {
                notes.push(self.note(&works.proposer, term, due));
            }
            tokio::select! {
                Some(()) = rounds.next() => {}
                Some(()) = notes.next() => {}
                () = tokio::time::sleep(next) => {}
            }
        }
    }

    /// What is to be done now, as far as there is room for it, and how long until the next look.
    fn due(
        &self,
        term: u64,
        rounds: usize,
        notes: usize,
    ) -> (Vec<(LeaseId, LogIndex)>, Vec<Remaining>, Duration) {
        let now = self.now();
        let mut table = self.table.lock();
        let Some(deadlines) = table.leading(term) else {
            return (Vec::new(), Vec::new(), LOOK_INTERVAL);
        };
        let expired =
            if rounds < ROUNDS_MAX { deadlines.expired(now, REVOKE_MAX) } else { Vec::new() };
        let due = if notes == 0 { deadlines.due_checkpoints(now, NOTES_MAX) } else { Vec::new() };
        let next = deadlines.next().map_or(LOOK_INTERVAL, |at| {
            Duration::from_millis(at.saturating_sub(now)).min(LOOK_INTERVAL)
        });
        (expired, due, next.max(LOOK_INTERVAL_MIN))
    }

    /// Reads all leases, once everything is applied that was committed before this term: whatever
    /// an earlier leader has granted or revoked is among it.
    async fn learn(&self, works: &Works, term: u64) {
        loop {
            if works.raft.confirm_lead().await == Some(term) {
                self.table.lock().read(term);
                let view = works.raft.store().view();
                let read = tokio::task::spawn_blocking(move || {
                    let mut leases: Vec<Lease> = Vec::new();
                    let mut from = Some(LeaseId(i64::MIN));
                    while let Some(first) = from {
                        let slice = view.leases(first, READ_SLICE)?;
                        from = slice.last().and_then(|last| last.id.0.checked_add(1)).map(LeaseId);
                        leases.extend(slice);
                    }
                    Ok::<_, keelson_store::Error>(leases)
                });
                match read.await {
                    Ok(Ok(leases)) => {
                        let extra = self.options.election_timeout.as_millis();
                        let extra = Millis::try_from(extra).unwrap_or(Millis::MAX);
                        if self.table.lock().lead(&leases, self.now(), extra) {
                            let count = leases.len();
                            tracing::info!(term, leases = count, "keeps the time of leases");
                            return;
                        }
                    }
                    Ok(Err(error)) => tracing::error!(%error, "leases cannot be read"),
                    Err(error) => tracing::error!(%error, "leases were not read"),
                }
            }
            tokio::time::sleep(READ_AGAIN_PAUSE).await;
        }
    }

    /// Revokes leases, each at a revision of its own.
    async fn revoke(&self, proposer: &Proposer, term: u64, leases: Vec<(LeaseId, LogIndex)>) {
        let revoke = |(id, granted): (LeaseId, LogIndex)| {
            let expiry = Some(Expiry { term: Term(term), granted });
            let command = Command::LeaseRevoke(LeaseRevoke { id, expiry });
            proposer.propose(command, REVOKE_BYTES)
        };
        let proposed = join_all(leases.iter().copied().map(revoke)).await;
        let again = self.now() + RETRY_PAUSE;
        let mut table = self.table.lock();
        for ((id, granted), proposed) in leases.into_iter().zip(proposed) {
            let done = match proposed {
                Ok(proposal) => match proposal.outcome {
                    Ok(_) => {
                        self.metrics.mvcc.leases_expired.inc();
                        true
                    }
                    Err(Rejection::LeaseNotFound) => true,
                    Err(_) => false,
                },
                Err(_) => false,
            };
            if !done && let Some(deadlines) = table.leading(term) {
                deadlines.not_revoked(id, granted, again);
            }
        }
    }

    /// Notes what is left of leases. Whatever comes of it, it may have been written.
    async fn note(&self, proposer: &Proposer, term: u64, leases: Vec<Remaining>) {
        let checkpoint = LeaseCheckpoint { term: Term(term), leases: leases.clone() };
        let bytes = leases.len() * CHECKPOINT_BYTES;
        let proposed = proposer.propose(Command::LeaseCheckpoint(checkpoint), bytes).await;
        if let Err(error) = proposed {
            tracing::warn!(%error, leases = leases.len(), "a checkpoint of leases has no answer");
        }
        if let Some(deadlines) = self.table.lock().leading(term) {
            for Remaining { id, granted, .. } in leases {
                deadlines.noted(id, granted);
            }
        }
    }
}

/// Waits for another leader or term; true when Raft is gone.
async fn changed(leadership: &mut watch::Receiver<Leadership>) -> bool {
    leadership.changed().await.is_err()
}
