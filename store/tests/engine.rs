//! What any engine must do, run on every engine there is.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::sync::Arc;

use keelson_store::engine::{
    Blocks, Bounds, Direction, Engine, MemoryEngine, RocksEngine, RocksOptions, Snapshot, Table,
    WriteBatch,
};
use keelson_store::types::Revision;

const SMALL: RocksOptions = RocksOptions { memtable_bytes: 4 << 20, block_cache_bytes: 4 << 20 };

/// Runs `check` on a fresh engine of each kind.
fn on_every_engine(check: impl Fn(&dyn Engine)) {
    check(&MemoryEngine::new());
    let dir = tempfile::tempdir().unwrap();
    check(&RocksEngine::open(dir.path(), &SMALL).unwrap());
}

fn write(engine: &dyn Engine, puts: &[(&str, &str)], deletes: &[&str]) {
    let mut batch = WriteBatch::default();
    for (key, value) in puts {
        batch.put(Table::Current, key.as_bytes(), value.as_bytes());
    }
    for key in deletes {
        batch.delete(Table::Current, key.as_bytes());
    }
    engine.write(&batch).unwrap();
}

fn walk(snapshot: &dyn Snapshot, lower: &str, upper: Option<&str>, way: Direction) -> Vec<String> {
    let bounds = Bounds { lower: lower.as_bytes(), upper: upper.map(str::as_bytes) };
    let mut cursor = snapshot.cursor(Table::Current, bounds, way, Blocks::Keep).unwrap();
    let mut rows = Vec::new();
    while let Some((key, value)) = cursor.row() {
        let (key, value) = (String::from_utf8_lossy(key), String::from_utf8_lossy(value));
        rows.push(format!("{key}={value}"));
        cursor.advance().unwrap();
    }
    rows
}

fn get(snapshot: &dyn Snapshot, key: &str) -> Option<String> {
    let value = snapshot.get(Table::Current, key.as_bytes()).unwrap()?;
    Some(String::from_utf8(value.to_vec()).unwrap())
}

#[test]
fn later_writes_win_and_deletes_delete() {
    on_every_engine(|engine| {
        let mut batch = WriteBatch::default();
        batch.put(Table::Current, b"a", b"1");
        batch.put(Table::Current, b"a", b"2");
        batch.put(Table::Current, b"b", b"1");
        batch.delete(Table::Current, b"b");
        batch.put(Table::Meta, b"a", b"other table");
        engine.write(&batch).unwrap();
        let snapshot = engine.snapshot();
        assert_eq!(get(&*snapshot, "a").as_deref(), Some("2"));
        assert_eq!(get(&*snapshot, "b"), None);
        let mut newest = Vec::new();
        assert!(engine.get_with(Table::Current, b"a", &mut |v| newest = v.to_vec()).unwrap());
        assert_eq!(newest, b"2");
        assert!(!engine.get_with(Table::Current, b"b", &mut |_| panic!("deleted")).unwrap());
    });
}

#[test]
fn snapshots_stand_still() {
    on_every_engine(|engine| {
        write(engine, &[("a", "1"), ("b", "1")], &[]);
        let before = engine.snapshot();
        write(engine, &[("a", "2"), ("c", "2")], &["b"]);
        let after = engine.snapshot();
        engine.flush().unwrap();
        write(engine, &[], &["a", "c"]);
        let forward = Direction::Forward;
        assert_eq!(walk(&*before, "", None, forward), ["a=1", "b=1"]);
        assert_eq!(walk(&*after, "", None, forward), ["a=2", "c=2"]);
        assert_eq!(get(&*before, "b").as_deref(), Some("1"));
        assert_eq!(get(&*after, "b"), None);
        assert_eq!(walk(&*engine.snapshot(), "", None, forward), [""; 0]);
    });
}

#[test]
fn cursors_keep_to_their_bounds_both_ways() {
    on_every_engine(|engine| {
        write(engine, &[("a", "1"), ("b", "2"), ("bb", "3"), ("c", "4"), ("d", "5")], &[]);
        engine.flush().unwrap();
        write(engine, &[("ba", "6")], &["bb"]);
        let snapshot = engine.snapshot();
        let both = |lower, upper, expected: &[&str]| {
            assert_eq!(walk(&*snapshot, lower, upper, Direction::Forward), expected);
            let reversed: Vec<_> = expected.iter().rev().copied().collect();
            assert_eq!(walk(&*snapshot, lower, upper, Direction::Backward), reversed);
        };
        both("b", Some("d"), &["b=2", "ba=6", "c=4"]);
        both("aa", None, &["b=2", "ba=6", "c=4", "d=5"]);
        both("e", None, &[]);
        both("b", Some("b"), &[]);
    });
}

#[test]
fn cursors_seek_ahead_and_never_back() {
    on_every_engine(|engine| {
        write(engine, &[("a", ""), ("c", ""), ("e", ""), ("g", "")], &[]);
        let snapshot = engine.snapshot();
        let bounds = Bounds { lower: b"a", upper: Some(b"g") };
        let key = |row: Option<(&[u8], &[u8])>| row.map(|(key, _)| key.to_vec());
        let mut cursor =
            snapshot.cursor(Table::Current, bounds, Direction::Forward, Blocks::Keep).unwrap();
        cursor.seek(b"b").unwrap();
        assert_eq!(key(cursor.row()).unwrap(), b"c");
        cursor.seek(b"a").unwrap();
        assert_eq!(key(cursor.row()).unwrap(), b"c");
        cursor.seek(b"f").unwrap();
        assert_eq!(cursor.row(), None);
        let mut cursor =
            snapshot.cursor(Table::Current, bounds, Direction::Backward, Blocks::Keep).unwrap();
        cursor.seek(b"d").unwrap();
        assert_eq!(key(cursor.row()).unwrap(), b"c");
        cursor.seek(b"f").unwrap();
        assert_eq!(key(cursor.row()).unwrap(), b"c");
        cursor.seek(b"0").unwrap();
        assert_eq!(cursor.row(), None);
    });
}

#[test]
fn the_persisted_state_is_the_flushed_one() {
    on_every_engine(|engine| {
        let put = |value: &[u8]| {
            let mut batch = WriteBatch::default();
            batch.put(Table::Meta, b"m", value);
            engine.write(&batch).unwrap();
        };
        put(b"1");
        assert_eq!(engine.persisted_meta(b"m").unwrap(), None);
        engine.flush().unwrap();
        put(b"2");
        assert_eq!(engine.persisted_meta(b"m").unwrap().unwrap(), &b"1"[..]);
        engine.flush().unwrap();
        assert_eq!(engine.persisted_meta(b"m").unwrap().unwrap(), &b"2"[..]);
    });
}

/// Log keys as the store makes them: eight bytes of revision, four of its part.
fn log_key(main: u8) -> [u8; 12] {
    let mut key = [0; 12];
    key[7] = main;
    key
}

#[test]
fn cutting_the_log_takes_nothing_at_or_above() {
    on_every_engine(|engine| {
        let mut batch = WriteBatch::default();
        for main in 1..=9 {
            batch.put(Table::Log, &log_key(main), b"record");
        }
        engine.write(&batch).unwrap();
        engine.flush().unwrap();
        engine.cut_log_below(Revision(5)).unwrap();
        let snapshot = engine.snapshot();
        for main in 5..=9 {
            assert!(snapshot.get(Table::Log, &log_key(main)).unwrap().is_some(), "at {main}");
        }
    });
}

#[test]
fn sweeping_drops_deletions_up_to_the_floor() {
    on_every_engine(|engine| {
        let row = |main: u8| [b"key\0\x01".as_slice(), &log_key(main)].concat();
        let mut batch = WriteBatch::default();
        for main in 1..=9 {
            batch.put(Table::Deleted, &row(main), b"record");
        }
        engine.write(&batch).unwrap();
        engine.flush().unwrap();
        engine.sweep_deleted().unwrap();
        assert!(engine.snapshot().get(Table::Deleted, &row(1)).unwrap().is_some());
        engine.set_deleted_floor(Revision(5));
        engine.sweep_deleted().unwrap();
        let snapshot = engine.snapshot();
        for main in 1..=9 {
            let there = snapshot.get(Table::Deleted, &row(main)).unwrap().is_some();
            assert_eq!(there, main > 5, "at {main}");
        }
    });
}

#[test]
fn sizes_grow_with_what_is_written() {
    on_every_engine(|engine| {
        let before = engine.sizes().unwrap();
        write(engine, &[("a", &"x".repeat(100_000))], &[]);
        engine.flush().unwrap();
        let after = engine.sizes().unwrap();
        assert!(after.allocated >= before.allocated + 90_000, "{before:?} {after:?}");
        assert!(after.in_use > 0 && after.in_use <= after.allocated + 100_000);
    });
}

#[test]
fn memory_forgets_what_was_not_flushed() {
    let engine = MemoryEngine::new();
    write(&engine, &[("a", "1"), ("b", "1")], &[]);
    engine.flush().unwrap();
    write(&engine, &[("a", "2"), ("c", "2")], &["b"]);
    let survivor = engine.crash();
    assert_eq!(walk(&*survivor.snapshot(), "", None, Direction::Forward), ["a=1", "b=1"]);
    assert_eq!(survivor.rows(Table::Current), 2);
}

#[test]
fn checkpoints_hold_all_that_was_written_before() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("memory");
    let memory = MemoryEngine::new();
    write(&memory, &[("a", "1")], &[]);
    memory.checkpoint(&target).unwrap();
    write(&memory, &[("a", "2")], &[]);
    let copy: Arc<dyn Engine> = Arc::new(MemoryEngine::open_checkpoint(&target).unwrap());
    assert_eq!(get(&*copy.snapshot(), "a").as_deref(), Some("1"));

    let rocks = RocksEngine::open(&dir.path().join("db"), &SMALL).unwrap();
    write(&rocks, &[("a", "1")], &[]);
    let target = dir.path().join("rocks");
    rocks.checkpoint(&target).unwrap();
    write(&rocks, &[("a", "2")], &[]);
    let copy = RocksEngine::open(&target, &SMALL).unwrap();
    assert_eq!(get(&*copy.snapshot(), "a").as_deref(), Some("1"));
}

#[test]
fn a_rocks_snapshot_outlives_its_engine() {
    let dir = tempfile::tempdir().unwrap();
    let engine = RocksEngine::open(dir.path(), &SMALL).unwrap();
    write(&engine, &[("a", "1")], &[]);
    let snapshot = engine.snapshot();
    drop(engine);
    assert_eq!(get(&*snapshot, "a").as_deref(), Some("1"));
    drop(snapshot);
    RocksEngine::open(dir.path(), &SMALL).unwrap();
}
