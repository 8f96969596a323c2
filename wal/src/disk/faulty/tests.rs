//! The faulty disk keeps its own promises: what it forgets and what it must not forget.

use super::*;

fn path(name: &str) -> PathBuf {
    Path::new("/d").join(name)
}

fn disk_with_file() -> (FaultyDisk, Arc<dyn DiskFile>) {
    let disk = FaultyDisk::new(1);
    disk.create_dir_all(Path::new("/d")).unwrap();
    let file = disk.create(&path("f")).unwrap();
    disk.sync_dir(Path::new("/d")).unwrap();
    file.write_at(&[1; 2048], 0).unwrap();
    file.sync().unwrap();
    (disk, file)
}

#[test]
fn a_crash_takes_what_was_not_synced_and_leaves_the_rest() {
    let (disk, file) = disk_with_file();
    file.write_at(&[2; 600], 500).unwrap();
    file.write_at(&[3; 512], 2048).unwrap();
    assert_eq!(disk.unsynced(), [path("f")]);
    disk.crash(Keep::Nothing);
    assert_eq!(disk.bytes(&path("f")).unwrap(), [1; 2048]);
    assert!(file.sync().is_err(), "the handle is from before the crash");
}

#[test]
fn a_random_crash_works_on_whole_sectors() {
    let mut seen = BTreeSet::new();
    for seed in 0..64 {
        let (disk, file) = disk_with_file();
        let disk = disk.fork(seed);
        drop(file);
        disk.open(&path("f")).unwrap().write_at(&[2; 1024], 0).unwrap();
        disk.crash(Keep::Random);
        let bytes = disk.bytes(&path("f")).unwrap();
        assert!(bytes.chunks(512).all(|sector| sector.iter().all(|byte| *byte == sector[0])));
        assert!(bytes[1024..].iter().all(|byte| *byte == 1));
        seen.insert((bytes[0], bytes[512]));
    }
    assert_eq!(seen.len(), 4, "each subset of the two sectors occurs");
}

#[test]
fn names_last_only_after_their_folder_is_synced() {
    let (disk, file) = disk_with_file();
    disk.create(&path("new")).unwrap();
    disk.rename(&path("f"), &path("g")).unwrap();
    assert_eq!(disk.paths(), [path("g"), path("new")]);
    disk.crash(Keep::Nothing);
    assert_eq!(disk.paths(), [path("f")]);
    disk.rename(&path("f"), &path("g")).unwrap();
    disk.sync_dir(Path::new("/d")).unwrap();
    disk.crash(Keep::Nothing);
    assert_eq!(disk.paths(), [path("g")]);
    drop(file);
}

#[test]
fn a_failed_sync_leaves_readable_bytes_that_a_power_cut_takes() {
    let (disk, file) = disk_with_file();
    file.write_at(&[2; 2048], 0).unwrap();
    disk.plan(Some(Op::Sync), 1, Fault::Error(io::ErrorKind::Other));
    assert!(file.sync().is_err());
    assert!(file.sync().is_ok(), "the second sync finds clean pages");
    assert_eq!(disk.bytes(&path("f")).unwrap(), [2; 2048]);
    disk.kill();
    assert_eq!(disk.bytes(&path("f")).unwrap(), [2; 2048]);
    disk.crash(Keep::Everything);
    assert!(disk.bytes(&path("f")).unwrap().contains(&1), "some sector never reached the disk");
}

#[test]
fn writing_again_after_a_failed_sync_makes_the_next_sync_count() {
    let (disk, file) = disk_with_file();
    file.write_at(&[2; 2048], 0).unwrap();
    disk.plan(Some(Op::Sync), 1, Fault::Error(io::ErrorKind::Other));
    assert!(file.sync().is_err());
    file.write_at(&[2; 2048], 0).unwrap();
    file.sync().unwrap();
    disk.crash(Keep::Nothing);
    assert_eq!(disk.bytes(&path("f")).unwrap(), [2; 2048]);
}

#[test]
fn after_a_kill_unsynced_bytes_are_seen_but_still_unsynced() {
    let (disk, file) = disk_with_file();
    file.write_at(&[2; 512], 0).unwrap();
    disk.kill();
    assert_eq!(disk.bytes(&path("f")).unwrap()[0], 2);
    disk.crash(Keep::Nothing);
    assert_eq!(disk.bytes(&path("f")).unwrap()[0], 1);
}

#[test]
fn planned_faults_hit_the_chosen_operation() {
    let (disk, file) = disk_with_file();
    disk.plan(Some(Op::Write), 2, Fault::Lost);
    file.write_at(&[2; 512], 0).unwrap();
    file.write_at(&[3; 512], 0).unwrap();
    assert_eq!(disk.bytes(&path("f")).unwrap()[0], 2);
    disk.plan(None, 2, Fault::PowerOff);
    file.sync().unwrap();
    assert!(file.sync().is_err());
    assert!(disk.rename(&path("f"), &path("g")).is_err(), "the power stays off");
    disk.crash(Keep::Random);
    disk.rename(&path("f"), &path("g")).unwrap();
}

#[test]
fn a_full_disk_refuses_growth_and_takes_overwrites() {
    let (disk, file) = disk_with_file();
    disk.set_capacity(Some(2048));
    assert_eq!(file.write_at(&[2], 2048).unwrap_err().kind(), io::ErrorKind::StorageFull);
    file.write_at(&[2; 2048], 0).unwrap();
    assert_eq!(disk.create(&path("new")).unwrap_err().kind(), io::ErrorKind::StorageFull);
    disk.set_capacity(None);
    file.write_at(&[2], 2048).unwrap();
    assert_eq!(disk.used(), 2049);
}

#[test]
fn the_lock_is_exclusive_and_a_crash_frees_it() {
    let disk = FaultyDisk::new(1);
    let held = disk.lock(Path::new("/d")).unwrap();
    assert!(matches!(disk.lock(Path::new("/d")), Err(LockError::Held(None))));
    disk.crash(Keep::Nothing);
    let again = disk.lock(Path::new("/d")).unwrap();
    drop(held);
    assert!(disk.lock(Path::new("/d")).is_err(), "the dead process can't let go of a new lock");
    drop(again);
    assert!(disk.lock(Path::new("/d")).is_ok());
}
