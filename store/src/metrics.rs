//! Plain counters of what the store did since it was opened. Names for the outside world are the
//! server's business.

use std::sync::atomic::{AtomicU64, Ordering};

/// One counter; grows only.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Where it stands.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// For a counter that is kept elsewhere and shown here.
    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }
}

/// All counters of a store.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Puts carried out, those inside txns included.
    pub puts: Counter,
    /// Deletes carried out, those inside txns and those that matched nothing included.
    pub deletes: Counter,
    /// Txns carried out, without those inside other txns.
    pub txns: Counter,
    /// Ranges answered, those inside txns included.
    pub ranges: Counter,
    /// Keys deleted.
    pub keys_deleted: Counter,
    /// Commands refused.
    pub rejections: Counter,
    /// Log entries applied.
    pub entries: Counter,
    /// Batches written to the engine.
    pub batches: Counter,
    /// Bytes of keys and values written to the engine.
    pub written_bytes: Counter,
    /// Keys that were about to be changed and found in the metadata cache.
    pub meta_cache_hits: Counter,
    /// Keys that were about to be changed and had to be read from the engine.
    pub meta_cache_misses: Counter,
}
