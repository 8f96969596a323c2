//! Five members: any two may die, and three that die take the promises with them.

use std::time::Duration;

use keelson_api::etcdserverpb::RangeRequest;
use tonic::Code;

use super::alone;
use super::checker::Checker;
use super::common::requests::{all, delete, get};
use super::common::{Cluster, Reply, Request, Rng, Server, send, setting, status, within};
use super::history::History;
use super::kill::{acknowledged, check, work};
use super::load::Load;

/// Rounds of a usual run: the leader, a follower, the leader and a follower, two followers.
const ROUNDS: u64 = 4;

/// A request waits for a quorum for 5 s and two election timeouts.
const REQUEST_BOUND: Duration = Duration::from_secs(20);

/// Who dies in a round, seen from the leader.
fn dying(round: u64) -> &'static [usize] {
    match round % 4 {
        0 => &[0],
        1 => &[2],
        2 => &[0, 3],
        _ => &[1, 4],
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_of_five_may_die_at_any_moment() {
    let _alone = alone().await;
    let seed = setting("KEELSON_KILL_SEED", 1);
    let rounds = setting("KEELSON_CLUSTER_ROUNDS", ROUNDS);
    let mut rng = Rng::new(seed);
    let mut cluster = Cluster::start(5);
    let mut checker = Checker::new();
    let mut told = 0;
    for round in 0..rounds {
        println!("seed {seed} round {round}: {told} writes acknowledged so far");
        let load = Load::start_on(&cluster.servers, rng.next(), round).await;
        work(&mut rng).await;
        let leader = cluster.leader().await;
        let dying: Vec<_> = dying(round).iter().map(|after| (leader + after) % 5).collect();
        load.about_to_die();
        dying.iter().for_each(|number| cluster.servers[*number].kill());
        work(&mut rng).await;
        // The three that are left serve whoever asks them.
        let left = (0..5).find(|number| !dying.contains(number)).unwrap();
        let client = cluster.servers[left].client().await;
        let alive = Request::Range(get("key-00"));
        within(REQUEST_BOUND, "a read", send(&client, &alive)).await.unwrap();
        dying.iter().for_each(|number| cluster.servers[*number].spawn());
        dying.iter().for_each(|number| cluster.servers[*number].wait_ready());
        work(&mut rng).await;
        load.stop();
        let ops = load.join().await;
        told += acknowledged(&ops);
        check(&cluster, &mut checker, &ops, dying[0]).await;
    }
    assert!(u64::try_from(told).unwrap() > rounds * 10, "{told} writes show little");
    checker.check_again(&cluster.servers[0].client().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_that_are_left_promise_nothing_and_come_back() {
    let _alone = alone().await;
    let mut rng = Rng::new(setting("KEELSON_KILL_SEED", 1));
    let mut cluster = Cluster::start(5);
    let mut checker = Checker::new();
    let leader = cluster.leader().await;
    // The leader and a follower are left; a follower must not mislead either.
    cluster.servers.rotate_left(leader);
    let load = Load::start_on(&cluster.servers, rng.next(), 0).await;
    work(&mut rng).await;
    load.about_to_die();
    cluster.servers[2..].iter_mut().for_each(Server::kill);
    load.stop();
    let ops = load.join().await;
    let timed_out = |outcome: &Result<Reply, (Code, String)>| {
        let (code, text) = outcome.as_ref().unwrap_err();
        assert_eq!(*code, Code::Unavailable);
        assert!(text.starts_with("etcdserver: request timed out"), "{text}");
    };
    let mut asked = Vec::new();
    for server in &cluster.servers[..2] {
        // A write that leaves no trace, should it come in after all.
        for request in [Request::Delete(delete("late")), Request::Range(get("late"))] {
            let client = server.client().await;
            asked.push(tokio::spawn(async move {
                within(REQUEST_BOUND, "a refusal", send(&client, &request)).await
            }));
        }
    }
    for refused in asked {
        timed_out(&refused.await.unwrap());
    }
    for server in &cluster.servers[..2] {
        let serializable = RangeRequest { serializable: true, ..all() };
        let found = send(&server.client().await, &Request::Range(serializable)).await;
        let Ok(Reply::Range(found)) = found else { panic!("{found:?}") };
        assert!(found.header.unwrap().revision > 1, "it shows what it has");
        assert_eq!(status(server).await.leader, 0);
    }
    cluster.servers[2..].iter_mut().for_each(Server::spawn);
    cluster.servers[2..].iter_mut().for_each(Server::wait_ready);
    cluster.check_same_data().await;
    let client = cluster.servers[1].client().await;
    checker.check(&ops, History::read(&client, 1, checker.state()).await);
    assert!(checker.revision() > 10, "{} revisions show little", checker.revision());
}
