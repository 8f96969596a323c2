//! Hooks around the slow steps, for a caller that has a clock and counters; the log has neither.

use std::fmt;

/// Called on the writer thread. The methods must be quick and must not call into the log.
pub trait Observer: Send + Sync + fmt::Debug {
    /// A frame of `bytes` bytes is about to be handed to the operating system.
    fn write_started(&self, bytes: usize) {
        let _ = bytes;
    }
    /// The frame was handed over, or could not be.
    fn write_ended(&self, ok: bool) {
        let _ = ok;
    }
    /// The sync of the frame begins.
    fn sync_started(&self) {}
    /// The sync has ended.
    fn sync_ended(&self, ok: bool) {
        let _ = ok;
    }
    /// A frame became durable with this many operations, records and payload bytes.
    fn flushed(&self, operations: usize, records: usize, bytes: usize) {
        let _ = (operations, records, bytes);
    }
    /// A new segment was started; `recycled` if its file served before.
    fn rolled(&self, recycled: bool) {
        let _ = recycled;
    }
}

/// The observer that looks away.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct NoObserver;

impl Observer for NoObserver {}
