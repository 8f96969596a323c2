//! When Raft's thread writes the log itself instead of leaving it to the log's writer thread.
//!
//! Two wake-ups of other threads take an idle virtual machine as long as the sync between them, and
//! a lone client waits for all three. So a small append of a lone voter is written where it was
//! made. It blocks Raft's thread for the sync; what arrives meanwhile is the next entry, as it
//! would be anyway. With peers it would also hold up heartbeats, and a disk that takes long would
//! hold up health checks: then the writer thread has it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Appends of more bytes come from many clients, and their wake-ups are shared. Encoding, applying
/// and answering them is worth doing while the disk is busy.
const BYTES_MAX: usize = 2 << 10;

/// A disk that took longer than this for its last sync is not waited for.
const SYNC_MAX: Duration = Duration::from_millis(2);

/// What the choice depends on; see the module.
#[derive(Debug, Default)]
pub struct WriteHere {
    lone_voter: AtomicBool,
    last_sync_micros: AtomicU64,
}

impl WriteHere {
    /// Takes in how long the last sync took.
    pub fn synced_in(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.last_sync_micros.store(micros, Ordering::Relaxed);
    }

    /// Takes in whether this member is the only voter.
    pub(super) fn set_lone_voter(&self, lone: bool) {
        self.lone_voter.store(lone, Ordering::Relaxed);
    }

    /// Whether to write an append of `bytes` on Raft's thread.
    pub(super) fn suits(&self, bytes: usize) -> bool {
        let quick = Duration::from_micros(self.last_sync_micros.load(Ordering::Relaxed)) < SYNC_MAX;
        bytes <= BYTES_MAX && quick && self.lone_voter.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_appends_of_a_lone_voter_on_a_quick_disk() {
        let here = WriteHere::default();
        assert!(!here.suits(1), "with peers");
        here.set_lone_voter(true);
        assert!(here.suits(BYTES_MAX) && !here.suits(BYTES_MAX + 1));
        here.synced_in(SYNC_MAX);
        assert!(!here.suits(1), "a slow disk");
        here.synced_in(SYNC_MAX / 2);
        assert!(here.suits(1), "quick again");
        here.set_lone_voter(false);
        assert!(!here.suits(1));
    }
}
