//! Answers what other members ask.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{StreamExt, future};
use keelson_store::command;
use openraft::async_runtime::WatchReceiver;
use openraft::raft::{AppendEntriesRequest, StreamAppendError, StreamAppendResult, VoteRequest};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::change_wire;
use super::codec::{self, CodecError, Proposed};
use super::handle::Raft;
use super::leadership::Heard;
use super::lease_desk::LeaseDesk;
use super::log_store::LogStore;
use super::read_index::{Miss, confirm};
use super::reconfigure::Reconfigurer;
use super::responder::Responder;
use super::roster::Roster;
use super::snapshot::Incoming;
use super::submit::taken;
use super::types::{Batch, ClientWriteResult, ClusterId, LogId, MemberId, TypeConfig, Vote};
use super::wire::{self, Taken};
use crate::peer::{Answers, Call, Envelope, PeerHandler, Refusal, Refused, Requests};

/// Refusals that are remembered as logged; beyond, the log has said enough.
const LOGGED_MAX: usize = 256;

/// What answers other members; one for the process.
pub(crate) struct Inbound {
    pub(crate) raft: Raft,
    pub(crate) log: LogStore,
    pub(crate) cluster: ClusterId,
    pub(crate) own: MemberId,
    pub(crate) roster: Arc<Roster>,
    pub(crate) heard: Arc<Heard>,
    pub(crate) reconfigurer: Arc<Reconfigurer>,
    pub(crate) incoming: Arc<Incoming>,
    pub(crate) leases: Arc<dyn LeaseDesk>,
    /// Refusals that have been logged once.
    pub(crate) logged: Mutex<BTreeSet<(u64, u64, Refusal)>>,
}

fn malformed(error: CodecError) -> Refused {
    Refused::new(Refusal::Malformed, error.to_string())
}

fn stopping(what: &impl std::fmt::Display) -> Refused {
    Refused::new(Refusal::Unavailable, what.to_string())
}

impl Inbound {
    fn check(&self, envelope: &Envelope) -> Result<(), Refused> {
        let Envelope { cluster, from, to } = *envelope;
        if cluster != self.cluster {
            let own = self.cluster;
            let text = format!(
                "member {from} belongs to cluster {cluster}, this member to cluster {own}: their \
                 --initial-cluster or --initial-cluster-token differ"
            );
            return Err(Refused::new(Refusal::ForeignCluster, text));
        }
        if to != self.own {
            let own = self.own;
            let text = format!("member {from} looks for member {to} and has found member {own}");
            return Err(Refused::new(Refusal::WrongTarget, text));
        }
        if self.is_alone() && !self.is_member(from) {
            // It has been alone by its log, if not yet by what it has applied: nobody can have
            // become a member, let alone the leader, without it.
            let text = format!("member {from} is not a member of this cluster, which has only one");
            let why =
                if self.roster.was_removed(from) { Refusal::Removed } else { Refusal::Unknown };
            return Err(Refused::new(why, text));
        }
        if self.roster.was_removed(from) {
            let text = format!("member {from} has been permanently removed from the cluster");
            return Err(Refused::new(Refusal::Removed, text));
        }
        Ok(())
    }

    /// A refusal is logged when it first happens, not each time.
    fn log_once(&self, envelope: &Envelope, refused: &Refused) {
        let mut logged = self.logged.lock();
        let row = (envelope.cluster.0, envelope.from.0, refused.why);
        if logged.len() < LOGGED_MAX && logged.insert(row) {
            tracing::warn!(
                from = %envelope.from,
                cluster = %envelope.cluster,
                why = %refused.why,
                text = refused.text,
                "refusing messages of another member"
            );
        }
    }

    /// Whether this is the only member.
    fn is_alone(&self) -> bool {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        let mut members = metrics.membership_config.nodes().map(|(id, _)| *id);
        members.next() == Some(self.own) && members.next().is_none()
    }

    fn is_member(&self, id: MemberId) -> bool {
        let metrics = self.raft.server_metrics();
        metrics.borrow_watched().membership_config.get_node(&id).is_some()
    }

    /// Refuses who is not a member.
    fn known(&self, from: MemberId) -> Result<(), Refused> {
        if self.is_member(from) {
            return Ok(());
        }
        let text = format!("member {from} is not a member of this cluster");
        let refused = Refused::new(Refusal::Unknown, text);
        self.log_once(&Envelope { cluster: self.cluster, from, to: self.own }, &refused);
        Err(refused)
    }

    /// A candidate that this member does not know may have been added by an entry that is still to
    /// come here; then its log goes beyond this one. If it does not, there is no such entry.
    fn known_candidate(
        &self,
        from: MemberId,
        request: &VoteRequest<TypeConfig>,
    ) -> Result<(), Refused> {
        let last = self.log.last();
        if request.last_log_id > last { Ok(()) } else { self.known(from) }
    }

    /// The leader lives. The answer does not wait for entries that are on their way to the disk:
    /// it says that this member follows, not what it holds. Raft itself is asked, so that a vote
    /// given to somebody else meanwhile is seen.
    async fn heartbeat(&self, from: MemberId, body: Bytes) -> Result<Bytes, Refused> {
        let (request, forsaken) = wire::decode_heartbeat(body).map_err(malformed)?;
        let (vote, prev) = (request.vote, request.prev_log_id);
        let slow = self.follow(request);
        let answer = tokio::select! {
            biased;
            followed = self.followed(vote, prev) => match followed {
                Some(answer) => answer,
                None => return Err(stopping(&"raft has stopped")),
            },
            answer = slow => answer?,
        };
        if answer.is_ok() {
            self.heard.note_heartbeat(from, forsaken);
        }
        Ok(wire::encode_append_answer(&answer))
    }

    /// Hands a heartbeat to Raft at once, and answers once what was appended before is durable.
    fn follow(
        &self,
        request: AppendEntriesRequest<TypeConfig>,
    ) -> impl Future<Output = Result<StreamAppendResult<TypeConfig>, Refused>> + use<> {
        let raft = self.raft.clone();
        let following = tokio::spawn(async move {
            let mut answers = Box::pin(raft.stream_append(futures_util::stream::iter([request])));
            answers.next().await
        });
        async move {
            match following.await {
                Ok(Some(Ok(answer))) => Ok(answer),
                Ok(Some(Err(fatal))) => Err(stopping(&fatal)),
                Ok(None) | Err(_) => Err(stopping(&"raft has stopped")),
            }
        }
    }

    /// What can be said of a heartbeat without the disk: pending where that is not enough.
    async fn followed(
        &self,
        vote: Vote,
        prev: Option<LogId>,
    ) -> Option<StreamAppendResult<TypeConfig>> {
        let known = self.raft.with_raft_state(|state| *state.vote_ref()).await.ok()?;
        if known == vote && prev.is_none_or(|prev| self.log.holds(&prev)) {
            return Some(Ok(prev));
        }
        if known > vote {
            return Some(Err(StreamAppendError::HigherVote(known)));
        }
        std::future::pending().await
    }

    async fn vote(&self, from: MemberId, body: Bytes, pre: bool) -> Result<Bytes, Refused> {
        let request = wire::decode_vote_request(body).map_err(malformed)?;
        self.known_candidate(from, &request)?;
        let answer =
            if pre { self.raft.pre_vote(request).await } else { self.raft.vote(request).await };
        Ok(wire::encode_vote_answer(&answer.map_err(|error| stopping(&error))?))
    }

    async fn transfer(&self, body: Bytes) -> Result<Bytes, Refused> {
        let request = wire::decode_transfer(body).map_err(malformed)?;
        let answer = self.raft.handle_transfer_leader(request).await;
        Ok(wire::encode_transfer_answer(&answer.map_err(|error| stopping(&error))?))
    }

    async fn read_index(&self, from: MemberId, body: Bytes) -> Result<Bytes, Refused> {
        let id = wire::decode_read(body).map_err(malformed)?;
        self.known(from)?;
        match confirm(&self.raft).await {
            Ok(at) => Ok(wire::encode_read_answer(id, Some(&at))),
            Err(Miss::Again) => Ok(wire::encode_read_answer(id, None)),
            Err(Miss::Stopped) => Err(stopping(&"raft has stopped")),
        }
    }

    /// Appends a batch of another member's clients. It is looked at first: an entry that cannot be
    /// read would stop every member for good. Nothing is refused once Raft has the batch.
    async fn propose(&self, from: MemberId, batch: Bytes) -> Result<Bytes, Refused> {
        self.known(from)?;
        let batch = Batch(batch);
        let Proposed { id, commands, .. } = codec::decode_proposal(&batch).map_err(malformed)?;
        if id.is_none_or(|id| id.member != from) {
            return Err(malformed(CodecError::Malformed { what: "proposal" }));
        }
        command::codec::decode(&commands)
            .map_err(|error| Refused::new(Refusal::Malformed, error.to_string()))?;
        let (done, result) = oneshot::channel();
        let on_complete = Responder::new(move |result: ClientWriteResult| {
            // Whoever forwarded it may have given up waiting.
            let _heard: bool = done.send(taken(&result)).is_ok();
        });
        let taken = match self.raft.client_write_ff(batch, Some(on_complete)).await {
            Ok(()) => result.await.unwrap_or(Taken::Unknown),
            Err(_) => Taken::NotAppended,
        };
        Ok(taken.encode())
    }

    async fn reconfigure(&self, from: MemberId, body: Bytes) -> Result<Bytes, Refused> {
        let (change, again) = change_wire::decode_change(body).map_err(malformed)?;
        self.known(from)?;
        Ok(change_wire::encode_answer(&self.reconfigurer.asked(&change, again).await))
    }

    async fn lease(&self, from: MemberId, body: Bytes) -> Result<Bytes, Refused> {
        self.known(from)?;
        let answered = Arc::clone(&self.leases).answer(body).await;
        answered.ok_or_else(|| malformed(CodecError::Malformed { what: "questions on leases" }))
    }

    async fn answer(&self, from: MemberId, call: Call, body: Bytes) -> Result<Bytes, Refused> {
        match call {
            Call::Heartbeat => self.heartbeat(from, body).await,
            Call::Vote => self.vote(from, body, false).await,
            Call::PreVote => self.vote(from, body, true).await,
            Call::TransferLeader => self.transfer(body).await,
            Call::ReadIndex => self.read_index(from, body).await,
            Call::Propose => self.propose(from, body).await,
            Call::Reconfigure => self.reconfigure(from, body).await,
            Call::Lease => self.lease(from, body).await,
        }
    }
}

/// Cheap to clone; what the listener holds.
#[derive(Clone)]
pub(crate) struct InboundHandle(pub(crate) Arc<Inbound>);

impl PeerHandler for InboundHandle {
    fn admit(&self, envelope: &Envelope) -> Result<(), Refused> {
        self.0.check(envelope).inspect_err(|refused| self.0.log_once(envelope, refused))
    }

    fn call(
        &self,
        from: MemberId,
        call: Call,
        body: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, Refused>> {
        let this = Arc::clone(&self.0);
        Box::pin(async move { this.answer(from, call, body).await })
    }

    /// A leader has been voted for by a quorum, which only a member can be, even one that this
    /// member has not heard of yet: appends are taken from whoever leads.
    fn append(&self, from: MemberId, requests: Requests) -> Answers<Refused> {
        let requests = requests
            .map(move |body| match wire::decode_append(body) {
                Ok(request) => Some(request),
                Err(error) => {
                    tracing::error!(%error, %from, "entries of the leader cannot be read");
                    None
                }
            })
            .take_while(|request| future::ready(request.is_some()))
            .filter_map(future::ready);
        let this = Arc::clone(&self.0);
        let answers = self.0.raft.stream_append(requests).map(move |answer| match answer {
            Ok(answer) => {
                if answer.is_ok() {
                    this.heard.note(from);
                }
                Ok(wire::encode_append_answer(&answer))
            }
            Err(fatal) => Err(stopping(&fatal)),
        });
        Box::pin(answers)
    }

    fn snapshot(&self, from: MemberId, requests: Requests) -> Answers<Refused> {
        let Inbound { raft, incoming, .. } = &*self.0;
        Arc::clone(incoming).receive(raft.clone(), from, requests)
    }
}
