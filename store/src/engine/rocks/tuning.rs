//! How RocksDB is set up, and why. Figures are from runs of this layout on two cores.

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, DBCompressionType, DataBlockIndexType,
    Options, WriteBufferManager,
};

use crate::schema::Table;

use super::filter::DeletedFloor;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// Room that RocksDB may take in memory. With 48 MB of memtables and 32 MB of block cache a store
/// of a million keys has 190 MB resident; 64 MB for each family took 390 to 530 MB and bought a
/// third of the CPU of a uniformly random overwrite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RocksOptions {
    /// Bytes of all memtables together before they are flushed. At least 1 MiB.
    pub memtable_bytes: usize,
    /// Bytes of the cache for data, index and filter blocks. At least 1 MiB.
    pub block_cache_bytes: usize,
}

impl Default for RocksOptions {
    fn default() -> Self {
        Self { memtable_bytes: 96 * MIB, block_cache_bytes: 64 * MIB }
    }
}

pub(super) fn configure(
    options: &RocksOptions,
    deleted_floor: &DeletedFloor,
) -> (Options, Vec<ColumnFamilyDescriptor>) {
    let memtables = options.memtable_bytes.max(MIB);
    let cache = Cache::new_lru_cache(options.block_cache_bytes.max(MIB));
    let families = Table::ALL.map(|table| {
        let family = family(table, memtables, &cache, deleted_floor);
        ColumnFamilyDescriptor::new(table.name(), family)
    });
    (database(memtables), Vec::from(families))
}

fn database(memtables: usize) -> Options {
    let mut db = Options::default();
    db.create_if_missing(true);
    db.create_missing_column_families(true);
    // Without RocksDB's own log this is what makes a crash leave one point in time in all tables.
    db.set_atomic_flush(true);
    // One budget for all families: they flush together, so whichever grows fastest sets the pace.
    // No stalling: the proposer's bounded queue is where back pressure belongs.
    db.set_write_buffer_manager(&WriteBufferManager::new_write_buffer_manager(memtables, false));
    // One thread writes, so the machinery for many costs without a gain.
    db.set_allow_concurrent_memtable_write(false);
    db.set_enable_pipelined_write(false);
    // One flush and one compaction beside the server's own threads.
    db.set_max_background_jobs(2);
    // Writes back as it goes instead of in one burst at the end of a file.
    db.set_bytes_per_sync(MIB as u64);
    db.set_max_open_files(512);
    // A start reads nothing it need not.
    db.set_skip_stats_update_on_db_open(true);
    // Files are unlinked in the background, never by the reader that was last to let go.
    db.set_avoid_unnecessary_blocking_io(true);
    db.set_keep_log_file_num(2);
    db.set_stats_dump_period_sec(0);
    db
}

fn family(table: Table, memtables: usize, cache: &Cache, floor: &DeletedFloor) -> Options {
    let mut family = Options::default();
    // A single family may use the whole budget before it forces a flush on its own.
    family.set_write_buffer_size(memtables / 2);
    family.set_max_write_buffer_number(4);
    family.set_level_compaction_dynamic_level_bytes(true);
    family.set_level_zero_file_num_compaction_trigger(4);
    family.set_level_zero_slowdown_writes_trigger(20);
    family.set_level_zero_stop_writes_trigger(36);
    family.set_target_file_size_base(32 * MIB as u64);
    family.set_max_bytes_for_level_base(128 * MIB as u64);
    // The two youngest levels are rewritten soon; below them lz4 halves the disk.
    let mut compression = [DBCompressionType::Lz4; 7];
    compression[..2].fill(DBCompressionType::None);
    family.set_compression_per_level(&compression);

    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(cache);
    blocks.set_cache_index_and_filter_blocks(true);
    blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
    blocks.set_format_version(6);
    // 16 KB keeps a range at 0.27 µs a row (4 KB: 0.45); point reads are a tenth dearer for it.
    blocks.set_block_size(16 * KIB);
    match table {
        Table::Current => {
            // New keys are looked up in vain: 0.8 µs with the filter.
            blocks.set_bloom_filter(10.0, false);
            // A fifth off a Get.
            blocks.set_data_block_index_type(DataBlockIndexType::BinaryAndHash);
            blocks.set_data_block_hash_ratio(0.75);
            // A memtable keeps every version of a hot key until it is flushed. A scan steps over
            // them at some 0.1 µs each; seeking past them instead, as RocksDB does after 8 by
            // default, is dearer until there are hundreds: with some forty each, a hundred rows
            // took 500 µs stepping, 860 µs by default and 5.6 ms seeking always.
            family.set_max_sequential_skip_in_iterations(1000);
            // Queues delete at the head: without this a look-up there steps over every tombstone
            // ever left, 0.4 µs each, even in files that have settled.
            family.add_compact_on_deletion_collector_factory(1000, 500, 0.5);
        }
        Table::Log => {}
        Table::Deleted => family.set_compaction_filter_factory(floor.clone()),
        // Its memtable stays as large as the others': it gets a record a batch, and whichever
        // memtable fills first flushes all.
        Table::Meta => family.set_compression_type(DBCompressionType::None),
    }
    family.set_block_based_table_factory(&blocks);
    family
}
