//! The log as its callers see it, on a disk that works.

#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::wildcard_enum_match_arm,
    reason = "a test that can't go on may stop at once, and its numbers are small"
)]

use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use keelson_wal::disk::{Disk, Fault, FaultyDisk, Op, RealDisk};
use keelson_wal::{
    Done, Entry, EntryId, Error, Health, LogIndex, LogState, Observer, Options, Recovery, Wal,
    WriterMode,
};

const DIR: &str = "/log";

fn small(writer: WriterMode) -> Options {
    Options { segment_bytes: 8 << 10, nonce_seed: 7, writer, ..Options::default() }
}

fn open(disk: &FaultyDisk, options: Options) -> (Wal, Recovery) {
    Wal::open(Arc::new(disk.clone()), Path::new(DIR), options).unwrap()
}

fn entry(term: u64, index: u64) -> Entry {
    let payload = format!("payload {term} {index} {}", "x".repeat(index as usize % 50));
    Entry { id: EntryId::new(term, index), payload: Bytes::from(payload) }
}

fn entries(term: u64, range: std::ops::Range<u64>) -> Vec<Entry> {
    range.map(|index| entry(term, index)).collect()
}

/// A callback and the channel it reports to.
fn waiter() -> (Done, Receiver<Result<(), Error>>) {
    let (sender, receiver) = channel();
    (Box::new(move |result| sender.send(result).expect("the test waits")), receiver)
}

fn append(wal: &Wal, entries: Vec<Entry>) -> Result<(), Error> {
    let (done, result) = waiter();
    wal.append(entries, done)?;
    result.recv().expect("every accepted operation calls back")
}

fn purge(wal: &Wal, upto: EntryId) -> Result<(), Error> {
    let (done, result) = waiter();
    wal.purge(upto, done)?;
    result.recv().expect("every accepted operation calls back")
}

fn truncate(wal: &Wal, last_kept: Option<EntryId>) -> Result<(), Error> {
    let (done, result) = waiter();
    wal.truncate_after(last_kept, done)?;
    result.recv().expect("every accepted operation calls back")
}

fn vote(wal: &Wal, vote: &'static [u8]) -> Result<(), Error> {
    let (done, result) = waiter();
    wal.save_vote(Bytes::from_static(vote), done)?;
    result.recv().expect("every accepted operation calls back")
}

fn both_modes(check: impl Fn(&FaultyDisk, Options)) {
    for mode in [WriterMode::Inline, WriterMode::Thread] {
        check(&FaultyDisk::new(1), small(mode));
    }
}

#[test]
fn everything_comes_back_after_close_and_after_drop() {
    both_modes(|disk, options| {
        for clean in [true, false] {
            let (wal, recovery) = open(&disk.fork(1), options.clone());
            assert!(recovery.fresh);
            drop(wal);
            let disk = disk.fork(2);
            let (wal, _) = open(&disk, options.clone());
            append(&wal, entries(1, 1..400)).unwrap();
            vote(&wal, b"vote 1").unwrap();
            wal.save_committed(Bytes::from_static(b"committed 300")).unwrap();
            truncate(&wal, Some(EntryId::new(1, 350))).unwrap();
            append(&wal, entries(2, 351..380)).unwrap();
            purge(&wal, EntryId::new(1, 100)).unwrap();
            let state = wal.state();
            if clean {
                wal.close().unwrap();
            }
            drop(wal);
            let (wal, recovery) = open(&disk, options.clone());
            assert_eq!((recovery.fresh, recovery.clean), (false, clean));
            assert_eq!(recovery.torn_tail, None);
            assert_eq!(recovery.entries, 279);
            assert_eq!(wal.state(), state);
            let mut want = entries(1, 101..351);
            want.extend(entries(2, 351..380));
            assert_eq!(wal.entries(0..1000, usize::MAX).unwrap(), want);
            assert_eq!(wal.vote().unwrap(), "vote 1");
            assert_eq!(wal.committed().unwrap(), "committed 300");
        }
    });
}

#[test]
fn entries_can_be_read_before_they_are_durable_and_after_they_left_memory() {
    both_modes(|disk, options| {
        let (wal, _) = open(disk, Options { ring_bytes: 500, ..options });
        for index in 1..300 {
            wal.append(vec![entry(1, index)], Box::new(|_| ())).unwrap();
            assert_eq!(wal.entries(index..index + 1, 0).unwrap(), [entry(1, index)]);
        }
        append(&wal, Vec::new()).unwrap();
        assert_eq!(wal.entries(1..300, usize::MAX).unwrap(), entries(1, 1..300));
        assert_eq!(wal.entry_id(LogIndex(20)).unwrap(), Some(EntryId::new(1, 20)));
        assert_eq!(wal.entry_id(LogIndex(300)).unwrap(), None);
    });
}

#[test]
fn a_range_yields_what_exists_within_its_bytes_and_one_entry_at_least() {
    both_modes(|disk, options| {
        let (wal, _) = open(disk, options);
        append(&wal, entries(1, 1..20)).unwrap();
        purge(&wal, EntryId::new(1, 4)).unwrap();
        assert_eq!(wal.entries(0..7, usize::MAX).unwrap(), entries(1, 5..7));
        assert_eq!(wal.entries(10..10, usize::MAX).unwrap(), []);
        assert_eq!(wal.entries(20..30, usize::MAX).unwrap(), []);
        assert_eq!(wal.entries(10..20, 1).unwrap(), entries(1, 10..11));
        let two = entry(1, 10).payload.len() + entry(1, 11).payload.len();
        assert_eq!(wal.entries(10..20, two).unwrap(), entries(1, 10..12));
        assert_eq!(wal.entries(10..20, two - 1).unwrap(), entries(1, 10..11));
    });
}

#[test]
fn calls_that_make_no_sense_change_nothing() {
    both_modes(|disk, options| {
        let (wal, _) = open(disk, options);
        append(&wal, entries(1, 1..10)).unwrap();
        let before = wal.state();
        let gap = append(&wal, entries(1, 11..12)).unwrap_err();
        assert!(matches!(gap, Error::NotContiguous { expected: LogIndex(10), .. }), "{gap}");
        let mut holey = entries(1, 10..12);
        holey.remove(0);
        holey.extend(entries(1, 13..14));
        assert!(append(&wal, holey).is_err());
        assert!(truncate(&wal, Some(EntryId::new(2, 5))).is_err(), "another term");
        assert!(truncate(&wal, Some(EntryId::new(1, 10))).is_err(), "beyond the end");
        assert!(purge(&wal, EntryId::new(2, 5)).is_err(), "another term");
        let big = Entry { id: EntryId::new(1, 10), payload: vec![0; 8 << 10].into() };
        assert!(matches!(append(&wal, vec![big]), Err(Error::TooLarge { .. })));
        let mark = Bytes::from(vec![0; 1025]);
        assert!(matches!(wal.save_committed(mark), Err(Error::TooLarge { .. })));
        assert_eq!(wal.state(), before);
        append(&wal, entries(1, 10..11)).unwrap();
    });
}

#[test]
fn the_largest_entry_fits_and_one_byte_more_does_not() {
    both_modes(|disk, options| {
        let max = options.payload_len_max() as usize;
        let (wal, _) = open(disk, options.clone());
        let of = |index, len| Entry { id: EntryId::new(1, index), payload: vec![9; len].into() };
        append(&wal, vec![of(1, max), of(2, max), of(3, 1)]).unwrap();
        assert!(matches!(append(&wal, vec![of(4, max + 1)]), Err(Error::TooLarge { .. })));
        drop(wal);
        let (wal, _) = open(disk, options);
        assert_eq!(wal.entries(1..4, usize::MAX).unwrap(), [of(1, max), of(2, max), of(3, 1)]);
    });
}

#[test]
fn purging_beyond_the_end_leaves_a_hole() {
    both_modes(|disk, options| {
        let (wal, _) = open(disk, options.clone());
        append(&wal, entries(1, 1..10)).unwrap();
        purge(&wal, EntryId::new(3, 100)).unwrap();
        let hole = Some(EntryId::new(3, 100));
        assert_eq!(wal.state(), LogState { purged: hole, last: hole });
        append(&wal, entries(3, 101..110)).unwrap();
        drop(wal);
        let (wal, _) = open(disk, options);
        assert_eq!(wal.entries(0..1000, usize::MAX).unwrap(), entries(3, 101..110));
        assert_eq!(wal.entry_id(LogIndex(100)).unwrap(), hole);
        assert_eq!(wal.entry_id(LogIndex(50)).unwrap(), None);
        truncate(&wal, hole).unwrap();
        assert_eq!(wal.state(), LogState { purged: hole, last: hole });
    });
}

/// Counts new segments in fresh and in recycled files.
#[derive(Debug, Default)]
struct Rolls(Mutex<(u32, u32)>);

impl Observer for Rolls {
    fn rolled(&self, recycled: bool) {
        let mut rolls = self.0.lock().unwrap();
        if recycled { rolls.1 += 1 } else { rolls.0 += 1 }
    }
}

#[test]
fn purged_segments_become_the_next_ones() {
    let disk = FaultyDisk::new(1);
    let rolls = Arc::new(Rolls::default());
    let observer: Option<Arc<dyn Observer>> = Some(Arc::clone(&rolls) as _);
    let (wal, _) = open(&disk, Options { observer, ..small(WriterMode::Inline) });
    for round in 0..50 {
        append(&wal, entries(1, round * 40 + 1..round * 40 + 41)).unwrap();
        purge(&wal, EntryId::new(1, round * 40 + 30)).unwrap();
        assert!(disk.paths().len() <= 8, "{:?}", disk.paths());
    }
    let (fresh, recycled) = *rolls.0.lock().unwrap();
    assert!(fresh <= 4 && recycled > 30, "{fresh} fresh, {recycled} recycled");
    drop(wal);
    let (wal, recovery) = open(&disk, small(WriterMode::Inline));
    assert_eq!(recovery.entries, 10);
    assert_eq!(wal.entries(0..9999, usize::MAX).unwrap(), entries(1, 1991..2001));
}

#[test]
fn what_lies_in_the_newest_bytes_is_counted_in_whole_segments() {
    let disk = FaultyDisk::new(1);
    let (wal, _) = open(&disk, small(WriterMode::Inline));
    let segment = small(WriterMode::Inline).segment_bytes;
    assert_eq!(wal.first_index_within(0), LogIndex(0), "the active segment is never given up");
    append(&wal, entries(1, 1..400)).unwrap();
    let whole = wal.first_index_within(u64::MAX);
    assert_eq!(whole, LogIndex(0));
    let firsts: Vec<_> = (0..5).map(|n| wal.first_index_within(n * segment).0).collect();
    // None and one are the active segment; from there on each one more reaches further back.
    assert_eq!(firsts[0], firsts[1]);
    assert!(firsts[1..].windows(2).all(|pair| pair[0] > pair[1]), "{firsts:?}");
    // Purged below it, no more than so many segments are left.
    purge(&wal, EntryId::new(1, firsts[3] - 1)).unwrap();
    assert_eq!(wal.entries(0..9999, 1).unwrap()[0].id.index.0, firsts[3]);
    assert_eq!(wal.first_index_within(u64::MAX).0, firsts[3]);
}

#[test]
fn callbacks_run_in_order_and_positions_follow() {
    both_modes(|disk, options| {
        let (wal, _) = open(disk, options);
        let order = Arc::new(Mutex::new(Vec::new()));
        for index in 1..500 {
            let (order, probe) = (Arc::clone(&order), wal.clone());
            let done: Done = Box::new(move |result| {
                result.unwrap();
                assert!(probe.positions().flushed >= index);
                order.lock().unwrap().push(index);
            });
            if index % 3 == 0 {
                wal.append_here(vec![entry(1, index)], done).unwrap();
            } else {
                wal.append(vec![entry(1, index)], done).unwrap();
            }
        }
        append(&wal, Vec::new()).unwrap();
        assert_eq!(*order.lock().unwrap(), (1..500).collect::<Vec<_>>());
        let positions = wal.positions();
        assert_eq!((positions.accepted, positions.submitted, positions.flushed), (500, 500, 500));
    });
}

#[test]
fn a_lone_append_is_written_on_its_callers_thread() {
    both_modes(|disk, options| {
        let (wal, _) = open(disk, options.clone());
        for index in 1..200 {
            let (sender, thread) = channel();
            let done: Done = Box::new(move |result| {
                result.unwrap();
                sender.send(std::thread::current().id()).unwrap();
            });
            let syncs = disk.count(Some(Op::Sync));
            wal.append_here(vec![entry(1, index)], done).unwrap();
            assert_eq!(thread.try_recv(), Ok(std::thread::current().id()));
            assert!(disk.count(Some(Op::Sync)) > syncs);
        }
        let oversized = Entry { id: EntryId::new(1, 200), payload: vec![0; 9 << 10].into() };
        let refused = wal.append_here(vec![oversized], Box::new(|_| ()));
        assert!(matches!(refused, Err(Error::TooLarge { .. })));
        assert!(wal.append_here(entries(1, 300..301), Box::new(|_| ())).is_err());
        drop(wal);
        let (wal, _) = open(disk, options);
        assert_eq!(wal.entries(0..1000, usize::MAX).unwrap(), entries(1, 1..200));
    });
}

#[test]
fn a_failed_sync_on_the_callers_thread_is_as_final() {
    both_modes(|disk, options| {
        let (wal, _) = open(disk, options);
        append(&wal, entries(1, 1..4)).unwrap();
        disk.plan(Some(Op::Sync), 1, Fault::Error(std::io::ErrorKind::Other));
        let (done, result) = waiter();
        wal.append_here(entries(1, 4..5), done).unwrap();
        // The writer thread may not have let go yet, and then it does the writing.
        assert!(matches!(result.recv(), Ok(Err(Error::Poisoned { .. }))));
        let (done, _result) = waiter();
        assert!(matches!(wal.append_here(entries(1, 5..6), done), Err(Error::Poisoned { .. })));
    });
}

#[test]
fn a_closed_log_takes_nothing_and_frees_its_folder() {
    both_modes(|disk, options| {
        let (wal, _) = open(disk, options.clone());
        append(&wal, entries(1, 1..4)).unwrap();
        let second = Wal::open(Arc::new(disk.clone()), Path::new(DIR), options.clone());
        assert!(matches!(second, Err(Error::Locked { .. })));
        wal.close().unwrap();
        wal.close().unwrap();
        assert_eq!(wal.health(), Health::Closed);
        assert!(matches!(append(&wal, entries(1, 4..5)), Err(Error::Closed)));
        assert_eq!(wal.entries(1..4, usize::MAX).unwrap(), entries(1, 1..4));
        let (again, recovery) = open(disk, options);
        assert!(recovery.clean);
        assert_eq!(again.entries(1..4, usize::MAX).unwrap(), entries(1, 1..4));
    });
}

#[test]
fn a_callback_may_use_the_log() {
    both_modes(|disk, options| {
        let (wal, _) = open(disk, options);
        let (done, result) = waiter();
        let inner = wal.clone();
        wal.append(
            entries(1, 1..2),
            Box::new(move |_| inner.append_here(entries(1, 2..3), done).unwrap()),
        )
        .unwrap();
        result.recv().unwrap().unwrap();
        let (done, result) = waiter();
        let inner = wal.clone();
        wal.append_here(
            entries(1, 3..4),
            Box::new(move |_| inner.append_here(entries(1, 4..5), done).unwrap()),
        )
        .unwrap();
        result.recv().unwrap().unwrap();
        assert_eq!(wal.state().last, Some(EntryId::new(1, 4)));
    });
}

#[test]
fn real_files_with_threads_and_many_writers() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let options = Options { segment_bytes: 64 << 10, ring_bytes: 4096, ..Options::default() };
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let (wal, _) = Wal::open(Arc::clone(&disk), &path, options.clone()).unwrap();
    let next = Mutex::new(1);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..200 {
                    let (done, result) = waiter();
                    {
                        let mut next = next.lock().unwrap();
                        let both = vec![entry(1, *next), entry(1, *next + 1)];
                        if next.is_multiple_of(3) {
                            wal.append_here(both, done).unwrap();
                        } else {
                            wal.append(both, done).unwrap();
                        }
                        *next += 2;
                    }
                    result.recv().unwrap().unwrap();
                }
            });
        }
    });
    assert_eq!(wal.entries(1..1601, usize::MAX).unwrap(), entries(1, 1..1601));
    purge(&wal, EntryId::new(1, 1500)).unwrap();
    drop(wal);
    let (wal, _) = Wal::open(Arc::clone(&disk), &path, options.clone()).unwrap();
    assert_eq!(wal.entries(0..1601, usize::MAX).unwrap(), entries(1, 1501..1601));
    match Wal::open(disk, &path, options) {
        Err(Error::Locked { holder, .. }) => assert_eq!(holder, Some(std::process::id())),
        other => panic!("want a locked folder, got {other:?}"),
    }
}
