//! What may differ between members without any answer differing.

/// Options of a [`Store`](crate::Store).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Bytes for what the applier remembers of keys, so that overwriting a warm key reads nothing;
    /// 0 turns it off. 32 MiB remembers about 130,000 keys of 48 bytes.
    pub meta_cache_bytes: usize,
    /// Buffer bytes that the applier keeps from one batch to the next; a larger batch gives back
    /// what it took beyond.
    pub batch_bytes_kept: usize,
    /// Bytes of the newest events that stay in memory for whoever follows the store.
    pub event_log_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { meta_cache_bytes: 32 << 20, batch_bytes_kept: 4 << 20, event_log_bytes: 16 << 20 }
    }
}
