//! Clusters whose members reach one another over TLS.

use std::time::Duration;

use super::alone;
use super::common::requests::{get, put};
use super::common::{Cluster, START_BOUND, now, status};
use super::pki::{Authority, Files, Wanted};

/// A cluster with mutual TLS among its members; clients come in clear text.
fn secured(members: usize) -> (Cluster, Authority, Vec<Files>) {
    let ca = Authority::new("ca");
    let mut cluster = Cluster::prepare(members, &[]);
    let mut all = Vec::new();
    for server in &mut cluster.servers {
        let files = Files::new(&ca.pem(), &ca.issue(&Wanted::default()));
        server.schemes.1 = "https";
        server.flags.extend(files.flags("peer-"));
        all.push(files);
    }
    cluster.introduce();
    (cluster, ca, all)
}

/// Writes at each member, and reads at all.
async fn use_it(cluster: &Cluster, round: &str) {
    let clients = cluster.clients().await;
    for (number, client) in clients.iter().enumerate() {
        client.kv().put(put(format!("{round}/{number}"), "value")).await.unwrap();
    }
    for client in &clients {
        for number in 0..clients.len() {
            let got = client.kv().range(get(format!("{round}/{number}"))).await.unwrap();
            assert_eq!(got.into_inner().kvs.len(), 1);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_replicate_over_mutual_tls_and_survive_a_kill() {
    let _alone = alone().await;
    let (mut cluster, _ca, _files) = secured(3);
    cluster.launch();
    use_it(&cluster, "all").await;
    let leader = cluster.leader().await;
    cluster.servers[leader].kill();
    let others: Vec<_> = (0..3).filter(|number| *number != leader).collect();
    cluster.leader_among(&others).await;
    let mut kv = cluster.servers[others[0]].client().await.kv();
    kv.put(put("two/0", "value")).await.unwrap();
    cluster.servers[leader].launch();
    use_it(&cluster, "again").await;
    cluster.check_same_data().await;
    // A large entry is many records of TLS, both ways.
    let large = vec![7_u8; 1 << 20];
    let follower = &cluster.servers[(cluster.leader().await + 1) % 3];
    follower.client().await.kv().put(put("large", large.clone())).await.unwrap();
    for client in cluster.clients().await {
        let got = client.kv().range(get("large")).await.unwrap().into_inner();
        assert_eq!(got.kvs[0].value, large);
    }
    for server in &cluster.servers {
        let log = server.log();
        // Whoever has no patience left, or is killed, closes what it has begun.
        let turned_away =
            |line: &&str| line.contains("turned away") && !line.contains("closed the connection");
        assert_eq!(log.lines().find(turned_away), None, "{}", server.log_tail());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_joins_asks_over_tls() {
    let _alone = alone().await;
    let (mut cluster, ca, _files) = secured(1);
    cluster.launch();
    use_it(&cluster, "alone").await;
    let files = Files::new(&ca.pem(), &ca.issue(&Wanted::default()));
    let mut joiner = cluster.joiner("m1");
    joiner.schemes.1 = "https";
    joiner.flags.extend(files.flags("peer-"));
    let list = joiner.cluster.as_ref().unwrap().replace("m1=http:", "m1=https:");
    joiner.cluster = Some(list);
    let request = keelson_api::etcdserverpb::MemberAddRequest {
        peer_ur_ls: vec![joiner.peer_url()],
        is_learner: false,
    };
    cluster.servers[0].client().await.cluster().member_add(request).await.unwrap();
    joiner.launch();
    cluster.servers.push(joiner);
    use_it(&cluster, "both").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_that_make_their_certificates_themselves() {
    let _alone = alone().await;
    let mut cluster = Cluster::prepare(3, &["--peer-auto-tls"]);
    cluster.servers.iter_mut().for_each(|server| server.schemes.1 = "https");
    cluster.introduce();
    cluster.launch();
    use_it(&cluster, "first").await;
    let kept = |cluster: &Cluster| -> Vec<_> {
        let file = |name: &str| {
            let read = |server: &super::common::Server| {
                std::fs::read(server.data_dir.join("fixtures/peer").join(name)).unwrap()
            };
            cluster.servers.iter().map(read).collect::<Vec<_>>()
        };
        [file("cert.pem"), file("key.pem")].concat()
    };
    let first = kept(&cluster);
    cluster.kill();
    cluster.launch();
    use_it(&cluster, "second").await;
    assert_eq!(kept(&cluster), first, "they are kept");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_in_clear_text_and_over_tls_know_one_another() {
    let _alone = alone().await;
    let (mut cluster, _ca, _files) = secured(3);
    // It can show a certificate, and listens without.
    cluster.servers[2].schemes.1 = "http";
    cluster.introduce();
    cluster.launch();
    use_it(&cluster, "mixed").await;
    assert!(cluster.servers[2].log().contains("no https URL to listen on"));
    cluster.check_same_data().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_certificate_is_shown_to_others_if_there_is_one() {
    let _alone = alone().await;
    let (mut cluster, ca, _files) = secured(2);
    // Good for listening alone, by the name that is demanded of those who connect.
    let shown = Files::new(&ca.pem(), &ca.issue(&Wanted { name: "shown", ..Wanted::default() }));
    for server in &mut cluster.servers {
        let file = |name: &str| super::pki::show(&shown.path(name));
        server.flags.push(format!("--peer-client-cert-file={}", file("cert.pem")));
        server.flags.push(format!("--peer-client-key-file={}", file("key.pem")));
        server.flags.push("--peer-cert-allowed-cn=shown,member".to_owned());
    }
    cluster.launch();
    use_it(&cluster, "shown").await;
    // One that demands it of listeners too does not get through.
    cluster.kill();
    for server in &mut cluster.servers {
        *server.flags.last_mut().unwrap() = "--peer-cert-allowed-cn=shown".to_owned();
    }
    cluster.servers[0].spawn();
    cluster.servers[1].spawn();
    cluster.servers[0].wait_log("its common name \\\"member\\\" is not allowed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_for_other_places_is_not_taken_unless_told_so() {
    let _alone = alone().await;
    let (mut cluster, ca, _files) = secured(2);
    // For the client's end; the listener's own is for here.
    let elsewhere = Wanted { hosts: &["10.9.8.7"], ..Wanted::default() };
    let shown = Files::new(&ca.pem(), &ca.issue(&elsewhere));
    for server in &mut cluster.servers {
        let file = |name: &str| super::pki::show(&shown.path(name));
        server.flags.push(format!("--peer-client-cert-file={}", file("cert.pem")));
        server.flags.push(format!("--peer-client-key-file={}", file("key.pem")));
    }
    cluster.servers[0].spawn();
    cluster.servers[1].spawn();
    cluster.servers[0].wait_log("which is not where it connects from");
    assert!(!cluster.servers[0].log().contains("ready to serve"));
    cluster.kill();
    for server in &mut cluster.servers {
        server.flags.push("--peer-skip-client-san-verification".to_owned());
    }
    cluster.launch();
    use_it(&cluster, "skipped").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stuck_handshake_of_a_member_is_given_up() {
    let _alone = alone().await;
    let (mut cluster, _ca, _files) = secured(3);
    // Takes connections, and never says a word.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    let taking = tokio::spawn(async move {
        let mut taken = Vec::new();
        loop {
            taken.push(silent.accept().await.unwrap());
        }
    });
    cluster.servers[2].peer_port = port;
    cluster.introduce();
    cluster.servers[0].spawn();
    cluster.servers[1].spawn();
    cluster.servers[0].wait_ready();
    cluster.servers[1].wait_ready();
    let start = now();
    while status(&cluster.servers[0]).await.leader == 0 {
        assert!(start.elapsed() < START_BOUND, "nobody leads");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut kv = cluster.servers[0].client().await.kv();
    kv.put(put("key", "value")).await.unwrap();
    taking.abort();
}
