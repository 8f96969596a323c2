//! `kill -9` of one member and of all, under load.

use std::time::Duration;

use super::alone;
use super::checker::Checker;
use super::common::{Cluster, Rng, setting};
use super::history::History;
use super::load::{Load, Op};

/// Kills of a usual run.
const ROUNDS: u64 = 4;

/// Longest load before a kill, and while a member is away.
const LOAD_MILLIS_MAX: u64 = 300;

fn rounds() -> u64 {
    setting("KEELSON_CLUSTER_ROUNDS", ROUNDS)
}

pub(super) async fn work(rng: &mut Rng) {
    tokio::time::sleep(Duration::from_millis(100 + rng.below(LOAD_MILLIS_MAX))).await;
}

pub(super) fn acknowledged(ops: &[Op]) -> usize {
    ops.iter().filter(|op| op.acknowledged().is_some()).count()
}

/// What was told against what each member has.
pub(super) async fn check(cluster: &Cluster, checker: &mut Checker, ops: &[Op], asked: usize) {
    cluster.check_same_data().await;
    let client = cluster.servers[asked % cluster.servers.len()].client().await;
    let news = History::read(&client, checker.revision(), checker.state()).await;
    checker.check(ops, news);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_may_die_at_any_moment() {
    let _alone = alone().await;
    let seed = setting("KEELSON_KILL_SEED", 1);
    let mut rng = Rng::new(seed);
    let mut cluster = Cluster::start(3);
    let mut checker = Checker::new();
    let mut told = 0;
    for round in 0..rounds() {
        println!("seed {seed} round {round}: {told} writes acknowledged so far");
        let load = Load::start_on(&cluster.servers, rng.next(), round).await;
        work(&mut rng).await;
        let leader = cluster.leader().await;
        // The leader and followers in turn.
        let number = if round % 2 == 0 { leader } else { (leader + 1) % 3 };
        load.about_to_die();
        cluster.servers[number].kill();
        work(&mut rng).await;
        cluster.servers[number].launch();
        work(&mut rng).await;
        load.stop();
        let ops = load.join().await;
        told += acknowledged(&ops);
        check(&cluster, &mut checker, &ops, number).await;
    }
    assert!(u64::try_from(told).unwrap() > rounds() * 10, "{told} writes show little");
    checker.check_again(&cluster.servers[0].client().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_members_may_die_at_once() {
    let _alone = alone().await;
    let seed = setting("KEELSON_KILL_SEED", 1);
    let mut rng = Rng::new(seed);
    let mut cluster = Cluster::start(3);
    let mut checker = Checker::new();
    let mut told = 0;
    for round in 0..rounds() {
        println!("seed {seed} round {round}: {told} writes acknowledged so far");
        let load = Load::start_on(&cluster.servers, rng.next(), round).await;
        work(&mut rng).await;
        load.about_to_die();
        load.stop();
        cluster.kill();
        let ops = load.join().await;
        told += acknowledged(&ops);
        cluster.launch();
        check(&cluster, &mut checker, &ops, usize::try_from(round).unwrap()).await;
    }
    assert!(u64::try_from(told).unwrap() > rounds() * 10, "{told} writes show little");
    checker.check_again(&cluster.servers[0].client().await).await;
}
