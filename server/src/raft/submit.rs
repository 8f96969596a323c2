//! The way of a batch into the log: straight to Raft where this member leads, else through the
//! leader.
//!
//! A batch is proposed again only when it certainly did not get into any log: the leader refused
//! it before it appended it, or the call never left this member. Of everything else nobody can be
//! sure, a broken connection and even an entry that was cut off this member's log included:
//! another member may still hold it and lead. Such a batch is waited for until its deadline, and
//! answered if it is applied after all. So none is ever applied twice.

use std::sync::Arc;
use std::time::Duration;

use openraft::errors::ClientWriteError;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;

use super::flights::{Flights, OnLanding};
use super::handle::Raft;
use super::leadership::Leadership;
use super::proposer::ProposeError;
use super::responder::Responder;
use super::types::{Batch, ClientWriteResult, MemberId, ProposalId};
use super::wire::Taken;
use crate::peer::{Call, PeerError, PeerTransport};

/// Forwarded batches under way from one runtime: enough to keep the connection busy, few enough
/// that commands gather into large batches meanwhile.
const FORWARDS_MAX: usize = 4;

/// Pause before a batch that was refused is proposed again.
const RETRY_PAUSE: Duration = Duration::from_millis(10);

/// What all submitters of a process share.
pub(crate) struct Routes {
    pub(crate) raft: Raft,
    pub(crate) own: MemberId,
    pub(crate) flights: Arc<Flights>,
    pub(crate) leadership: watch::Receiver<Leadership>,
    pub(crate) transport: Arc<dyn PeerTransport>,
}

/// Where the next batch goes.
pub(crate) enum Way {
    /// To Raft, here.
    Local,
    /// To the leader.
    Forward(MemberId, OwnedSemaphorePermit),
}

/// Submits the batches of one runtime; cheap to clone.
#[derive(Clone)]
pub(crate) struct Submitter {
    routes: Arc<Routes>,
    runtime: Handle,
    forwards: Arc<Semaphore>,
}

/// A batch on its way.
#[derive(Clone)]
struct Load {
    id: ProposalId,
    batch: Batch,
    deadline: Instant,
}

impl Submitter {
    /// A submitter for the current runtime.
    pub(crate) fn new(routes: Arc<Routes>) -> Self {
        let forwards = Arc::new(Semaphore::new(FORWARDS_MAX));
        Self { routes, runtime: Handle::current(), forwards }
    }

    pub(crate) fn next_id(&self) -> ProposalId {
        self.routes.flights.next_id()
    }

    /// Waits until there is a leader, and room on the way to it.
    pub(crate) async fn way(&self) -> Way {
        if self.leader() == Some(self.routes.own) {
            return Way::Local;
        }
        let mut leadership = self.routes.leadership.clone();
        loop {
            let leader = leadership.borrow_and_update().leader;
            match leader {
                Some(leader) if leader == self.routes.own => return Way::Local,
                Some(leader) => {
                    tokio::select! {
                        permit = Arc::clone(&self.forwards).acquire_owned() => {
                            let permit = permit.expect("the semaphore is never closed");
                            return Way::Forward(leader, permit);
                        }
                        _ = leadership.changed() => {}
                    }
                }
                None => {
                    if leadership.changed().await.is_err() {
                        // Raft is gone, and whoever waits here goes with the runtime.
                        std::future::pending::<()>().await;
                    }
                }
            }
        }
    }

    /// Sends a batch on its way. `land` is called once, with its outcomes or with why there are
    /// none.
    pub(crate) async fn submit(
        &self,
        way: Way,
        id: ProposalId,
        batch: Batch,
        deadline: Instant,
        land: OnLanding,
    ) {
        self.routes.flights.board(id, deadline, land);
        let load = Load { id, batch, deadline };
        match way {
            Way::Local => self.propose(load).await,
            Way::Forward(leader, permit) => {
                let this = self.clone();
                self.runtime.spawn(async move { this.forward(leader, permit, load).await });
            }
        }
    }

    /// Hands the batch to Raft here.
    async fn propose(&self, load: Load) {
        let (this, again) = (self.clone(), load.clone());
        let on_complete = Responder::new(move |result| this.proposed(again, result));
        if self.routes.raft.client_write_ff(load.batch, Some(on_complete)).await.is_err() {
            self.routes.flights.fail(&load.id, ProposeError::Stopped);
        }
    }

    fn proposed(&self, load: Load, result: ClientWriteResult) {
        match taken(&result) {
            // It has landed before this call, or still may.
            Taken::Applied | Taken::Unknown => {}
            Taken::NotAppended => self.again(load),
        }
    }

    /// Hands the batch to the leader. The room on the way is given free when another leads: the
    /// answer may still come, and is waited for, as only it can say that nothing was appended.
    async fn forward(self, leader: MemberId, permit: OwnedSemaphorePermit, load: Load) {
        let timeout = load.deadline.saturating_duration_since(Instant::now());
        let body = load.batch.0.clone();
        let call = self.routes.transport.call(leader, Call::Propose, body, timeout);
        tokio::pin!(call);
        let mut leadership = self.routes.leadership.clone();
        let answered = tokio::select! {
            answered = &mut call => Some(answered),
            () = another_leads(&mut leadership, leader) => None,
        };
        drop(permit);
        let answered = match answered {
            Some(answered) => answered,
            None => call.await,
        };
        if certainly_not_appended(answered) {
            self.again(load);
        }
    }

    /// Proposes once more what is in no log.
    fn again(&self, load: Load) {
        let this = self.clone();
        self.runtime.spawn(async move {
            tokio::time::sleep(RETRY_PAUSE).await;
            // Past the deadline the flight has been ended by whoever watches the clock.
            let Ok(way) = tokio::time::timeout_at(load.deadline, this.way()).await else { return };
            if Instant::now() >= load.deadline {
                return;
            }
            match way {
                Way::Local => this.propose(load).await,
                Way::Forward(leader, permit) => Box::pin(this.forward(leader, permit, load)).await,
            }
        });
    }

    fn leader(&self) -> Option<MemberId> {
        self.routes.leadership.borrow().leader
    }
}

async fn another_leads(leadership: &mut watch::Receiver<Leadership>, than: MemberId) {
    // The sender is gone only with Raft, and then nothing changes any more.
    drop(leadership.wait_for(|now| now.leader != Some(than)).await);
}

/// What Raft's answer says of a batch.
pub(super) fn taken(result: &ClientWriteResult) -> Taken {
    match result {
        Ok(_) => Taken::Applied,
        // Refused at the door: it is in no log.
        Err(ClientWriteError::ForwardToLeader(_)) => Taken::NotAppended,
        // Cut off this log, and maybe still in another: see above.
        Err(ClientWriteError::LogEntryDiscarded(_)) => Taken::Unknown,
        Err(
            ClientWriteError::ChangeMembershipError(_) | ClientWriteError::PreconditionFailed(_),
        ) => unreachable!("commands change no membership and have no precondition"),
    }
}

fn certainly_not_appended(answered: Result<bytes::Bytes, PeerError>) -> bool {
    match answered {
        Ok(body) => Taken::decode(body) == Ok(Taken::NotAppended),
        Err(PeerError::NotSent { .. } | PeerError::Refused { .. }) => true,
        Err(PeerError::NoAnswer { .. }) => false,
    }
}

#[cfg(test)]
mod tests {
    use openraft::errors::ForwardToLeader;

    use super::*;
    use crate::peer::{Refusal, Refused};

    #[test]
    fn what_was_cut_off_a_log_may_be_in_another() {
        let elsewhere = ForwardToLeader::empty;
        let refused = Err(ClientWriteError::ForwardToLeader(elsewhere()));
        assert_eq!(taken(&refused), Taken::NotAppended);
        let discarded = Err(ClientWriteError::LogEntryDiscarded(elsewhere()));
        assert_eq!(taken(&discarded), Taken::Unknown);
    }

    #[test]
    fn only_what_is_in_no_log_is_proposed_again() {
        let to = MemberId(1);
        let why = String::new();
        let refused = Refused::new(Refusal::Unknown, "");
        for (answered, certain) in [
            (Ok(Taken::Applied.encode()), false),
            (Ok(Taken::NotAppended.encode()), true),
            (Ok(Taken::Unknown.encode()), false),
            (Ok(bytes::Bytes::from_static(b"?")), false),
            (Err(PeerError::NotSent { to, why: why.clone() }), true),
            (Err(PeerError::NoAnswer { to, why }), false),
            (Err(PeerError::Refused { to, refused }), true),
        ] {
            assert_eq!(certainly_not_appended(answered.clone()), certain, "{answered:?}");
        }
    }
}
