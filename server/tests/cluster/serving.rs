//! Any member serves any client.

use std::time::Duration;

use keelson_api::etcdserverpb::{MemberListRequest, RangeRequest};

use super::alone;
use super::common::requests::{all, get, put};
use super::common::{Cluster, Reply, Request, http_request, send, status};

/// Longer than two members need to look for a third one in vain.
const HEAD_START: Duration = Duration::from_millis(300);

#[tokio::test]
async fn members_start_in_any_order_and_serve_all_clients() {
    let _alone = alone().await;
    let mut cluster = Cluster::prepare(3, &[]);
    for number in [2, 0, 1] {
        cluster.servers[number].spawn();
        tokio::time::sleep(HEAD_START).await;
    }
    cluster.servers.iter_mut().for_each(super::common::Server::wait_ready);
    let clients = cluster.clients().await;
    for (number, client) in clients.iter().enumerate() {
        let key = format!("key-{number}");
        let reply = send(client, &Request::Put(put(key.clone(), "value"))).await.unwrap();
        let own = status(&cluster.servers[number]).await.header.unwrap().member_id;
        assert_eq!(reply.header().member_id, own, "whoever is asked answers");
        // Linearizable everywhere at once, its own client first.
        for reader in clients.iter().skip(number).chain(clients.iter().take(number)) {
            let Ok(Reply::Range(found)) = send(reader, &Request::Range(get(key.clone()))).await
            else {
                panic!("{key} is not readable");
            };
            assert_eq!(found.kvs.len(), 1, "{key}");
            assert!(found.header.unwrap().revision >= reply.header().revision);
        }
    }
    cluster.check_same_data().await;
}

#[tokio::test]
async fn all_members_list_the_same_members() {
    let _alone = alone().await;
    let cluster = Cluster::start(3);
    let mut lists = Vec::new();
    for (server, client) in cluster.servers.iter().zip(cluster.clients().await) {
        let request = MemberListRequest { linearizable: true };
        let list = client.cluster().member_list(request).await.unwrap().into_inner();
        assert_eq!(list.header.unwrap().revision, 0);
        lists.push(list.members);
        // What members that want to join read.
        let members = http_request(&server.peer_endpoint(), "GET", "/members");
        let rows: serde_json::Value = serde_json::from_str(&members.body).unwrap();
        assert_eq!(rows.as_array().unwrap().len(), 3);
        let version = http_request(&server.peer_endpoint(), "GET", "/version");
        let version: serde_json::Value = serde_json::from_str(&version.body).unwrap();
        assert!(version["etcdserver"].is_string(), "{version}");
    }
    assert!(lists.iter().all(|list| *list == lists[0]), "{lists:?}");
    let mut ids: Vec<_> = lists[0].iter().map(|member| member.id).collect();
    ids.sort_unstable();
    assert_eq!(ids, lists[0].iter().map(|member| member.id).collect::<Vec<_>>(), "sorted");
    for member in &lists[0] {
        let server = cluster.servers.iter().find(|server| server.name == member.name).unwrap();
        assert_eq!(member.peer_ur_ls, [server.peer_url()]);
        assert_eq!(member.client_ur_ls, [format!("http://{}", server.endpoint())]);
        assert!(!member.is_learner);
    }
}

#[tokio::test]
async fn a_follower_that_was_away_catches_up() {
    let _alone = alone().await;
    let mut cluster = Cluster::start(3);
    let leader = cluster.leader().await;
    let follower = (leader + 1) % 3;
    cluster.servers[follower].kill();
    let client = cluster.servers[leader].client().await;
    for n in 0..300 {
        let value = vec![b'v'; 10_000];
        send(&client, &Request::Put(put(format!("key-{n:03}"), value))).await.unwrap();
    }
    cluster.servers[follower].launch();
    let client = cluster.servers[follower].client().await;
    let request = RangeRequest { serializable: true, ..all() };
    let Ok(Reply::Range(found)) = send(&client, &Request::Range(request)).await else {
        panic!("it does not serve");
    };
    // It said that it serves after it had caught up with what was committed then.
    assert_eq!(found.kvs.len(), 300);
    cluster.check_same_data().await;
}
