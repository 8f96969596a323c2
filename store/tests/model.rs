//! Long random sequences of ordinary commands on the real store, on both engines, give the answers
//! of the reference model: at every revision, through compactions, removals, crashes and replays.

mod modelled;

use keelson_store::Options;
use keelson_store::testing::generate::Generator;
use keelson_store::testing::model::Model;
use modelled::{On, Step, check, position};

/// How often each thing happens, in a hundred steps.
struct Weather {
    crash: usize,
    garbage: usize,
    batch_max: usize,
}

const CALM: Weather = Weather { crash: 1, garbage: 3, batch_max: 6 };
const ROUGH: Weather = Weather { crash: 8, garbage: 15, batch_max: 2 };

/// Steps made along a model of their own, so that they know where the store will be.
fn steps(seed: u64, count: usize, weather: &Weather) -> Vec<Step> {
    let mut generator = Generator::new(seed);
    let mut model = Model::default();
    let mut steps = Vec::new();
    let mut entries = 0;
    for _ in 0..count {
        let chosen = generator.rng().below(100);
        let Weather { crash, garbage, batch_max } = *weather;
        steps.push(match chosen {
            chosen if chosen < crash => Step::Crash,
            chosen if chosen < crash + garbage => Step::RemoveGarbage,
            chosen if chosen < crash + garbage + 4 => Step::Flush,
            chosen if chosen < crash + garbage + 8 => Step::Hold,
            chosen if chosen < 50 => Step::Range(generator.range(model.now())),
            _ => {
                let mut batch = Vec::new();
                for _ in 0..generator.rng().between(1, batch_max) {
                    let mut entry = Vec::new();
                    entries += 1;
                    model.enter(position(entries));
                    for _ in 0..generator.rng().below(batch_max) {
                        let command = generator.command(model.now());
                        drop(model.apply(&command));
                        entry.push(command);
                    }
                    batch.push(entry);
                }
                Step::Apply(batch)
            }
        });
    }
    steps.push(Step::CheckAll);
    steps.push(Step::RemoveGarbage);
    steps.push(Step::Crash);
    steps
}

/// Caches that hold nothing, next to nothing, and everything.
fn options(seed: u64) -> Options {
    let sizes = [0, 2000, 32 << 20];
    let meta_cache_bytes = sizes[usize::try_from(seed % 3).expect("one of three")];
    Options { meta_cache_bytes, ..Options::default() }
}

#[test]
fn memory_answers_as_the_model_does() {
    for seed in 0..30 {
        check(&format!("seed {seed}"), On::Memory, options(seed), steps(seed, 250, &CALM));
    }
}

#[test]
fn memory_answers_as_the_model_does_in_rough_weather() {
    for seed in 1000..1040 {
        check(&format!("seed {seed}"), On::Memory, options(seed), steps(seed, 150, &ROUGH));
    }
}

#[test]
fn rocksdb_answers_as_the_model_does_and_hashes_as_memory_does() {
    for seed in 2000..2006 {
        let name = format!("seed {seed}");
        let steps = steps(seed, 150, &CALM);
        let rocks = check(&name, On::Rocks, options(seed), steps.clone());
        let memory = check(&name, On::Memory, options(seed + 1), steps);
        for (at, hash) in &memory {
            assert!(rocks.get(at).is_none_or(|other| other == hash), "hash at {at:?}, {name}");
        }
        assert!(rocks.keys().any(|at| memory.contains_key(at)), "nothing was compared");
    }
}
