//! A cluster grows and shrinks under load, and nobody notices.

use std::time::Duration;

use super::alone;
use super::checker::Checker;
use super::common::{Cluster, Rng, Server, setting, status};
use super::history::History;
use super::load::{Load, Op};
use super::membership::{END_BOUND, add, list, remove, wait_voter};

/// Load between two changes.
const PAUSE: Duration = Duration::from_millis(200);

async fn grow(cluster: &mut Cluster, name: &str) {
    let mut new = cluster.joiner(name);
    // Whoever is asked, the leader decides.
    let asked = cluster.servers.len() / 2;
    let member = add(&cluster.servers[asked], &new, false).await.unwrap();
    new.launch();
    cluster.servers.push(new);
    wait_voter(cluster, member.id).await;
    tokio::time::sleep(PAUSE).await;
}

/// Removes a member, which ends by itself.
async fn shrink(cluster: &mut Cluster, number: usize) -> Server {
    let mut gone = cluster.servers.remove(number);
    let id = status(&gone).await.header.unwrap().member_id;
    remove(&cluster.servers[0], id).await.unwrap();
    let status = gone.wait_end(END_BOUND).expect("it ends by itself");
    assert!(status.success(), "{status}");
    assert!(gone.log().contains("permanently removed"), "{}", gone.log_tail());
    assert!(!list(&cluster.servers[0]).await.iter().any(|member| member.id == id));
    tokio::time::sleep(PAUSE).await;
    gone
}

struct Watch {
    checker: Checker,
    told: usize,
}

impl Watch {
    async fn check(&mut self, cluster: &Cluster, load: Load) {
        load.stop();
        let ops = load.join().await;
        self.told += ops.iter().filter(|op: &&Op| op.acknowledged().is_some()).count();
        cluster.check_same_data().await;
        let client = cluster.servers[0].client().await;
        let news = History::read(&client, self.checker.revision(), self.checker.state()).await;
        self.checker.check(&ops, news);
    }
}

/// No request of a client of a member that stays fails at any time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_becomes_five_and_five_become_three() {
    let _alone = alone().await;
    let mut rng = Rng::new(setting("KEELSON_KILL_SEED", 1));
    let mut cluster = Cluster::start(1);
    let mut watch = Watch { checker: Checker::new(), told: 0 };
    let load = Load::start_on(&cluster.servers, rng.next(), 0).await;
    grow(&mut cluster, "m1").await;
    grow(&mut cluster, "m2").await;
    watch.check(&cluster, load).await;

    let load = Load::start_on(&cluster.servers, rng.next(), 1).await;
    grow(&mut cluster, "m3").await;
    grow(&mut cluster, "m4").await;
    watch.check(&cluster, load).await;

    // The leader goes first, then one that follows the next leader.
    let leader = cluster.leader().await;
    cluster.servers.swap(3, leader);
    let load = Load::start_on(&cluster.servers[..3], rng.next(), 2).await;
    shrink(&mut cluster, 3).await;
    let next = cluster.leader().await;
    assert_ne!(next, cluster.servers.len(), "somebody leads");
    shrink(&mut cluster, 3).await;
    watch.check(&cluster, load).await;
    assert_eq!(list(&cluster.servers[1]).await.len(), 3);
    assert!(watch.told > 200, "{} writes show little", watch.told);
    watch.checker.check_again(&cluster.servers[2].client().await).await;
}
