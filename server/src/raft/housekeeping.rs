//! Upkeep of the log and the store, for as long as the node runs.

use std::time::Duration;

use tokio::time::MissedTickBehavior;

use super::handle::RaftHandle;

/// How often the log's head is looked at for purging, and the store for flushing.
const HOUSEKEEPING_INTERVAL: Duration = Duration::from_secs(1);

/// Entries the store may be ahead of what it has flushed before it is asked to flush: bounds what
/// a restart has to replay, and with it the time to ready, to about a second.
const UNFLUSHED_ENTRIES_MAX: u64 = 200_000;

/// Superseded versions that readers may step over between two flushes: about a tenth of a second of
/// one core, a little more than the flush that ends it.
const STALE_STEPS_MAX: u64 = 1_000_000;

impl RaftHandle {
    /// Lets the log be purged up to what the store has flushed, and has the store flush where the
    /// distance has grown too long to replay quickly.
    pub(super) async fn keep_house(self) {
        let mut described = None;
        let mut stale_before = 0;
        let mut tick = tokio::time::interval(HOUSEKEEPING_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let persisted = match self.store.persisted() {
                Ok(persisted) => persisted,
                Err(error) => {
                    tracing::error!(%error, "cannot read how far the store has flushed");
                    continue;
                }
            };
            if persisted != described {
                described = persisted;
                if self.raft.trigger().snapshot().await.is_err() {
                    return;
                }
            }
            let applied = self.store.applied().map_or(0, |at| at.index.0);
            let behind = applied - persisted.map_or(0, |at| at.index.0).min(applied);
            let stale = self.store.stale_steps();
            if behind > UNFLUSHED_ENTRIES_MAX
                || stale.saturating_sub(stale_before) > STALE_STEPS_MAX
            {
                stale_before = stale;
                self.flush().await;
            }
        }
    }

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
