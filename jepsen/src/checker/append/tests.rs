//! Each anomaly by hand, and good histories.

use super::check;
use crate::checker::simulate::{Script, Shape, good, kv};
use crate::checker::verdict::Verdict;
use crate::history::{Action, Answer, RangeRequest, Request};

const X: &str = "j/a/1/x";
const Y: &str = "j/a/1/y";

/// A step of a transaction in short: a read with what it shows, or a put with what it found.
enum Did {
    Saw(&'static str, &'static str),
    Put(&'static str, &'static str, &'static str),
}

use Did::{Put, Saw};

fn row(key: &str, value: &str) -> Vec<crate::history::Kv> {
    if value.is_empty() { Vec::new() } else { vec![kv(key, value, 0, 0, 0)] }
}

fn request(steps: &[Did]) -> Request {
    let success = steps.iter().map(|step| match step {
        Saw(key, _) => Action::Range(RangeRequest::one(key)),
        Put(key, _, value) => Action::Put { key: (*key).into(), value: (*value).into() },
    });
    Request::Txn { compares: Vec::new(), success: success.collect(), failure: Vec::new() }
}

fn txn(script: &mut Script, at: (u64, u64), steps: &[Did]) {
    let answers = steps.iter().map(|step| match step {
        Saw(key, value) => {
            let kvs = row(key, value);
            Answer::Range { count: i64::try_from(kvs.len()).unwrap(), kvs }
        }
        Put(key, before, _) => Answer::Put { prev: row(key, before).pop() },
    });
    let answer = Answer::Txn { succeeded: true, answers: answers.collect() };
    script.ok(at, request(steps), 0, answer);
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
fn a_serial_history_is_clean() {
    expect(&[], |s| {
        txn(s, (0, 1), &[Put(X, "", "1.1.a"), Put(Y, "", "1.1.b")]);
        txn(s, (2, 3), &[Put(X, "1.1.a", "1.1.a 2.1.a"), Saw(Y, "1.1.b")]);
        txn(s, (4, 5), &[Saw(X, "1.1.a 2.1.a"), Saw(Y, "1.1.b")]);
    });
}

#[test]
fn g0_writes_in_opposite_orders() {
    expect(&["G0"], |s| {
        // Blind appends: the second step of each saw nothing of the order.
        s.unknown(0, request(&[Put(X, "", "1.1.a"), Put(Y, "", "2.1.a 1.1.b")]));
        s.unknown(0, request(&[Put(X, "", "1.1.a 2.1.b"), Put(Y, "", "2.1.a")]));
        txn(s, (4, 5), &[Saw(X, "1.1.a 2.1.b")]);
        txn(s, (4, 5), &[Saw(Y, "2.1.a 1.1.b")]);
    });
}

#[test]
fn g1a_reads_what_failed() {
    expect(&["G1a", "phantom-element"], |s| {
        s.fail((0, 1), request(&[Put(X, "", "1.1.a")]));
        txn(s, (2, 3), &[Saw(X, "1.1.a")]);
    });
}

#[test]
fn g1b_reads_half_a_transaction() {
    // Half of a transaction is seen, and half of it is not: that is a circle as well.
    expect(&["G-single", "G1b"], |s| {
        txn(s, (0, 9), &[Put(X, "", "1.1.a 1.1.b")]);
        txn(s, (1, 2), &[Saw(X, "1.1.a")]);
        txn(s, (10, 11), &[Saw(X, "1.1.a 1.1.b")]);
    });
}

#[test]
fn g1c_information_flows_in_a_circle() {
    expect(&["G1c"], |s| {
        txn(s, (0, 9), &[Put(X, "", "1.1.a"), Saw(Y, "2.1.a")]);
        txn(s, (0, 9), &[Put(Y, "", "2.1.a"), Saw(X, "1.1.a")]);
    });
}

#[test]
fn g_single_reads_half_of_another() {
    expect(&["G-single"], |s| {
        txn(s, (0, 9), &[Put(X, "", "1.1.a"), Put(Y, "", "1.1.b")]);
        txn(s, (0, 9), &[Saw(X, "1.1.a"), Saw(Y, "")]);
        txn(s, (10, 11), &[Saw(X, "1.1.a"), Saw(Y, "1.1.b")]);
    });
}

#[test]
fn g2_write_skew() {
    expect(&["G2"], |s| {
        txn(s, (0, 9), &[Saw(X, ""), Put(Y, "", "1.1.a")]);
        txn(s, (0, 9), &[Saw(Y, ""), Put(X, "", "2.1.a")]);
        txn(s, (10, 11), &[Saw(X, "2.1.a"), Saw(Y, "1.1.a")]);
    });
}

#[test]
fn a_stale_read_is_a_circle_through_real_time() {
    expect(&["G-single-realtime"], |s| {
        txn(s, (0, 1), &[Put(X, "", "1.1.a")]);
        txn(s, (2, 3), &[Saw(X, "")]);
        txn(s, (4, 5), &[Saw(X, "1.1.a")]);
    });
}

#[test]
fn lost_doubled_reordered_and_made_up_elements() {
    let lost = verdict(|s| {
        txn(s, (0, 1), &[Put(X, "", "1.1.a")]);
        txn(s, (2, 3), &[Put(X, "", "2.1.a")]);
        txn(s, (4, 5), &[Saw(X, "2.1.a")]);
    });
    assert!(lost.has("lost-element"), "{lost:#?}");
    let doubled = verdict(|s| {
        txn(s, (0, 1), &[Put(X, "", "1.1.a")]);
        txn(s, (4, 5), &[Saw(X, "1.1.a 1.1.a")]);
    });
    assert!(doubled.has("duplicated-element"), "{doubled:#?}");
    let reordered = verdict(|s| {
        txn(s, (0, 1), &[Put(X, "", "1.1.a")]);
        txn(s, (2, 3), &[Put(X, "1.1.a", "1.1.a 2.1.a")]);
        txn(s, (4, 5), &[Saw(X, "2.1.a 1.1.a")]);
        txn(s, (6, 7), &[Saw(X, "1.1.a 2.1.a")]);
    });
    assert!(reordered.has("incompatible-order"), "{reordered:#?}");
    let phantom = verdict(|s| {
        txn(s, (0, 1), &[Saw(X, "9.9.a")]);
    });
    assert!(phantom.has("phantom-element"), "{phantom:#?}");
}

#[test]
fn simulated_good_histories_pass() {
    let mut appends = 0;
    for seed in 0..60 {
        let verdict = check(&good(seed, Shape { ops: 600, ..Shape::default() }));
        assert!(verdict.is_clean(), "seed {seed}: {verdict:#?}");
        appends += verdict.examined;
    }
    assert!(appends > 1000, "{appends}");
}
