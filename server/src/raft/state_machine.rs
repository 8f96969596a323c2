//! openraft's state machine on the store.
//!
//! The store is durable by itself, a step behind: what it has applied and not yet flushed is
//! replayed from the log after a crash. So a "snapshot" costs nothing here: building one only
//! reads how far RocksDB has flushed, and that position is what lets openraft purge the log. The
//! log is never purged further, which is the whole of the guarantee. A snapshot that came from
//! another member is a store of its own, which takes the place of this one.
//!
//! What takes long is applied on another thread: Raft's own must stay free for heartbeats and
//! votes. What does not is applied here at once, because a lone client would wait for the hand-over
//! twice.

use std::io;
use std::sync::Arc;

use futures_util::{Stream, StreamExt};
use keelson_store as store;
use keelson_store::types::{LogIndex, LogPosition, Term};
use keelson_store::{Applier, Store};
use openraft::storage::{ApplyResponder, EntryResponder, RaftStateMachine};
use openraft::type_config::alias::{SnapshotMetaOf, SnapshotOf};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder, Snapshot, SnapshotMeta};

use super::codec::{self, AppliedMembership, Proposed};
use super::flights::{Flights, Landing};
use super::lease_desk::LeaseDesk;
use super::roster::Roster;
use super::snapshot::Candidate;
use super::types::{LogId, ProposalId, StoredMembership, TypeConfig};
use crate::watch::Feed;

/// Bytes of commands that are applied on Raft's thread at the most: a few hundred small puts,
/// about a millisecond.
const INLINE_BYTES_MAX: usize = 64 << 10;

/// Entries applied in one write batch at the most; with it, the store's memory for one batch is
/// bounded by this many entries of the largest admitted request.
const APPLY_ENTRIES_MAX: usize = 1024;

/// Bytes of commands after which a batch is full: one larger entry still fits.
const APPLY_BYTES_MAX: usize = 8 << 20;

/// A snapshot on disk: a store that was received from another member. Empty for the descriptions
/// that only gate the purge.
#[derive(Debug, Default)]
pub(crate) struct SnapshotDir(Option<Candidate>);

impl SnapshotDir {
    pub(crate) fn received(candidate: Candidate) -> Self {
        Self(Some(candidate))
    }
}

/// What an entry takes along past its being applied.
struct Ticket {
    responder: Option<ApplyResponder<TypeConfig>>,
    id: Option<ProposalId>,
    term: u64,
}

/// Entries on their way into one write batch.
#[derive(Default)]
struct Gathered {
    entries: Vec<store::LogEntry>,
    tickets: Vec<Ticket>,
    bytes: usize,
    long: bool,
}

/// Applies committed entries; the only writer of the store.
pub(crate) struct StateMachine {
    store: Store,
    /// Away only while a long batch is applied on another thread.
    applier: Option<Applier>,
    flights: Arc<Flights>,
    roster: Arc<Roster>,
    feed: Feed,
    leases: Option<Arc<dyn LeaseDesk>>,
    /// The position the last description named, so that an unmoved one is not built again.
    described: Option<LogPosition>,
}

impl StateMachine {
    pub(crate) fn new(
        store: Store,
        applier: Applier,
        flights: Arc<Flights>,
        roster: Arc<Roster>,
        feed: Feed,
    ) -> Self {
        let applier = Some(applier);
        Self { store, applier, flights, roster, feed, leases: None, described: None }
    }

    /// Has somebody told what becomes of leases.
    pub(crate) fn telling(mut self, leases: Arc<dyn LeaseDesk>) -> Self {
        self.leases = Some(leases);
        self
    }

    fn gather(
        &self,
        batch: &mut Gathered,
        (entry, responder): EntryResponder<TypeConfig>,
    ) -> io::Result<()> {
        let position = position(&entry.log_id);
        let mut id = None;
        let payload = match entry.payload {
            EntryPayload::Blank => store::Payload::Blank,
            EntryPayload::Normal(proposed) => {
                if let Some(agreement) = codec::decode_agreement(&proposed)? {
                    let applied = self.roster.agree(agreement);
                    store::Payload::Membership(codec::encode_applied_membership(&applied))
                } else {
                    let Proposed { id: proposer, long, commands } =
                        codec::decode_proposal(&proposed)?;
                    id = proposer;
                    batch.long |= long;
                    batch.bytes += commands.len();
                    store::Payload::Commands(commands)
                }
            }
            EntryPayload::Membership(membership) => {
                let stored = StoredMembership::new(Some(entry.log_id), membership);
                let applied = self.roster.apply(stored);
                store::Payload::Membership(codec::encode_applied_membership(&applied))
            }
        };
        let wanted = id.as_ref().is_some_and(|id| self.flights.awaits(id));
        batch.entries.push(store::LogEntry { position, payload, wanted });
        batch.tickets.push(Ticket { responder, id, term: position.term.0 });
        Ok(())
    }

    /// Applies one batch and answers those who wait for it.
    async fn apply_batch(&mut self, batch: Gathered) -> io::Result<()> {
        let Gathered { entries, tickets, bytes, long } = batch;
        let mut applier = self.applier.take().expect("batches are applied one after the other");
        let apply = move || {
            let outcomes = applier.apply(&entries);
            (applier, outcomes)
        };
        let (applier, outcomes) = if long || bytes > INLINE_BYTES_MAX {
            tokio::task::spawn_blocking(apply).await.map_err(io::Error::other)?
        } else {
            apply()
        };
        let applier = self.applier.insert(applier);
        let outcomes = outcomes.map_err(io::Error::other)?;
        self.feed.moved();
        if let Some(leases) = &self.leases
            && !applier.lease_changes().is_empty()
        {
            leases.applied(applier.lease_changes());
        }
        assert_eq!(outcomes.len(), tickets.len(), "outcomes for each entry");
        for (ticket, outcomes) in tickets.into_iter().zip(outcomes) {
            if let Some(id) = ticket.id {
                self.flights.land(&id, Landing { term: ticket.term, outcomes });
            }
            if let Some(responder) = ticket.responder {
                responder.send(());
            }
        }
        Ok(())
    }
}

fn position(log_id: &LogId) -> LogPosition {
    LogPosition { term: Term(log_id.leader_id.term), index: LogIndex(log_id.index) }
}

fn log_id(position: LogPosition) -> LogId {
    codec::log_id(position.term.0, position.index.0)
}

/// What the store keeps of the members.
pub(crate) fn applied_membership(store: &Store) -> io::Result<AppliedMembership> {
    match store.membership().map_err(io::Error::other)? {
        Some(bytes) => Ok(codec::decode_applied_membership(&bytes)?),
        None => Ok(AppliedMembership::default()),
    }
}

fn stored_membership(store: &Store) -> io::Result<StoredMembership> {
    Ok(applied_membership(store)?.stored)
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = SnapshotDir;
    type SnapshotBuilder = FlushedPosition;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        let applied = self.store.applied().map(log_id);
        Ok((applied, stored_membership(&self.store)?))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> io::Result<()>
    where
        Strm: Stream<Item = io::Result<EntryResponder<TypeConfig>>> + Unpin + OptionalSend,
    {
        let mut batch = Gathered::default();
        while let Some(entry) = entries.next().await {
            self.gather(&mut batch, entry?)?;
            if batch.entries.len() >= APPLY_ENTRIES_MAX || batch.bytes >= APPLY_BYTES_MAX {
                self.apply_batch(std::mem::take(&mut batch)).await?;
            }
        }
        if batch.entries.is_empty() { Ok(()) } else { self.apply_batch(batch).await }
    }

    async fn try_create_snapshot_builder(&mut self, force: bool) -> Option<FlushedPosition> {
        let persisted = self.store.persisted().ok().flatten();
        if !force && persisted == self.described {
            return None;
        }
        self.described = persisted;
        Some(FlushedPosition(self.store.clone()))
    }

    async fn get_snapshot_builder(&mut self) -> FlushedPosition {
        FlushedPosition(self.store.clone())
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMetaOf<TypeConfig>,
        snapshot: SnapshotDir,
    ) -> io::Result<()> {
        let candidate = snapshot.0.ok_or_else(|| io::Error::other("a snapshot without a store"))?;
        let mut applier = self.applier.take().expect("one thing is done after the other");
        // The store counts before anything is read from it: a crash comes back to it, or to the
        // former one with the log that belongs to it, which is purged only after this.
        let installing = tokio::task::spawn_blocking(move || {
            applier.replace(candidate.adopt()?).map_err(io::Error::other)?;
            Ok::<_, io::Error>(applier)
        });
        self.applier = Some(installing.await.map_err(io::Error::other)??);
        self.roster.install(applied_membership(&self.store)?);
        self.described = None;
        self.feed.moved();
        tracing::info!(%meta, "a snapshot has taken the place of the store");
        Ok(())
    }

    async fn get_current_snapshot(
        &mut self,
    ) -> io::Result<Option<SnapshotOf<TypeConfig, SnapshotDir>>> {
        describe(&self.store)
    }
}

/// Builds the description of what RocksDB has flushed.
pub(crate) struct FlushedPosition(Store);

impl RaftSnapshotBuilder<TypeConfig> for FlushedPosition {
    type SnapshotData = SnapshotDir;

    async fn build_snapshot(&mut self) -> io::Result<SnapshotOf<TypeConfig, SnapshotDir>> {
        let described = describe(&self.0)?;
        Ok(described.unwrap_or_else(|| Snapshot {
            meta: SnapshotMeta::default(),
            snapshot: SnapshotDir::default(),
        }))
    }
}

fn describe(store: &Store) -> io::Result<Option<SnapshotOf<TypeConfig, SnapshotDir>>> {
    let Some(persisted) = store.persisted().map_err(io::Error::other)? else { return Ok(None) };
    let membership = stored_membership(store)?;
    // A membership later than the flushed position is in the log still; openraft reads it there.
    let last_membership = match membership.log_id() {
        Some(at) if at.index > persisted.index.0 => StoredMembership::default(),
        _ => membership,
    };
    let meta = SnapshotMeta { last_log_id: Some(log_id(persisted)), last_membership };
    Ok(Some(Snapshot { meta, snapshot: SnapshotDir::default() }))
}
