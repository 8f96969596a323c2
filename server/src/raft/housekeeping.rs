//! Upkeep of the log and the store, for as long as the node runs.

use std::sync::Arc;
use std::time::Duration;

use keelson_store::types::LogPosition;
use keelson_wal::Wal;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::Fatal;
use tokio::time::MissedTickBehavior;

use super::handle::RaftHandle;
use super::snapshot::{Outgoing, Stores};
use super::types::TypeConfig;

/// How often the log's head is looked at for purging, and the store for flushing.
const HOUSEKEEPING_INTERVAL: Duration = Duration::from_secs(1);

/// Entries the store may be ahead of what it has flushed before it is asked to flush: bounds what
/// a restart has to replay, and with it the time to ready, to about a second.
const UNFLUSHED_ENTRIES_MAX: u64 = 200_000;

/// Superseded versions that readers may step over between two flushes: about a tenth of a second of
/// one core, a little more than the flush that ends it.
const STALE_STEPS_MAX: u64 = 1_000_000;

/// Entries that are kept because they fit in [`LogKeep::bytes`], at the most. Each takes 32 bytes
/// of memory, and a member that has more to catch up on is faster with a snapshot.
const KEPT_ENTRIES_MAX: u64 = 250_000;

/// Entries kept while a snapshot is on its way, at the most: 64 MiB of memory. A transfer that
/// lasts longer is in vain, and the next one has to be faster: more bytes per second are needed.
const HELD_ENTRIES_MAX: u64 = 2_000_000;

/// What the log keeps for members that lag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogKeep {
    /// Entries behind what the store has flushed, always.
    pub entries: u64,
    /// Where there are other members: more of them, as far as they lie within the log's newest
    /// bytes.
    pub bytes: u64,
}

/// See the module.
pub(crate) struct Housekeeping {
    pub(crate) handle: RaftHandle,
    pub(crate) wal: Wal,
    pub(crate) keep: LogKeep,
    pub(crate) outgoing: Arc<Outgoing>,
    pub(crate) stores: Arc<Stores>,
}

impl Housekeeping {
    /// Runs until Raft stops.
    pub(crate) async fn run(self) {
        let (mut described, mut stale_before) = (None, 0);
        let mut tick = tokio::time::interval(HOUSEKEEPING_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let persisted = match self.handle.store.persisted() {
                Ok(persisted) => persisted,
                Err(error) => {
                    tracing::error!(%error, "cannot read how far the store has flushed");
                    continue;
                }
            };
            if self.purge().await.is_err() {
                return;
            }
            if persisted != described {
                described = persisted;
                if self.handle.raft.trigger().snapshot().await.is_err() {
                    return;
                }
            }
            if self.wants_flush(persisted, &mut stale_before) {
                self.handle.flush().await;
            }
            if self.stores.is_untidy() {
                let stores = Arc::clone(&self.stores);
                // It logs what goes wrong.
                drop(tokio::task::spawn_blocking(move || stores.tidy()));
            }
        }
    }

    fn wants_flush(&self, persisted: Option<LogPosition>, stale_before: &mut u64) -> bool {
        let store = &self.handle.store;
        let applied = store.applied().map_or(0, |at| at.index.0);
        let behind = applied - persisted.map_or(0, |at| at.index.0).min(applied);
        // Another store may have taken the place of the one that was asked before.
        let stale = store.stale_steps();
        let wanted =
            behind > UNFLUSHED_ENTRIES_MAX || stale.saturating_sub(*stale_before) > STALE_STEPS_MAX;
        if wanted || stale < *stale_before {
            *stale_before = stale;
        }
        wanted
    }

    /// Has the log purged up to what the store has flushed, but for what is kept.
    async fn purge(&self) -> Result<(), Fatal<TypeConfig>> {
        let metrics = self.handle.raft.metrics();
        let (flushed, several) = {
            let metrics = metrics.borrow_watched();
            let several = metrics.membership_config.nodes().count() > 1;
            (metrics.snapshot.map_or(0, |at| at.index), several)
        };
        let state = self.wal.state();
        let (first, last) =
            (state.purged.map_or(0, |at| at.index.0), state.last.map_or(0, |at| at.index.0));
        let mut upto = flushed.saturating_sub(self.keep.entries);
        if several {
            let fits = self.wal.first_index_within(self.keep.bytes).0;
            upto = upto.min(fits.max(last.saturating_sub(KEPT_ENTRIES_MAX)));
        }
        if let Some(held) = self.outgoing.purge_limit() {
            upto = upto.min(held.max(last.saturating_sub(HELD_ENTRIES_MAX)));
        }
        if upto <= first {
            return Ok(());
        }
        self.handle.raft.trigger().purge_log(upto).await
    }
}

impl RaftHandle {
    /// Has the store flush, off the runtime's thread.
    pub async fn flush(&self) {
        let store = self.store.clone();
        let flushed = tokio::task::spawn_blocking(move || store.flush()).await;
        match flushed {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the store could not flush"),
            Err(error) => tracing::error!(%error, "the flush did not end"),
        }
    }
}
