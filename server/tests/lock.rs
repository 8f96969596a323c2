//! Locks and elections, beside real etcd: the same keys, answers and errors, and what etcd does not
//! promise: whoever waits learns of its own lease's end, and leaves no place behind.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic and tell")]

mod common;

use std::process::{Command, Stdio};
use std::time::Duration;

use common::requests::range;
use common::{Kind, Reply, Request, Server, etcd_program, send, within};
use keelson_api::client::Client;
use keelson_api::etcdserverpb::{LeaseGrantRequest, LeaseRevokeRequest};
use keelson_api::v3electionpb::{
    CampaignRequest, LeaderKey, LeaderRequest, ProclaimRequest, ResignRequest,
};
use keelson_api::v3lockpb::{LockRequest, UnlockRequest};
use tonic::Status;

/// Longest wait for something that must come.
const BOUND: Duration = Duration::from_secs(20);

fn both() -> [Server; 2] {
    [Server::start(Kind::subject()), Server::etcd()]
}

async fn grant(client: &Client, id: i64) -> i64 {
    let granted = client.lease().lease_grant(LeaseGrantRequest { id, ttl: 600 }).await;
    granted.unwrap().into_inner().id
}

async fn revoke(client: &Client, id: i64) {
    client.lease().lease_revoke(LeaseRevokeRequest { id }).await.unwrap();
}

fn lock(client: &Client, lease: i64) -> tokio::task::JoinHandle<Result<String, Status>> {
    let mut locks = client.lock();
    tokio::spawn(async move {
        let request = LockRequest { name: "lock".into(), lease };
        let locked = locks.lock(request).await?.into_inner();
        assert!(locked.header.unwrap().revision > 1);
        Ok(String::from_utf8(locked.key.to_vec()).unwrap())
    })
}

async fn unlock(client: &Client, key: &str) {
    let key = key.to_owned().into();
    client.lock().unlock(UnlockRequest { key }).await.unwrap();
}

/// The keys of the queue, oldest first.
async fn queue(client: &Client) -> Vec<String> {
    let Ok(Reply::Range(found)) = send(client, &Request::Range(range("lock/", "lock0"))).await
    else {
        panic!("the queue is not readable");
    };
    let mut kvs = found.kvs;
    kvs.sort_by_key(|kv| kv.create_revision);
    kvs.into_iter().map(|kv| String::from_utf8(kv.key.to_vec()).unwrap()).collect()
}

/// Waits until so many are in the queue.
async fn queued(client: &Client, count: usize) {
    let waiting = async {
        while queue(client).await.len() != count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    within(BOUND, "the queue's length", waiting).await;
}

#[tokio::test]
async fn a_lock_goes_from_hand_to_hand() {
    for server in both() {
        let client = server.client().await;
        for id in [10, 11, 12] {
            grant(&client, id).await;
        }
        assert_eq!(lock(&client, 10).await.unwrap().unwrap(), "lock/a");
        assert_eq!(lock(&client, 10).await.unwrap().unwrap(), "lock/a", "whoever has it has it");
        let second = lock(&client, 11);
        queued(&client, 2).await;
        let third = lock(&client, 12);
        queued(&client, 3).await;
        assert_eq!(queue(&client).await, ["lock/a", "lock/b", "lock/c"]);
        assert!(!second.is_finished() && !third.is_finished());
        unlock(&client, "lock/a").await;
        assert_eq!(within(BOUND, "the second", second).await.unwrap().unwrap(), "lock/b");
        assert!(!third.is_finished());
        // The end of the holder's lease unlocks as well.
        revoke(&client, 11).await;
        assert_eq!(within(BOUND, "the third", third).await.unwrap().unwrap(), "lock/c");
        unlock(&client, "lock/none").await;
        let unknown = lock(&client, 99).await.unwrap().unwrap_err();
        assert_eq!(unknown.message(), "etcdserver: requested lease not found", "{:?}", server.kind);
        // Without a lease the server makes one.
        unlock(&client, "lock/c").await;
        assert!(lock(&client, 0).await.unwrap().unwrap().starts_with("lock/"));
    }
}

#[tokio::test]
async fn who_waits_learns_of_its_leases_end() {
    for server in both() {
        let client = server.client().await;
        for id in [10, 11] {
            grant(&client, id).await;
        }
        lock(&client, 10).await.unwrap().unwrap();
        let waiting = lock(&client, 11);
        queued(&client, 2).await;
        revoke(&client, 11).await;
        if server.kind == Kind::Etcd {
            // It waits on for a lock that it will not get.
            unlock(&client, "lock/a").await;
        }
        let told = within(BOUND, "the end", waiting).await.unwrap().unwrap_err();
        assert_eq!(told.message(), "mutex: session is expired", "{:?}", server.kind);
    }
}

#[tokio::test]
async fn who_goes_away_while_waiting_leaves_the_queue() {
    for server in both() {
        let client = server.client().await;
        for id in [10, 11, 12] {
            grant(&client, id).await;
        }
        lock(&client, 10).await.unwrap().unwrap();
        let gone = lock(&client, 11);
        queued(&client, 2).await;
        let last = lock(&client, 12);
        queued(&client, 3).await;
        gone.abort();
        queued(&client, 2).await;
        unlock(&client, "lock/a").await;
        assert_eq!(within(BOUND, "the last", last).await.unwrap().unwrap(), "lock/c");
    }
}

fn campaign(
    client: &Client,
    lease: i64,
    value: &'static str,
) -> tokio::task::JoinHandle<Result<LeaderKey, Status>> {
    let mut elections = client.election();
    tokio::spawn(async move {
        let request = CampaignRequest { name: "lock".into(), lease, value: value.into() };
        Ok(elections.campaign(request).await?.into_inner().leader.unwrap())
    })
}

#[tokio::test]
async fn a_leader_announces_itself_and_resigns() {
    for server in both() {
        let client = server.client().await;
        let mut elections = client.election();
        let who = || LeaderRequest { name: "lock".into() };
        let nobody = elections.leader(who()).await.unwrap_err();
        assert_eq!(nobody.message(), "election: no leader", "{:?}", server.kind);
        let unnamed = ProclaimRequest { leader: None, value: "x".into() };
        let unnamed = elections.proclaim(unnamed).await.unwrap_err();
        assert_eq!(unnamed.message(), "\"leader\" field must be provided");
        for id in [10, 11] {
            grant(&client, id).await;
        }
        let first = campaign(&client, 10, "one").await.unwrap().unwrap();
        assert_eq!((&first.key[..], first.rev, first.lease), (&b"lock/a"[..], 2, 10));
        let mut observed = elections.observe(who()).await.unwrap().into_inner();
        let mut next = async || {
            let told = within(BOUND, "the leader", observed.message()).await.unwrap().unwrap();
            String::from_utf8(told.kv.unwrap().value.to_vec()).unwrap()
        };
        assert_eq!(next().await, "one");
        let second = campaign(&client, 11, "two");
        queued(&client, 2).await;
        let proclaim = |leader: &LeaderKey, value: &'static str| ProclaimRequest {
            leader: Some(leader.clone()),
            value: value.into(),
        };
        elections.proclaim(proclaim(&first, "one again")).await.unwrap();
        assert_eq!(next().await, "one again");
        let led = elections.leader(who()).await.unwrap().into_inner().kv.unwrap();
        assert_eq!((&led.key[..], &led.value[..]), (&b"lock/a"[..], &b"one again"[..]));
        elections.resign(ResignRequest { leader: Some(first.clone()) }).await.unwrap();
        let second = within(BOUND, "the second", second).await.unwrap().unwrap();
        assert_eq!(second.lease, 11);
        assert_eq!(next().await, "two");
        let late = elections.proclaim(proclaim(&first, "late")).await.unwrap_err();
        assert_eq!(late.message(), "election: not leader");
        // Who has resigned takes nothing from whoever came after.
        elections.resign(ResignRequest { leader: Some(first) }).await.unwrap();
        assert_eq!(queue(&client).await, ["lock/b"]);
        // Campaigning again announces anew.
        let again = campaign(&client, 11, "two again").await.unwrap().unwrap();
        assert_eq!(again.rev, second.rev);
        assert_eq!(next().await, "two again");
    }
}

/// What a command of etcdctl that ends by itself prints.
fn ctl(server: &Server, args: &[&str]) -> String {
    let output = Command::new(etcd_program("etcdctl"))
        .arg(format!("--endpoints={}", server.endpoint()))
        .args(args)
        .env_clear()
        .env("ETCDCTL_API", "3")
        .env("PATH", std::env::var_os("PATH").unwrap())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    format!("{:?} {}", output.status.code(), String::from_utf8_lossy(&text))
}

/// The lease in a key is drawn by chance.
fn masked(text: &str) -> String {
    let parts = text.split('/').map(|part| {
        let digits = part.chars().take_while(char::is_ascii_hexdigit).count();
        if digits > 10 { format!("<lease>{}", &part[digits..]) } else { part.to_owned() }
    });
    parts.collect::<Vec<_>>().join("/")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcdctl_locks_and_elects() {
    let servers = both();
    for args in [
        &["lock", "name", "--", "echo", "held"][..],
        &["lock", "name", "--", "sh", "-c", "echo $ETCD_LOCK_KEY $ETCD_LOCK_REV"],
        &["lock", "name", "--", "sh", "-c", "exit 3"],
        &["lock", "--ttl=5", "name", "--", "true"],
        &["get", "--prefix", "name/"],
        &["elect", "-l", "--command-timeout=1s", "--help"],
    ] {
        let [ours, theirs] = [&servers[0], &servers[1]].map(|server| masked(&ctl(server, args)));
        println!("etcdctl {args:?}: {theirs}");
        assert_eq!(ours, theirs, "{args:?}");
    }
    // A campaign of etcdctl's stands in the same queue as one of the service.
    for server in &servers {
        let client = server.client().await;
        grant(&client, 10).await;
        campaign(&client, 10, "service").await.unwrap().unwrap();
        let mut child = Command::new(etcd_program("etcdctl"))
            .arg(format!("--endpoints={}", server.endpoint()))
            .args(["elect", "lock", "etcdctl"])
            .env_clear()
            .env("ETCDCTL_API", "3")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        queued(&client, 2).await;
        revoke(&client, 10).await;
        let mut elections = client.election();
        let elected = async {
            loop {
                let led = elections.leader(LeaderRequest { name: "lock".into() }).await;
                let led = led.unwrap().into_inner().kv.unwrap();
                if led.value == "etcdctl" {
                    return;
                }
            }
        };
        within(BOUND, "etcdctl's election", elected).await;
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
