//! The settings of a log, their bounds and their reasons.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Duration;

use crate::error::Error;
use crate::format::{FRAME_HEADER_LEN, HEADER_LEN, RECORD_HEADER_LEN};
use crate::observer::Observer;

/// The smallest segment: the header block and as much again for frames.
pub const SEGMENT_BYTES_MIN: u64 = 8 << 10;
/// The largest segment: offsets and lengths inside one are kept in 32 bits.
pub const SEGMENT_BYTES_MAX: u64 = 1 << 30;

/// Who writes the groups.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WriterMode {
    /// A thread of the log's own takes all that is queued as one group; another one prepares
    /// segments.
    #[default]
    Thread,
    /// The caller of an operation writes and syncs it before the call returns; no threads. For
    /// deterministic simulation and tests.
    Inline,
}

/// The settings of a log. `Options::default()` is meant for production.
#[derive(Debug, Clone)]
pub struct Options {
    /// Length of a segment file in bytes; a multiple of 4096 between 8 KiB and 1 GiB. The
    /// largest entry is a little smaller than this. Default 64 MiB: long enough that starting
    /// one is rare, short enough that purging gives space back soon.
    pub segment_bytes: u64,
    /// Payload bytes of the newest entries that stay in memory for readers; entries that are not
    /// yet flushed stay in any case. Default 32 MiB.
    pub ring_bytes: usize,
    /// Bytes that may wait for the writer; the next operation gets [`Error::QueueFull`]. Raft
    /// bounds what it has in flight far below the default of 256 MiB, so meeting this bound
    /// means that the disk has stopped answering. One operation larger than the bound is taken
    /// when nothing else waits.
    pub queue_bytes_max: u64,
    /// Operations that may wait for the writer. Default 65536, for the same reason.
    pub queue_ops_max: usize,
    /// Payload bytes after which the writer stops gathering and syncs. Default 4 MiB: at this
    /// size writing takes as long as syncing, so gathering more would only add latency.
    pub group_bytes_max: usize,
    /// How long the preparer waits before it tries again after the disk was full. Default 1 s.
    pub space_retry_pause: Duration,
    /// Seeds the nonces of segments. The default is drawn from the operating system; simulation
    /// passes a number.
    pub nonce_seed: u64,
    /// Who writes the groups.
    pub writer: WriterMode,
    /// Watches writes and syncs, for durations and counters.
    pub observer: Option<Arc<dyn Observer>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            ring_bytes: 32 << 20,
            queue_bytes_max: 256 << 20,
            queue_ops_max: 65_536,
            group_bytes_max: 4 << 20,
            space_retry_pause: Duration::from_secs(1),
            nonce_seed: RandomState::new().hash_one("keelson wal nonce"),
            writer: WriterMode::Thread,
            observer: None,
        }
    }
}

impl Options {
    /// Checks every field and names all mistakes at once.
    pub fn validate(&self) -> Result<(), Error> {
        let mut mistakes = Vec::new();
        let size = self.segment_bytes;
        if !(SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&size) || !size.is_multiple_of(4096) {
            mistakes.push(format!(
                "segment_bytes is {size}, must be a multiple of 4096 from {SEGMENT_BYTES_MIN} to \
                 {SEGMENT_BYTES_MAX}"
            ));
        }
        if self.queue_bytes_max == 0 || self.queue_ops_max == 0 {
            mistakes.push("queue_bytes_max and queue_ops_max must not be 0".to_owned());
        }
        if self.group_bytes_max == 0 {
            mistakes.push("group_bytes_max must not be 0".to_owned());
        }
        if mistakes.is_empty() {
            return Ok(());
        }
        Err(Error::Options { mistakes: mistakes.join("; ") })
    }

    /// The longest payload of an entry: it must fit into an empty segment with its headers.
    #[must_use]
    pub fn payload_len_max(&self) -> u64 {
        self.segment_bytes - (HEADER_LEN + FRAME_HEADER_LEN + RECORD_HEADER_LEN) as u64
    }
}
