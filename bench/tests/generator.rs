//! The generator against a null server that counts what it gets.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use keelson_bench::fill::fill;
use keelson_bench::grpc::{self, Connection, Error, Method};
use keelson_bench::load::{self, Limit, Plan};
use keelson_bench::null::Null;
use keelson_bench::report::Report;
use keelson_bench::workload::{KeySpace, Kind, Workload};

fn null() -> Null {
    Null::start("127.0.0.1:0".parse().unwrap(), 2).unwrap()
}

fn space(keys: u64) -> KeySpace {
    KeySpace { keys, key_size: 32, val_size: 256, prefix: "/bench/".to_owned() }
}

fn plan(address: SocketAddr, kind: Kind) -> Plan {
    Plan {
        endpoints: vec![address],
        clients: 20,
        conns: 3,
        threads: 2,
        workload: Workload::new(kind, space(1000), 50).unwrap(),
        limit: Limit::Total(5000),
        warmup: Duration::ZERO,
        rate: None,
        seed: 1,
    }
}

fn run(null: &Null, kind: Kind) -> Report {
    load::run(&plan(null.address(), kind)).unwrap()
}

fn count(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::SeqCst)
}

#[test]
fn every_request_arrives_and_is_counted_once() {
    let null = null();
    let report = run(&null, Kind::Put);
    assert_eq!((report.completed, report.answered, report.errors), (5000, 5000, 0));
    assert_eq!(count(&null.counts().puts), 5000);
    assert!(report.p50_us > 0.0 && report.p50_us <= report.max_us && report.throughput > 0.0);
}

#[test]
fn mixed_sends_both_kinds() {
    let null = null();
    let report = run(&null, Kind::Mixed);
    let (puts, ranges) = (count(&null.counts().puts), count(&null.counts().ranges));
    assert_eq!((puts + ranges, report.completed), (5000, 5000));
    assert!(puts > 2000 && ranges > 2000, "{puts} puts, {ranges} ranges");
}

#[test]
fn pages_and_txns_pass_their_checks() {
    let null = null();
    assert_eq!(run(&null, Kind::Range100).errors, 0);
    assert_eq!(run(&null, Kind::Txn).errors, 0);
    assert_eq!(count(&null.counts().txns), 5000);
}

#[test]
fn a_wrong_answer_is_an_error() {
    // The null server counts no keys, so that every count is wrong.
    let report = run(&null(), Kind::Count);
    assert_eq!((report.completed, report.errors), (0, 5000));
    assert_eq!(report.error_texts["answer has count 0, expected 1000"], 5000);
}

#[test]
fn an_open_loop_keeps_its_rate() {
    let null = null();
    let mut plan = plan(null.address(), Kind::Put);
    plan.rate = Some(2000.0);
    plan.limit = Limit::Total(500);
    let report = load::run(&plan).unwrap();
    assert_eq!((report.completed, report.errors), (500, 0));
    // 500 requests at that rate cannot take less than a quarter of a second.
    assert!(report.seconds >= 0.249, "{} s", report.seconds);
}

#[test]
fn requests_that_no_client_is_free_for_are_not_hidden() {
    let null = null();
    let mut plan = plan(null.address(), Kind::Put);
    // One client cannot bear this.
    (plan.clients, plan.conns, plan.threads) = (1, 1, 1);
    plan.rate = Some(10_000_000.0);
    plan.limit = Limit::For(Duration::from_millis(200));
    let report = load::run(&plan).unwrap();
    let late = report.error_texts["due, but not started before the end"];
    assert!(late > 0 && report.completed > 0);
    assert!(report.p99_us > 1000.0, "a queue of {late} requests waited {} us", report.p99_us);
}

#[test]
fn latency_counts_from_the_time_a_request_was_due() {
    let null = null();
    let mut plan = plan(null.address(), Kind::Put);
    (plan.clients, plan.conns, plan.threads) = (1, 1, 1);
    // All are due within two milliseconds; one client needs longer, and the last one waits longest.
    plan.rate = Some(1_000_000.0);
    plan.limit = Limit::Total(2000);
    let report = load::run(&plan).unwrap();
    assert_eq!((report.completed, report.errors), (2000, 0));
    let (longest, last_due) = (report.max_us / 1e6, 0.002);
    assert!(longest >= (report.seconds - last_due) * 0.999, "{longest} of {} s", report.seconds);
}

#[test]
fn a_refused_call_keeps_code_and_connection() {
    let null = null();
    grpc::block_on(async {
        let mut connection = Connection::open(null.address()).await.unwrap();
        let refused = connection.call(Method::RangeStream, Bytes::new()).await.unwrap_err();
        assert!(matches!(refused, Error::Status { code: 12, .. }), "{refused}");
        let frame = Bytes::from_static(b"\0\0\0\0\0");
        assert_eq!(connection.call(Method::Put, frame).await.unwrap().messages, 1);
    })
    .unwrap();
    assert_eq!(count(&null.counts().others), 1);
}

#[test]
fn a_lost_server_ends_the_run_with_errors() {
    let null = null();
    let mut plan = plan(null.address(), Kind::Put);
    plan.limit = Limit::For(Duration::from_secs(30));
    let run = std::thread::spawn(move || load::run(&plan).unwrap());
    while count(&null.counts().puts) < 1000 {
        std::thread::yield_now();
    }
    drop(null);
    let report = run.join().unwrap();
    assert!(report.answered >= 900);
    assert_eq!(report.errors, 20, "one for each client: {:?}", report.error_texts);
}

#[test]
fn no_server_is_an_error() {
    let address = null().address();
    let error = load::run(&plan(address, Kind::Put)).unwrap_err();
    assert!(format!("{error:#}").contains("connect"), "{error:#}");
}

#[test]
fn a_fill_sends_every_batch() {
    let null = null();
    fill(null.address(), &space(1050)).unwrap();
    assert_eq!(count(&null.counts().txns), 11);
}
