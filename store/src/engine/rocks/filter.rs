//! The compaction filter of table `deleted`: drops what lies at or below a floor, judging each
//! record by its own key.

use std::ffi::CStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use rocksdb::CompactionDecision;
use rocksdb::compaction_filter::CompactionFilter;
use rocksdb::compaction_filter_factory::{CompactionFilterContext, CompactionFilterFactory};

use crate::schema::deleted;
use crate::types::Revision;

/// The floor, shared between the store that raises it and the compactions that read it once each,
/// when they start. It starts below every revision.
#[derive(Clone, Debug, Default)]
pub(super) struct DeletedFloor(Arc<AtomicI64>);

impl DeletedFloor {
    pub(super) fn set(&self, revision: Revision) {
        self.0.store(revision.0, Ordering::Release);
    }
}

#[derive(Debug)]
pub(super) struct DeletedFilter {
    floor: Revision,
}

impl CompactionFilterFactory for DeletedFloor {
    type Filter = DeletedFilter;

    fn create(&mut self, _: CompactionFilterContext) -> DeletedFilter {
        DeletedFilter { floor: Revision(self.0.load(Ordering::Acquire)) }
    }

    fn name(&self) -> &CStr {
        c"keelson.deleted.floor"
    }
}

impl CompactionFilter for DeletedFilter {
    fn filter(&mut self, _level: u32, key: &[u8], _value: &[u8]) -> CompactionDecision {
        // A key that cannot be read stays where a reader will find and report it.
        match deleted::decode_place(key) {
            Ok(at) if at.main <= self.floor => CompactionDecision::Remove,
            Ok(_) | Err(_) => CompactionDecision::Keep,
        }
    }

    fn name(&self) -> &CStr {
        c"keelson.deleted"
    }
}
