//! A full disk, at every allocation.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use keelson_wal::disk::{FaultyDisk, Keep};
use keelson_wal::{Action, EntryId, Error, Health, Options, Wal, WriterMode};

use crate::harness::{Contents, DIR, Model, Step, open, options, reopen_twice};

const SEGMENT: u64 = 8 << 10;

/// Appends until the log says that it is full.
fn fill(model: &mut Model, wal: &Wal) -> Error {
    for _ in 0..10_000 {
        let append = model.append(2, 200);
        if let Err(error) = model.run(wal, append) {
            return error;
        }
    }
    panic!("the disk never got full");
}

#[test]
fn a_full_disk_at_every_size_damages_nothing_and_ends_when_space_comes_back() {
    for capacity in (0..6 * SEGMENT).step_by(1024) {
        let disk = FaultyDisk::new(capacity);
        disk.set_capacity(Some(capacity));
        let mut model = Model::new();
        let context = format!("capacity {capacity}");
        match open(&disk) {
            Ok((wal, _)) => {
                let error = fill(&mut model, &wal);
                assert!(matches!(error, Error::NoSpace { .. }), "{context}: {error}");
                assert_eq!(error.action(), Action::Retry);
                assert!(matches!(wal.health(), Health::NoSpace { .. }), "{context}");
                assert_eq!(Contents::of(&wal).unwrap(), *model.now(), "{context}");
                assert_eq!(model.acked() + 1, model.states.len(), "{context}: all acknowledged");
            }
            Err(error) => {
                assert!(capacity < SEGMENT, "{context}: one segment is enough to begin: {error}");
                assert!(matches!(error, Error::Io { .. }), "{context}: {error}");
            }
        }
        disk.crash(Keep::Random);
        disk.set_capacity(None);
        let wal = reopen_twice(&disk, &mut model, &context);
        assert_eq!(wal.health(), Health::Ok, "{context}");
        let append = model.append(50, 200);
        model.run(&wal, append).unwrap();
    }
}

#[test]
fn a_full_log_still_votes_and_purges_itself_free() {
    let disk = FaultyDisk::new(1);
    disk.set_capacity(Some(3 * SEGMENT));
    let (wal, _) = open(&disk).unwrap();
    let mut model = Model::new();
    fill(&mut model, &wal);
    model.run(&wal, Step::Vote(Bytes::from_static(b"vote"))).unwrap();
    let last = model.now().last.unwrap();
    model.run(&wal, Step::Truncate(Some(EntryId::new(1, last.index.0 - 1)))).unwrap();
    let upto = model.now().last.unwrap();
    model.run(&wal, Step::Purge(upto)).unwrap();
    assert_eq!(wal.health(), Health::Ok, "purged segments became spares");
    for _ in 0..40 {
        let append = model.append(4, 200);
        model.run(&wal, append).unwrap();
        let upto = model.now().last.unwrap();
        model.run(&wal, Step::Purge(upto)).unwrap();
    }
    assert_eq!(disk.used(), 3 * SEGMENT, "it went on in the space it had");
    drop(wal);
    disk.kill();
    reopen_twice(&disk, &mut model, "after living in little space");
}

#[test]
fn with_threads_the_log_goes_on_by_itself_when_space_comes_back() {
    let disk = FaultyDisk::new(1);
    disk.set_capacity(Some(3 * SEGMENT));
    let options = Options {
        writer: WriterMode::Thread,
        space_retry_pause: Duration::from_millis(1),
        ..options()
    };
    let (wal, _) = Wal::open(Arc::new(disk.clone()), Path::new(DIR), options).unwrap();
    let mut model = Model::new();
    // Whether an append is refused, or taken and left waiting for space, depends on how far the
    // preparer has come; what is taken is never dropped.
    let error = fill(&mut model, &wal);
    assert!(matches!(error, Error::NoSpace { .. }), "{error}");
    disk.set_capacity(None);
    let (sender, receiver) = std::sync::mpsc::channel();
    for _ in 0..60_000 {
        let append = model.append(2, 200);
        if model.run(&wal, append).is_ok() {
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let done = Box::new(move |result| sender.send(result).expect("the test waits"));
    wal.save_vote(Bytes::new(), done).unwrap();
    receiver.recv_timeout(Duration::from_secs(60)).unwrap().unwrap();
    assert_eq!(model.acked() + 1, model.states.len(), "all that was taken is durable");
    assert_eq!(wal.health(), Health::Ok);
}

#[test]
fn a_full_log_can_be_closed() {
    for mode in [WriterMode::Inline, WriterMode::Thread] {
        let disk = FaultyDisk::new(1);
        disk.set_capacity(Some(2 * SEGMENT));
        let options = Options { writer: mode, ..options() };
        let (wal, _) = Wal::open(Arc::new(disk.clone()), Path::new(DIR), options).unwrap();
        let mut model = Model::new();
        let error = fill(&mut model, &wal);
        assert!(matches!(error, Error::NoSpace { .. }), "{error}");
        drop(wal.close());
        drop(wal);
        disk.crash(Keep::Nothing);
        let (wal, _) = open(&disk).unwrap();
        model.check_recovered(&wal, &format!("{mode:?}"));
    }
}
