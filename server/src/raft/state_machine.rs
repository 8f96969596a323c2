//! openraft's state machine on the store.
//!
//! The store is durable by itself, a step behind: what it has applied and not yet flushed is
//! replayed from the log after a crash. So a "snapshot" costs nothing here: building one only
//! reads how far RocksDB has flushed, and that position is what lets openraft purge the log. The
//! log is never purged further, which is the whole of the guarantee.

use std::io;
use std::path::PathBuf;

use futures_util::{Stream, StreamExt};
use keelson_store as store;
use keelson_store::types::{LogIndex, LogPosition, Term};
use keelson_store::{Applier, Store};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::type_config::alias::{SnapshotMetaOf, SnapshotOf};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder, Snapshot, SnapshotMeta};

use super::codec;
use super::types::{Entry, LogId, Outcomes, StoredMembership, TypeConfig};

/// Entries applied in one write batch at the most; with it, the store's memory for one batch is
/// bounded by this many entries of the largest admitted request.
const APPLY_ENTRIES_MAX: usize = 1024;

/// A snapshot on disk: a RocksDB checkpoint of hard links. Empty for the descriptions that only
/// gate the purge.
#[derive(Debug, Default)]
pub(crate) struct SnapshotDir(
    #[expect(dead_code, reason = "read by the peer transport")] Option<PathBuf>,
);

/// Applies committed entries; the only writer of the store.
pub(crate) struct StateMachine {
    store: Store,
    applier: Applier,
    /// The position the last description named, so that an unmoved one is not built again.
    described: Option<LogPosition>,
}

impl StateMachine {
    pub(crate) fn new(store: Store, applier: Applier) -> Self {
        Self { store, applier, described: None }
    }

    /// Applies one batch and answers those who wait for it.
    fn apply_batch(&mut self, batch: Vec<EntryResponder<TypeConfig>>) -> io::Result<()> {
        let (entries, responders): (Vec<_>, Vec<_>) = batch
            .into_iter()
            .map(|(entry, responder)| (log_entry(entry, responder.is_some()), responder))
            .unzip();
        let outcomes = self.applier.apply(&entries).map_err(io::Error::other)?;
        assert_eq!(outcomes.len(), entries.len(), "outcomes for each entry");
        for (responder, outcomes) in responders.into_iter().zip(outcomes) {
            if let Some(responder) = responder {
                responder.send(Outcomes(outcomes));
            }
        }
        Ok(())
    }
}

fn log_entry(entry: Entry, wanted: bool) -> store::LogEntry {
    let payload = match entry.payload {
        EntryPayload::Blank => store::Payload::Blank,
        EntryPayload::Normal(batch) => store::Payload::Commands(batch.0.slice(1..)),
        EntryPayload::Membership(membership) => {
            store::Payload::Membership(codec::encode_applied_membership(&entry.log_id, &membership))
        }
    };
    store::LogEntry { position: position(&entry.log_id), payload, wanted }
}

fn position(log_id: &LogId) -> LogPosition {
    LogPosition { term: Term(log_id.leader_id.term), index: LogIndex(log_id.index) }
}

fn log_id(position: LogPosition) -> LogId {
    codec::log_id(position.term.0, position.index.0)
}

pub(super) fn stored_membership(store: &Store) -> io::Result<StoredMembership> {
    match store.membership().map_err(io::Error::other)? {
        Some(bytes) => Ok(codec::decode_applied_membership(&bytes)?),
        None => Ok(StoredMembership::default()),
    }
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
        let mut batch = Vec::new();
        while let Some(entry) = entries.next().await {
            batch.push(entry?);
            if batch.len() >= APPLY_ENTRIES_MAX {
                self.apply_batch(std::mem::take(&mut batch))?;
            }
        }
        if batch.is_empty() { Ok(()) } else { self.apply_batch(batch) }
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
        _snapshot: SnapshotDir,
    ) -> io::Result<()> {
        Err(io::Error::other(format!(
            "refused a snapshot up to {meta}: a cluster of one has nobody to get one from"
        )))
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
