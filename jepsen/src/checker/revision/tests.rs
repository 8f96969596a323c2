//! Good histories that must pass and bad ones that must not.

use super::check;
use crate::checker::simulate::{Script, Shape, good, kv};
use crate::checker::unowned_revisions;
use crate::checker::verdict::Verdict;
use crate::history::{
    Action, Answer, Compare, Hash, History, Kv, Op, Outcome, RangeRequest, Request, Target,
};

fn put(value: &str) -> Request {
    Request::put("j/r/0", value)
}

fn read() -> Request {
    Request::range(RangeRequest::one("j/r/0"))
}

fn serializable() -> Request {
    Request::range(RangeRequest { serializable: true, ..RangeRequest::one("j/r/0") })
}

fn fresh() -> Answer {
    Answer::Put { prev: None }
}

fn after(prev: Kv) -> Answer {
    Answer::Put { prev: Some(prev) }
}

fn shows(kv: Kv) -> Answer {
    Answer::Range { kvs: vec![kv], count: 1 }
}

fn nothing() -> Answer {
    Answer::Range { kvs: Vec::new(), count: 0 }
}

fn one() -> Kv {
    kv("j/r/0", "1", 2, 2, 1)
}

fn two() -> Kv {
    kv("j/r/0", "2", 2, 3, 2)
}

fn verdict(build: impl FnOnce(&mut Script)) -> Verdict {
    let mut script = Script::default();
    build(&mut script);
    check(&script.history())
}

#[track_caller]
fn expect(kinds: &[&str], build: impl FnOnce(&mut Script)) {
    let verdict = verdict(build);
    let found: Vec<&str> = verdict.counts.keys().map(String::as_str).collect();
    assert_eq!(found, kinds, "{verdict:#?}");
}

#[test]
fn a_plain_history_is_clean() {
    expect(&[], |s| {
        s.ok((0, 1), read(), 1, nothing());
        s.ok((2, 5), put("1"), 2, fresh());
        s.ok((3, 6), put("2"), 3, after(one()));
        s.ok((4, 9), read(), 2, shows(one()));
        s.ok((7, 8), read(), 3, shows(two()));
    });
}

#[test]
fn a_lost_write_shows_in_the_next_read() {
    expect(&["stale-read"], |s| {
        s.ok((0, 1), put("1"), 2, fresh());
        s.ok((2, 3), read(), 1, nothing());
    });
}

#[test]
fn a_lost_write_shows_in_a_revision_that_is_given_again() {
    expect(&["revision-reused", "revision-went-back"], |s| {
        s.ok((0, 1), Request::put("j/r/1", "1"), 2, fresh());
        s.ok((2, 3), put("2"), 2, fresh());
    });
}

#[test]
fn an_old_value_under_a_new_revision_is_wrong() {
    expect(&["wrong-answer"], |s| {
        s.ok((0, 1), put("1"), 2, fresh());
        s.ok((2, 3), put("2"), 3, after(one()));
        s.ok((4, 5), read(), 3, shows(one()));
    });
}

#[test]
fn every_part_of_an_answer_is_compared() {
    let wrong = |prev: Answer, version: i64, count: i64| {
        verdict(|s| {
            s.ok((0, 1), put("1"), 2, fresh());
            s.ok((2, 3), put("2"), 3, prev);
            let kvs = vec![kv("j/r/0", "2", 2, 3, version)];
            s.ok((4, 5), read(), 3, Answer::Range { kvs, count });
        })
    };
    assert!(wrong(after(one()), 2, 1).is_clean());
    assert!(wrong(fresh(), 2, 1).has("wrong-answer"));
    assert!(wrong(after(one()), 3, 1).has("wrong-answer"));
    assert!(wrong(after(one()), 2, 2).has("wrong-answer"));
}

#[test]
fn a_branch_that_the_conditions_forbid_is_wrong() {
    let txn = |succeeded| Request::Txn {
        compares: vec![Compare { key: "j/r/0".into(), target: Target::Value("1".into()) }],
        success: vec![Action::Put {
            key: "j/r/0".into(),
            value: if succeeded { "2" } else { "3" }.into(),
        }],
        failure: vec![Action::Range(RangeRequest::one("j/r/0"))],
    };
    let swapped = Answer::Txn { succeeded: true, answers: vec![after(one())] };
    let also = Answer::Txn { succeeded: true, answers: vec![after(two())] };
    let refused = Answer::Txn { succeeded: false, answers: vec![shows(two())] };
    expect(&[], |s| {
        s.ok((0, 1), put("1"), 2, fresh());
        s.ok((2, 5), txn(true), 3, swapped.clone());
        s.ok((3, 6), txn(false), 3, refused);
    });
    // Two swaps from one value.
    expect(&["wrong-answer"], |s| {
        s.ok((0, 1), put("1"), 2, fresh());
        s.ok((2, 5), txn(true), 3, swapped);
        s.ok((3, 6), txn(false), 4, also);
    });
}

#[test]
fn what_failed_is_never_seen() {
    expect(&["aborted-read", "orphan-revision", "wrong-answer"], |s| {
        s.fail((0, 1), put("1"));
        s.ok((2, 3), read(), 2, shows(one()));
    });
    expect(&["orphan-revision", "phantom-value", "wrong-answer"], |s| {
        s.ok((2, 3), read(), 2, shows(one()));
    });
}

#[test]
fn what_is_unknown_happens_once_or_never() {
    expect(&[], |s| {
        s.unknown(0, put("1"));
        s.ok((2, 3), read(), 1, nothing());
        s.ok((4, 5), read(), 2, shows(one()));
    });
    expect(&[], |s| {
        s.unknown(0, put("1"));
        s.ok((2, 3), put("2"), 2, fresh());
        s.ok((4, 5), read(), 2, shows(kv("j/r/0", "2", 2, 2, 1)));
    });
    let twice = verdict(|s| {
        s.unknown(0, put("1"));
        s.ok((2, 3), read(), 2, shows(one()));
        s.ok((4, 5), put("2"), 3, after(one()));
        s.ok((6, 7), read(), 4, shows(kv("j/r/0", "1", 2, 4, 3)));
    });
    assert!(twice.has("applied-twice"), "{twice:#?}");
}

#[test]
fn an_effect_does_not_come_before_its_cause() {
    expect(&["effect-before-cause"], |s| {
        s.ok((0, 1), read(), 2, shows(one()));
        s.unknown(2, put("1"));
    });
}

#[test]
fn a_revision_that_nobody_made_is_found() {
    expect(&["orphan-revision"], |s| {
        s.ok((0, 1), put("1"), 2, fresh());
        s.ok((2, 3), Request::put("j/r/1", "2"), 4, fresh());
    });
}

#[test]
fn an_unseen_write_of_unknown_outcome_explains_a_revision_but_not_two() {
    let history = |second: i64| {
        verdict(|s| {
            s.unknown(0, put("1"));
            s.ok((2, 3), Request::put("j/r/1", "2"), second, fresh());
        })
    };
    assert!(history(3).is_clean(), "{:#?}", history(3));
    assert!(history(4).has("orphan-revision"));
}

#[test]
fn serializable_reads_may_be_old_but_not_wrong_and_not_older_than_before() {
    expect(&[], |s| {
        s.ok((0, 1), put("1"), 2, fresh());
        let old = s.ok((2, 3), serializable(), 1, nothing());
        s.on(old, 1, 1);
        let new = s.ok((4, 5), serializable(), 2, shows(one()));
        s.on(new, 1, 1);
        let restarted = s.ok((6, 7), serializable(), 1, nothing());
        s.on(restarted, 1, 2);
    });
    expect(&["member-went-back"], |s| {
        s.ok((0, 1), put("1"), 2, fresh());
        let new = s.ok((4, 5), serializable(), 2, shows(one()));
        s.on(new, 1, 1);
        let older = s.ok((6, 7), serializable(), 1, nothing());
        s.on(older, 1, 1);
    });
    expect(&["wrong-answer"], |s| {
        s.ok((0, 1), put("1"), 2, fresh());
        let wrong = s.ok((2, 3), serializable(), 2, nothing());
        s.on(wrong, 1, 1);
    });
}

#[test]
fn members_must_agree() {
    let hash = |node, hash| Hash { node, revision: 2, compacted: 0, hash };
    let mut script = Script::default();
    script.ok((0, 1), put("1"), 2, fresh());
    let mut history = script.history();
    history.hashes = vec![hash(0, 1), hash(1, 1)];
    assert!(check(&history).is_clean());
    history.hashes.push(hash(2, 9));
    assert!(check(&history).has("members-differ"));
}

#[test]
fn a_deletion_of_unknown_outcome_is_found_by_looking_back() {
    let build = |shown: Answer| {
        verdict(|s| {
            s.ok((0, 1), put("1"), 2, fresh());
            s.unknown(2, Request::delete("j/r/0"));
            s.ok((4, 5), put("2"), 4, fresh());
            let back = RangeRequest { revision: 3, ..RangeRequest::prefix("j/r/") };
            s.ok((6, 7), Request::range(back), 4, shown);
            s.ok((8, 9), read(), 4, shows(kv("j/r/0", "2", 4, 4, 1)));
        })
    };
    assert!(build(nothing()).is_clean(), "{:#?}", build(nothing()));
    assert!(!build(shows(one())).is_clean());
}

#[test]
fn simulated_good_histories_pass() {
    for seed in 0..60 {
        let history = good(seed, Shape::default());
        let verdict = check(&history);
        assert!(verdict.is_clean(), "seed {seed}: {verdict:#?}");
        assert_eq!(verdict.undecided, None, "seed {seed}");
    }
}

#[test]
fn unprobed_histories_are_never_accused() {
    for seed in 0..60 {
        let shape = Shape { probed: false, unknown_percent: 30, ..Shape::default() };
        let verdict = check(&good(seed, shape));
        assert!(verdict.is_clean(), "seed {seed}: {verdict:#?}");
    }
}

/// One thing changed in a good history; `None` if it has no place for the change.
type Mutation = fn(&mut History, usize) -> Option<()>;

fn answered(op: &mut Op) -> Option<&mut crate::history::Response> {
    match &mut op.outcome {
        Outcome::Ok(response) => Some(response),
        Outcome::Fail(_) | Outcome::Unknown(_) => None,
    }
}

/// An acknowledged write vanishes from the record.
fn forget_write(history: &mut History, at: usize) -> Option<()> {
    let op = &history.ops[at];
    (op.changed() && matches!(op.request, Request::Single(Action::Put { .. }))).then_some(())?;
    history.ops.remove(at);
    Some(())
}

/// An acknowledged write is said to have failed.
fn fail_write(history: &mut History, at: usize) -> Option<()> {
    let op = &mut history.ops[at];
    (op.changed() && matches!(op.request, Request::Single(Action::Put { .. }))).then_some(())?;
    op.outcome = Outcome::Fail("no".to_owned());
    Some(())
}

/// A write gets the revision of the one before.
fn reuse_revision(history: &mut History, at: usize) -> Option<()> {
    let op = &mut history.ops[at];
    op.changed().then_some(())?;
    answered(op)?.header.revision -= 1;
    Some(())
}

/// A read shows one row less.
fn hide_row(history: &mut History, at: usize) -> Option<()> {
    let op = &mut history.ops[at];
    match &mut answered(op)?.answer {
        Answer::Range { kvs, .. } => kvs.pop().map(|_| ()),
        Answer::Put { .. } | Answer::Delete { .. } | Answer::Txn { .. } => None,
    }
}

/// A compare-and-swap that was refused is said to have succeeded.
fn force_swap(history: &mut History, at: usize) -> Option<()> {
    let response = answered(&mut history.ops[at])?;
    let Answer::Txn { succeeded, answers } = &mut response.answer else { return None };
    (!*succeeded && !answers.is_empty()).then_some(())?;
    *succeeded = true;
    *answers = vec![Answer::Put { prev: answers[0].kvs().first().map(|kv| (*kv).clone()) }];
    response.header.revision += 1;
    Some(())
}

/// A version number is off by one.
fn bend_version(history: &mut History, at: usize) -> Option<()> {
    match &mut answered(&mut history.ops[at])?.answer {
        Answer::Range { kvs, .. } => kvs.first_mut()?.version += 1,
        Answer::Put { prev } => prev.as_mut()?.version += 1,
        Answer::Delete { prev, .. } => prev.first_mut()?.version += 1,
        Answer::Txn { .. } => return None,
    }
    Some(())
}

const MUTATIONS: [(&str, Mutation); 6] = [
    ("forget a write", forget_write),
    ("fail a write", fail_write),
    ("reuse a revision", reuse_revision),
    ("hide a row", hide_row),
    ("force a swap", force_swap),
    ("bend a version", bend_version),
];

#[test]
fn every_mutation_of_a_good_history_is_found() {
    for (name, mutate) in MUTATIONS {
        let mut tried = 0;
        for seed in 0..40 {
            // All unknown outcomes resolved: with doubt, some changes are possible histories.
            let shape = Shape { ops: 150, unknown_percent: 0, ..Shape::default() };
            let original = good(seed, shape);
            for at in (usize::try_from(seed).unwrap() % 7..original.ops.len()).step_by(23) {
                let mut history = original.clone();
                if mutate(&mut history, at).is_none() {
                    continue;
                }
                tried += 1;
                let verdict = check(&history);
                assert!(!verdict.is_clean(), "{name}, seed {seed}, op {at} passed");
            }
        }
        assert!(tried >= 10, "{name} was tried only {tried} times");
    }
}

#[test]
fn gaps_are_named_for_the_end_of_a_run() {
    let mut script = Script::default();
    script.unknown(0, put("1"));
    script.unknown(0, put("9"));
    script.ok((2, 3), Request::put("j/r/1", "2"), 4, fresh());
    assert_eq!(unowned_revisions(&script.history()), [2, 3]);
    let mut script = Script::default();
    script.unknown(0, put("1"));
    script.ok((2, 3), read(), 2, shows(one()));
    assert_eq!(unowned_revisions(&script.history()), [0_i64; 0]);
}
