//! Leases: they never end early, and never live on for long, whoever leads.

use std::time::Duration;

use keelson_api::client::Client;
use keelson_api::etcdserverpb::{
    LeaseGrantRequest, LeaseKeepAliveRequest, LeaseTimeToLiveRequest, PutRequest,
};
use rustix::process::Signal;
use tonic::Code;

use super::alone;
use super::common::requests::{get, put};
use super::common::{Cluster, Reply, Request, now, send, within};

/// A TTL in seconds: some elections long.
const TTL: i64 = 5;

/// What a lease may live on: the whole TTL that a new leader gives it, elections, and as much again
/// as a busy machine needs.
const LATE_MAX: Duration = Duration::from_secs(20);

async fn grant(client: &Client, id: i64, ttl: i64) {
    let granted = client.lease().lease_grant(LeaseGrantRequest { id, ttl }).await.unwrap();
    assert_eq!((granted.get_ref().id, granted.get_ref().ttl), (id, ttl));
    let put = PutRequest { lease: id, ..put(format!("key-{id}"), "v") };
    send(client, &Request::Put(put)).await.unwrap();
}

async fn has_key(client: &Client, id: i64) -> bool {
    let found = send(client, &Request::Range(get(format!("key-{id}")))).await;
    let Ok(Reply::Range(found)) = found else { panic!("{found:?}") };
    !found.kvs.is_empty()
}

/// One keep-alive: the TTL that it is answered with.
async fn keep_alive(client: &Client, id: i64) -> Result<i64, (Code, String)> {
    let requests = futures_util::stream::iter([LeaseKeepAliveRequest { id }]);
    let told = |status: tonic::Status| (status.code(), status.message().to_owned());
    let mut answers = client.lease().lease_keep_alive(requests).await.map_err(told)?.into_inner();
    let answer = answers.message().await.map_err(told)?.expect("an answer to each request");
    assert_eq!(answer.id, id);
    Ok(answer.ttl)
}

async fn time_to_live(client: &Client, id: i64, keys: bool) -> (i64, i64, Vec<bytes::Bytes>) {
    let request = LeaseTimeToLiveRequest { id, keys };
    let answer = client.lease().lease_time_to_live(request).await.unwrap().into_inner();
    (answer.ttl, answer.granted_ttl, answer.keys)
}

/// Waits until a key is gone.
async fn until_gone(client: &Client, id: i64) {
    let start = now();
    while has_key(client, id).await {
        assert!(start.elapsed() < LATE_MAX, "the key of lease {id} outlives it");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn any_member_answers_for_leases() {
    let _alone = alone().await;
    let cluster = Cluster::start(3);
    let clients = cluster.clients().await;
    for (number, client) in clients.iter().enumerate() {
        let id = i64::try_from(number).unwrap() + 1;
        grant(client, id, 1000).await;
        for client in &clients {
            assert_eq!(keep_alive(client, id).await, Ok(1000));
            assert_eq!(keep_alive(client, 99).await, Ok(0));
            let (ttl, granted, keys) = time_to_live(client, id, true).await;
            assert!((1..=1000).contains(&ttl), "{ttl}");
            assert_eq!((granted, keys), (1000, vec![format!("key-{id}").into()]));
            assert_eq!(time_to_live(client, 99, true).await, (-1, 0, vec![]));
        }
    }
    grant(&clients[0], 7, 2).await;
    until_gone(&clients[1], 7).await;
    for client in &clients {
        assert_eq!(keep_alive(client, 7).await, Ok(0));
    }
}

/// The leader dies: a lease that nobody renews any more goes, not before its time; one that is
/// renewed through the others stays.
#[tokio::test]
async fn a_lease_outlives_its_leader_but_not_itself() {
    let _alone = alone().await;
    let mut cluster = Cluster::start(3);
    let leader = cluster.leader().await;
    let others = [(leader + 1) % 3, (leader + 2) % 3];
    let client = cluster.servers[others[0]].client().await;
    let start = now();
    grant(&client, 1, TTL).await;
    grant(&client, 2, TTL).await;
    cluster.servers[leader].kill();
    let renewer = cluster.servers[others[1]].client().await;
    let renewing = tokio::spawn(async move {
        loop {
            // Without a leader it waits.
            assert_eq!(keep_alive(&renewer, 2).await, Ok(TTL));
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    });
    until_gone(&client, 1).await;
    let lived = start.elapsed();
    assert!(lived >= Duration::from_secs(TTL.unsigned_abs()), "it ended early, after {lived:?}");
    assert!(!renewing.is_finished(), "a renewal failed");
    assert!(has_key(&client, 2).await);
    assert_eq!(keep_alive(&client, 1).await, Ok(0));
    renewing.abort();
    cluster.servers[leader].launch();
    until_gone(&cluster.servers[leader].client().await, 2).await;
    cluster.check_same_data().await;
}

/// L1: the leader stands still for longer than the TTL, and wakes up with leases that have run out
/// by its clock, while clients have renewed them at the next leader.
#[tokio::test]
async fn a_leader_that_was_stopped_revokes_nothing() {
    let _alone = alone().await;
    let cluster = Cluster::start(3);
    for id in [1, 2] {
        let old = cluster.leader().await;
        let others = [(old + 1) % 3, (old + 2) % 3];
        let clients = cluster.clients().await;
        grant(&clients[others[0]], id, TTL).await;
        cluster.servers[old].signal(Signal::STOP);
        let start = now();
        while start.elapsed() < Duration::from_secs(TTL.unsigned_abs() + 1) {
            let renewed = keep_alive(&clients[others[1]], id);
            let renewed = within(Duration::from_secs(10), "a renewal", renewed).await;
            assert_eq!(renewed, Ok(TTL));
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        cluster.servers[old].signal(Signal::CONT);
        // It may only hand on what it is asked.
        let woken = within(Duration::from_secs(10), "a renewal", keep_alive(&clients[old], id));
        assert_eq!(woken.await, Ok(TTL));
        cluster.leader().await;
        assert!(has_key(&clients[others[0]], id).await, "it was renewed, and is gone");
        assert_eq!(keep_alive(&clients[old], id).await, Ok(TTL));
        until_gone(&clients[old], id).await;
    }
    cluster.check_same_data().await;
}

/// Leases and what hangs on them outlive all members, too.
#[tokio::test]
async fn leases_survive_the_death_of_all() {
    let _alone = alone().await;
    let mut cluster = Cluster::start(3);
    let client = cluster.servers[0].client().await;
    grant(&client, 1, 1000).await;
    grant(&client, 2, TTL).await;
    cluster.kill();
    cluster.launch();
    let client = cluster.servers[1].client().await;
    let (ttl, granted, keys) = time_to_live(&client, 1, true).await;
    assert!(ttl > 900, "{ttl}");
    assert_eq!((granted, keys), (1000, vec!["key-1".into()]));
    until_gone(&client, 2).await;
    assert!(has_key(&client, 1).await);
}
