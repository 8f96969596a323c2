//! The program as operators meet it: its first start, its later ones, its command line.

#![allow(clippy::unwrap_used, reason = "a test may panic and tell")]

mod common;

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use common::requests::{get, put};
use common::{Kind, Reply, Request, Server, poll, send};
use keelson_api::client::Client;
use keelson_api::etcdserverpb::MemberListRequest;

/// Longest wait for a process that should end by itself.
const STOP_BOUND: Duration = Duration::from_secs(10);

/// Cluster and member, from the header of a response.
async fn ids(client: &Client) -> (u64, u64) {
    let reply = send(client, &Request::Range(get("k"))).await.unwrap();
    (reply.header().cluster_id, reply.header().member_id)
}

async fn value(client: &Client, key: &'static str) -> String {
    let Ok(Reply::Range(reply)) = send(client, &Request::Range(get(key))).await else {
        panic!("{key} is not readable");
    };
    String::from_utf8(reply.kvs[0].value.to_vec()).unwrap()
}

#[tokio::test]
async fn ids_are_those_that_etcd_would_have() {
    let mut etcd = Server::start_with(Kind::Etcd, &["--initial-cluster-token=some-token"]);
    let theirs = ids(&etcd.client().await).await;
    etcd.kill();
    let mut keelson = Server::prepare(Kind::subject(), &["--initial-cluster-token=some-token"]);
    (keelson.client_port, keelson.peer_port) = (etcd.client_port, etcd.peer_port);
    keelson.launch();
    assert_eq!(ids(&keelson.client().await).await, theirs);
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "the server is not running")]
async fn a_store_without_its_log_is_not_served() {
    let mut server = Server::start(Kind::Keelson);
    let client = server.client().await;
    send(&client, &Request::Put(put("k", "kept"))).await.unwrap();
    server.terminate(STOP_BOUND).expect("it ends");
    let wal = server.data_dir.join("member").join("wal");
    let kept = server.folder().join("kept");
    std::fs::rename(&wal, &kept).unwrap();
    let refused = server.try_launch().expect_err("the log is gone");
    assert!(refused.status.is_some_and(|status| !status.success()), "{}", refused.log);
    assert!(refused.log.contains("the log ends at 0"), "{}", refused.log);

    std::fs::remove_dir_all(&wal).unwrap();
    std::fs::rename(&kept, &wal).unwrap();
    server.launch();
    assert_eq!(value(&server.client().await, "k").await, "kept");
}

#[tokio::test]
async fn a_restart_keeps_data_and_ids_and_ignores_the_flags_of_the_first_start() {
    let mut server = Server::start_with(Kind::subject(), &["--initial-cluster-token=first"]);
    let client = server.client().await;
    let first = send(&client, &Request::Put(put("k", "kept"))).await.unwrap();
    let before = ids(&client).await;
    server.terminate(STOP_BOUND).expect("it ends");
    server.flags = vec!["--initial-cluster-token=second".to_owned()];
    server.launch();
    assert_eq!(ids(&server.client().await).await, before, "another token");

    server.kill();
    "renamed".clone_into(&mut server.name);
    server.flags = vec!["--initial-cluster-state=existing".to_owned()];
    server.launch();
    let client = server.client().await;
    assert_eq!(ids(&client).await, before, "another name and state");
    assert_eq!(value(&client, "k").await, "kept");
    let next = send(&client, &Request::Put(put("k", "new"))).await.unwrap();
    assert_eq!(next.header().revision, first.header().revision + 1);
    assert!(next.header().raft_term >= first.header().raft_term, "terms do not go back");
}

#[tokio::test]
async fn another_client_address_takes_effect() {
    let mut server = Server::start(Kind::subject());
    send(&server.client().await, &Request::Put(put("k", "kept"))).await.unwrap();
    server.kill();
    server.client_port = Server::prepare(Kind::subject(), &[]).client_port;
    server.launch();
    let client = server.client().await;
    assert_eq!(value(&client, "k").await, "kept");
    let bound = Duration::from_secs(10);
    let wanted = [format!("http://{}", server.endpoint())];
    let start = common::now();
    loop {
        let request = MemberListRequest { linearizable: true };
        let response = client.cluster().member_list(request).await.unwrap();
        let members = response.into_inner().members;
        if members.len() == 1 && members[0].client_ur_ls == wanted {
            break;
        }
        assert!(start.elapsed() < bound, "the member list shows {members:?}, not {wanted:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn etcds_own_folder_is_refused_and_left_alone() {
    let mut etcd = Server::start(Kind::Etcd);
    send(&etcd.client().await, &Request::Put(put("k", "etcd's"))).await.unwrap();
    etcd.terminate(STOP_BOUND).expect("etcd ends");
    let mut keelson = Server::prepare(Kind::Keelson, &[]);
    keelson.data_dir.clone_from(&etcd.data_dir);
    let refused = keelson.try_launch().expect_err("the folder is not ours");
    assert!(refused.status.is_some_and(|status| status.code() == Some(1)), "{:?}", refused.status);
    let folder = etcd.data_dir.display().to_string();
    assert!(refused.log.contains(&folder) && refused.log.contains("etcd"), "{}", refused.log);
    etcd.launch();
    assert_eq!(value(&etcd.client().await, "k").await, "etcd's");
}

/// Runs the program until it ends by itself.
fn run(program: &Path, args: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("out");
    let out = std::fs::File::create(&log).unwrap();
    let mut child = Command::new(program)
        .args(args)
        .env_clear()
        .current_dir(folder.path())
        .stdout(out.try_clone().unwrap())
        .stderr(out)
        .spawn()
        .unwrap();
    let status = poll(STOP_BOUND, || child.try_wait().unwrap());
    let Some(status) = status else {
        child.kill().unwrap();
        child.wait().unwrap();
        panic!("{args:?}: it does not end");
    };
    let left: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(left, std::slice::from_ref(&log), "{args:?}: it left something behind");
    Output { status, stdout: std::fs::read(log).unwrap(), stderr: Vec::new() }
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn the_version_is_that_of_the_etcd_it_stands_for() {
    let program = Kind::Keelson.program();
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("etcd");
    symlink(&program, &link).unwrap();
    for program in [&program, &link] {
        for flag in ["--version", "-version"] {
            let output = run(program, &[flag]);
            assert_eq!(output.status.code(), Some(0));
            let text = text(&output);
            assert_eq!(text.lines().next(), Some("etcd Version: 3.7.1"), "{text}");
            assert_eq!(text.lines().count(), 4, "{text}");
        }
    }
}

#[test]
fn mistakes_end_with_code_2_and_are_listed_together() {
    let program = Kind::Keelson.program();
    let output = run(&program, &["--no-such-flag"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output).contains("--no-such-flag"), "{}", text(&output));

    let output = run(
        &program,
        &[
            "--no-such-flag",
            "--max-txn-ops=many",
            "--heartbeat-interval=0",
            "--listen-client-urls=nonsense",
        ],
    );
    assert_eq!(output.status.code(), Some(2));
    let text = text(&output);
    for flag in ["--no-such-flag", "--max-txn-ops", "--heartbeat-interval", "--listen-client-urls"]
    {
        assert!(text.contains(flag), "{flag} is not named: {text}");
    }
}

#[test]
fn etcd_gives_the_same_code_for_an_unknown_flag() {
    assert_eq!(run(&Kind::Etcd.program(), &["--no-such-flag"]).status.code(), Some(2));
}

#[test]
fn a_port_in_use_is_named() {
    let first = Server::start(Kind::subject());
    let mut second = Server::prepare(Kind::subject(), &[]);
    second.client_port = first.client_port;
    let refused = second.try_launch().expect_err("the port is taken");
    let code = refused.status.and_then(|status| status.code());
    assert_eq!(code, Some(1), "{}", refused.log);
    let port = first.client_port.to_string();
    assert!(
        refused.log.contains(&port) && refused.log.to_lowercase().contains("in use"),
        "{}",
        refused.log
    );
}
