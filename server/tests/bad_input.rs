//! Requests that are wrong and connections that misbehave: the exact error, or a clean refusal,
//! while another client works on as if nothing were.

#![allow(clippy::unwrap_used, reason = "a test may panic and tell")]

mod common;
#[path = "bad_input/connections.rs"]
mod connections;

use common::requests::{
    IntoOp, OPEN, compact, delete, delete_range, get, if_mod, op, put, range, txn,
};
use common::{Bystander, Kind, Request, Server, send};
use keelson_api::client::Client;
use keelson_api::errors::Error;
use keelson_api::etcdserverpb::compare::CompareResult;
use keelson_api::etcdserverpb::{
    LeaseGrantRequest, LeaseRevokeRequest, PutRequest, RangeRequest, RequestOp,
};
use tonic::Code;

/// The largest request that is accepted, by default.
const REQUEST_BYTES_MAX: usize = 1_572_864;

/// A message may be this much larger before it is not even read.
const OVERHEAD_BYTES: usize = 512 * 1024;

fn in_txn(requests: Vec<RequestOp>) -> Request {
    Request::Txn(txn(vec![], requests, vec![]))
}

fn puts(count: usize) -> Vec<RequestOp> {
    (0..count).map(|n| op(put(format!("many-{n}"), ""))).collect()
}

fn nested(ops: Vec<RequestOp>, other: Vec<RequestOp>) -> RequestOp {
    op(txn(vec![], ops, other))
}

/// Requests that are refused in all versions, with the reason.
fn refused() -> Vec<(&'static str, Request, Error)> {
    let keep_value = |value: &'static str| PutRequest { ignore_value: true, ..put("a", value) };
    let keep_lease = |lease| PutRequest { ignore_lease: true, lease, ..put("a", "v") };
    let at = |revision| RangeRequest { revision, ..get("a") };
    let put_op = || op(put("a", "1"));
    let grant = |id, ttl| Request::Grant(LeaseGrantRequest { id, ttl });
    let revoke = |id| Request::Revoke(LeaseRevokeRequest { id });
    vec![
        ("range without key", Request::Range(get("")), Error::EmptyKey),
        ("range with end and without key", Request::Range(range("", "z")), Error::EmptyKey),
        ("put without key", Request::Put(put("", "v")), Error::EmptyKey),
        ("delete without key", Request::Delete(delete("")), Error::EmptyKey),
        ("range without key in txn", in_txn(vec![op(get(""))]), Error::EmptyKey),
        ("put without key in txn", in_txn(vec![op(put("", "v"))]), Error::EmptyKey),
        ("delete without key in txn", in_txn(vec![op(delete(""))]), Error::EmptyKey),
        (
            "compare without key",
            Request::Txn(txn(vec![if_mod("", CompareResult::Equal, 0)], vec![], vec![])),
            Error::EmptyKey,
        ),
        ("op of no kind", in_txn(vec![RequestOp { request: None }]), Error::KeyNotFound),
        (
            "op of no kind in the other branch",
            Request::Txn(txn(vec![], vec![], vec![RequestOp { request: None }])),
            Error::KeyNotFound,
        ),
        ("a key put twice", in_txn(vec![put_op(), put_op()]), Error::DuplicateKey),
        (
            "a key put twice in the other branch",
            Request::Txn(txn(vec![], vec![], vec![put_op(), put_op()])),
            Error::DuplicateKey,
        ),
        ("put and delete", in_txn(vec![put_op(), op(delete("a"))]), Error::DuplicateKey),
        ("delete and put", in_txn(vec![op(delete_range("A", "z")), put_op()]), Error::DuplicateKey),
        (
            "put here and in a nested branch",
            in_txn(vec![put_op(), nested(vec![], vec![put_op()])]),
            Error::DuplicateKey,
        ),
        (
            "put in two nested lists",
            in_txn(vec![nested(vec![put_op()], vec![]), nested(vec![put_op()], vec![])]),
            Error::DuplicateKey,
        ),
        (
            "nested delete of a put key",
            in_txn(vec![put_op(), nested(vec![op(delete_range("a", "b"))], vec![])]),
            Error::DuplicateKey,
        ),
        ("129 ops", in_txn(puts(129)), Error::TooManyOps),
        (
            "129 ops in the other branch",
            Request::Txn(txn(vec![], vec![], puts(129))),
            Error::TooManyOps,
        ),
        (
            "129 compares",
            Request::Txn(txn(vec![if_mod("a", CompareResult::Equal, 0); 129], vec![], vec![])),
            Error::TooManyOps,
        ),
        ("128 nested ops below one", in_txn(vec![nested(puts(128), vec![])]), Error::TooManyOps),
        ("future revision", Request::Range(at(1_000_000)), Error::FutureRev),
        ("largest revision", Request::Range(at(i64::MAX)), Error::FutureRev),
        ("compacted revision", Request::Range(at(2)), Error::Compacted),
        ("future revision in txn", in_txn(vec![put_op(), op(at(1_000_000))]), Error::FutureRev),
        ("compacted revision in txn", in_txn(vec![put_op(), op(at(2))]), Error::Compacted),
        ("compacted revision in a reading txn", in_txn(vec![op(at(2))]), Error::Compacted),
        ("compact the future", Request::Compact(compact(1_000_000)), Error::FutureRev),
        ("compact again", Request::Compact(compact(4)), Error::Compacted),
        ("compact below", Request::Compact(compact(1)), Error::Compacted),
        ("compact at a negative revision", Request::Compact(compact(-5)), Error::Compacted),
        (
            "unknown lease",
            Request::Put(PutRequest { lease: 77, ..put("a", "v") }),
            Error::LeaseNotFound,
        ),
        (
            "negative lease",
            Request::Put(PutRequest { lease: -1, ..put("a", "v") }),
            Error::LeaseNotFound,
        ),
        (
            "unknown lease in txn",
            in_txn(vec![op(PutRequest { lease: 77, ..put("a", "v") })]),
            Error::LeaseNotFound,
        ),
        ("lease of too many seconds", grant(5, 10_000_000_000), Error::LeaseTTLTooLarge),
        ("one more than the longest", grant(5, 9_000_000_001), Error::LeaseTTLTooLarge),
        ("too many seconds of a known lease", grant(7, i64::MAX), Error::LeaseTTLTooLarge),
        ("lease granted twice", grant(7, 100), Error::LeaseExist),
        ("lease granted twice, for no time", grant(7, -1), Error::LeaseExist),
        ("revocation of no lease", revoke(0), Error::LeaseNotFound),
        ("revocation of an unknown lease", revoke(77), Error::LeaseNotFound),
        ("revocation of a negative lease", revoke(i64::MIN), Error::LeaseNotFound),
        ("value with ignore_value", Request::Put(keep_value("v")), Error::ValueProvided),
        ("lease with ignore_lease", Request::Put(keep_lease(5)), Error::LeaseProvided),
        ("value with ignore_value in txn", in_txn(vec![op(keep_value("v"))]), Error::ValueProvided),
        (
            "ignore_value of no key",
            Request::Put(PutRequest { key: "none".into(), ..keep_value("") }),
            Error::KeyNotFound,
        ),
        (
            "ignore_lease of no key",
            Request::Put(PutRequest { key: "none".into(), ..keep_lease(0) }),
            Error::KeyNotFound,
        ),
        (
            "ignore_value of no key in txn",
            in_txn(vec![op(PutRequest { key: "none".into(), ..keep_value("") })]),
            Error::KeyNotFound,
        ),
    ]
}

/// Five revisions, compacted at the fourth, and a lease.
async fn prepared(server: &Server) -> Client {
    let client = server.client().await;
    for value in ["1", "2", "3", "4"] {
        send(&client, &Request::Put(put("a", value))).await.unwrap();
    }
    send(&client, &Request::Compact(compact(4))).await.unwrap();
    let lease = LeaseGrantRequest { id: 7, ttl: 1000 };
    send(&client, &Request::Grant(lease)).await.unwrap();
    client
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_requests_get_the_exact_error() {
    let (keelson, etcd) = (Server::start(Kind::subject()), Server::etcd());
    let (ours, theirs) = (prepared(&keelson).await, prepared(&etcd).await);
    let bystander = Bystander::start(&keelson).await;
    let before = send(&ours, &Request::Range(range("a", "b"))).await.unwrap();
    for (name, request, error) in refused() {
        let expected = Err((error.code(), error.text().to_owned()));
        assert_eq!(send(&theirs, &request).await, expected, "etcd: {name}");
        assert_eq!(send(&ours, &request).await, expected, "keelson: {name}");
    }
    let after = send(&ours, &Request::Range(range("a", "b"))).await.unwrap();
    let (common::Reply::Range(before), common::Reply::Range(after)) = (before, after) else {
        panic!("a range is answered with a range");
    };
    assert_eq!(before.kvs, after.kvs, "refused requests change nothing");
    bystander.finish().await;
}

#[tokio::test]
async fn requests_at_the_edge_are_accepted() {
    let server = Server::start(Kind::subject());
    let client = prepared(&server).await;
    let fine = [
        ("128 ops", in_txn(puts(128))),
        (
            "128 ops of each kind",
            Request::Txn(txn(
                vec![if_mod("a", CompareResult::Equal, 0); 128],
                puts(128),
                puts(128),
            )),
        ),
        ("127 nested ops below one", in_txn(vec![nested(puts(127), vec![])])),
        ("a key put in both branches", Request::Txn(txn(vec![], puts(1), puts(1)))),
        ("a key put in both nested branches", in_txn(vec![nested(puts(1), puts(1))])),
        (
            "a key put in a nested list, then deleted in a later one",
            in_txn(vec![nested(puts(1), vec![]), nested(vec![op(delete("many-0"))], vec![])]),
        ),
        (
            "overlapping deletions",
            in_txn(vec![op(delete_range("a", "c")), op(delete_range("b", "d"))]),
        ),
        (
            "a deletion without end, then a put of what it covers",
            in_txn(vec![op(delete_range("x", OPEN)), op(put("y", ""))]),
        ),
        ("negative revision", Request::Range(RangeRequest { revision: -1, ..get("a") })),
        ("compacted revision itself", Request::Range(RangeRequest { revision: 4, ..get("a") })),
        ("negative limit", Request::Range(RangeRequest { limit: -9, ..get("a") })),
        ("interval upside down", Request::Range(range("z", "a"))),
        ("empty txn", in_txn(vec![])),
    ];
    for (name, request) in fine {
        assert!(send(&client, &request).await.is_ok(), "{name}");
    }
}

#[tokio::test]
async fn undefined_sort_options_are_refused() {
    // Not compared: 3.5.1 does not look at them, and some end it.
    let server = Server::start(Kind::Keelson);
    let client = server.client().await;
    let sorted = |sort_order, sort_target| RangeRequest { sort_order, sort_target, ..get("a") };
    let expected = Err((Code::InvalidArgument, "etcdserver: invalid sort option".to_owned()));
    for (order, target) in [(3, 0), (-1, 0), (0, 5), (0, -1), (i32::MAX, i32::MIN)] {
        let request = sorted(order, target);
        assert_eq!(send(&client, &Request::Range(request.clone())).await, expected);
        assert_eq!(
            send(&client, &in_txn(vec![RequestOp { request: Some(request.into_op()) }])).await,
            expected
        );
    }
}

#[tokio::test]
async fn the_number_of_operations_can_be_set() {
    let flags = ["--max-txn-ops=3"];
    for kind in [Kind::subject(), Kind::Etcd] {
        let server = Server::start_with(kind, &flags);
        let client = server.client().await;
        assert!(send(&client, &in_txn(puts(3))).await.is_ok(), "{kind:?}");
        let expected = Err((Code::InvalidArgument, Error::TooManyOps.text().to_owned()));
        assert_eq!(send(&client, &in_txn(puts(4))).await, expected, "{kind:?}");
        assert_eq!(
            send(&client, &in_txn(vec![nested(puts(3), vec![])])).await,
            expected,
            "{kind:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_requests_have_two_limits() {
    let (keelson, etcd) = (Server::start(Kind::subject()), Server::etcd());
    let (ours, theirs) = (keelson.client().await, etcd.client().await);
    let bystander = Bystander::start(&keelson).await;
    let sized = |bytes: usize| Request::Put(put("large", vec![b'x'; bytes]));
    for bytes in [
        REQUEST_BYTES_MAX - 1024,
        REQUEST_BYTES_MAX + 1,
        REQUEST_BYTES_MAX + OVERHEAD_BYTES - 100,
        REQUEST_BYTES_MAX + OVERHEAD_BYTES,
        4 * REQUEST_BYTES_MAX,
    ] {
        let in_txn = in_txn(vec![op(put("large", vec![b'x'; bytes]))]);
        for request in [sized(bytes), in_txn] {
            let (got, wanted) = (send(&ours, &request).await, send(&theirs, &request).await);
            match (got, wanted) {
                (Ok(_), Ok(_)) => assert!(bytes < REQUEST_BYTES_MAX),
                (got, wanted) => assert_eq!(got.err(), wanted.err(), "{bytes} bytes"),
            }
        }
    }
    let exact = send(&ours, &sized(REQUEST_BYTES_MAX + 1)).await;
    assert_eq!(exact, Err((Code::InvalidArgument, "etcdserver: request is too large".to_owned())));
    let code = send(&ours, &sized(2 << 20)).await.map_err(|(code, _)| code);
    assert_eq!(code, Err(Code::ResourceExhausted));
    bystander.finish().await;
}

#[tokio::test]
async fn the_size_of_a_request_can_be_set() {
    for kind in [Kind::subject(), Kind::Etcd] {
        let server = Server::start_with(kind, &["--max-request-bytes=1000"]);
        let client = server.client().await;
        assert!(send(&client, &Request::Put(put("k", vec![0; 900]))).await.is_ok(), "{kind:?}");
        let expected = Err((Code::InvalidArgument, "etcdserver: request is too large".to_owned()));
        assert_eq!(
            send(&client, &Request::Put(put("k", vec![0; 1001]))).await,
            expected,
            "{kind:?}"
        );
    }
}
