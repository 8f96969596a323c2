//! Every byte of a log flipped, every sector lost, every length cut: the log is served as it was,
//! or as it was before its last frame, or refused with the place.

use std::path::Path;

use keelson_wal::disk::FaultyDisk;
use keelson_wal::{EntryId, Error, Recovery};

use crate::harness::{Contents, Model, Step, open, segments};

const FRAMES_AT: usize = 4096;

struct Image {
    disk: FaultyDisk,
    /// The contents, and what they were before the last frame.
    whole: Contents,
    before_last: Contents,
    states: Vec<Contents>,
    /// Where the last frame is, in the last segment.
    last_frame: std::ops::Range<usize>,
    /// How far each segment is filled.
    used: Vec<usize>,
}

/// Three segments with a bit of everything; the last frame is an append.
fn image(clean: bool) -> Image {
    let disk = FaultyDisk::new(1);
    let (wal, _) = open(&disk).unwrap();
    let mut model = Model::new();
    for round in 0..8 {
        let append = model.append(3, 200);
        model.run(&wal, append).unwrap();
        model.run(&wal, Step::Vote(format!("vote {round}").into())).unwrap();
        model.run(&wal, Step::Committed(format!("mark {round}").into())).unwrap();
    }
    let upto = EntryId::new(1, 2);
    model.run(&wal, Step::Purge(upto)).unwrap();
    let append = model.append(1, 700);
    model.run(&wal, append).unwrap();
    let whole = model.now().clone();
    let before_last = model.states[model.states.len() - 2].clone();
    if clean {
        wal.close().unwrap();
    }
    drop(wal);
    let paths = segments(&disk);
    assert!(paths.len() >= 3, "{paths:?}");
    let used_in = |path: &Path| {
        let bytes = disk.bytes(path).unwrap();
        bytes.iter().rposition(|byte| *byte != 0).unwrap().next_multiple_of(512)
    };
    let used: Vec<_> = paths.iter().map(|path| used_in(path)).collect();
    let end = *used.last().unwrap();
    let len = if clean { 512 } else { 1024 };
    let (last_frame, states) = (end - len..end, model.states);
    Image { disk, whole, before_last, states, last_frame, used }
}

/// Opens a damaged copy and reads all of it.
fn read(disk: &FaultyDisk) -> Result<(Contents, Recovery), Error> {
    let (wal, recovery) = open(disk)?;
    Ok((Contents::of(&wal)?, recovery))
}

/// True if the damage was noticed. `damaged` is the range that was touched.
fn check(image: &Image, disk: &FaultyDisk, path: &Path, damaged: std::ops::Range<usize>) -> bool {
    let is_last_segment = segments(&image.disk).last().map(|last| last == path) == Some(true);
    let in_last = is_last_segment && damaged.end > image.last_frame.start;
    let context = format!("{} {damaged:?}", path.display());
    match read(disk) {
        Ok((found, recovery)) if found == image.whole => {
            assert!(recovery.torn_tail.is_none() || in_last, "{context}");
            false
        }
        Ok((found, recovery)) => {
            assert!(in_last, "{context}: only the last frame may be given up");
            assert_eq!(found, image.before_last, "{context}");
            assert!(!recovery.clean, "{context}");
            let torn = recovery.torn_tail.expect("a recovery that cuts says so");
            assert_eq!(torn.offset, image.last_frame.start as u64, "{context}");
            true
        }
        Err(Error::Corrupt { segment, offset, .. }) => {
            assert_eq!(segment, path, "{context}");
            assert!(offset <= damaged.start as u64, "{context}: named offset {offset}");
            true
        }
        Err(Error::Version { segment, .. }) => {
            assert!(segment == path && damaged.start < 12, "{context}");
            true
        }
        Err(error) => panic!("{context}: {error}"),
    }
}

fn flip_every_byte(clean: bool) {
    let image = image(clean);
    let mut noticed = 0;
    for (path, end) in segments(&image.disk).iter().zip(&image.used) {
        for at in 0..*end {
            let disk = image.disk.fork(0);
            disk.flip_bit(path, at, (at % 8) as u32);
            let found = check(&image, &disk, path, at..at + 1);
            assert!(found || at >= FRAMES_AT, "every byte of a header counts, {at} did not");
            noticed += usize::from(found);
        }
    }
    let total: usize = image.used.iter().sum();
    assert!(noticed * 4 > total * 3, "{noticed} of {total} flips noticed; the rest is padding");
}

#[test]
fn every_flipped_byte_is_harmless_cut_off_or_named() {
    flip_every_byte(false);
}

#[test]
fn after_a_clean_stop_no_data_is_ever_cut_off() {
    let image = image(true);
    assert!(read(&image.disk.fork(0)).unwrap().1.clean);
    for (path, end) in segments(&image.disk).iter().zip(&image.used) {
        for at in 0..*end {
            let disk = image.disk.fork(0);
            disk.flip_bit(path, at, (at % 8) as u32);
            match read(&disk) {
                Ok((found, _)) => assert_eq!(found, image.whole, "{} {at}", path.display()),
                Err(Error::Corrupt { segment, .. } | Error::Version { segment, .. }) => {
                    assert_eq!(segment, *path);
                }
                Err(error) => panic!("{} {at}: {error}", path.display()),
            }
        }
    }
}

#[test]
fn every_lost_sector_is_cut_off_or_named() {
    let image = image(false);
    for (path, end) in segments(&image.disk).iter().zip(&image.used) {
        for at in (0..*end).step_by(512) {
            let disk = image.disk.fork(0);
            let mut bytes = disk.bytes(path).unwrap();
            let was_zero = bytes[at..at + 512].iter().all(|byte| *byte == 0);
            bytes[at..at + 512].fill(0);
            disk.set_bytes(path, bytes);
            assert_eq!(check(&image, &disk, path, at..at + 512), !was_zero, "{at}");
        }
    }
}

#[test]
fn a_log_that_ends_at_any_byte_is_a_state_it_once_had() {
    let image = image(false);
    let path = segments(&image.disk).pop().unwrap();
    let end = *image.used.last().unwrap();
    let mut kept = 0;
    for at in FRAMES_AT..=end {
        let disk = image.disk.fork(0);
        let mut bytes = disk.bytes(&path).unwrap();
        bytes[at..].fill(0);
        disk.set_bytes(&path, bytes);
        let (found, _) = read(&disk).unwrap();
        assert!(image.states.contains(&found), "cut at {at}");
        kept += usize::from(found == image.whole);
    }
    assert!(kept < 512, "the last frame counts up to its last record byte");
}

#[test]
fn a_file_that_was_cut_short_is_refused_with_its_length() {
    let image = image(false);
    for path in segments(&image.disk) {
        let len = image.disk.bytes(&path).unwrap().len();
        for at in (0..len).step_by(97) {
            let disk = image.disk.fork(0);
            let mut bytes = disk.bytes(&path).unwrap();
            bytes.truncate(at);
            disk.set_bytes(&path, bytes);
            match read(&disk) {
                Err(Error::Corrupt { segment, .. }) => assert_eq!(segment, path),
                other => panic!("cut to {at}: {other:?}"),
            }
        }
    }
}

#[test]
fn a_missing_segment_is_refused_unless_nothing_in_it_is_needed() {
    let image = image(false);
    let paths = segments(&image.disk);
    for (at, path) in paths[..paths.len() - 1].iter().enumerate() {
        let disk = image.disk.fork(0);
        keelson_wal::disk::Disk::remove(&disk, path).unwrap();
        match read(&disk) {
            Err(Error::Corrupt { segment, reason, .. }) => {
                assert_eq!(segment, paths[at + 1], "the one behind the gap is named");
                let want = if at == 0 { "neither purged nor in any" } else { "follows segment" };
                assert!(reason.contains(want), "{reason}");
            }
            other => panic!("without {}: {other:?}", path.display()),
        }
    }
}

#[test]
fn a_refused_log_is_left_as_it_was() {
    let image = image(false);
    let disk = image.disk.fork(0);
    let path = &segments(&disk)[1];
    disk.flip_bit(path, FRAMES_AT + 100, 3);
    let before: Vec<_> = disk.paths().iter().map(|path| disk.bytes(path)).collect();
    assert!(read(&disk).is_err());
    let after: Vec<_> = disk.paths().iter().map(|path| disk.bytes(path)).collect();
    assert_eq!(before, after);
}

#[test]
fn rot_under_a_running_log_is_noticed_by_the_reader() {
    let image = image(false);
    let mut noticed = 0;
    for (path, end) in segments(&image.disk).iter().zip(&image.used) {
        for at in (FRAMES_AT..*end).step_by(7) {
            let disk = image.disk.fork(0);
            let (wal, _) = open(&disk).unwrap();
            disk.flip_bit(path, at, 5);
            match Contents::of(&wal) {
                Ok(found) => assert_eq!(found, image.whole, "{at}"),
                Err(Error::Corrupt { segment, offset, .. }) => {
                    assert!(segment == *path && offset <= at as u64);
                    noticed += 1;
                }
                Err(error) => panic!("{at}: {error}"),
            }
        }
    }
    assert!(noticed > 300, "{noticed}");
}
