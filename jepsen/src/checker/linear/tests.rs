//! The search against hand-written histories, simulated ones, brute force and the other checker.

use std::time::Duration;

use super::extract::{NEVER, Step, extract};
use super::search::{Outcome, search};
use super::{check, shrink};
use crate::checker::revision;
use crate::checker::simulate::{Script, Shape, good, kv};
use crate::checker::verdict::Verdict;
use crate::clock::Clock;
use crate::history::{
    Action, Answer, Compare, History, Kv, Op, Outcome as Told, RangeRequest, Request, Target,
};
use crate::random::Random;

const LONG: Duration = Duration::from_secs(60);

fn put(value: &str) -> Request {
    Request::put("j/r/0", value)
}

fn read() -> Request {
    Request::range(RangeRequest::one("j/r/0"))
}

/// What a read shows; revisions do not matter here.
fn shows(value: &str) -> Answer {
    Answer::Range { kvs: vec![kv("j/r/0", value, 0, 0, 0)], count: 1 }
}

fn nothing() -> Answer {
    Answer::Range { kvs: Vec::new(), count: 0 }
}

fn after(value: Option<&str>) -> Answer {
    Answer::Put { prev: value.map(|value| kv("j/r/0", value, 0, 0, 0)) }
}

fn swap(from: &str, to: &str) -> Request {
    Request::Txn {
        compares: vec![Compare { key: "j/r/0".into(), target: Target::Value(from.into()) }],
        success: vec![Action::Put { key: "j/r/0".into(), value: to.into() }],
        failure: vec![Action::Range(RangeRequest::one("j/r/0"))],
    }
}

fn swapped(from: &str) -> Answer {
    Answer::Txn { succeeded: true, answers: vec![after(Some(from))] }
}

fn verdict(build: impl FnOnce(&mut Script)) -> Verdict {
    let mut script = Script::default();
    build(&mut script);
    check(&script.history(), LONG)
}

#[track_caller]
fn clean(build: impl FnOnce(&mut Script)) {
    let verdict = verdict(build);
    assert!(verdict.is_clean() && verdict.undecided.is_none(), "{verdict:#?}");
}

#[track_caller]
fn impossible(build: impl FnOnce(&mut Script)) {
    let verdict = verdict(build);
    assert!(verdict.has("not-linearizable"), "{verdict:#?}");
}

#[test]
fn overlapping_operations_may_come_in_any_order() {
    clean(|s| {
        s.ok((0, 9), put("1"), 0, after(Some("2")));
        s.ok((1, 8), put("2"), 0, after(None));
        s.ok((2, 7), read(), 0, nothing());
        s.ok((10, 11), read(), 0, shows("1"));
    });
}

#[test]
fn stale_lost_and_made_up_values_are_found() {
    impossible(|s| {
        s.ok((0, 1), put("1"), 0, after(None));
        s.ok((2, 3), put("2"), 0, after(Some("1")));
        s.ok((4, 5), read(), 0, shows("1"));
    });
    impossible(|s| {
        s.ok((0, 1), put("1"), 0, after(None));
        s.ok((2, 3), read(), 0, nothing());
    });
    impossible(|s| {
        s.ok((0, 1), read(), 0, shows("9"));
    });
}

#[test]
fn one_value_is_swapped_once() {
    impossible(|s| {
        s.ok((0, 1), put("1"), 0, after(None));
        s.ok((2, 5), swap("1", "2"), 0, swapped("1"));
        s.ok((2, 5), swap("1", "3"), 0, swapped("1"));
    });
}

#[test]
fn what_failed_is_not_seen_and_what_is_unknown_may_be() {
    impossible(|s| {
        s.fail((0, 1), put("1"));
        s.ok((2, 3), read(), 0, shows("1"));
    });
    clean(|s| {
        s.unknown(0, put("1"));
        s.ok((2, 3), read(), 0, nothing());
        s.ok((4, 5), read(), 0, shows("1"));
    });
    impossible(|s| {
        s.unknown(0, put("1"));
        s.ok((2, 3), read(), 0, shows("1"));
        s.ok((4, 5), read(), 0, nothing());
    });
    // An unknown deletion explains the same.
    clean(|s| {
        s.unknown(0, put("1"));
        s.unknown(0, Request::delete("j/r/0"));
        s.ok((2, 3), read(), 0, shows("1"));
        s.ok((4, 5), read(), 0, nothing());
    });
}

#[test]
fn a_read_that_began_before_an_unknown_write_cannot_see_it() {
    impossible(|s| {
        s.ok((0, 1), read(), 0, shows("1"));
        s.unknown(2, put("1"));
    });
}

#[test]
fn chains_of_unknown_swaps_are_followed() {
    clean(|s| {
        s.unknown(0, put("1"));
        s.unknown(1, swap("1", "2"));
        s.unknown(1, swap("2", "3"));
        s.ok((2, 3), read(), 0, shows("3"));
    });
    impossible(|s| {
        s.unknown(0, put("1"));
        s.unknown(1, swap("7", "3"));
        s.ok((2, 3), read(), 0, shows("3"));
    });
}

#[test]
fn the_wrong_branch_is_a_contradiction_by_itself() {
    let verdict = verdict(|s| {
        s.ok((0, 1), put("1"), 0, after(None));
        let refused = Answer::Txn { succeeded: false, answers: vec![shows("1")] };
        s.ok((2, 3), swap("1", "2"), 0, refused);
    });
    assert!(verdict.has("self-contradiction"), "{verdict:#?}");
}

#[test]
fn keys_that_a_transaction_joins_are_judged_together() {
    let both = |a: &str, b: &str| {
        let action = |key: &str| Action::Range(RangeRequest::one(key));
        let row = |key: &str, value: &str| match value {
            "" => nothing(),
            value => Answer::Range { kvs: vec![kv(key, value, 0, 0, 0)], count: 1 },
        };
        let request = Request::Txn {
            compares: Vec::new(),
            success: vec![action("j/r/0"), action("j/r/1")],
            failure: Vec::new(),
        };
        let answers = vec![row("j/r/0", a), row("j/r/1", b)];
        (request, Answer::Txn { succeeded: true, answers })
    };
    let build = |second: (&str, &str)| {
        verdict(|s| {
            s.ok((0, 9), put("1"), 0, after(None));
            s.ok((0, 9), Request::put("j/r/1", "2"), 0, after(None));
            let (request, answer) = both("1", "");
            s.ok((1, 8), request, 0, answer);
            let (request, answer) = both(second.0, second.1);
            s.ok((1, 8), request, 0, answer);
        })
    };
    assert!(build(("1", "2")).is_clean());
    // Each key alone would be fine: one saw only the first write, the other only the second.
    assert!(build(("", "2")).has("not-linearizable"));
}

#[test]
fn simulated_good_histories_pass() {
    for seed in 0..60 {
        let verdict = check(&good(seed, Shape { unknown_percent: 30, ..Shape::default() }), LONG);
        assert!(verdict.is_clean() && verdict.undecided.is_none(), "seed {seed}: {verdict:#?}");
    }
}

#[test]
fn a_hundred_thousand_operations_on_ten_keys_are_judged() {
    let shape = Shape {
        ops: 100_000,
        clients: 30,
        registers: 10,
        unknown_percent: 2,
        mixed: false,
        probed: false,
    };
    let mut history = good(5, shape);
    let verdict = check(&history, LONG);
    assert!(verdict.is_clean() && verdict.undecided.is_none(), "{verdict:#?}");
    assert!(verdict.examined > 80_000, "{}", verdict.examined);
    // One stale answer in the middle of it, cut down to what a person reads.
    let place = make_stale(&mut history, 60_000);
    let verdict = check(&history, LONG);
    assert!(verdict.has("not-linearizable"), "{verdict:#?}");
    let evidence = &verdict.anomalies[0].evidence;
    // The old value's writer, what came after it, and the read: fewer would prove nothing.
    assert!((4..=6).contains(&evidence.len()), "{evidence:#?}");
    let id = history.ops[place].id;
    assert!(evidence.iter().any(|line| line.starts_with(&format!("#{id} "))), "{evidence:#?}");
}

/// Makes a read after this place show what an earlier one showed; gives its place.
fn make_stale(history: &mut History, from: usize) -> usize {
    let is_read = |op: &Op| matches!(&op.request, Request::Single(Action::Range(r)) if !r.serializable && r.end.is_none());
    let old = history.ops[..from / 2]
        .iter()
        .rev()
        .find(|op| is_read(op) && !op.response().unwrap().answer.kvs().is_empty())
        .unwrap()
        .clone();
    let place = (from..history.ops.len())
        .find(|i| history.ops[*i].request == old.request && history.ops[*i].response().is_some())
        .unwrap();
    history.ops[place].outcome = old.outcome;
    place
}

#[test]
fn time_runs_out_inside_a_search_too() {
    // Many overlapping writes whose reads come in an impossible order: far too much to try all.
    let verdict = {
        let mut script = Script::default();
        for n in 0..40 {
            script.ok(
                (0, 1000),
                Request::put("j/r/0", format!("{n}")),
                0,
                Answer::Delete { deleted: 0, prev: Vec::new() },
            );
        }
        let mut steps: Vec<Step> = (0..40)
            .map(|n| Step {
                place: n,
                begin: 0,
                end: 1000,
                finds: vec![],
                leaves: vec![(0, 1 + u32::try_from(n).unwrap())],
            })
            .collect();
        for n in 0..39 {
            steps.push(Step {
                place: 40,
                begin: 10,
                end: 900,
                finds: vec![(0, n + 1), (1, 5)],
                leaves: vec![],
            });
        }
        search(&steps, 2, Clock::start(), Duration::from_millis(50))
    };
    assert_eq!(verdict, Outcome::GaveUp);
}

/// Whether some order exists, by trying all.
fn brute_force(steps: &[Step], variables: usize) -> bool {
    fn go(steps: &[Step], left: &mut Vec<usize>, state: &mut Vec<u32>) -> bool {
        let needed: Vec<usize> = left.iter().copied().filter(|i| steps[*i].end != NEVER).collect();
        if needed.is_empty() {
            return true;
        }
        let first_end = needed.iter().map(|i| steps[*i].end).min().unwrap();
        for place in 0..left.len() {
            let step = &steps[left[place]];
            let fits = step.finds.iter().all(|(v, value)| state[*v] == *value);
            if step.begin > first_end || !fits {
                continue;
            }
            let before = state.clone();
            for (v, value) in &step.leaves {
                state[*v] = *value;
            }
            let index = left.remove(place);
            if go(steps, left, state) {
                return true;
            }
            left.insert(place, index);
            *state = before;
        }
        false
    }
    go(steps, &mut (0..steps.len()).collect(), &mut vec![0; variables])
}

fn random_steps(random: &mut Random) -> Vec<Step> {
    let count = random.between(2, 6);
    (0..count)
        .map(|_| {
            let begin = random.below(12);
            let end = if random.percent(20) { NEVER } else { begin + random.between(1, 6) };
            let cell =
                |random: &mut Random| (random.index(2), u32::try_from(random.below(4)).unwrap());
            let finds = if random.percent(60) { vec![cell(random)] } else { vec![] };
            let leaves = if random.percent(60) { vec![cell(random)] } else { vec![] };
            Step { place: 0, begin, end, finds, leaves }
        })
        .collect()
}

#[test]
fn the_search_agrees_with_brute_force() {
    let mut random = Random::new(11, 0);
    let (mut good, mut bad) = (0, 0);
    for _ in 0..20_000 {
        let steps = random_steps(&mut random);
        let expected = brute_force(&steps, 2);
        let outcome = search(&steps, 2, Clock::start(), LONG);
        assert_eq!(outcome == Outcome::Ordered, expected, "{steps:#?}");
        if expected { good += 1 } else { bad += 1 }
    }
    assert!(good > 1000 && bad > 1000, "{good} {bad}");
}

/// The values of a history changed in one answer.
fn bend(history: &mut History, random: &mut Random) {
    let values: Vec<String> = history
        .ops
        .iter()
        .flat_map(|op| op.request.actions())
        .filter_map(|action| match action {
            Action::Put { value, .. } => Some(value.clone()),
            Action::Range(_) | Action::Delete { .. } => None,
        })
        .collect();
    let place = random.index(history.ops.len());
    let Told::Ok(response) = &mut history.ops[place].outcome else { return };
    let rows: Option<&mut Vec<Kv>> = match &mut response.answer {
        Answer::Range { kvs, .. } => Some(kvs),
        Answer::Delete { prev, .. } => Some(prev),
        Answer::Put { .. } | Answer::Txn { .. } => None,
    };
    if let (Some(kv), false) = (rows.and_then(|rows| rows.first_mut()), values.is_empty()) {
        kv.value.clone_from(&values[random.index(values.len())]);
    }
}

/// Whether each value found in the small history is left in it too, if it was in time: a read whose
/// writer was cut away would be a contradiction that the whole does not have.
fn keeps_writers(small: &[Step], whole: &[Step]) -> bool {
    let is_left = |steps: &[Step], cell, by: u64| {
        steps.iter().any(|step| step.leaves.contains(cell) && step.begin <= by)
    };
    small.iter().filter(|step| step.end != NEVER).all(|step| {
        let mut finds = step.finds.iter();
        finds.all(|cell| is_left(small, cell, step.end) || !is_left(whole, cell, step.end))
    })
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config {
        cases: 300,
        failure_persistence: None,
        ..proptest::test_runner::Config::default()
    })]

    /// What the black box cannot explain, the revision checker cannot explain either; and cutting
    /// a group down never makes a contradiction out of a possible history.
    #[test]
    fn the_two_checkers_agree(seed in 0_u64..1_000_000, bent in 0_usize..3) {
        let shape = Shape { ops: 30, clients: 4, registers: 2, unknown_percent: 20, mixed: false, probed: true };
        let mut history = good(seed, shape);
        let mut random = Random::new(seed, 5);
        for _ in 0..bent {
            bend(&mut history, &mut random);
        }
        let (black_box, by_revision) = (check(&history, LONG), revision::check(&history));
        if bent == 0 {
            proptest::prop_assert!(black_box.is_clean(), "{:#?}", black_box);
            proptest::prop_assert!(by_revision.is_clean(), "{:#?}", by_revision);
        }
        if !black_box.is_clean() {
            proptest::prop_assert!(!by_revision.is_clean(), "{:#?}", black_box);
        }
        for group in extract(&history).0 {
            let fails = search(&group.steps, group.keys.len(), Clock::start(), LONG) != Outcome::Ordered;
            if fails {
                let small = shrink::shrink(&group, Clock::start(), LONG);
                proptest::prop_assert!(!brute_force(&small.steps, small.keys.len()));
                proptest::prop_assert!(keeps_writers(&small.steps, &group.steps), "{:#?}", small);
            }
        }
    }
}
