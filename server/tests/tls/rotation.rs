//! All certificates and their authority change while the cluster is in use.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Mutex;

use super::alone;
use super::channel::Trust;
use super::common::requests::{get, put};
use super::common::{Cluster, START_BOUND, Server, poll};
use super::pki::{Authority, Files, Wanted};

const MEMBERS: usize = 3;

/// Puts on one connection before a client makes another one.
const PUTS_PER_CONNECTION: u64 = 5;

struct Load {
    stop: Arc<AtomicBool>,
    puts: Arc<AtomicU64>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    /// For each server, a client that keeps its connection and one that makes a new one ever
    /// again, with what `trust` holds then. Any failure is a panic.
    fn start(servers: &[Server], trust: &Arc<Mutex<Trust>>) -> Self {
        let (stop, puts) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut tasks = Vec::new();
        for (number, server) in servers.iter().enumerate() {
            for keeps in [true, false] {
                let (stop, puts) = (Arc::clone(&stop), Arc::clone(&puts));
                let (trust, port) = (Arc::clone(trust), server.client_port);
                tasks.push(tokio::spawn(async move {
                    while !stop.load(Ordering::Relaxed) {
                        let trust = trust.lock().await.clone();
                        let mut kv = trust.kv(port).await.expect("a connection comes about");
                        let mut left = PUTS_PER_CONNECTION;
                        while !stop.load(Ordering::Relaxed) && (keeps || left > 0) {
                            left = left.saturating_sub(1);
                            let key = format!("{number}/{keeps}");
                            kv.put(put(key, "value")).await.expect("no request fails");
                            puts.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                }));
            }
        }
        Self { stop, puts, tasks }
    }

    /// Waits until there were many more puts, and that none has failed.
    async fn goes_on(&self) {
        let until = self.puts.load(Ordering::Relaxed) + 200;
        while self.puts.load(Ordering::Relaxed) < until {
            assert!(self.tasks.iter().all(|task| !task.is_finished()), "a client has failed");
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }

    async fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
    }
}

/// Waits until both sides of each server have taken so many changes.
fn taken(servers: &[Server], changes: usize) {
    for server in servers {
        let seen = || server.log().matches("new certificates are in use from here on").count();
        let all = poll(START_BOUND, || (seen() >= 2 * changes).then_some(()));
        assert!(all.is_some(), "{} changes, not {changes} of each side", seen());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_is_replaced_under_load_and_no_request_fails() {
    let _alone = alone().await;
    // Of one name, as is usual when an authority is renewed.
    let (old, new) = (Authority::new("the authority"), Authority::new("the authority"));
    let both = format!("{}{}", old.pem(), new.pem());
    let mut cluster = Cluster::prepare(MEMBERS, &[]);
    let mut files = Vec::new();
    for server in &mut cluster.servers {
        let own = Files::new(&old.pem(), &old.issue(&Wanted::default()));
        own.put("crl.pem", &old.revoke(&[77]));
        server.schemes = ("https", "https");
        server.flags.extend(own.flags(""));
        server.flags.extend(own.flags("peer-"));
        server.flags.push(format!("--peer-crl-file={}", own.path("crl.pem").display()));
        files.push(own);
    }
    cluster.introduce();
    cluster.launch();
    let old_client = old.issue(&Wanted { name: "client", ..Wanted::default() });
    let new_client = new.issue(&Wanted { name: "client", ..Wanted::default() });
    let trust = Arc::new(Mutex::new(Trust::new(&old.pem(), Some(&old_client))));
    let load = Load::start(&cluster.servers, &trust);
    load.goes_on().await;

    files.iter().for_each(|files| files.put("ca.pem", &both));
    trust.lock().await.ca.clone_from(&both);
    taken(&cluster.servers, 1);
    load.goes_on().await;

    files.iter().for_each(|files| files.put_identity(&new.issue(&Wanted::default())));
    trust.lock().await.identity = Some(new_client.clone());
    taken(&cluster.servers, 2);
    load.goes_on().await;

    files.iter().for_each(|files| files.put("ca.pem", &new.pem()));
    trust.lock().await.ca = new.pem();
    taken(&cluster.servers, 3);
    load.goes_on().await;
    load.stop().await;

    // Who comes with the old ones is a stranger now.
    let port = cluster.servers[0].client_port;
    let stranger = Trust::new(&new.pem(), Some(&old_client));
    let refused = match stranger.kv(port).await {
        Err(_) => true,
        Ok(mut kv) => kv.range(get("x")).await.is_err(),
    };
    assert!(refused, "the old authority counts no more");
    // And members find each other with the new ones.
    cluster.servers[1].kill();
    cluster.servers[1].launch();
    let mut kv =
        Trust::new(&new.pem(), Some(&new_client)).kv(cluster.servers[1].client_port).await.unwrap();
    kv.put(put("after", "value")).await.unwrap();
    assert_eq!(kv.range(get("after")).await.unwrap().into_inner().kvs.len(), 1);
}
