//! Random operations on a disk that fails at random, many seeds.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use keelson_wal::disk::{Fault, FaultyDisk, Keep, Op};
use keelson_wal::{Error, Health, Options, Wal, WriterMode};

use crate::harness::{Chance, Contents, DIR, Model, Step, open, options, reopen_twice};

fn plan_something(disk: &FaultyDisk, chance: &mut Chance) {
    let nth = 1 + chance.below(40);
    match chance.below(8) {
        0 => disk.plan(Some(Op::Write), nth, Fault::Error(ErrorKind::Other)),
        1 => disk.plan(Some(Op::Write), nth, Fault::Torn),
        2 => disk.plan(Some(Op::Sync), nth, Fault::Error(ErrorKind::Other)),
        3 => disk.plan(Some(Op::SyncDir), 1 + nth % 4, Fault::Error(ErrorKind::Other)),
        4 => disk.plan(Some(Op::Rename), 1 + nth % 4, Fault::Error(ErrorKind::Other)),
        5 | 6 => disk.plan(None, nth * 2, Fault::PowerOff),
        _ => {}
    }
}

fn stop(disk: &FaultyDisk, wal: Wal, chance: &mut Chance) {
    match chance.below(6) {
        0 => drop(wal.close()),
        1 => disk.kill(),
        2 => disk.crash(Keep::Nothing),
        3 => disk.crash(Keep::Everything),
        _ => disk.crash(Keep::Random),
    }
    // A plan that has not struck would strike while the log is being opened and checked.
    disk.kill();
}

fn run_seed(seed: u64) {
    let disk = FaultyDisk::new(seed);
    let mut chance = Chance(seed ^ 0xdead_beef);
    let mut model = Model::new();
    for round in 0..12 {
        let context = format!("seed {seed} round {round}");
        let wal = reopen_twice(&disk, &mut model, &context);
        plan_something(&disk, &mut chance);
        for _ in 0..chance.below(60) {
            let step = model.random_step(&mut chance);
            match model.run(&wal, step) {
                Ok(()) => {}
                Err(Error::Poisoned { .. }) => break,
                Err(error) => panic!("{context}: {error}"),
            }
            if chance.below(10) == 0
                && let Ok(found) = Contents::of(&wal)
            {
                assert_eq!(found, *model.now(), "{context}: readers see what was accepted");
            }
        }
        stop(&disk, wal, &mut chance);
    }
}

#[test]
fn nothing_acknowledged_is_lost_and_nothing_else_appears() {
    for seed in 0..400 {
        run_seed(seed);
    }
}

#[test]
fn opening_may_itself_be_interrupted_anywhere() {
    for seed in 0..60 {
        let disk = FaultyDisk::new(seed);
        let mut chance = Chance(seed);
        let mut model = Model::new();
        for round in 0..30 {
            let context = format!("seed {seed} round {round}");
            disk.plan(None, 1 + chance.below(12), Fault::PowerOff);
            // Inline, the first spare is prepared at the end of opening; that may fail, too.
            if let Ok((wal, _)) = open(&disk)
                && wal.health() == Health::Ok
            {
                model.check_recovered(&wal, &context);
                while wal.health() == Health::Ok {
                    let step = model.random_step(&mut chance);
                    drop(model.run(&wal, step));
                }
            }
            disk.crash(Keep::Random);
        }
        reopen_twice(&disk, &mut model, &format!("seed {seed}, at the end"));
    }
}

#[test]
fn a_disk_that_lies_may_lose_but_never_invents() {
    let mut refused = 0;
    for seed in 0..200 {
        let disk = FaultyDisk::new(seed);
        let mut chance = Chance(seed);
        let mut model = Model::new();
        let (wal, _) = open(&disk).unwrap();
        let op = if seed % 2 == 0 { Op::Write } else { Op::Sync };
        disk.plan(Some(op), 5 + chance.below(40), Fault::Lost);
        for _ in 0..60 {
            let step = match model.random_step(&mut chance) {
                Step::Purge(_) => model.append(1, 100),
                step => step,
            };
            // A lost header makes the next segment unreadable; nothing is promised then.
            drop(model.run(&wal, step));
        }
        disk.crash(Keep::Random);
        match open(&disk).and_then(|(wal, _)| Contents::of(&wal)) {
            Ok(found) => assert!(model.states.contains(&found), "seed {seed}"),
            Err(Error::Corrupt { .. }) => refused += 1,
            Err(error) => panic!("seed {seed}: {error}"),
        }
    }
    assert!(refused > 50, "a frame lost under later ones is noticed, was {refused} times");
}

#[test]
fn the_same_holds_with_threads() {
    for seed in 0..40 {
        let disk = FaultyDisk::new(seed);
        let mut chance = Chance(seed);
        let mut model = Model::new();
        for round in 0..6 {
            let context = format!("seed {seed} round {round}");
            let options = Options { writer: WriterMode::Thread, ..options() };
            let (wal, _) = Wal::open(Arc::new(disk.clone()), Path::new(DIR), options)
                .unwrap_or_else(|e| panic!("{context}: {e}"));
            model.check_recovered(&wal, &context);
            plan_something(&disk, &mut chance);
            for _ in 0..chance.below(80) {
                let step = model.random_step(&mut chance);
                if let Err(error) = model.run(&wal, step) {
                    assert!(matches!(error, Error::Poisoned { .. }), "{context}: {error}");
                    break;
                }
            }
            // What is acknowledged after this line is acknowledged by a dead machine.
            let acked = model.acked();
            disk.crash(Keep::Random);
            drop(wal);
            assert!(model.acked() >= acked);
            model.acked.store(acked, std::sync::atomic::Ordering::SeqCst);
        }
    }
}
