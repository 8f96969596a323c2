//! The ids and positions of the log, and the laws they keep.

use std::fmt;

use bytes::Bytes;

/// A raft term. Terms only grow; entries of one term come from one leader.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term(pub u64);

/// The place of an entry in the raft log. Live entries are contiguous: index `n` is followed by
/// `n + 1`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogIndex(pub u64);

/// What names an entry: two entries with the same id have the same payload.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId {
    /// The term in which a leader created the entry.
    pub term: Term,
    /// Its place in the log.
    pub index: LogIndex,
}

impl EntryId {
    /// An id from its two numbers, term first.
    #[must_use]
    pub const fn new(term: u64, index: u64) -> Self {
        Self { term: Term(term), index: LogIndex(index) }
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.term.0, self.index.0)
    }
}

/// One log entry. The log keeps the payload and never looks into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Term and index.
    pub id: EntryId,
    /// The caller's bytes.
    pub payload: Bytes,
}

/// The two ends of the log. `purged ≤ last`, and everything between them is readable.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogState {
    /// The newest entry that was purged; nothing at or below it can be read.
    pub purged: Option<EntryId>,
    /// The newest entry, or `purged` when no entry is left above it.
    pub last: Option<EntryId>,
}

/// How far the operations have come, counted in operations since the log was opened.
///
/// `flushed ≤ submitted ≤ accepted`, and each only grows. An operation is *accepted* when it is
/// visible to readers and queued, *submitted* when its bytes were handed to the operating
/// system, and *flushed* when a sync that began after that has succeeded. Only flushed
/// operations may be acknowledged to anybody.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Positions {
    /// Operations taken by the log.
    pub accepted: u64,
    /// Operations written.
    pub submitted: u64,
    /// Operations synced.
    pub flushed: u64,
}

/// A place in the byte stream of all frames ever written, across segments. A frame's LSN follows
/// from where it lies, so a frame that was moved does not validate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

/// The number of a segment. Each new segment takes the next number; none is used twice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentSeq(pub u64);
