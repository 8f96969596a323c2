//! Without a quorum nothing is promised.

use std::time::Duration;

use keelson_api::etcdserverpb::RangeRequest;
use tonic::Code;

use super::alone;
use super::common::requests::{get, put};
use super::common::{Cluster, Reply, Request, http_request, now, send, status, within};

/// A request waits for a quorum for 5 s and two election timeouts.
const REQUEST_BOUND: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_minority_refuses_what_it_cannot_know() {
    let _alone = alone().await;
    let mut cluster = Cluster::start(3);
    let client = cluster.servers[0].client().await;
    send(&client, &Request::Put(put("k", "v"))).await.unwrap();
    // Member 0 stays, be it the leader or not.
    cluster.servers[1].kill();
    cluster.servers[2].kill();

    let timed_out = (Code::Unavailable, "etcdserver: request timed out".to_owned());
    let began = now();
    let (write, read) = tokio::join!(
        within(REQUEST_BOUND, "a write", send_it(&client, Request::Put(put("k", "w")))),
        within(REQUEST_BOUND, "a read", send_it(&client, Request::Range(get("k")))),
    );
    assert_eq!((write, read), (Err(timed_out.clone()), Err(timed_out)));
    assert!(began.elapsed() >= Duration::from_secs(5), "they wait for a leader to come");

    // By now it knows that there is no leader, and says so.
    let told = status(&cluster.servers[0]).await;
    assert_eq!((told.leader, told.errors), (0, vec!["etcdserver: no leader".to_owned()]));
    let health = http_request(&cluster.servers[0].endpoint(), "GET", "/health");
    assert_eq!(health.status, 503, "{health:?}");
    let mut wanting = tonic::Request::new(get("k"));
    wanting.metadata_mut().insert("hasleader", "true".parse().unwrap());
    let refused = client.kv().range(wanting).await.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (Code::Unavailable, "etcdserver: no leader"));

    let serializable = RangeRequest { serializable: true, ..get("k") };
    let Ok(Reply::Range(found)) = send(&client, &Request::Range(serializable)).await else {
        panic!("serializable reads need no leader");
    };
    assert_eq!(found.kvs[0].value, "v");

    cluster.servers[1].launch();
    send(&client, &Request::Put(put("k", "again"))).await.unwrap();
    cluster.servers[2].launch();
    cluster.check_same_data().await;
}

async fn send_it(client: &keelson_api::client::Client, request: Request) -> super::common::Outcome {
    send(client, &request).await
}

/// One of three is enough to lose without anybody noticing for long.
#[tokio::test]
async fn two_of_three_go_on() {
    let _alone = alone().await;
    let mut cluster = Cluster::start(3);
    let leader = cluster.leader().await;
    cluster.servers[leader].kill();
    let others = [(leader + 1) % 3, (leader + 2) % 3];
    let client = cluster.servers[others[0]].client().await;
    // Sent before anybody knows that the leader is gone.
    let put = Request::Put(put("k", "v"));
    within(REQUEST_BOUND, "a write", send(&client, &put)).await.unwrap();
    assert_ne!(cluster.leader_among(&others).await, leader);
    cluster.servers[leader].launch();
    cluster.check_same_data().await;
}
