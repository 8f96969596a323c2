//! Members that stand still and wake up, which nobody is told of.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use keelson_api::client::Client;
use keelson_api::etcdserverpb::RangeRequest;
use rustix::process::Signal;
use tokio::task::JoinHandle;
use tonic::Code;

use super::alone;
use super::common::requests::{get, put};
use super::common::{Cluster, Reply, Request, send, setting, status, within};
use super::membership::{remove, text};

/// How long the leader stands still.
const STANDSTILL: Duration = Duration::from_secs(10);

/// How long a follower does.
const SHORT_STANDSTILL: Duration = Duration::from_secs(1);

/// Between two requests of one client, which does not wait for the answer to the first.
const ASK_EVERY: Duration = Duration::from_millis(20);

/// Large enough that a member that wakes up is busy with what it has missed when it gets an index
/// to read at.
const VALUE_BYTES: usize = 32 << 10;

/// A request takes 5 s and two election timeouts at the most, counted from when the member that was
/// asked is awake.
const REQUEST_BOUND: Duration = Duration::from_secs(40);

/// Writers and readers, and the newest revision that any of them was told of: no read that begins
/// later may be older.
struct Witness {
    newest: Arc<AtomicI64>,
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<u64>>,
}

impl Witness {
    fn new() -> Self {
        Self { newest: Arc::default(), stop: Arc::default(), tasks: Vec::new() }
    }

    /// Writes all the time, what fails may have been written; has all members read what has just
    /// been written.
    fn write(&mut self, client: Client, readers: &[Client]) {
        let readers = readers.to_vec();
        self.keep_asking(client, move |client, newest| {
            let readers = readers.clone();
            async move {
                let put = Request::Put(put("k", vec![b'v'; VALUE_BYTES]));
                let reply = within(REQUEST_BOUND, "a write", send(&client, &put)).await;
                let Ok(reply) = reply else { return false };
                newest.fetch_max(reply.header().revision, Ordering::SeqCst);
                let reads = readers.into_iter().map(|reader| read(reader, Arc::clone(&newest)));
                futures_util::future::join_all(reads).await;
                true
            }
        });
    }

    fn read(&mut self, client: Client) {
        self.keep_asking(client, read);
    }

    /// Asks again and again on one connection, whether or not there is an answer.
    fn keep_asking<F>(
        &mut self,
        client: Client,
        ask: impl Fn(Client, Arc<AtomicI64>) -> F + Send + 'static,
    ) where
        F: Future<Output = bool> + Send + 'static,
    {
        let (newest, stop) = (Arc::clone(&self.newest), Arc::clone(&self.stop));
        self.tasks.push(tokio::spawn(async move {
            let mut asked = Vec::new();
            while !stop.load(Ordering::SeqCst) {
                asked.push(tokio::spawn(ask(client.clone(), Arc::clone(&newest))));
                tokio::time::sleep(ASK_EVERY).await;
            }
            let mut answered = 0;
            for asked in asked {
                answered += u64::from(asked.await.expect("no read is stale"));
            }
            answered
        }));
    }

    /// How much each of them was answered.
    async fn end(self) -> Vec<u64> {
        self.stop.store(true, Ordering::SeqCst);
        let mut answered = Vec::new();
        for task in self.tasks {
            answered.push(task.await.expect("no read is stale"));
        }
        answered
    }
}

/// Whether a read was answered, which it must not be with what was.
async fn read(client: Client, newest: Arc<AtomicI64>) -> bool {
    let told = newest.load(Ordering::SeqCst);
    let request = Request::Range(RangeRequest { keys_only: true, ..get("k") });
    let reply = within(REQUEST_BOUND, "a read", send(&client, &request));
    let Ok(Reply::Range(found)) = reply.await else { return false };
    let member = found.header.unwrap().member_id;
    let changed = found.kvs.first().map_or(0, |kv| kv.mod_revision);
    assert!(changed >= told, "member {member:x} read {changed}, {told} was known before");
    newest.fetch_max(changed, Ordering::SeqCst);
    true
}

/// Whoever woke up has requests in its sockets that were sent while others went on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_read_is_stale_whoever_stands_still() {
    let _alone = alone().await;
    let cluster = Cluster::start(3);
    for _ in 0..setting("KEELSON_CLUSTER_ROUNDS", 1) {
        let leader = cluster.leader().await;
        let followers = [(leader + 1) % 3, (leader + 2) % 3];
        let clients = cluster.clients().await;
        let mut witness = Witness::new();
        for number in followers {
            witness.write(clients[number].clone(), &clients);
        }
        for client in &clients {
            witness.read(client.clone());
        }
        for (number, time) in [
            (followers[0], SHORT_STANDSTILL),
            (followers[1], SHORT_STANDSTILL),
            (leader, STANDSTILL),
        ] {
            tokio::time::sleep(SHORT_STANDSTILL / 2).await;
            cluster.servers[number].signal(Signal::STOP);
            tokio::time::sleep(time).await;
            cluster.servers[number].signal(Signal::CONT);
        }
        tokio::time::sleep(SHORT_STANDSTILL).await;
        let answered = within(2 * REQUEST_BOUND, "the end", witness.end()).await;
        assert!(answered.iter().all(|answered| *answered > 20), "{answered:?} show little");
    }
    cluster.check_same_data().await;
}

/// The leader has not noticed that one is down when it is to remove the other.
#[tokio::test]
async fn a_removal_that_would_cost_the_quorum_is_refused_at_once() {
    let _alone = alone().await;
    let cluster = Cluster::start(3);
    let leader = cluster.leader().await;
    let (down, up) = ((leader + 1) % 3, (leader + 2) % 3);
    let id = status(&cluster.servers[up]).await.header.unwrap().member_id;
    let own = status(&cluster.servers[leader]).await.header.unwrap().member_id;
    let client = cluster.servers[leader].client().await;
    let unhealthy = (Code::Unavailable, "etcdserver: unhealthy cluster".to_owned());
    for gone in [id, own] {
        send(&client, &Request::Put(put("k", "before"))).await.unwrap();
        cluster.servers[down].signal(Signal::STOP);
        assert_eq!(text(remove(&cluster.servers[leader], gone).await), unhealthy);
        // Two of three go on, as if nobody had asked.
        send(&client, &Request::Put(put("k", "meanwhile"))).await.unwrap();
        cluster.servers[down].signal(Signal::CONT);
        assert_eq!(cluster.leader().await, leader);
    }
    send(&client, &Request::Put(put("k", "after"))).await.unwrap();
    cluster.check_same_data().await;
    // With everybody there it is made.
    remove(&cluster.servers[leader], id).await.unwrap();
    send(&client, &Request::Put(put("k", "of two"))).await.unwrap();
}
