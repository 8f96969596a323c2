//! Ranges far larger than what the server may take to answer them: as one message, and streamed.
//!
//! `KEELSON_RANGE_KEYS` sets the number of keys (100,000 by default; 1,000,000 takes a minute).

#![allow(clippy::unwrap_used, reason = "a test may panic and tell")]

mod common;

use std::fs;

use common::{Kind, Server};
use keelson_api::client::Client;
use keelson_api::etcdserverpb as pb;
use keelson_api::etcdserverpb::request_op::Request as Op;
use pb::range_request::{SortOrder, SortTarget};

const VALUE_BYTES: usize = 256;

/// What the server may take beside what it has at rest.
const EXTRA_BYTES_MAX: u64 = 32 << 20;

fn keys() -> usize {
    std::env::var("KEELSON_RANGE_KEYS").map_or(100_000, |keys| keys.parse().unwrap())
}

fn key(number: usize) -> Vec<u8> {
    format!("large/{number:08}").into_bytes()
}

fn value(number: usize) -> Vec<u8> {
    let mut value = number.to_be_bytes().repeat(VALUE_BYTES / 8);
    value[0] = 7;
    value
}

async fn fill(client: &Client, count: usize) {
    for first in (0..count).step_by(128) {
        let put = |number: usize| pb::RequestOp {
            request: Some(Op::RequestPut(pb::PutRequest {
                key: key(number).into(),
                value: value(number).into(),
                ..Default::default()
            })),
        };
        let success = (first..count.min(first + 128)).map(put).collect();
        let txn = pb::TxnRequest { success, ..Default::default() };
        client.kv().txn(txn).await.unwrap();
    }
}

fn all() -> pb::RangeRequest {
    pb::RangeRequest { key: "large/".into(), range_end: "large0".into(), ..Default::default() }
}

/// The most memory a process has had since the last call, and forgets it.
struct Memory {
    pid: u32,
}

impl Memory {
    fn status(&self, field: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap();
        let line = status.lines().find(|line| line.starts_with(field)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
    }

    fn now(&self) -> u64 {
        self.status("VmRSS:")
    }

    /// Starts over with the peak.
    fn forget_peak(&self) {
        fs::write(format!("/proc/{}/clear_refs", self.pid), "5").unwrap();
    }

    fn peak(&self) -> u64 {
        self.status("VmHWM:")
    }
}

async fn streamed(client: &Client, request: pb::RangeRequest) -> (usize, pb::RangeResponse) {
    let mut stream = client.kv().range_stream(request).await.unwrap().into_inner();
    let (mut seen, mut messages) = (0, 0);
    let mut last = None;
    while let Some(message) = stream.message().await.unwrap() {
        assert!(last.is_none(), "the header comes with the last message");
        messages += 1;
        let mut response = message.range_response.unwrap();
        for kv in std::mem::take(&mut response.kvs) {
            assert_eq!((&kv.key[..], &kv.value[..]), (&key(seen)[..], &value(seen)[..]));
            seen += 1;
        }
        last = response.header.is_some().then_some(response);
    }
    let mut last = last.unwrap();
    last.kvs.clear();
    assert!(seen == 0 || messages > 1 || seen <= 10, "{seen} rows in {messages} messages");
    (seen, last)
}

#[tokio::test]
async fn ranges_of_any_size_take_bounded_memory() {
    let count = keys();
    let server = Server::start(Kind::Keelson);
    let client = server.client().await;
    fill(&client, count).await;
    let memory = Memory { pid: server.pid() };

    for round in 0..2 {
        let rest = memory.now();
        memory.forget_peak();
        let (seen, last) = streamed(&client, all()).await;
        assert_eq!((seen, last.count, last.more), (count, i64::try_from(count).unwrap(), false));
        let extra = memory.peak().saturating_sub(rest);
        assert!(extra < EXTRA_BYTES_MAX, "RangeStream took {extra} bytes in round {round}");

        let rest = memory.now();
        memory.forget_peak();
        let whole = client.kv().range(all()).await.unwrap().into_inner();
        assert_eq!((whole.kvs.len(), whole.count, whole.more), (count, last.count, false));
        for (number, kv) in whole.kvs.iter().enumerate() {
            assert_eq!((&kv.key[..], &kv.value[..]), (&key(number)[..], &value(number)[..]));
        }
        let extra = memory.peak().saturating_sub(rest);
        assert!(extra < EXTRA_BYTES_MAX, "Range took {extra} bytes in round {round}");
    }
}

#[tokio::test]
async fn pieces_join_at_every_limit_and_in_both_orders() {
    let count = 20_000;
    let server = Server::start(Kind::Keelson);
    let client = server.client().await;
    fill(&client, count).await;
    let total = i64::try_from(count).unwrap();

    for limit in [1, 10, 11, 4_000, 10_007, 19_999, 20_000, 20_001] {
        let request = pb::RangeRequest { limit, ..all() };
        let expected = usize::try_from(limit.min(total)).unwrap();
        let (seen, last) = streamed(&client, request.clone()).await;
        assert_eq!((seen, last.count, last.more), (expected, total, limit < total), "{limit}");
        for (sort_order, nth) in [
            (SortOrder::Ascend, (|_, n| n) as fn(usize, usize) -> usize),
            (SortOrder::Descend, |count, n| count - 1 - n),
        ] {
            let request = pb::RangeRequest {
                sort_order: sort_order.into(),
                sort_target: SortTarget::Key.into(),
                ..request.clone()
            };
            let whole = client.kv().range(request).await.unwrap().into_inner();
            assert_eq!((whole.count, whole.more), (total, limit < total), "{limit}");
            assert_eq!(whole.kvs.len(), expected);
            for (n, kv) in whole.kvs.iter().enumerate() {
                assert_eq!(&kv.key[..], &key(nth(count, n))[..], "{limit} {sort_order:?}");
            }
        }
    }
    let count_only = pb::RangeRequest { count_only: true, ..all() };
    let (seen, last) = streamed(&client, count_only).await;
    assert_eq!((seen, last.count), (0, total));
    let (seen, last) =
        streamed(&client, pb::RangeRequest { key: "none".into(), ..Default::default() }).await;
    assert_eq!((seen, last.count, last.more), (0, 0, false));
}

#[tokio::test]
async fn filters_survive_the_second_walk() {
    let count = 20_000;
    let server = Server::start(Kind::Keelson);
    let client = server.client().await;
    fill(&client, count).await;
    // Every txn of the fill is one revision of 128 keys; revision 2 is the first.
    let (min, max) = (40, 120);
    let request = pb::RangeRequest { min_mod_revision: min, max_mod_revision: max, ..all() };
    let whole = client.kv().range(request).await.unwrap().into_inner();
    let expected: Vec<_> = (0..count)
        .filter(|n| (min..=max).contains(&(i64::try_from(n / 128).unwrap() + 2)))
        .map(key)
        .collect();
    assert!(whole.kvs.iter().map(|kv| &kv.key[..]).eq(expected.iter().map(|key| &key[..])));
    assert_eq!(whole.count, i64::try_from(count).unwrap());
}
