//! Crashes: the store comes back as an exact prefix of the log, says truly how far it goes, and
//! the rest of the log makes it what it was.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod common;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;

use common::{Chance, Member, log_of, random_batches};
use keelson_store::command::{Command, LeaseGrant, LeaseRevoke, Put, Range};
use keelson_store::engine::{Engine, MemoryEngine, RocksEngine, RocksOptions};
use keelson_store::response::{LeaseRevokeResponse, Outcome, Rejection, Response};
use keelson_store::types::{LeaseId, LogIndex, LogPosition, Revision};
use keelson_store::{Error, Lease, LeaseChange, LogEntry, Payload};

const SMALL: RocksOptions = RocksOptions { memtable_bytes: 4 << 20, block_cache_bytes: 4 << 20 };

/// Everything that can be seen of a member.
fn digest(member: &Member) -> impl PartialEq + std::fmt::Debug + use<> {
    let view = member.store.view();
    let oldest = view.compacted().0.max(1);
    let rows: Vec<_> = (oldest..=view.revision().0).map(|at| member.everything_at(at)).collect();
    (
        view.revision(),
        view.compacted(),
        view.applied(),
        rows,
        member.hash(0),
        view.membership().unwrap(),
        member.leases(),
    )
}

fn entries(seed: u64, count: usize) -> Vec<LogEntry> {
    let mut entries = log_of(&random_batches(&mut Chance(seed), count));
    for (n, entry) in entries.iter_mut().enumerate() {
        if n % 10 == 3 {
            entry.payload = Payload::Membership(n.to_string().into());
        } else if n % 10 == 7 {
            entry.payload = Payload::Blank;
        }
    }
    entries
}

/// After each prefix of the log: flush there, go on, crash, compare with the prefix, replay all.
#[test]
fn memory_comes_back_at_every_batch_boundary() {
    let entries = entries(3, 60);
    let (mut whole, _) = Member::in_memory();
    whole.applier.apply(&entries).unwrap();
    let expected = digest(&whole);
    for flushed in 0..=entries.len() {
        let (mut prefix, _) = Member::in_memory();
        prefix.applier.apply(&entries[..flushed]).unwrap();

        let (mut member, engine) = Member::in_memory();
        for entry in &entries[..flushed] {
            member.applier.apply(std::slice::from_ref(entry)).unwrap();
        }
        member.store.flush().unwrap();
        let lost = (flushed + 9).min(entries.len());
        member.applier.apply(&entries[flushed..lost]).unwrap();
        let persisted = member.store.persisted().unwrap();
        let mut member = Member::open(Arc::new(engine.crash()) as Arc<dyn Engine>);
        assert_eq!(member.applier.applied(), persisted);
        assert_eq!(digest(&member), digest(&prefix), "flushed at {flushed}");
        member.applier.apply(&entries).unwrap();
        assert_eq!(digest(&member), expected, "replayed from {flushed}");
    }
}

fn rocks(dir: &Path) -> Arc<dyn Engine> {
    Arc::new(RocksEngine::open(dir, &SMALL).unwrap())
}

/// The files of an open database, as a killed process would leave them: closing it would flush.
/// RocksDB may be tidying up behind a flush, so a copy counts only if nothing changed meanwhile.
fn copy_as_a_crash_leaves_it(from: &Path, to: &Path) {
    for _ in 0..100 {
        let before = files_of(from);
        std::fs::create_dir(to).unwrap();
        let copied =
            before.keys().all(|name| std::fs::copy(from.join(name), to.join(name)).is_ok());
        if copied && files_of(from) == before {
            return;
        }
        std::fs::remove_dir_all(to).unwrap();
    }
    panic!("the files of an idle database do not come to rest");
}

/// Names and sizes. RocksDB's own text log, which nothing is read back from, goes on growing.
fn files_of(dir: &Path) -> BTreeMap<OsString, u64> {
    let names = std::fs::read_dir(dir).unwrap().map(|file| file.unwrap().file_name());
    let names = names.filter(|name| name != "LOCK" && !name.as_encoded_bytes().starts_with(b"LOG"));
    names.filter_map(|name| Some((name.clone(), dir.join(name).metadata().ok()?.len()))).collect()
}

/// RocksDB killed keeps what was flushed and loses the rest, whole batches of it.
#[test]
fn rocksdb_comes_back_at_what_it_says_is_persisted() {
    let entries = entries(5, 80);
    let (mut whole, _) = Member::in_memory();
    whole.applier.apply(&entries).unwrap();
    for flushed in [0, 1, 17, 40, 79, 80] {
        let dir = tempfile::tempdir().unwrap();
        let mut member = Member::open(rocks(&dir.path().join("db")));
        for batch in entries[..flushed].chunks(7) {
            member.applier.apply(batch).unwrap();
        }
        member.store.flush().unwrap();
        for batch in entries[flushed..].chunks(5) {
            member.applier.apply(batch).unwrap();
        }
        let persisted = member.store.persisted().unwrap();
        let expected: Option<LogPosition> = entries[..flushed].last().map(|entry| entry.position);
        assert_eq!(persisted, expected);
        let crashed = dir.path().join("crashed");
        copy_as_a_crash_leaves_it(&dir.path().join("db"), &crashed);

        let (mut prefix, _) = Member::in_memory();
        prefix.applier.apply(&entries[..flushed]).unwrap();
        let mut member = Member::open(rocks(&crashed));
        assert_eq!(digest(&member), digest(&prefix), "flushed at {flushed}");
        member.applier.apply(&entries).unwrap();
        assert_eq!(digest(&member), digest(&whole));
    }
}

/// The applied position and the data are one: replaying entries that are in changes nothing.
#[test]
fn entries_take_effect_once() {
    let entries = entries(9, 40);
    let (mut member, _) = Member::in_memory();
    member.applier.apply(&entries).unwrap();
    let before = digest(&member);
    let again = member.applier.apply(&entries[10..]).unwrap();
    assert!(again.iter().all(Vec::is_empty));
    assert_eq!(digest(&member), before);
}

#[test]
fn a_checkpoint_opens_as_the_store_it_was_taken_from() {
    let dir = tempfile::tempdir().unwrap();
    let entries = entries(11, 60);
    let mut member = Member::open(rocks(&dir.path().join("db")));
    member.applier.apply(&entries[..30]).unwrap();
    let before = digest(&member);
    member.store.checkpoint(&dir.path().join("copy")).unwrap();
    member.applier.apply(&entries[30..]).unwrap();
    let mut copy = Member::open(rocks(&dir.path().join("copy")));
    assert_eq!(digest(&copy), before);
    assert_eq!(copy.store.persisted().unwrap(), copy.applier.applied());
    copy.applier.apply(&entries).unwrap();
    assert_eq!(digest(&copy), digest(&member));
}

/// As after a snapshot from another member: who reads goes on reading what they had.
#[test]
fn another_state_takes_the_stores_place() {
    let dir = tempfile::tempdir().unwrap();
    let entries = entries(13, 90);
    let mut leader = Member::open(rocks(&dir.path().join("leader")));
    leader.applier.apply(&entries[..60]).unwrap();
    leader.store.checkpoint(&dir.path().join("copy")).unwrap();
    let at_checkpoint = digest(&leader);
    leader.applier.apply(&entries[60..]).unwrap();

    let mut follower = Member::open(rocks(&dir.path().join("follower")));
    follower.applier.apply(&entries[..20]).unwrap();
    let (held, before) = (follower.store.view(), digest(&follower));
    let old_rows = common::rows(&follower.store, &common::everything());
    follower.applier.replace(rocks(&dir.path().join("copy"))).unwrap();
    assert_eq!(digest(&follower), at_checkpoint);
    assert_ne!(digest(&follower), before);
    assert_eq!(follower.store.persisted().unwrap(), Some(entries[59].position));

    let mut seen = Vec::new();
    held.range(&common::everything(), &mut |row| {
        seen.push(row.to_owned());
        std::ops::ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!(seen, old_rows.0);
    drop(held);

    follower.applier.apply(&entries).unwrap();
    assert_eq!(digest(&follower), digest(&leader));
    follower.store.physical_compaction_step().unwrap();
    assert_eq!(digest(&follower), digest(&leader));

    let older = Member::in_memory().1;
    let refused = follower.applier.replace(older);
    assert!(matches!(refused, Err(Error::Older { .. })), "{refused:?}");
    assert_eq!(digest(&follower), digest(&leader));
}

#[test]
fn an_undecodable_entry_stops_the_applier_and_leaves_no_trace() {
    let (mut member, _) = Member::in_memory();
    member.put("a", "1").unwrap();
    let before = digest(&member);
    let good = common::entry_after(member.applier.applied(), &[common::put("a", "2")]);
    let mut bad = common::entry_after(Some(good.position), &[]);
    bad.payload = Payload::Commands(bytes::Bytes::from_static(b"\x01\x01\xff"));
    let failed = member.applier.apply(&[good.clone(), bad.clone()]);
    assert!(matches!(failed, Err(Error::Entry { position, .. }) if position == bad.position));
    assert_eq!(digest(&member), before);
    assert!(matches!(member.applier.apply(&[good]), Err(Error::Stopped)));
}

#[test]
fn unwanted_outcomes_change_nothing() {
    let entries = log_of(&random_batches(&mut Chance(21), 100));
    let (mut wanted, _) = Member::in_memory();
    wanted.applier.apply(&entries).unwrap();
    let (mut unwanted, _) = Member::in_memory();
    let mut quiet = entries.clone();
    for entry in &mut quiet {
        entry.wanted = false;
    }
    let outcomes = unwanted.applier.apply(&quiet).unwrap();
    assert!(outcomes.iter().all(Vec::is_empty));
    assert_eq!(digest(&unwanted), digest(&wanted));
}

#[test]
fn the_first_entry_may_have_index_zero() {
    let (mut member, _) = Member::in_memory();
    let mut first = common::entry_after(None, &[common::put("a", "1")]);
    first.position = LogPosition::default();
    let outcomes = member.applier.apply(std::slice::from_ref(&first)).unwrap();
    assert_eq!(outcomes[0].len(), 1);
    assert_eq!(member.revision(), 2);
}

/// A lease with very many keys: they all go in one revision, in their order, and a crash before,
/// in the middle of, or after its revocation leaves all of them or none.
fn a_lease_of(keys: usize, engine: Arc<dyn Engine>, crash: impl FnOnce() -> Arc<dyn Engine>) {
    let mut member = Member::open(engine);
    let grant = LeaseGrant { id: LeaseId(7), ttl: 60 };
    member.command(Command::LeaseGrant(grant)).unwrap();
    let put = |n: usize| {
        let key = format!("key-{n:07}").into();
        Command::Put(Put { key, value: "v".into(), lease: LeaseId(7), ..Put::default() })
    };
    let numbers: Vec<usize> = (0..keys).collect();
    let mut entries = Vec::new();
    for slice in numbers.chunks(1000) {
        let commands: Vec<_> = slice.iter().copied().map(put).collect();
        let entry = common::entry_after(member.applier.applied(), &commands);
        member.applier.apply(std::slice::from_ref(&entry)).unwrap();
        entries.push(entry);
    }
    member.store.flush().unwrap();
    let before = member.revision();
    let revoke = Command::LeaseRevoke(LeaseRevoke { id: LeaseId(7), expiry: None });
    let entry = common::entry_after(member.applier.applied(), &[revoke]);
    let check = |member: &Member, outcome: Option<&Outcome>| {
        if let Some(outcome) = outcome {
            let (revision, deleted) = (Revision(before + 1), i64::try_from(keys).unwrap());
            let response = LeaseRevokeResponse { revision, deleted };
            assert_eq!(outcome, &Ok(Response::LeaseRevoke(response)));
        }
        assert_eq!(member.revision(), before + 1);
        assert_eq!(common::rows(&member.store, &common::everything()).1, 0);
        assert_eq!(member.leases(), []);
        let none = member.store.view().lease_keys(LeaseId(7), None, 1).unwrap();
        assert!(none.is_empty());
        let old = Range { revision: Revision(before), count_only: true, ..common::everything() };
        assert_eq!(common::rows(&member.store, &old).1, i64::try_from(keys).unwrap());
    };
    let outcomes = member.applier.apply(std::slice::from_ref(&entry)).unwrap();
    check(&member, outcomes[0].first());
    let hash = member.hash(0);

    let mut member = Member::open(crash());
    assert_eq!(member.revision(), before);
    let (lease, attached) = member.leases().remove(0);
    assert_eq!((lease.id, attached.len()), (LeaseId(7), keys));
    assert!(attached.is_sorted());
    let outcomes = member.applier.apply(&[entry]).unwrap();
    check(&member, outcomes[0].first());
    assert_eq!(member.hash(0), hash);
}

#[test]
fn a_lease_with_very_many_keys_goes_at_once() {
    let engine = Arc::new(MemoryEngine::new());
    let crashing = Arc::clone(&engine);
    a_lease_of(20_000, engine, move || Arc::new(crashing.crash()));

    let dir = tempfile::tempdir().unwrap();
    let (open, crashed) = (dir.path().join("db"), dir.path().join("crashed"));
    let keys = std::env::var("KEELSON_LEASE_KEYS").ok();
    let keys = keys.map_or(20_000, |keys| keys.parse().expect("a number"));
    a_lease_of(keys, rocks(&open), || {
        copy_as_a_crash_leaves_it(&open, &crashed);
        rocks(&crashed)
    });
}

/// What hangs on leases travels with a checkpoint and takes the place of what was there.
#[test]
fn leases_travel_with_the_state() {
    let dir = tempfile::tempdir().unwrap();
    let lease = |id, ttl| Command::LeaseGrant(LeaseGrant { id: LeaseId(id), ttl });
    let on = |key: &str, id| {
        Command::Put(Put { key: common::bytes(key), lease: LeaseId(id), ..Put::default() })
    };
    let mut leader = Member::open(rocks(&dir.path().join("leader")));
    for command in [lease(1, 10), lease(2, 20), on("a", 1), on("b", 2), on("c", 1)] {
        leader.command(command).unwrap();
    }
    leader.store.checkpoint(&dir.path().join("copy")).unwrap();

    let mut follower = Member::open(rocks(&dir.path().join("follower")));
    follower.command(lease(3, 30)).unwrap();
    follower.command(on("x", 3)).unwrap();
    follower.applier.replace(rocks(&dir.path().join("copy"))).unwrap();
    assert_eq!(follower.leases(), leader.leases());
    assert_eq!(follower.leases().len(), 2);
    assert_eq!(follower.command(on("y", 3)), Err(Rejection::LeaseNotFound));
    let revoke = LeaseRevoke { id: LeaseId(1), expiry: None };
    follower.command(Command::LeaseRevoke(revoke)).unwrap();
    let left: Vec<_> = follower.everything_at(0).into_iter().map(|row| row.key).collect();
    assert_eq!(left, ["b"]);
}

/// What is told of changes is what came of the last call, and of nothing that was refused.
#[test]
fn changes_of_leases_are_told_once() {
    let (mut member, _) = Member::in_memory();
    let grant = |ttl| Command::LeaseGrant(LeaseGrant { id: LeaseId(5), ttl });
    let revoke = Command::LeaseRevoke(LeaseRevoke { id: LeaseId(5), expiry: None });
    let entry = common::entry_after(None, &[grant(9), grant(10), revoke, grant(11)]);
    member.applier.apply(std::slice::from_ref(&entry)).unwrap();
    let lease = |ttl| Lease { id: LeaseId(5), ttl, remaining: 0, granted: LogIndex(1) };
    let told = [
        LeaseChange::Granted(lease(9)),
        LeaseChange::Revoked(LeaseId(5)),
        LeaseChange::Granted(lease(11)),
    ];
    assert_eq!(member.applier.lease_changes(), told);
    member.applier.apply(&[entry]).unwrap();
    assert_eq!(member.applier.lease_changes(), []);
}
