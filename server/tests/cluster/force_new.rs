//! One member goes on alone when the majority is lost for good.

use std::time::Duration;

use keelson_api::etcdserverpb::MemberRemoveRequest;

use super::alone;
use super::checker::Checker;
use super::common::requests::{get, put};
use super::common::{Cluster, Reply, Request, Rng, Server, send, setting, status};
use super::history::History;
use super::load::Load;
use super::membership::{END_BOUND, add, list, wait_voter};

const FLAG: &str = "--force-new-cluster";

/// Delays after which a forced start is killed: before the log is open, while the membership is
/// written, and after it serves.
const KILLED_AFTER_MILLIS: [u64; 7] = [0, 5, 10, 15, 20, 40, 200];

/// Long enough for a change to be in the log and not for it to be given up.
const UNDER_WAY: Duration = Duration::from_millis(500);

/// What a member says of itself: its id and its cluster's.
async fn ids(server: &Server) -> (u64, u64) {
    let header = status(server).await.header.unwrap();
    (header.member_id, header.cluster_id)
}

/// Kills forced starts at one moment after the other, then lets one serve.
fn force_through_kills(server: &mut Server) {
    server.flags.push(FLAG.to_owned());
    for millis in KILLED_AFTER_MILLIS {
        server.spawn();
        std::thread::sleep(Duration::from_millis(millis));
        server.kill();
    }
    server.launch();
}

async fn only_member(server: &Server) -> u64 {
    let members = list(server).await;
    assert_eq!(members.len(), 1, "{members:?}");
    assert_eq!(members[0].peer_ur_ls, [server.peer_url()]);
    members[0].id
}

/// The last quorum was the member that is left and another one, so that all that was acknowledged is
/// in its log, whether or not it has heard that it was committed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_three_goes_on_with_all_that_was_acknowledged() {
    let _alone = alone().await;
    let mut rng = Rng::new(setting("KEELSON_KILL_SEED", 1));
    let mut cluster = Cluster::start(3);
    let leader = cluster.leader().await;
    // The one that is left, the leader, and the one that dies first.
    cluster.servers.rotate_left((leader + 2) % 3);
    let (own, cluster_id) = ids(&cluster.servers[0]).await;
    cluster.servers[2].kill();
    let load = Load::start_on(&cluster.servers[..2], rng.next(), 0).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    load.stop();
    let ops = load.join().await;
    // Nothing follows in whose company the word could come that this was committed.
    let last = Request::Put(put("last", "acknowledged"));
    send(&cluster.servers[1].client().await, &last).await.unwrap();
    cluster.servers[1].kill();
    cluster.servers[0].kill();

    let mut left = cluster.servers.remove(0);
    force_through_kills(&mut left);
    assert_eq!(ids(&left).await, (own, cluster_id));
    assert_eq!(only_member(&left).await, own);
    let client = left.client().await;
    let mut checker = Checker::new();
    let mut history = History::read(&client, 1, checker.state()).await;
    let (last, _) = history.revisions.pop().unwrap();
    assert_eq!(last.puts.get(&b"last"[..]).unwrap(), "acknowledged");
    checker.check(&ops, history);
    assert!(checker.revision() > 50, "{} revisions show little", checker.revision());
    let reply = send(&client, &Request::Put(put("after", "v"))).await.unwrap();
    assert_eq!(reply.header().revision, checker.revision() + 2, "it goes on from its own");

    // With the flag once more, and without it.
    left.kill();
    left.launch();
    assert!(left.log().contains("alone already"), "{}", left.log_tail());
    left.flags.clear();
    left.terminate(END_BOUND).expect("it ends");
    left.launch();
    assert_eq!(only_member(&left).await, own);

    // The others have a majority of what was, and are told that it is no more.
    for other in &mut cluster.servers {
        other.spawn();
    }
    for other in &mut cluster.servers {
        let status = other.wait_end(END_BOUND).expect("it ends by itself");
        assert!(status.success(), "{status}");
        assert!(other.log().contains("permanently removed"), "{}", other.log_tail());
    }
    assert_eq!(only_member(&left).await, own);

    // Three again, with fresh members.
    let mut grown = Cluster { servers: vec![left] };
    for name in ["new1", "new2"] {
        let mut new = grown.joiner(name);
        let member = add(&grown.servers[0], &new, false).await.unwrap();
        new.launch();
        grown.servers.push(new);
        wait_voter(&grown, member.id).await;
    }
    grown.check_same_data().await;
    // Whoever was dropped stays outside of what has grown, too.
    cluster.servers[0].spawn();
    cluster.servers[0].wait_end(END_BOUND).expect("it ends by itself");
    grown.servers[0].kill();
    let client = grown.servers[1].client().await;
    send(&client, &Request::Put(put("after", "w"))).await.unwrap();
    let found = send(&grown.servers[2].client().await, &Request::Range(get("after"))).await;
    let Ok(Reply::Range(found)) = found else { panic!("{found:?}") };
    assert_eq!(found.kvs[0].value, "w");
}

/// A removal that could not be finished left a joint configuration at the end of the log.
#[tokio::test]
async fn a_change_half_done_does_not_come_back() {
    let _alone = alone().await;
    let mut cluster = Cluster::start_with(3, &["--strict-reconfig-check=false"]);
    let leader = cluster.leader().await;
    cluster.servers.rotate_left(leader);
    send(&cluster.servers[0].client().await, &Request::Put(put("k", "v"))).await.unwrap();
    cluster.check_same_data().await;
    let (own, _) = ids(&cluster.servers[0]).await;
    let (up, _) = ids(&cluster.servers[1]).await;
    cluster.servers[2].kill();
    let mut client = cluster.servers[0].client().await.cluster();
    let removing = tokio::spawn(async move {
        client.member_remove(MemberRemoveRequest { id: up }).await.map(drop)
    });
    tokio::time::sleep(UNDER_WAY).await;
    cluster.servers[1].kill();
    cluster.servers[0].kill();
    removing.await.unwrap().expect_err("two that are left do not agree on it");

    let left = &mut cluster.servers[0];
    force_through_kills(left);
    assert_eq!(only_member(left).await, own);
    send(&left.client().await, &Request::Put(put("k", "w"))).await.unwrap();
    left.flags.pop();
    left.kill();
    left.launch();
    assert_eq!(only_member(left).await, own);
    let found = send(&left.client().await, &Request::Range(get("k"))).await;
    let Ok(Reply::Range(found)) = found else { panic!("{found:?}") };
    assert_eq!((found.kvs[0].value.as_ref(), found.kvs[0].version), (&b"w"[..], 2));
}

#[tokio::test]
async fn nothing_is_made_of_nothing() {
    let _alone = alone().await;
    let mut empty = Cluster::prepare(1, &[FLAG]).servers.remove(0);
    let refused = empty.try_launch().expect_err("it must not start");
    assert!(refused.log.contains("holds none"), "{}", refused.log);
    assert!(!empty.data_dir.join("member").exists(), "nothing was made");
}
