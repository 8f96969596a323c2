//! The follower's side.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use keelson_store::Held;
use openraft::type_config::alias::{SnapshotMetaOf, SnapshotOf};
use openraft::{Snapshot, SnapshotMeta};
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};

use super::frame::{Answered, Offer, Sent};
use super::partial::Partial;
use super::stores::Stores;
use crate::peer::{Answers, Refusal, Refused, Requests};
use crate::raft::codec::{self, AppliedMembership, CodecError};
use crate::raft::handle::Raft;
use crate::raft::state_machine::SnapshotDir;
use crate::raft::types::{MemberId, TypeConfig, Vote};

/// Answers under way: there are three in all.
const ANSWERS_MAX: usize = 4;

/// What is on its way into this member, and for whom.
#[derive(Debug, Default)]
struct Slot {
    /// The transfer that may write; those before it have been given up by their leaders.
    owner: u64,
    /// What was received last, for the same source to go on with.
    partial: Option<Partial>,
}

/// Receives snapshots; one for the process.
#[derive(Debug)]
pub(crate) struct Incoming {
    stores: Arc<Stores>,
    slot: Arc<Mutex<Slot>>,
    /// The newest transfer; it ends those before.
    newest: watch::Sender<u64>,
}

fn malformed(text: impl std::fmt::Display) -> Refused {
    Refused::new(Refusal::Malformed, text.to_string())
}

fn unable(text: impl std::fmt::Display) -> Refused {
    Refused::new(Refusal::Unavailable, text.to_string())
}

fn cut_off() -> Refused {
    unable("the transfer was cut off")
}

impl Incoming {
    pub(crate) fn new(stores: Arc<Stores>) -> Self {
        Self { stores, slot: Arc::default(), newest: watch::Sender::new(0) }
    }

    /// Receives a snapshot and has Raft install it.
    pub(crate) fn receive(
        self: Arc<Self>,
        raft: Raft,
        from: MemberId,
        mut requests: Requests,
    ) -> Answers<Refused> {
        let (answers, mut answered) = mpsc::channel(ANSWERS_MAX);
        tokio::spawn(async move {
            let transfer = Transfer { incoming: &self, raft, from, answers: &answers };
            if let Err(refused) = transfer.run(&mut requests).await {
                tracing::warn!(%from, why = refused.text, "a snapshot did not arrive");
                // The leader may have gone; then nobody wants to know.
                let _told: bool = answers.send(Err(refused)).await.is_ok();
            }
        });
        Box::pin(stream::poll_fn(move |cx| answered.poll_recv(cx)))
    }
}

struct Transfer<'a> {
    incoming: &'a Incoming,
    raft: Raft,
    from: MemberId,
    answers: &'a mpsc::Sender<Result<Bytes, Refused>>,
}

impl Transfer<'_> {
    async fn run(&self, requests: &mut Requests) -> Result<(), Refused> {
        let vote = match next(requests).await? {
            Sent::Hello(vote) => vote,
            Sent::Offer(_) | Sent::Piece(_) => return Err(malformed("no greeting")),
        };
        let known = self.raft.with_raft_state(|state| *state.vote_ref()).await.map_err(unable)?;
        if known > vote {
            return self.answer(&Answered::Done(known)).await;
        }
        let mut newest = self.incoming.newest.subscribe();
        self.incoming.newest.send_modify(|number| *number += 1);
        let number = *newest.borrow_and_update();
        let from = self.from;
        tokio::select! {
            received = self.receive(requests, number, vote) => received,
            _ = newest.changed() => {
                tracing::info!(%from, "a snapshot gives way to a newer one");
                Ok(())
            }
        }
    }

    async fn receive(
        &self,
        requests: &mut Requests,
        number: u64,
        vote: Vote,
    ) -> Result<(), Refused> {
        self.answer(&Answered::Ready).await?;
        let offer = match next(requests).await? {
            Sent::Offer(offer) => offer,
            Sent::Hello(_) | Sent::Piece(_) => return Err(malformed("no offer")),
        };
        let mut whole = self.begin(number, offer).await?;
        while !whole {
            let piece = match next(requests).await? {
                Sent::Piece(piece) => piece,
                Sent::Hello(_) | Sent::Offer(_) => return Err(malformed("no piece")),
            };
            let written = self.write(number, move |partial| {
                partial.write(&piece)?;
                Ok(partial.is_whole())
            });
            whole = written.await?;
        }
        let snapshot = self.open(number, &vote).await?;
        let installed = self.raft.install_full_snapshot(vote, snapshot).await.map_err(unable)?;
        self.answer(&Answered::Done(installed.vote)).await
    }

    /// Takes the offer, and says what of it is there; tells whether that is all.
    async fn begin(&self, number: u64, offer: Offer) -> Result<bool, Refused> {
        let dir = self.incoming.stores.incoming();
        let slot = Arc::clone(&self.incoming.slot);
        let (held, (here, bytes), whole) = blocking(move || {
            let mut slot = slot.lock();
            if slot.owner > number {
                return Err(io::Error::other("a newer transfer has begun"));
            }
            slot.owner = number;
            let partial = Partial::begin(&dir, offer, slot.partial.take())?;
            let begun = (partial.held(), partial.bytes(), partial.is_whole());
            slot.partial = Some(partial);
            Ok(begun)
        })
        .await?;
        tracing::info!(from = %self.from, bytes, already_here = here, "receiving a snapshot");
        self.answer(&Answered::Have(held)).await?;
        Ok(whole)
    }

    /// Works on what was received, unless a newer transfer has taken it over: work that was begun
    /// goes on when its transfer is given up.
    async fn write<T: Send + 'static>(
        &self,
        number: u64,
        work: impl FnOnce(&mut Partial) -> io::Result<T> + Send + 'static,
    ) -> Result<T, Refused> {
        let slot = Arc::clone(&self.incoming.slot);
        blocking(move || {
            let mut slot = slot.lock();
            match &mut *slot {
                Slot { owner, partial: Some(partial) } if *owner == number => work(partial),
                Slot { .. } => Err(io::Error::other("a newer transfer has begun")),
            }
        })
        .await
    }

    /// What was received says itself how far it goes and who the members were.
    async fn open(
        &self,
        number: u64,
        vote: &Vote,
    ) -> Result<SnapshotOf<TypeConfig, SnapshotDir>, Refused> {
        let stores = Arc::clone(&self.incoming.stores);
        let opened = self.write(number, move |partial| {
            partial.seal()?;
            let candidate = stores.candidate()?;
            let held = Held::read(&**candidate.engine()).map_err(io::Error::other)?;
            Ok((candidate, held))
        });
        let (candidate, held) = opened.await?;
        let meta = meta(&held).map_err(malformed)?;
        // Raft takes this for granted.
        let ahead = meta.last_log_id.is_none_or(|last| last.leader_id.term > vote.leader_id().term);
        if ahead {
            return Err(unable(format!("a snapshot up to {meta} of a leader with {vote}")));
        }
        tracing::info!(from = %self.from, %meta, "received a snapshot");
        Ok(Snapshot { meta, snapshot: SnapshotDir::received(candidate) })
    }

    async fn answer(&self, answer: &Answered) -> Result<(), Refused> {
        self.answers.send(Ok(answer.encode())).await.map_err(|_| cut_off())
    }
}

async fn next(requests: &mut Requests) -> Result<Sent, Refused> {
    let frame = requests.next().await.ok_or_else(cut_off)?;
    Sent::decode(frame).map_err(malformed)
}

fn meta(held: &Held) -> Result<SnapshotMetaOf<TypeConfig>, CodecError> {
    let applied = match &held.membership {
        Some(bytes) => codec::decode_applied_membership(bytes)?,
        None => AppliedMembership::default(),
    };
    let last_log_id = held.applied.map(|at| codec::log_id(at.term.0, at.index.0));
    Ok(SnapshotMeta { last_log_id, last_membership: applied.stored })
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Refused> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(unable),
        Err(error) => Err(unable(error)),
    }
}
