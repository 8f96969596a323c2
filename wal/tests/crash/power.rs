//! The power goes at every single operation; syncs fail; nothing is acknowledged too early.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use keelson_wal::disk::{Fault, FaultyDisk, Keep, Op};
use keelson_wal::{EntryId, Error, Health, Options, Wal};

use crate::harness::{Contents, DIR, Model, Step, open, options, reopen_twice};

/// A bit of everything, over several segments, with recycling. A full disk skips the step, any
/// other error ends it.
fn scenario(model: &mut Model, wal: &Wal) {
    for round in 0..8 {
        for kind in 0..5 {
            let last = model.now().last.unwrap_or_default();
            let back = |steps: u64| {
                let index = last.index.0.saturating_sub(steps);
                model.now().entries.get(&index).map(|entry| entry.id)
            };
            let step = match kind {
                0 => Some(model.append(6, 300)),
                1 => Some(Step::Vote(Bytes::from(format!("vote {round}")))),
                2 => Some(Step::Committed(Bytes::from(format!("committed {round}")))),
                3 => back(2).map(|id| Step::Truncate(Some(id))),
                _ => back(2).map(Step::Purge),
            };
            match step.map_or(Ok(()), |step| model.run(wal, step)) {
                Ok(()) | Err(Error::NoSpace { .. }) => {}
                Err(_) => return,
            }
        }
    }
}

#[test]
fn the_power_may_go_at_every_operation() {
    power_off_everywhere(None);
}

/// With no space to prepare anything, a retired segment is the very next one to be used, and no
/// other folder sync comes between its two names.
#[test]
fn the_power_may_go_at_every_operation_of_a_log_that_lives_in_three_files() {
    power_off_everywhere(Some(3 * options().segment_bytes));
}

fn power_off_everywhere(capacity: Option<u64>) {
    let disk = FaultyDisk::new(0);
    disk.set_capacity(capacity);
    let (wal, _) = open(&disk).unwrap();
    scenario(&mut Model::new(), &wal);
    drop(wal);
    let total = disk.count(None);
    assert!(disk.count(Some(Op::Rename)) > 8, "the scenario rolls and recycles");
    for nth in 1..=total {
        for (seed, keep) in
            [(1, Keep::Nothing), (2, Keep::Everything), (3, Keep::Random), (4, Keep::Random)]
        {
            let disk = FaultyDisk::new(seed * 1000 + nth);
            disk.set_capacity(capacity);
            let mut model = Model::new();
            disk.plan(None, nth, Fault::PowerOff);
            if let Ok((wal, _)) = open(&disk) {
                scenario(&mut model, &wal);
            }
            disk.crash(keep);
            let wal = reopen_twice(&disk, &mut model, &format!("operation {nth}, {keep:?}"));
            scenario(&mut model, &wal);
            assert_eq!(Contents::of(&wal).unwrap(), *model.now());
        }
    }
}

#[test]
fn at_every_acknowledgement_all_bytes_and_names_are_synced() {
    let disk = FaultyDisk::new(1);
    let (wal, _) = open(&disk).unwrap();
    let checked = Arc::new(AtomicUsize::new(0));
    for index in 1..200 {
        let (probe, checked) = (disk.clone(), Arc::clone(&checked));
        let mut model = Model::new();
        let entry = model.entry(index, 400);
        let done = Box::new(move |result: Result<(), Error>| {
            result.unwrap();
            assert_eq!(probe.unsynced(), Vec::<std::path::PathBuf>::new());
            checked.fetch_add(1, Ordering::SeqCst);
        });
        wal.append(vec![entry], done).unwrap();
    }
    assert_eq!(checked.load(Ordering::SeqCst), 199);
    assert!(disk.count(Some(Op::Rename)) > 10, "segments were started on the way");
}

#[test]
fn a_failed_write_or_sync_is_final_and_the_first_reason_stays() {
    // Writes of frames, early and late; some in between prepare segments.
    for (op, nth) in [(Op::Write, 5), (Op::Sync, 3), (Op::Write, 40), (Op::Sync, 40)] {
        let disk = FaultyDisk::new(nth);
        let (wal, _) = open(&disk).unwrap();
        let mut model = Model::new();
        disk.plan(Some(op), nth, Fault::Error(ErrorKind::Other));
        while wal.health() == Health::Ok {
            let append = model.append(1, 300);
            model.run(&wal, append).unwrap();
        }
        let Health::Poisoned { reason } = wal.health() else { panic!("{:?}", wal.health()) };
        assert!(reason.starts_with("failed to "), "{reason}");
        assert_eq!(
            model.acked() + 2,
            model.states.len(),
            "{op:?} {nth}: the last one was not acknowledged"
        );
        let ops = disk.count(None);
        let refused = |result: Result<(), Error>| match result {
            Err(Error::Poisoned { reason: again }) => assert_eq!(again, reason),
            other => panic!("want the first reason, got {other:?}"),
        };
        let append = model.append(1, 10);
        refused(model.run(&wal, append));
        refused(wal.save_vote(Bytes::new(), Box::new(|_| ())));
        refused(wal.save_committed(Bytes::new()));
        refused(wal.truncate_after(None, Box::new(|_| ())));
        refused(wal.purge(EntryId::new(1, 1), Box::new(|_| ())));
        refused(wal.entries(0..9, 9).map(drop));
        refused(wal.close());
        assert_eq!(disk.count(None), ops, "nothing is tried again");
        drop(wal);
        disk.kill();
        reopen_twice(&disk, &mut model, &format!("{op:?} {nth}"));
    }
}

#[test]
fn a_group_that_fails_answers_everybody_in_order() {
    let disk = FaultyDisk::new(1);
    let (wal, _) = open(&disk).unwrap();
    let answers = Arc::new(Mutex::new(Vec::new()));
    let mut model = Model::new();
    let (first, second, third) = (model.entry(1, 9), model.entry(2, 9), model.entry(3, 9));
    let note = |name: &'static str| {
        let answers = Arc::clone(&answers);
        move |result: Result<(), Error>| answers.lock().unwrap().push((name, result.is_ok()))
    };
    let (inner, more) = (wal.clone(), [note("second"), note("third")]);
    let [on_second, on_third] = more;
    let on_first = note("first");
    disk.plan(Some(Op::Sync), 2, Fault::Error(ErrorKind::Other));
    let done = Box::new(move |result: Result<(), Error>| {
        on_first(result);
        // Both of these wait for the same sync, which fails.
        inner.append(vec![second], Box::new(on_second)).unwrap();
        inner.append(vec![third], Box::new(on_third)).unwrap();
    });
    wal.append(vec![first], done).unwrap();
    let want = [("first", true), ("second", false), ("third", false)];
    assert_eq!(*answers.lock().unwrap(), want);
}

#[test]
fn a_torn_frame_is_cut_off_reported_and_zeroed() {
    let mut reported = 0;
    for seed in 0..40 {
        let disk = FaultyDisk::new(seed);
        let (wal, _) = open(&disk).unwrap();
        let mut model = Model::new();
        let append = model.append(2, 200);
        model.run(&wal, append).unwrap();
        disk.plan(Some(Op::Write), 1, Fault::Torn);
        let append = model.append(3, 700);
        model.run(&wal, append).unwrap();
        disk.crash(Keep::Everything);
        drop(wal);
        let (wal, recovery) = open(&disk).unwrap();
        model.check_recovered(&wal, &format!("seed {seed}"));
        assert!(!recovery.clean);
        if model.now().last == Some(EntryId::new(1, 5)) {
            continue; // All sectors made it.
        }
        let segment = &crate::harness::segments(&disk)[0];
        let bytes = disk.bytes(segment).unwrap();
        let end = 4096 + 1024;
        assert!(bytes[end..].iter().all(|byte| *byte == 0), "seed {seed}");
        if let Some(torn) = recovery.torn_tail {
            assert_eq!((&torn.segment, torn.offset), (segment, end as u64));
            reported += 1;
        }
    }
    assert!(reported > 30, "{reported}");
}

/// While a callback runs inline, what it asks for is queued: the way to have two groups waiting.
#[test]
fn the_committed_mark_is_written_behind_every_entry_it_may_name() {
    for cut in [false, true] {
        let disk = FaultyDisk::new(1);
        // Long enough that no second spare is prepared meanwhile.
        let options = Options { group_bytes_max: 1, segment_bytes: 64 << 10, ..options() };
        let (wal, _) = Wal::open(Arc::new(disk.clone()), Path::new(DIR), options).unwrap();
        let mut model = Model::new();
        let (first, second, third) = (model.entry(1, 9), model.entry(2, 9), model.entry(3, 9));
        let (inner, power) = (wal.clone(), disk.clone());
        let done = Box::new(move |result: Result<(), Error>| {
            result.unwrap();
            if cut {
                power.plan(Some(Op::Write), 2, Fault::PowerOff);
            }
            inner.append(vec![second], Box::new(|_| ())).unwrap();
            inner.append(vec![third], Box::new(|_| ())).unwrap();
            inner.save_committed(Bytes::from_static(b"3")).unwrap();
        });
        wal.append(vec![first], done).unwrap();
        disk.crash(Keep::Nothing);
        drop(wal);
        let (wal, _) = open(&disk).unwrap();
        let (last, mark) = if cut { (2, None) } else { (3, Some(Bytes::from_static(b"3"))) };
        assert_eq!(wal.state().last, Some(EntryId::new(1, last)));
        assert_eq!(wal.committed(), mark);
    }
}

#[test]
fn an_entry_stays_in_memory_until_it_is_flushed_however_small_the_ring_is() {
    let disk = FaultyDisk::new(1);
    let options = Options { group_bytes_max: 1, ring_bytes: 0, ..options() };
    let (wal, _) = Wal::open(Arc::new(disk.clone()), Path::new(DIR), options).unwrap();
    let mut model = Model::new();
    let (first, second, third) = (model.entry(1, 9), model.entry(2, 9), model.entry(3, 9));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (inner, reader, found) = (wal.clone(), wal.clone(), Arc::clone(&seen));
    let want = third.clone();
    let done = Box::new(move |result: Result<(), Error>| {
        result.unwrap();
        // When the second is flushed, the third still waits.
        let read = move |_| *found.lock().unwrap() = reader.entries(3..4, 9).unwrap();
        inner.append(vec![second], Box::new(read)).unwrap();
        inner.append(vec![third], Box::new(|_| ())).unwrap();
    });
    wal.append(vec![first], done).unwrap();
    assert_eq!(*seen.lock().unwrap(), [want]);
}
