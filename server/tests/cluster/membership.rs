//! Members come, are promoted, move and go.

use std::time::Duration;

use keelson_api::etcdserverpb::{
    Member, MemberAddRequest, MemberListRequest, MemberPromoteRequest, MemberRemoveRequest,
    MemberUpdateRequest, RangeRequest,
};
use rustix::process::Signal;
use tonic::{Code, Status};

use super::alone;
use super::common::requests::{get, put};
use super::common::{Cluster, Kind, Reply, Request, START_BOUND, Server, now, send, status};

/// A removed member stays for about a second.
pub(super) const END_BOUND: Duration = Duration::from_secs(20);

/// An election timeout and a heartbeat, and some more.
const NOTICED: Duration = Duration::from_millis(1500);

pub(super) async fn list(server: &Server) -> Vec<Member> {
    let request = MemberListRequest { linearizable: true };
    let list = server.client().await.cluster().member_list(request).await;
    list.unwrap().into_inner().members
}

pub(super) async fn add(asked: &Server, new: &Server, is_learner: bool) -> Result<Member, Status> {
    let request = MemberAddRequest { peer_ur_ls: vec![new.peer_url()], is_learner };
    let added = asked.client().await.cluster().member_add(request).await?;
    Ok(added.into_inner().member.expect("the new member"))
}

pub(super) async fn remove(asked: &Server, id: u64) -> Result<(), Status> {
    let request = MemberRemoveRequest { id };
    asked.client().await.cluster().member_remove(request).await.map(drop)
}

pub(super) async fn promote(asked: &Server, id: u64) -> Result<(), Status> {
    let request = MemberPromoteRequest { id };
    asked.client().await.cluster().member_promote(request).await.map(drop)
}

pub(super) fn text<T: std::fmt::Debug>(result: Result<T, Status>) -> (Code, String) {
    let status = result.unwrap_err();
    (status.code(), status.message().to_owned())
}

/// Waits until the change that makes the new member a voter is done. Before, the loss of another
/// can cost the quorum of those who voted already.
pub(super) async fn wait_voter(cluster: &Cluster, id: u64) {
    let start = now();
    loop {
        let members = list(&cluster.servers[0]).await;
        let joined = members.iter().find(|member| member.id == id).unwrap();
        assert!(!joined.is_learner);
        if cluster.servers.iter().any(|server| votes(&server.log(), id)) {
            return;
        }
        assert!(start.elapsed() < START_BOUND, "it never becomes a voter: {members:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Whether a leader's log says that a member votes.
pub(super) fn votes(log: &str, id: u64) -> bool {
    let own = format!("\"member\":\"{id:x}\"");
    log.lines().any(|line| line.contains("votes from now on") && line.contains(&own))
}

#[tokio::test]
async fn one_member_grows_to_three() {
    let _alone = alone().await;
    let mut cluster = Cluster::start(1);
    let client = cluster.servers[0].client().await;
    send(&client, &Request::Put(put("k", "v"))).await.unwrap();
    for name in ["m1", "m2"] {
        let mut new = cluster.joiner(name);
        let member = add(&cluster.servers[0], &new, false).await.unwrap();
        assert_eq!((member.name.as_str(), member.is_learner), ("", false));
        // Whoever does not run yet costs no quorum.
        send(&client, &Request::Put(put("k", "meanwhile"))).await.unwrap();
        new.launch();
        assert_eq!(status(&new).await.header.unwrap().member_id, member.id);
        cluster.servers.push(new);
        wait_voter(&cluster, member.id).await;
    }
    let members = list(&cluster.servers[2]).await;
    let mut names: Vec<_> = members.iter().map(|member| member.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["default", "m1", "m2"].map(|n| if n == "default" { "m0" } else { n }));
    // Three that vote bear the loss of one, the first included.
    cluster.servers[0].kill();
    let client = cluster.servers[1].client().await;
    send(&client, &Request::Put(put("k", "after"))).await.unwrap();
    let Ok(Reply::Range(found)) =
        send(&cluster.servers[2].client().await, &Request::Range(get("k"))).await
    else {
        panic!("it does not read");
    };
    assert_eq!(found.kvs[0].value, "after");
}

#[tokio::test]
async fn learners_are_promoted_when_they_are_ready() {
    let _alone = alone().await;
    let cluster = Cluster::start(3);
    // Any member may be asked.
    let asked = &cluster.servers[(cluster.leader().await + 1) % 3];
    let mut new = cluster.joiner("learner");
    let learner = add(asked, &new, true).await.unwrap();
    assert!(learner.is_learner);
    let not_ready = text(promote(asked, learner.id).await);
    let wanted = "etcdserver: can only promote a learner member which is in sync with leader";
    assert_eq!(not_ready, (Code::FailedPrecondition, wanted.to_owned()));
    let second = text(add(asked, &cluster.joiner("second"), true).await);
    let wanted = "etcdserver: too many learner members in cluster";
    assert_eq!(second, (Code::FailedPrecondition, wanted.to_owned()));
    let peer_ur_ls = vec![new.peer_url(), "http://127.0.0.1:1".to_owned()];
    let same = MemberAddRequest { peer_ur_ls, is_learner: false };
    let same = text(asked.client().await.cluster().member_add(same).await);
    let wanted = "etcdserver: Peer URLs already exists";
    assert_eq!(same, (Code::FailedPrecondition, wanted.to_owned()));
    let bad = MemberAddRequest { peer_ur_ls: vec!["h:1".to_owned()], is_learner: false };
    let bad = text(asked.client().await.cluster().member_add(bad).await);
    let wanted = "etcdserver: given member URLs are invalid";
    assert_eq!(bad, (Code::InvalidArgument, wanted.to_owned()));

    new.launch();
    assert!(status(&new).await.is_learner);
    let client = new.client().await;
    let not_here = "etcdserver: rpc not supported for learner";
    for request in [Request::Put(put("k", "v")), Request::Range(get("k"))] {
        let refused = send(&client, &request).await.unwrap_err();
        assert_eq!(refused, (Code::FailedPrecondition, not_here.to_owned()));
    }
    let serializable = RangeRequest { serializable: true, ..get("k") };
    send(&client, &Request::Range(serializable)).await.unwrap();
    promote(asked, learner.id).await.unwrap();
    assert!(!list(asked).await.iter().any(|member| member.is_learner));
    let again = text(promote(asked, learner.id).await);
    let wanted = "etcdserver: can only promote a learner member";
    assert_eq!(again, (Code::FailedPrecondition, wanted.to_owned()));
    let nobody = text(promote(asked, 7).await);
    assert_eq!(nobody, (Code::NotFound, "etcdserver: member not found".to_owned()));
}

/// A learner that stands still falls behind, and is not promoted before it is back.
#[tokio::test]
async fn a_learner_that_lags_is_not_promoted() {
    let _alone = alone().await;
    let cluster = Cluster::start(3);
    let asked = &cluster.servers[cluster.leader().await];
    let mut new = cluster.joiner("learner");
    let learner = add(asked, &new, true).await.unwrap();
    new.launch();
    new.signal(Signal::STOP);
    let client = asked.client().await;
    for n in 0..300 {
        send(&client, &Request::Put(put("k", format!("{n}")))).await.unwrap();
    }
    let not_ready = text(promote(asked, learner.id).await);
    let wanted = "etcdserver: can only promote a learner member which is in sync with leader";
    assert_eq!(not_ready, (Code::FailedPrecondition, wanted.to_owned()));
    new.signal(Signal::CONT);
    let start = now();
    while let Err(status) = promote(asked, learner.id).await {
        assert_eq!(status.message(), wanted);
        assert!(start.elapsed() < START_BOUND, "it never catches up");
    }
    assert_eq!(list(asked).await.iter().filter(|member| !member.is_learner).count(), 4);
}

#[tokio::test]
async fn who_is_removed_ends_and_never_returns() {
    let _alone = alone().await;
    let mut cluster = Cluster::start(3);
    let leader = cluster.leader().await;
    // A follower first, then whoever leads the two that are left.
    for gone in [(leader + 1) % 3, leader] {
        let asked = (leader + 2) % 3;
        let id = status(&cluster.servers[gone]).await.header.unwrap().member_id;
        if gone == leader {
            // Two of two answer; the one that stays is a quorum of itself.
            remove(&cluster.servers[asked], id).await.unwrap();
        } else {
            remove(&cluster.servers[asked], id).await.unwrap();
            let nobody = text(remove(&cluster.servers[asked], id).await);
            assert_eq!(nobody, (Code::NotFound, "etcdserver: member not found".to_owned()));
        }
        let status = cluster.servers[gone].wait_end(END_BOUND).expect("it ends by itself");
        assert!(status.success(), "{status}");
        assert!(cluster.servers[gone].log().contains("permanently removed"));
        assert!(!list(&cluster.servers[asked]).await.iter().any(|member| member.id == id));
        // Its data does not bring it back.
        cluster.servers[gone].spawn();
        cluster.servers[gone].wait_end(END_BOUND).expect("it ends again");
        assert!(cluster.servers[gone].log().contains("permanently removed"));
        let client = cluster.servers[asked].client().await;
        send(&client, &Request::Put(put("k", "v"))).await.unwrap();
    }
    let last = status(&cluster.servers[(leader + 2) % 3]).await.header.unwrap().member_id;
    let refused = text(remove(&cluster.servers[(leader + 2) % 3], last).await);
    let wanted = "etcdserver: re-configuration failed due to not enough started members";
    assert_eq!(refused, (Code::Unknown, wanted.to_owned()));
}

#[tokio::test]
async fn strict_checks_protect_the_quorum() {
    let _alone = alone().await;
    let mut cluster = Cluster::start(3);
    let leader = cluster.leader().await;
    let (down, up) = ((leader + 1) % 3, (leader + 2) % 3);
    let mut ids = Vec::new();
    for server in &cluster.servers {
        ids.push(status(server).await.header.unwrap().member_id);
    }
    cluster.servers[down].kill();
    // Who has not answered for an election timeout is down.
    tokio::time::sleep(NOTICED).await;
    let unhealthy = (Code::Unavailable, "etcdserver: unhealthy cluster".to_owned());
    let stranger = Server::prepare(Kind::subject(), &[]);
    assert_eq!(text(remove(&cluster.servers[leader], ids[up]).await), unhealthy);
    assert_eq!(text(add(&cluster.servers[up], &stranger, false).await), unhealthy);
    // Who is down may go.
    remove(&cluster.servers[up], ids[down]).await.unwrap();
    let client = cluster.servers[up].client().await;
    send(&client, &Request::Put(put("k", "v"))).await.unwrap();
}

#[tokio::test]
async fn a_member_moves_to_another_address() {
    let _alone = alone().await;
    let mut cluster = Cluster::start(3);
    let leader = cluster.leader().await;
    let moved = (leader + 1) % 3;
    let id = status(&cluster.servers[moved]).await.header.unwrap().member_id;
    cluster.servers[moved].kill();
    let other = Server::prepare(Kind::subject(), &[]);
    cluster.servers[moved].peer_port = other.peer_port;
    let peer_ur_ls = vec![cluster.servers[moved].peer_url()];
    let mut client = cluster.servers[leader].client().await.cluster();
    client.member_update(MemberUpdateRequest { id, peer_ur_ls }).await.unwrap();
    cluster.servers[moved].cluster = None;
    cluster.servers[moved].launch();
    let client = cluster.servers[moved].client().await;
    send(&client, &Request::Put(put("k", "v"))).await.unwrap();
    cluster.check_same_data().await;
}
