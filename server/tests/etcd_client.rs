//! The etcd client of crates.io against keelson: what an application sees.

#![allow(clippy::unwrap_used, reason = "a test may panic and tell")]

mod common;

use common::{Kind, Server};
use etcd_client::{
    Client, CompactionOptions, Compare, CompareOp, DeleteOptions, Error, EventType, GetOptions,
    KeyValue, LeaseTimeToLiveOptions, PutOptions, SortOrder, SortTarget, Txn, TxnOp, TxnOpResponse,
    WatchOptions,
};

/// A server and a client of it; the server lives as long as the pair.
async fn start() -> (Server, Client) {
    let server = Server::start(Kind::subject());
    let client = Client::connect([server.endpoint()], None).await.unwrap();
    (server, client)
}

fn keys(kvs: &[KeyValue]) -> Vec<&str> {
    kvs.iter().map(|kv| kv.key_str().unwrap()).collect()
}

fn status(error: Error) -> (tonic::Code, String) {
    let Error::GRpcStatus(status) = error else { panic!("not a status: {error}") };
    (status.code(), status.message().to_owned())
}

#[tokio::test]
async fn values_come_back_with_their_revisions() {
    let (_server, mut client) = start().await;
    let put = client.put("k", "1", None).await.unwrap();
    assert_eq!(put.header().unwrap().revision(), 2);
    assert!(put.prev_key().is_none());
    let put = client.put("k", "2", Some(PutOptions::new().with_prev_key())).await.unwrap();
    assert_eq!(put.prev_key().unwrap().value(), b"1");
    let get = client.get("k", None).await.unwrap();
    let kv = &get.kvs()[0];
    assert_eq!((kv.value(), kv.version()), (&b"2"[..], 2));
    assert_eq!((kv.create_revision(), kv.mod_revision()), (2, 3));
    assert_eq!((get.count(), get.more()), (1, false));
    let old = client.get("k", Some(GetOptions::new().with_revision(2))).await.unwrap();
    assert_eq!(old.kvs()[0].value(), b"1");
    assert!(client.get("none", None).await.unwrap().kvs().is_empty());
    // Any bytes are a key and a value.
    client.put(vec![0, 255, 10], vec![0, 1, 2], None).await.unwrap();
    assert_eq!(client.get(vec![0, 255, 10], None).await.unwrap().kvs()[0].value(), [0, 1, 2]);
}

#[tokio::test]
async fn ranges_have_options() {
    let (_server, mut client) = start().await;
    for (key, value) in [("a", "3"), ("ab", "1"), ("b", "2"), ("c", "0")] {
        client.put(key, value, None).await.unwrap();
    }
    let cases: Vec<(&str, GetOptions, Vec<&str>)> = vec![
        ("a", GetOptions::new().with_prefix(), vec!["a", "ab"]),
        ("", GetOptions::new().with_all_keys(), vec!["a", "ab", "b", "c"]),
        ("ab", GetOptions::new().with_from_key(), vec!["ab", "b", "c"]),
        ("a", GetOptions::new().with_range("c"), vec!["a", "ab", "b"]),
        ("", GetOptions::new().with_all_keys().with_limit(2), vec!["a", "ab"]),
        ("", GetOptions::new().with_all_keys().with_serializable(), vec!["a", "ab", "b", "c"]),
        ("", GetOptions::new().with_all_keys().with_min_mod_revision(4), vec!["b", "c"]),
        ("", GetOptions::new().with_all_keys().with_max_create_revision(3), vec!["a", "ab"]),
        (
            "",
            GetOptions::new().with_all_keys().with_sort(SortTarget::Value, SortOrder::Ascend),
            vec!["c", "ab", "b", "a"],
        ),
        (
            "",
            GetOptions::new().with_all_keys().with_sort(SortTarget::Mod, SortOrder::Descend),
            vec!["c", "b", "ab", "a"],
        ),
    ];
    for (key, options, expected) in cases {
        let response = client.get(key, Some(options.clone())).await.unwrap();
        assert_eq!(keys(response.kvs()), expected, "{options:?}");
    }
    let limited =
        client.get("", Some(GetOptions::new().with_all_keys().with_limit(2))).await.unwrap();
    assert_eq!((limited.count(), limited.more()), (4, true));
    let counted =
        client.get("", Some(GetOptions::new().with_all_keys().with_count_only())).await.unwrap();
    assert_eq!((counted.count(), counted.kvs().len()), (4, 0));
    let bare = client.get("a", Some(GetOptions::new().with_keys_only())).await.unwrap();
    assert_eq!((bare.kvs()[0].key(), bare.kvs()[0].value()), (&b"a"[..], &b""[..]));
}

#[tokio::test]
async fn deletions_tell_what_they_deleted() {
    let (_server, mut client) = start().await;
    for key in ["a", "b", "c", "d"] {
        client.put(key, key.to_uppercase(), None).await.unwrap();
    }
    let none = client.delete("none", None).await.unwrap();
    assert_eq!((none.deleted(), none.header().unwrap().revision()), (0, 5));
    let options = DeleteOptions::new().with_range("c").with_prev_key();
    let two = client.delete("a", Some(options)).await.unwrap();
    assert_eq!((two.deleted(), keys(two.prev_kvs())), (2, vec!["a", "b"]));
    assert_eq!(two.header().unwrap().revision(), 6);
    let rest = client.delete("", Some(DeleteOptions::new().with_all_keys())).await.unwrap();
    assert_eq!(rest.deleted(), 2);
}

#[tokio::test]
async fn transactions_take_one_branch() {
    let (_server, mut client) = start().await;
    client.put("k", "1", None).await.unwrap();
    let swap = |from: &'static str, to: &'static str| {
        Txn::new()
            .when([Compare::value("k", CompareOp::Equal, from)])
            .and_then([TxnOp::put("k", to, None), TxnOp::get("k", None)])
            .or_else([TxnOp::get("k", None)])
    };
    let done = client.txn(swap("1", "2")).await.unwrap();
    assert!(done.succeeded());
    let responses = done.op_responses();
    let TxnOpResponse::Get(seen) = &responses[1] else { panic!("{responses:?}") };
    assert_eq!(seen.kvs()[0].value(), b"2", "later operations see earlier ones");
    let late = client.txn(swap("1", "3")).await.unwrap();
    assert!(!late.succeeded());
    let responses = late.op_responses();
    let TxnOpResponse::Get(seen) = &responses[0] else { panic!("{responses:?}") };
    assert_eq!(seen.kvs()[0].value(), b"2");
    assert_eq!(late.header().unwrap().revision(), 3, "a branch that only reads makes no revision");
    let all = Txn::new()
        .when([
            Compare::version("k", CompareOp::Equal, 2),
            Compare::create_revision("k", CompareOp::Less, 3),
            Compare::mod_revision("k", CompareOp::Greater, 2),
            Compare::lease("k", CompareOp::Equal, 0),
            Compare::version("", CompareOp::NotEqual, 0).with_prefix(),
        ])
        .and_then([TxnOp::delete("k", None)]);
    let outcome = client.txn(all).await;
    // A prefix of nothing is every key from the first on, which this client writes as "\0".
    match outcome {
        Ok(response) => assert!(response.succeeded()),
        Err(error) => assert_eq!(status(error).1, "etcdserver: key is not provided"),
    }
}

#[tokio::test]
async fn transactions_nest() {
    let (_server, mut client) = start().await;
    client.put("k", "1", None).await.unwrap();
    let inner = Txn::new()
        .when([Compare::value("k", CompareOp::Equal, "1")])
        .and_then([TxnOp::put("inner", "yes", None)])
        .or_else([TxnOp::put("inner", "no", None)]);
    let outer = Txn::new().when([Compare::version("k", CompareOp::Equal, 1)]).and_then([
        TxnOp::put("k", "2", None),
        TxnOp::txn(inner),
        TxnOp::put("last", "x", None),
    ]);
    let response = client.txn(outer).await.unwrap();
    assert!(response.succeeded());
    let responses = response.op_responses();
    let TxnOpResponse::Txn(nested) = &responses[1] else { panic!("{responses:?}") };
    assert!(nested.succeeded(), "compares see the state before the transaction");
    assert_eq!(response.header().unwrap().revision(), 3);
    let all = client.get("", Some(GetOptions::new().with_all_keys())).await.unwrap();
    assert_eq!(keys(all.kvs()), ["inner", "k", "last"]);
    assert!(all.kvs().iter().all(|kv| kv.mod_revision() == 3), "all of it is one revision");
}

#[tokio::test]
async fn compaction_removes_the_past() {
    let (_server, mut client) = start().await;
    for value in ["1", "2", "3"] {
        client.put("k", value, None).await.unwrap();
    }
    client.compact(3, Some(CompactionOptions::new().with_physical())).await.unwrap();
    let kept = client.get("k", Some(GetOptions::new().with_revision(3))).await.unwrap();
    assert_eq!(kept.kvs()[0].value(), b"2");
    let gone = client.get("k", Some(GetOptions::new().with_revision(2))).await.unwrap_err();
    let compacted = "etcdserver: mvcc: required revision has been compacted".to_owned();
    assert_eq!(status(gone), (tonic::Code::OutOfRange, compacted.clone()));
    let again = client.compact(3, None).await.unwrap_err();
    assert_eq!(status(again), (tonic::Code::OutOfRange, compacted));
}

#[tokio::test]
async fn errors_carry_etcds_codes_and_texts() {
    use tonic::Code::{InvalidArgument, NotFound, OutOfRange};
    let (_server, mut client) = start().await;
    let empty = client.put("", "v", None).await.unwrap_err();
    assert_eq!(status(empty), (InvalidArgument, "etcdserver: key is not provided".to_owned()));
    let future = client.get("k", Some(GetOptions::new().with_revision(99))).await.unwrap_err();
    let text = "etcdserver: mvcc: required revision is a future revision";
    assert_eq!(status(future), (OutOfRange, text.to_owned()));
    let lease = client.put("k", "v", Some(PutOptions::new().with_lease(9))).await.unwrap_err();
    assert_eq!(status(lease), (NotFound, "etcdserver: requested lease not found".to_owned()));
    let twice = Txn::new().and_then([TxnOp::put("k", "1", None), TxnOp::put("k", "2", None)]);
    let twice = client.txn(twice).await.unwrap_err();
    let text = "etcdserver: duplicate key given in txn request";
    assert_eq!(status(twice), (InvalidArgument, text.to_owned()));
    assert!(client.get("k", None).await.unwrap().kvs().is_empty(), "nothing came of any of them");
}

#[tokio::test]
async fn leases_live_and_end() {
    let (_server, mut client) = start().await;
    let granted = client.lease_grant(1000, None).await.unwrap();
    let (id, ttl) = (granted.id(), granted.ttl());
    assert!(id > 0 && ttl == 1000, "{granted:?}");
    client.put("k", "v", Some(PutOptions::new().with_lease(id))).await.unwrap();
    let (mut keeper, mut answers) = client.lease_keep_alive(id).await.unwrap();
    for _ in 0..3 {
        keeper.keep_alive().await.unwrap();
        let answer = answers.message().await.unwrap().expect("one answer to each request");
        assert_eq!((answer.id(), answer.ttl()), (id, 1000));
    }
    let left = client.lease_time_to_live(id, Some(LeaseTimeToLiveOptions::new().with_keys()));
    let left = left.await.unwrap();
    assert_eq!((left.id(), left.granted_ttl(), left.keys()), (id, 1000, &[b"k".to_vec()][..]));
    assert!((1..=1000).contains(&left.ttl()), "{left:?}");
    let listed = client.leases().await.unwrap();
    assert_eq!(listed.leases().iter().map(etcd_client::LeaseStatus::id).collect::<Vec<_>>(), [id]);
    client.lease_revoke(id).await.unwrap();
    assert!(client.get("k", None).await.unwrap().kvs().is_empty());
    keeper.keep_alive().await.unwrap();
    assert_eq!(answers.message().await.unwrap().expect("an answer").ttl(), 0, "it is gone");
    let gone = client.lease_time_to_live(id, None).await.unwrap();
    assert_eq!((gone.ttl(), gone.granted_ttl()), (-1, 0));
}

#[tokio::test]
async fn members_and_status_are_told() {
    let (server, mut client) = start().await;
    client.put("k", "v", None).await.unwrap();
    let members = client.member_list().await.unwrap();
    let [member] = members.members() else { panic!("{:?}", members.members()) };
    assert_eq!(member.name(), "default");
    assert_eq!(member.client_urls(), [format!("http://{}", server.endpoint())]);
    assert_eq!(member.peer_urls(), [format!("http://127.0.0.1:{}", server.peer_port)]);
    let status = client.status().await.unwrap();
    assert_eq!(status.leader(), member.id(), "a single member leads");
    assert!(status.raft_term() > 0 && status.raft_index() >= status.raft_applied_index());
    assert!(status.db_size() > 0 && !status.is_learner());
    let first = client.hash_kv(0).await.unwrap();
    assert_eq!(first.hash(), client.hash_kv(0).await.unwrap().hash());
    client.put("k", "other", None).await.unwrap();
    assert_ne!(first.hash(), client.hash_kv(0).await.unwrap().hash());
}

#[tokio::test]
async fn watches_tell_what_happens() {
    let (_server, mut client) = start().await;
    client.put("k/1", "before", None).await.unwrap();
    let options = WatchOptions::new().with_prefix().with_prev_key().with_start_revision(2);
    let mut stream = client.watch("k/", Some(options)).await.unwrap();
    client.put("k/2", "after", None).await.unwrap();
    client.put("other", "", None).await.unwrap();
    client.delete("k/1", None).await.unwrap();
    let mut told = Vec::new();
    while told.len() < 3 {
        let response = stream.message().await.unwrap().unwrap();
        for event in response.events() {
            let (kv, before) = (event.kv().unwrap(), event.prev_kv());
            let before = before.map(|kv| kv.value_str().unwrap().to_owned());
            told.push((event.event_type(), kv.key_str().unwrap().to_owned(), before));
        }
    }
    let event = |kind, key: &str, before: Option<&str>| {
        (kind, key.to_owned(), before.map(ToOwned::to_owned))
    };
    assert_eq!(
        told,
        [
            event(EventType::Put, "k/1", None),
            event(EventType::Put, "k/2", None),
            event(EventType::Delete, "k/1", Some("before")),
        ]
    );
    stream.request_progress().await.unwrap();
    let progress = stream.message().await.unwrap().unwrap();
    assert_eq!(progress.header().unwrap().revision(), 5);
    stream.cancel(0).await.unwrap();
    assert!(stream.message().await.unwrap().unwrap().canceled());
}
