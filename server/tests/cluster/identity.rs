//! Members of other clusters, other members' data and lost data stay outside.

use std::time::Duration;

use super::alone;
use super::common::requests::put;
use super::common::{Cluster, Request, send};

/// Long enough for a member to ask all others several times.
const WATCHED: Duration = Duration::from_secs(2);

#[tokio::test]
async fn a_member_with_another_token_stays_outside() {
    let _alone = alone().await;
    let mut cluster = Cluster::prepare(3, &[]);
    cluster.servers[2].flags = vec!["--initial-cluster-token=another".to_owned()];
    cluster.servers.iter_mut().for_each(super::common::Server::spawn);
    for number in [0, 1] {
        cluster.servers[number].wait_ready();
    }
    cluster.servers[2].wait_log("foreign-cluster");
    let client = cluster.servers[0].client().await;
    send(&client, &Request::Put(put("k", "v"))).await.unwrap();
    tokio::time::sleep(WATCHED).await;
    assert!(!cluster.servers[2].log().contains("ready to serve"), "it has no quorum");
    // Said when it begins, not with every message.
    let lines = cluster.servers[0].log();
    let said = lines.lines().filter(|line| line.contains("refusing messages")).count();
    assert!((1..=2).contains(&said), "{said} lines:\n{lines}");
}

#[tokio::test]
async fn the_data_of_another_member_is_refused() {
    let _alone = alone().await;
    let mut cluster = Cluster::start(3);
    send(&cluster.servers[0].client().await, &Request::Put(put("k", "v"))).await.unwrap();
    cluster.check_same_data().await;
    for server in &mut cluster.servers {
        server.terminate(Duration::from_secs(5)).expect("it ends");
    }
    let (mine, theirs) = (cluster.servers[0].data_dir.clone(), cluster.servers[1].data_dir.clone());
    cluster.servers[0].data_dir = theirs;
    let refused = cluster.servers[0].try_launch().expect_err("it must not start");
    assert!(refused.status.is_some_and(|status| !status.success()), "{refused:?}");
    assert!(refused.log.contains("is the data directory of member"), "{}", refused.log);
    cluster.servers[0].data_dir = mine;
    cluster.launch();
    cluster.check_same_data().await;
}

/// Under its old id it would break the promises that its votes and entries were.
#[tokio::test]
async fn a_member_that_lost_its_data_is_refused() {
    let _alone = alone().await;
    let mut cluster = Cluster::start(3);
    cluster.servers[1].kill();
    std::fs::remove_dir_all(&cluster.servers[1].data_dir).unwrap();
    for flags in [vec![], vec!["--initial-cluster-state=existing".to_owned()]] {
        cluster.servers[1].flags = flags;
        let refused = cluster.servers[1].try_launch().expect_err("it must not start");
        assert!(refused.log.contains("has already been bootstrapped"), "{}", refused.log);
    }
}

#[tokio::test]
async fn nobody_joins_who_was_not_added() {
    let _alone = alone().await;
    let cluster = Cluster::start(3);
    let mut stranger = cluster.joiner("stranger");
    let refused = stranger.try_launch().expect_err("it must not start");
    assert!(refused.log.contains("add this member there first"), "{}", refused.log);
}
