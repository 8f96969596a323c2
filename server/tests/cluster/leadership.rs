//! Leadership goes where it should, and nobody is misled while it moves.

use std::time::Duration;

use keelson_api::etcdserverpb::MoveLeaderRequest;
use rustix::process::Signal;
use tonic::Code;

use super::alone;
use super::checker::Checker;
use super::common::requests::{get, put};
use super::common::{Cluster, Reply, Request, Rng, send, setting, status, within};
use super::history::History;
use super::load::Load;

/// What a stop may take: a hand-over, and open requests that come to their end.
const STOP_BOUND: Duration = Duration::from_secs(5);

#[tokio::test]
async fn leadership_moves_when_it_is_told_to() {
    let _alone = alone().await;
    let cluster = Cluster::start(3);
    let leader = cluster.leader().await;
    let mut ids = Vec::new();
    for server in &cluster.servers {
        ids.push(status(server).await.header.unwrap().member_id);
    }
    let follower = (leader + 1) % 3;
    let move_to = async |asked: usize, target_id: u64| {
        let mut maintenance = cluster.servers[asked].client().await.maintenance();
        let moved = maintenance.move_leader(MoveLeaderRequest { target_id }).await;
        moved.map(drop).map_err(|status| (status.code(), status.message().to_owned()))
    };
    let not_leader = Err((Code::FailedPrecondition, "etcdserver: not leader".to_owned()));
    assert_eq!(move_to(follower, ids[follower]).await, not_leader);
    let bad = Err((Code::FailedPrecondition, "etcdserver: bad leader transferee".to_owned()));
    assert_eq!(move_to(leader, 7).await, bad);
    assert_eq!(move_to(leader, ids[leader]).await, Ok(()), "it leads already");
    assert_eq!(move_to(leader, ids[follower]).await, Ok(()));
    assert_eq!(cluster.leader().await, follower);
    let client = cluster.servers[leader].client().await;
    send(&client, &Request::Put(put("k", "v"))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_fails_no_request() {
    let _alone = alone().await;
    roll(3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_of_five_fails_no_request() {
    let _alone = alone().await;
    roll(5).await;
}

/// Restarts whoever leads, again and again, then every member in turn, under load.
async fn roll(members: usize) {
    let mut rng = Rng::new(setting("KEELSON_KILL_SEED", 1));
    let mut cluster = Cluster::start(members);
    let mut checker = Checker::new();
    let load = Load::start_on(&cluster.servers, rng.next(), 0).await;
    for turn in 0..2 * members {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let number = if turn < members { cluster.leader().await } else { turn - members };
        let status = cluster.servers[number].terminate(STOP_BOUND).expect("it ends in time");
        assert!(status.success(), "{status}");
        cluster.servers[number].launch();
    }
    load.stop();
    let ops = load.join().await;
    assert!(ops.len() > 100, "{} requests show little", ops.len());
    cluster.check_same_data().await;
    let client = cluster.servers[0].client().await;
    checker.check(&ops, History::read(&client, 1, &Default::default()).await);
}

/// A leader that stood still wakes up and does not know that another leads.
#[tokio::test]
async fn a_leader_that_was_stopped_reads_nothing_stale() {
    let _alone = alone().await;
    let cluster = Cluster::start(3);
    for round in 0..3 {
        let old = cluster.leader().await;
        let clients = cluster.clients().await;
        let before = Request::Put(put("k", format!("old {round}")));
        send(&clients[old], &before).await.unwrap();
        cluster.servers[old].signal(Signal::STOP);
        let others = [(old + 1) % 3, (old + 2) % 3];
        cluster.leader_among(&others).await;
        let value = format!("new {round}");
        send(&clients[others[0]], &Request::Put(put("k", value.clone()))).await.unwrap();
        // They wait in its sockets when it wakes up.
        let reads: Vec<_> = (0..20)
            .map(|_| {
                let client = clients[old].clone();
                tokio::spawn(async move { send(&client, &Request::Range(get("k"))).await })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(50)).await;
        cluster.servers[old].signal(Signal::CONT);
        for read in reads {
            let read = within(Duration::from_secs(20), "a read", read).await.unwrap();
            // It may fail, but not tell what was.
            if let Ok(Reply::Range(found)) = read {
                assert_eq!(found.kvs[0].value, value.as_bytes(), "a stale read");
            }
        }
        cluster.leader().await;
    }
    cluster.check_same_data().await;
}
