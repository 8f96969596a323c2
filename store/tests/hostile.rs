//! Hostile txns: whatever decodes is answered as the model answers it, stops nobody, and is
//! answered the same when the log is replayed after a crash.
//!
//! `KEELSON_HOSTILE_TXNS` sets how many; ten million take some minutes.

mod modelled;

use keelson_store::Options;
use keelson_store::command::Command;
use keelson_store::testing::generate::Generator;
use keelson_store::testing::model::Model;
use modelled::{On, Step, check, position};

/// Commands per store: enough for history and compactions, few enough to check all of it.
const COMMANDS_PER_STORE: usize = 500;

const COMMANDS_DEFAULT: usize = 100_000;

fn steps(seed: u64) -> Vec<Step> {
    let mut generator = Generator::new(seed);
    let mut model = Model::default();
    let mut steps = Vec::new();
    let (mut left, mut entries) = (COMMANDS_PER_STORE, 0);
    while left > 0 {
        let mut entry = Vec::new();
        entries += 1;
        model.enter(position(entries));
        for _ in 0..generator.rng().between(1, 40).min(left) {
            let ordinary = generator.rng().chance(1, 4);
            let now = model.now();
            let command = if ordinary { generator.command(now) } else { generator.hostile(now) };
            drop(model.apply(&command));
            entry.push(command);
            left -= 1;
        }
        steps.push(Step::Apply(vec![entry]));
        let mut range = generator.hostile_range(model.now());
        if range.range.key.is_empty() {
            // The server refuses it before the store is asked.
            range.range.key = generator.key();
        }
        steps.push(Step::Range(range));
        if generator.rng().chance(1, 20) {
            steps.push(Step::Flush);
        }
    }
    steps.push(Step::CheckAll);
    steps.push(Step::Crash);
    steps
}

fn stores() -> u64 {
    let wanted = std::env::var("KEELSON_HOSTILE_TXNS").ok();
    let wanted = wanted.map_or(COMMANDS_DEFAULT, |wanted| wanted.parse().expect("a number"));
    u64::try_from(wanted.div_ceil(COMMANDS_PER_STORE)).expect("64 bits")
}

fn options(seed: u64) -> Options {
    let meta_cache_bytes = if seed.is_multiple_of(2) { 3000 } else { 32 << 20 };
    Options { meta_cache_bytes, ..Options::default() }
}

#[test]
fn hostile_txns_are_answered_as_the_model_answers_them() {
    for seed in 0..stores() {
        check(&format!("seed {seed}"), On::Memory, options(seed), steps(seed));
    }
}

#[test]
fn hostile_txns_leave_rocksdb_as_they_leave_memory() {
    for seed in 0..stores().min(8) {
        check(&format!("seed {seed}"), On::Rocks, options(seed), steps(seed));
    }
}

/// The generators are of no use if what they make is always refused, or never.
#[test]
fn hostile_txns_are_refused_and_carried_out() {
    let (mut done, mut refused, mut changed) = (0, 0, 0);
    for step in steps(1) {
        let Step::Apply(entries) = step else { continue };
        let mut model = Model::default();
        for command in entries.iter().flatten() {
            let before = model.revision();
            match (command, model.apply(command)) {
                (Command::Txn(_), Ok(_)) => done += 1,
                (Command::Txn(_), Err(_)) => refused += 1,
                _ => {}
            }
            changed += usize::from(model.revision() > before);
        }
    }
    assert!(done > 50 && refused > 50 && changed > 50, "{done} done, {refused} refused");
}
