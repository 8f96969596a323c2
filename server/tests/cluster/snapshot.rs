//! Members that were away catch up: from the log while it reaches back to them, with a snapshot
//! when it does not.
//!
//! `KEELSON_LAG_WRITES` sets how many writes a member misses that catches up from the log.

use std::fs;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use keelson_api::client::Client;
use keelson_api::etcdserverpb::watch_request::RequestUnion;
use keelson_api::etcdserverpb::{
    MemberAddRequest, MemberRemoveRequest, WatchCreateRequest, WatchRequest, WatchResponse,
};
use rustix::process::Signal;
use tonic::Streaming;

use super::alone;
use super::common::requests::put;
use super::common::{
    Cluster, Request, Rng, START_BOUND, Server, now, poll, send, setting, status, within,
};

/// Writes missed in a usual run; none of them may be gone from a log of usual settings.
const LAG_WRITES: u64 = 20_000;

/// Requests under way at once.
const AT_ONCE: usize = 64;

/// Keeps so little log, and so little in memory, that [`leave_behind`] exceeds both.
const SHORT_LOG: &[&str] = &[
    "--snapshot-catchup-entries=100",
    "--keelson-catchup-bytes=0",
    "--keelson-wal-segment-bytes=4194304",
    "--keelson-memory-budget-bytes=67108864",
];

/// Half of [`SHORT_LOG`]'s memory is for what is not flushed yet.
const LARGE_WRITES: u64 = 1_400;
const LARGE_BYTES: usize = 48 << 10;

type Watching = Streaming<WatchResponse>;

/// The log line of a member whose store was replaced.
const REPLACED: &str = "a snapshot has taken the place of the store";

async fn write(client: &Client, prefix: &str, count: u64, value_bytes: usize) {
    let value = Bytes::from(vec![b'v'; value_bytes]);
    let puts = stream::iter(0..count).map(|n| {
        let (client, value) = (client.clone(), value.clone());
        async move { send(&client, &Request::Put(put(format!("{prefix}/{n}"), value))).await }
    });
    puts.buffer_unordered(AT_ONCE).for_each(|reply| async { drop(reply.unwrap()) }).await;
}

/// Segment files of a member's log; the number of the first.
fn first_segment(server: &Server) -> String {
    let names = fs::read_dir(server.data_dir.join("member/wal")).unwrap();
    let names = names.map(|name| name.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(".wal")).min().unwrap()
}

/// Writes until the log of those who are there does not reach back to where it was.
async fn leave_behind(client: &Client, there: &[&Server], prefix: &str) {
    let before: Vec<_> = there.iter().map(|server| first_segment(server)).collect();
    for part in 0.. {
        assert!(part < 10, "the log is never purged");
        write(client, &format!("{prefix}-{part}"), LARGE_WRITES, LARGE_BYTES).await;
        // The log is looked at once a second.
        let purged = poll(Duration::from_secs(4), || {
            let cut = |(server, before): (&&Server, &String)| first_segment(server) != *before;
            there.iter().zip(&before).all(cut).then_some(())
        });
        if purged.is_some() {
            return;
        }
    }
}

/// Watches all keys with a prefix, on a connection that has to stay.
async fn watch(client: &Client, prefix: &'static str, end: &'static str) -> Watching {
    let create = WatchCreateRequest {
        key: prefix.into(),
        range_end: end.into(),
        ..WatchCreateRequest::default()
    };
    let request = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
    // The stream of requests stays open for as long as its answers are read.
    let requests = stream::iter([request]).chain(stream::pending());
    let mut watching = client.watch().watch(requests).await.unwrap().into_inner();
    assert!(watching.message().await.unwrap().unwrap().created);
    watching
}

/// The keys of the next events.
async fn told(watching: &mut Watching, count: usize) -> Vec<String> {
    let mut keys = Vec::new();
    while keys.len() < count {
        let message = within(START_BOUND, "an event", watching.message()).await;
        let response = message.expect("the connection stays").expect("the stream goes on");
        let events = response.events.into_iter().map(|event| event.kv.unwrap().key.to_vec());
        keys.extend(events.map(|key| String::from_utf8(key).unwrap()));
    }
    keys
}

/// Stores and transfers that are on a member's disk.
fn stores(server: &Server) -> Vec<String> {
    let names = fs::read_dir(server.data_dir.join("member")).unwrap();
    let names = names.map(|name| name.unwrap().file_name().into_string().unwrap());
    let is_store =
        |name: &String| ["store", "incoming", "outgoing"].iter().any(|word| name.starts_with(word));
    let mut names: Vec<_> = names.filter(is_store).collect();
    names.sort_unstable();
    names
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_away_for_a_while_catches_up_from_the_log() {
    let _alone = alone().await;
    let mut cluster = Cluster::start(3);
    let leader = cluster.leader().await;
    let away = (leader + 1) % 3;
    cluster.servers[away].kill();
    let client = cluster.servers[leader].client().await;
    write(&client, "missed", setting("KEELSON_LAG_WRITES", LAG_WRITES), 100).await;
    cluster.servers[away].launch();
    cluster.check_same_data().await;
    assert!(!cluster.servers[away].log().contains(REPLACED), "the log reached back to it");
    assert_eq!(stores(&cluster.servers[away]), ["store"]);
}

/// A paused process keeps its connections, and so does one whose store is replaced.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_arrives_under_open_connections() {
    let _alone = alone().await;
    let cluster = Cluster::start_with(3, SHORT_LOG);
    let leader = cluster.leader().await;
    let (paused, other) = (&cluster.servers[(leader + 1) % 3], &cluster.servers[(leader + 2) % 3]);
    let own_client = paused.client().await;
    send(&own_client, &Request::Put(put("before", "v"))).await.unwrap();
    let mut watching = watch(&own_client, "own-", "own.").await;
    paused.signal(Signal::STOP);
    let client = cluster.servers[leader].client().await;
    leave_behind(&client, &[&cluster.servers[leader], other], "missed").await;
    paused.signal(Signal::CONT);
    // Its clients write on meanwhile, and are told so.
    let keys: Vec<_> = (0..20).map(|n| format!("own-{n}")).collect();
    for key in &keys {
        send(&own_client, &Request::Put(put(key.clone(), "v"))).await.unwrap();
    }
    cluster.check_same_data().await;
    paused.wait_log(REPLACED);
    assert_eq!(told(&mut watching, 20).await, keys);
    let sizes = |server: &Server| stores(server).len();
    let tidy = poll(START_BOUND, || cluster.servers.iter().all(|s| sizes(s) <= 2).then_some(()));
    assert!(tidy.is_some(), "{:?}", stores(paused));
    assert_eq!(stores(paused), ["store-1", "store-current"]);
}

/// Who sends or receives a snapshot may die at any moment of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_survives_kills_of_both_ends() {
    let _alone = alone().await;
    let mut flags = SHORT_LOG.to_vec();
    // About two seconds for all of it.
    flags.push("--keelson-snapshot-bytes-per-second=30000000");
    let mut cluster = Cluster::start_with(3, &flags);
    let mut rng = Rng::new(setting("KEELSON_KILL_SEED", 1));
    let leader = cluster.leader().await;
    let (away, other) = ((leader + 1) % 3, (leader + 2) % 3);
    cluster.servers[away].kill();
    let client = cluster.servers[leader].client().await;
    let there = [&cluster.servers[leader], &cluster.servers[other]];
    leave_behind(&client, &there, "missed").await;
    for round in 0..6 {
        cluster.servers[away].spawn();
        cluster.servers[away].wait_log("receiving a snapshot");
        tokio::time::sleep(Duration::from_millis(rng.below(1_500))).await;
        if round % 3 == 2 {
            // The leader: another member sends then.
            let sender = cluster.leader_among(&[leader, other]).await;
            cluster.servers[sender].kill();
            cluster.servers[sender].launch();
        }
        cluster.servers[away].kill();
    }
    cluster.servers[away].launch();
    cluster.check_same_data().await;
    for number in [leader, away, other] {
        let client = cluster.servers[number].client().await;
        send(&client, &Request::Put(put("after", "v"))).await.unwrap();
    }
    // Nothing of the attempts is left after the next start.
    cluster.servers[away].kill();
    cluster.servers[away].launch();
    cluster.check_same_data().await;
    let left = stores(&cluster.servers[away]);
    assert!(left.len() == 2 && left[0].starts_with("store-"), "{left:?}");
}

/// A member whose disk is gone is removed, and comes back as a new one with an empty disk.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_member_is_replaced() {
    let _alone = alone().await;
    let mut cluster = Cluster::start_with(3, SHORT_LOG);
    let leader = cluster.leader().await;
    let (wiped, other) = ((leader + 1) % 3, (leader + 2) % 3);
    let client = cluster.servers[leader].client().await;
    leave_behind(&client, &[&cluster.servers[leader], &cluster.servers[other]], "data").await;
    let id = status(&cluster.servers[wiped]).await.header.unwrap().member_id;
    cluster.servers[wiped].kill();
    fs::remove_dir_all(&cluster.servers[wiped].data_dir).unwrap();
    // It cannot come back as what it was: what it had promised is gone.
    let refused = cluster.servers[wiped].try_launch().unwrap_err();
    assert!(refused.log.contains("remove the member and add it again"), "{}", refused.log);

    let mut members = client.cluster();
    let start = now();
    while let Err(error) = members.member_remove(MemberRemoveRequest { id }).await {
        assert!(start.elapsed() < START_BOUND, "{error}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let peer_ur_ls = vec![cluster.servers[wiped].peer_url()];
    let request = MemberAddRequest { peer_ur_ls, is_learner: false };
    let added = members.member_add(request).await.unwrap().into_inner().member.unwrap();
    assert_ne!(added.id, id, "ids never return");
    fs::remove_dir_all(&cluster.servers[wiped].data_dir).ok();
    cluster.servers[wiped].flags.push("--initial-cluster-state=existing".to_owned());
    cluster.servers[wiped].launch();
    cluster.check_same_data().await;
    cluster.servers[wiped].wait_log(REPLACED);
    assert_eq!(status(&cluster.servers[wiped]).await.header.unwrap().member_id, added.id);
    // It votes: with it, the cluster bears the loss of another.
    cluster.servers[leader].wait_log("votes from now on");
    cluster.servers[other].kill();
    let client = cluster.servers[wiped].client().await;
    send(&client, &Request::Put(put("after", "v"))).await.unwrap();
}
