//! The version that the members agree on, and going back from it.

use std::io::{Read, Write};
use std::net::TcpListener;

use keelson_api::etcdserverpb::DowngradeRequest;
use keelson_api::etcdserverpb::downgrade_request::DowngradeAction;
use tonic::Code;

use super::alone;
use super::common::{Cluster, Kind, START_BOUND, Server, http_request, now, poll, status};

type Answer = Result<String, (Code, String)>;

async fn downgrade(asked: &Server, action: i32, version: &str) -> Answer {
    let request = DowngradeRequest { action, version: version.to_owned() };
    let answer = asked.client().await.maintenance().downgrade(request).await;
    let refused = |status: tonic::Status| (status.code(), status.message().to_owned());
    answer.map(|answer| answer.into_inner().version).map_err(refused)
}

fn page(endpoint: &str, path: &str) -> String {
    let answer = http_request(endpoint, "GET", path);
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body
}

/// Waits until every member says of a downgrade what it should.
async fn wait_downgrade(cluster: &Cluster, target: &str) {
    let start = now();
    for server in &cluster.servers {
        loop {
            let told = status(server).await.downgrade_info.unwrap();
            assert_eq!(told.enabled, !told.target_version.is_empty());
            let enabled = page(&server.peer_endpoint(), "/downgrade/enabled");
            if told.target_version == target && enabled == told.enabled.to_string() {
                break;
            }
            assert!(start.elapsed() < START_BOUND, "{told:?}, not {target:?}");
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }
}

#[tokio::test]
async fn members_agree_on_a_version_and_keep_it() {
    let _alone = alone().await;
    let mut cluster = Cluster::start(3);
    for restarted in [false, true] {
        if restarted {
            cluster.kill();
            cluster.launch();
        }
        for server in &cluster.servers {
            let agreed =
                || page(&server.peer_endpoint(), "/version").contains("3.7.0").then_some(());
            poll(START_BOUND, agreed).expect("they agree");
            let shown = page(&server.endpoint(), "/version");
            let own = "{\"etcdserver\":\"3.7.1\",\"etcdcluster\":\"3.7.0\",\"storage\":\"3.7.0\"}";
            assert_eq!(shown, own);
            assert_eq!(status(server).await.storage_version, "3.7.0");
            let metrics = page(&server.endpoint(), "/metrics");
            let line = "etcd_cluster_version{cluster_version=\"3.7\"} 1";
            assert!(metrics.contains(line), "{line} is not there");
        }
    }
}

#[tokio::test]
async fn a_downgrade_is_begun_and_called_off() {
    let _alone = alone().await;
    let mut cluster = Cluster::start(3);
    let [validate, enable, cancel] =
        [DowngradeAction::Validate, DowngradeAction::Enable, DowngradeAction::Cancel]
            .map(i32::from);
    let refused = |code, text: &str| Err((code, format!("etcdserver: {text}")));
    let format = || refused(Code::InvalidArgument, "wrong downgrade target version format");
    let target = || refused(Code::InvalidArgument, "invalid downgrade target version");
    let running = || refused(Code::FailedPrecondition, "cluster has a downgrade job in progress");
    let none = || refused(Code::FailedPrecondition, "no inflight downgrade job");
    let now: Answer = Ok("3.7".to_owned());
    let asked = &cluster.servers[0];
    for (action, version, answer) in [
        (validate, "3.6.0", now.clone()),
        (validate, "3.6", now.clone()),
        (validate, "3.6.9", now.clone()),
        (validate, "3", format()),
        (validate, "", format()),
        (validate, "v3.6.0", format()),
        (validate, "3.7.0", target()),
        (validate, "3.5.0", target()),
        (validate, "3.8.0", target()),
        (enable, "3.6.x", format()),
        (enable, "3.5.0", target()),
        (cancel, "", none()),
        (cancel, "what", none()),
        (7, "what", refused(Code::Unknown, "unknown method")),
        (enable, "3.6.4", now.clone()),
        (validate, "3.6.0", running()),
        (enable, "3.6.0", running()),
        (enable, "3.5.0", target()),
    ] {
        let given = downgrade(asked, action, version).await;
        assert_eq!(given, answer, "action {action} of {version:?}");
    }
    wait_downgrade(&cluster, "3.6.0").await;
    // It goes on after all were gone, and while the members are newer than its target. Nothing is
    // replayed after a clean stop.
    for server in &mut cluster.servers {
        server.terminate(START_BOUND).expect("it ends");
    }
    cluster.launch();
    wait_downgrade(&cluster, "3.6.0").await;
    assert_eq!(downgrade(&cluster.servers[1], cancel, "").await, now);
    wait_downgrade(&cluster, "").await;
    assert_eq!(downgrade(&cluster.servers[2], cancel, "").await, none());
}

/// Answers on a peer URL as a member of a newer cluster would.
fn newer_cluster(listener: TcpListener, members: String) {
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut head = Vec::new();
            let mut buffer = [0; 1024];
            while !head.ends_with(b"\r\n\r\n") {
                match stream.read(&mut buffer) {
                    Ok(read) if read > 0 => head.extend_from_slice(&buffer[..read]),
                    _ => break,
                }
            }
            let head = String::from_utf8_lossy(&head);
            let version = "{\"etcdserver\":\"3.9.2\",\"etcdcluster\":\"3.9.0\"}";
            let body = if head.contains("/members") { &members } else { version };
            let answer = format!(
                "HTTP/1.1 200 OK\r\nX-Etcd-Cluster-Id: abc\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            // Whoever asked may have gone.
            stream.write_all(answer.as_bytes()).ok();
        }
    });
}

#[tokio::test]
async fn a_server_that_is_too_old_does_not_join() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let other = format!("http://{}", listener.local_addr().unwrap());
    let mut old = Server::prepare(Kind::subject(), &["--initial-cluster-state=existing"]);
    old.cluster = Some(format!("other={other},{}={}", old.name, old.peer_url()));
    let row = |id, url: &str| format!("{{\"id\":{id},\"peerURLs\":[\"{url}\"]}}");
    newer_cluster(listener, format!("[{},{}]", row(1, &other), row(2, &old.peer_url())));
    let refused = old.try_launch().expect_err("it must not start");
    let told = "cannot join a cluster that has agreed on 3.9.0";
    assert!(refused.log.contains(told), "{}", refused.log);
    assert!(!old.data_dir.join("member").join("identity").exists(), "it is nobody");
}
