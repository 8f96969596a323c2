//! Formats: a newer one is refused as that, an older one keeps opening.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use keelson_wal::disk::{Disk, FaultyDisk, RealDisk};
use keelson_wal::{Entry, EntryId, Error, LogState, Wal};

use crate::harness::{Contents, DIR, Model, Step, open, options, segments};

#[test]
fn a_newer_version_is_refused_as_that_before_anything_else() {
    let disk = FaultyDisk::new(1);
    let (wal, _) = open(&disk).unwrap();
    let mut model = Model::new();
    for _ in 0..20 {
        let append = model.append(2, 300);
        model.run(&wal, append).unwrap();
    }
    wal.close().unwrap();
    drop(wal);
    let paths = segments(&disk);
    let last = paths.last().unwrap();
    let mut bytes = disk.bytes(last).unwrap();
    bytes[8..12].copy_from_slice(&2_u32.to_le_bytes());
    disk.set_bytes(last, bytes);
    disk.flip_bit(&paths[0], 100, 1);
    match open(&disk) {
        Err(Error::Version { segment, found: 2, supported: 1 }) => assert_eq!(segment, *last),
        other => panic!("want the version named, got {other:?}"),
    }
}

fn fixture_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v1")
}

/// The log that the fixture holds.
fn write_fixture(model: &mut Model, wal: &Wal) {
    for round in 0..6 {
        let append = model.append(4, 300);
        model.run(wal, append).unwrap();
        model.run(wal, Step::Vote(format!("vote {round}").into())).unwrap();
        model.run(wal, Step::Committed(format!("committed {round}").into())).unwrap();
    }
    model.run(wal, Step::Truncate(Some(EntryId::new(1, 22)))).unwrap();
    let append = model.append(2, 10);
    model.run(wal, append).unwrap();
    model.run(wal, Step::Purge(EntryId::new(1, 3))).unwrap();
}

/// Version 1 as it was first released. When the format changes, this folder stays and another
/// one is added beside it.
#[test]
fn the_folder_written_by_version_1_opens() {
    let disk = FaultyDisk::new(1);
    for entry in std::fs::read_dir(fixture_dir()).unwrap() {
        let entry = entry.unwrap();
        let path = Path::new(DIR).join(entry.file_name());
        disk.set_bytes(&path, std::fs::read(entry.path()).unwrap());
    }
    let (wal, recovery) = open(&disk).unwrap();
    assert!(recovery.clean);
    assert_eq!(recovery.segments, segments(&disk).len());
    let purged = Some(EntryId::new(1, 3));
    assert_eq!(wal.state(), LogState { purged, last: Some(EntryId::new(1, 24)) });
    assert_eq!(wal.vote(), Some(Bytes::from_static(b"vote 5")));
    assert_eq!(wal.committed(), Some(Bytes::from_static(b"committed 5")));

    let again = FaultyDisk::new(1);
    let (fresh, _) = open(&again).unwrap();
    let mut model = Model::new();
    write_fixture(&mut model, &fresh);
    assert_eq!(Contents::of(&wal).unwrap(), *model.now());
    let payload = Bytes::from_static(b"entry 23 made 25 ");
    let want = Entry { id: EntryId::new(1, 23), payload };
    assert_eq!(wal.entries(23..24, usize::MAX).unwrap(), [want]);
}

/// Writes the fixture anew into a folder named by `KEELSON_WAL_FIXTURE`; by itself it shows that
/// today's code writes what it reads.
#[test]
fn the_fixture_can_be_written() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = std::env::var_os("KEELSON_WAL_FIXTURE")
        .map_or_else(|| scratch.path().join("v1"), PathBuf::from);
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let (wal, _) = Wal::open(Arc::clone(&disk), &dir, options()).unwrap();
    let mut model = Model::new();
    write_fixture(&mut model, &wal);
    wal.close().unwrap();
    drop(wal);
    for name in disk.list(&dir).unwrap() {
        if !name.ends_with(".wal") {
            disk.remove(&dir.join(name)).unwrap();
        }
    }
    let (wal, recovery) = Wal::open(disk, &dir, options()).unwrap();
    assert!(recovery.clean && recovery.segments >= 2);
    assert_eq!(Contents::of(&wal).unwrap(), *model.now());
}
