//! RocksDB as an engine: the only folder that names it. Its own log is off for every write without
//! exception, and all column families flush as one (`atomic_flush`); the two together are what
//! makes a crash leave an exact prefix of the batches written.

mod filter;
mod snapshot;
mod tuning;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use rocksdb::checkpoint::Checkpoint;
use rocksdb::{ColumnFamily, DB, FlushOptions, ReadOptions, ReadTier, WriteOptions, properties};

use crate::schema::{Table, log};
use crate::types::Revision;

use super::{Engine, Error, Sizes, Snapshot, WriteBatch};
use filter::DeletedFloor;
pub use tuning::RocksOptions;

/// See the module.
pub struct RocksEngine {
    db: Arc<Db>,
    without_log: WriteOptions,
    deleted_floor: DeletedFloor,
}

/// The database with its column families at hand.
struct Db {
    inner: DB,
    stale_steps: AtomicU64,
}

impl Db {
    fn family(&self, table: Table) -> &ColumnFamily {
        self.inner.cf_handle(table.name()).expect("opened with every table")
    }
}

impl std::fmt::Debug for RocksEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RocksEngine").field("path", &self.db.inner.path()).finish_non_exhaustive()
    }
}

impl RocksEngine {
    /// Opens the database in `dir`, making it if there is none.
    ///
    /// # Errors
    /// It cannot be opened: held by another process, damaged, or the disk fails.
    pub fn open(dir: &Path, options: &RocksOptions) -> Result<Self, Error> {
        let deleted_floor = DeletedFloor::default();
        let (db_options, families) = tuning::configure(options, &deleted_floor);
        let inner =
            DB::open_cf_descriptors(&db_options, dir, families).map_err(failed("opening"))?;
        let mut without_log = WriteOptions::default();
        without_log.disable_wal(true);
        Ok(Self {
            db: Arc::new(Db { inner, stale_steps: AtomicU64::new(0) }),
            without_log,
            deleted_floor,
        })
    }

    fn int_property(&self, table: Table, name: &properties::PropName) -> Result<u64, Error> {
        let family = self.db.family(table);
        let value = self.db.inner.property_int_value_cf(family, name);
        Ok(value.map_err(failed("reading sizes"))?.unwrap_or(0))
    }
}

impl Engine for RocksEngine {
    fn write(&self, batch: &WriteBatch) -> Result<(), Error> {
        let families = Table::ALL.map(|table| self.db.family(table));
        // Each record has a little of its own around key and value.
        let room = batch.bytes() + batch.len() * 16;
        let mut native = rocksdb::WriteBatch::with_capacity_bytes(room);
        for write in batch.iter() {
            let family = families[write.table as usize];
            match write.value {
                Some(value) => native.put_cf(family, write.key, value),
                None => native.delete_cf(family, write.key),
            }
        }
        self.db.inner.write_opt(native, &self.without_log).map_err(failed("writing"))
    }

    fn get_with(
        &self,
        table: Table,
        key: &[u8],
        read: &mut dyn FnMut(&[u8]),
    ) -> Result<bool, Error> {
        let found = self.db.inner.get_pinned_cf(self.db.family(table), key);
        Ok(found.map_err(failed("reading"))?.map(|value| read(&value)).is_some())
    }

    fn persisted_meta(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        let mut options = ReadOptions::default();
        options.set_read_tier(ReadTier::Persisted);
        let found = self.db.inner.get_pinned_cf_opt(self.db.family(Table::Meta), key, &options);
        let found = found.map_err(failed("reading the persisted state"))?;
        Ok(found.map(|value| Bytes::copy_from_slice(&value)))
    }

    fn snapshot(&self) -> Arc<dyn Snapshot> {
        Arc::new(snapshot::RocksSnapshot::new(Arc::clone(&self.db)))
    }

    fn stale_steps(&self) -> u64 {
        self.db.stale_steps.load(Ordering::Relaxed)
    }

    fn flush(&self) -> Result<(), Error> {
        // All families in one call: only those named flush as one.
        let families = Table::ALL.map(|table| self.db.family(table));
        let mut options = FlushOptions::default();
        options.set_wait(true);
        self.db.inner.flush_cfs_opt(&families, &options).map_err(failed("flushing"))
    }

    fn checkpoint(&self, dir: &Path) -> Result<(), Error> {
        let checkpoint = Checkpoint::new(&self.db.inner).map_err(failed("checkpointing"))?;
        checkpoint.create_checkpoint(dir).map_err(failed("checkpointing"))
    }

    fn cut_log_below(&self, revision: Revision) -> Result<(), Error> {
        // The end of the interval counts as inside, so it ends one change earlier.
        let last = Revision(revision.0 - 1);
        if last < Revision::EMPTY {
            return Ok(());
        }
        let first = log::first_key_of(Revision(0));
        let last = log::last_key_of(last);
        let family = self.db.family(Table::Log);
        self.db
            .inner
            .delete_file_in_range_cf(family, first, last)
            .map_err(failed("cutting the log"))
    }

    fn set_deleted_floor(&self, revision: Revision) {
        self.deleted_floor.set(revision);
    }

    fn sweep_deleted(&self) -> Result<(), Error> {
        let family = self.db.family(Table::Deleted);
        self.db.inner.compact_range_cf(family, None::<&[u8]>, None::<&[u8]>);
        Ok(())
    }

    fn is_read(&self) -> bool {
        Arc::strong_count(&self.db) > 1
    }

    fn sizes(&self) -> Result<Sizes, Error> {
        let mut sizes = Sizes::default();
        for table in Table::ALL {
            let memtables = self.int_property(table, properties::CUR_SIZE_ALL_MEM_TABLES)?;
            sizes.allocated +=
                memtables + self.int_property(table, properties::TOTAL_SST_FILES_SIZE)?;
            sizes.in_use +=
                memtables + self.int_property(table, properties::ESTIMATE_LIVE_DATA_SIZE)?;
        }
        Ok(sizes)
    }
}

fn failed(doing: &'static str) -> impl Fn(rocksdb::Error) -> Error {
    move |cause| Error { doing, cause: cause.into_string() }
}
