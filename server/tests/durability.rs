//! What was acknowledged stays: `kill -9` under load, a clean stop, two processes, broken files.
//!
//! `KEELSON_KILL_ROUNDS` sets the number of kills (a night's run: 200 and more),
//! `KEELSON_KILL_SEED` another course.

#![allow(clippy::unwrap_used, reason = "a test may panic and tell")]

mod common;

#[allow(dead_code, reason = "another test file uses the rest")]
#[path = "durability/checker.rs"]
mod checker;
#[path = "durability/files.rs"]
mod files;
#[path = "durability/history.rs"]
mod history;
#[allow(dead_code, reason = "another test file uses the rest")]
#[path = "durability/load.rs"]
mod load;

use std::time::Duration;

use checker::Checker;
use common::requests::{all, compact, get, put};
use common::{Kind, Request, Rng, Server, now, send, setting};
use files::LogFile;
use history::History;
use keelson_api::client::Client;
use keelson_api::etcdserverpb::RangeRequest;
use load::Load;
use tokio::sync::Mutex;
use tonic::Code;

/// Kills of a usual run, about half a second each.
const ROUNDS: u64 = 30;

/// Longest load before a kill.
const LOAD_MILLIS_MAX: u64 = 200;

/// A stop is a matter of milliseconds; a second is what operators are promised.
const STOP_BOUND: Duration = Duration::from_secs(1);

/// The tests of this file look at times and load the disk: one at a time.
static ALONE: Mutex<()> = Mutex::const_new(());

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_nine_loses_nothing_acknowledged() {
    let _alone = ALONE.lock().await;
    let seed = setting("KEELSON_KILL_SEED", 1);
    let mut rng = Rng::new(seed);
    let mut server = Server::start(Kind::subject());
    let mut checker = Checker::new();
    let mut acknowledged = 0;
    for round in 0..setting("KEELSON_KILL_ROUNDS", ROUNDS) {
        println!("seed {seed} round {round}: {acknowledged} writes acknowledged so far");
        // The history up to here has been read; from time to time it goes.
        let compaction = (round % 10 == 9).then_some(checker.revision());
        let load = Load::start(&server, rng.next(), round, compaction).await;
        tokio::time::sleep(Duration::from_millis(rng.below(LOAD_MILLIS_MAX))).await;
        load.about_to_die();
        server.kill();
        let ops = load.join().await;
        acknowledged += ops.iter().filter(|op| op.acknowledged().is_some()).count();

        while rng.one_in(3) {
            // Killed again while it recovers.
            server.spawn();
            tokio::time::sleep(Duration::from_millis(rng.below(60))).await;
            server.kill();
        }
        server.launch();
        let client = server.client().await;
        if let Some(revision) = compaction {
            // Whether or not the kill came first, from here on it is compacted.
            let outcome = send(&client, &Request::Compact(compact(revision))).await;
            let again =
                (Code::OutOfRange, "etcdserver: mvcc: required revision has been compacted".into());
            assert!(outcome.is_ok() || outcome == Err(again), "{outcome:?}");
            checker.compacted(revision);
        }
        let news = History::read(&client, checker.revision(), checker.state()).await;
        checker.check(&ops, news);
    }
    let rounds = setting("KEELSON_KILL_ROUNDS", ROUNDS);
    assert!(
        u64::try_from(acknowledged).unwrap() > rounds * 10,
        "{acknowledged} writes show little"
    );
    // What was checked round by round is still what is there.
    let client = server.client().await;
    checker.check_again(&client).await;
}

#[tokio::test]
async fn a_clean_stop_is_quick_and_loses_nothing() {
    let _alone = ALONE.lock().await;
    let mut server = Server::start(Kind::subject());
    let client = server.client().await;
    // A second client that says nothing must not hold up the end.
    let idle = server.client().await;
    for n in 0..200 {
        send(&client, &Request::Put(put(format!("k{n}"), format!("v{n}")))).await.unwrap();
    }
    let before = state(&client).await;
    let status = server.terminate(STOP_BOUND).expect("it ends within a second");
    match server.kind {
        Kind::Keelson => assert_eq!(status.code(), Some(0), "{}", server.log_tail()),
        // etcd raises the signal again when it has cleaned up.
        Kind::Etcd => assert!(!status.success()),
    }
    drop(idle);
    server.launch();
    assert_eq!(state(&server.client().await).await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clean_stop_under_load_loses_nothing() {
    let _alone = ALONE.lock().await;
    let mut server = Server::start(Kind::subject());
    let mut checker = Checker::new();
    for round in 0..3 {
        let load = Load::start(&server, round, round, None).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        load.about_to_die();
        let start = now();
        server.terminate(10 * STOP_BOUND).expect("it ends");
        println!("it took {:?}", start.elapsed());
        let ops = load.join().await;
        server.launch();
        let client = server.client().await;
        checker.check(&ops, History::read(&client, checker.revision(), checker.state()).await);
    }
    assert!(checker.revision() > 10, "the load was a load");
}

/// Everything, with the revision.
async fn state(client: &Client) -> (i64, Vec<keelson_api::mvccpb::KeyValue>) {
    let response = client.kv().range(all()).await.unwrap().into_inner();
    (response.header.unwrap().revision, response.kvs)
}

#[tokio::test]
async fn a_second_process_on_the_same_folder_is_refused() {
    let _alone = ALONE.lock().await;
    let first = Server::start(Kind::Keelson);
    let client = first.client().await;
    send(&client, &Request::Put(put("k", "v"))).await.unwrap();
    let mut second = Server::prepare(Kind::Keelson, &[]);
    second.data_dir.clone_from(&first.data_dir);
    let refused = second.try_launch().expect_err("two processes on one folder");
    let code = refused.status.and_then(|status| status.code());
    assert!(code.is_some_and(|code| code != 0), "it ends by itself: {:?}", refused.status);
    let folder = first.data_dir.display().to_string();
    let says = refused.log.contains(&folder) && refused.log.contains("locked by process");
    assert!(says, "the folder and the reason are named: {}", refused.log);
    let got = client.kv().range(get("k")).await.unwrap().into_inner();
    assert_eq!(got.kvs[0].value, "v", "the first one is not disturbed");
}

/// A value that can be found in the log.
fn needle(n: u32) -> String {
    format!("needle-{n:05}-{}", "x".repeat(50))
}

/// A killed server whose log holds these many puts, and the log file with one of them.
async fn killed_with_puts(count: u32, find: u32) -> (Server, LogFile) {
    let mut server = Server::start(Kind::Keelson);
    let client = server.client().await;
    for n in 0..count {
        send(&client, &Request::Put(put("k", needle(n)))).await.unwrap();
    }
    server.kill();
    let file = LogFile::with(&server.data_dir.join("member").join("wal"), needle(find).as_bytes());
    (server, file)
}

#[tokio::test]
async fn a_flipped_bit_in_the_middle_of_the_log_is_reported() {
    let _alone = ALONE.lock().await;
    let (mut server, mut file) = killed_with_puts(300, 150).await;
    file.flip(file.found + 20);
    let refused = server.try_launch().expect_err("it must not serve from a broken log");
    assert!(refused.status.is_some_and(|status| !status.success()), "{:?}", refused.status);
    let name = file.path.file_name().unwrap().to_string_lossy().into_owned();
    assert!(refused.log.contains(&name), "{name} is not named: {}", refused.log);
    // The place is given as that of the frame, which begins before the value.
    let places = file.found.saturating_sub(1000)..=file.found + 20;
    let numbers = refused.log.split(|c: char| !c.is_ascii_digit());
    let offset = numbers.filter_map(|n| n.parse().ok()).find(|n| places.contains(n));
    assert!(offset.is_some(), "no offset in {places:?}: {}", refused.log);
    // Nothing was repaired behind the operator's back: the bit flipped back, all is there.
    file.flip(file.found + 20);
    server.launch();
    let (revision, kvs) = state(&server.client().await).await;
    assert_eq!((revision, kvs[0].value.clone()), (301, needle(299).into()));
}

#[tokio::test]
async fn a_torn_tail_starts() {
    let _alone = ALONE.lock().await;
    // A write that was cut by the end of the power: only a part of it is there.
    let (mut server, mut file) = killed_with_puts(50, 49).await;
    file.zero_from(file.found + 20);
    server.launch();
    let (revision, kvs) = state(&server.client().await).await;
    assert_eq!((revision, kvs[0].value.clone()), (50, needle(48).into()), "all but the torn one");
    let client = server.client().await;
    let next = send(&client, &Request::Put(put("k", "next"))).await.unwrap();
    assert_eq!(next.header().revision, 51);

    // Rubbish after the last write.
    server.kill();
    let mut file = LogFile::with(&server.data_dir.join("member").join("wal"), b"next");
    file.rubbish_at_end();
    server.launch();
    let (revision, kvs) = state(&server.client().await).await;
    assert_eq!((revision, kvs[0].value.clone()), (51, "next".into()));
    let old = RangeRequest { revision: 10, ..get("k") };
    let old = server.client().await.kv().range(old).await.unwrap().into_inner();
    assert_eq!(old.kvs[0].value, needle(8), "old revisions, too");
}
