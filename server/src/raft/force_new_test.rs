//! Going on alone, with power cuts at every step.

use std::path::Path;
use std::sync::Arc;

use keelson_store::engine::MemoryEngine;
use keelson_store::types::{LogIndex, LogPosition, Term};
use keelson_store::{LogEntry, Options as StoreOptions, Payload, Store};
use keelson_wal::disk::{Fault, FaultyDisk, Keep};
use keelson_wal::{Options, Wal, WriterMode};
use openraft::EntryPayload;

use super::*;

const OWN: MemberId = MemberId(1);

fn open(disk: &FaultyDisk) -> Result<Wal, keelson_wal::Error> {
    let options =
        Options { segment_bytes: 1 << 20, writer: WriterMode::Inline, ..Options::default() };
    Wal::open(Arc::new(disk.clone()), Path::new("/wal"), options).map(|(wal, _)| wal)
}

fn membership(configs: &[&[u64]]) -> Membership {
    let configs: Vec<BTreeSet<_>> =
        configs.iter().map(|ids| ids.iter().copied().map(MemberId).collect()).collect();
    let nodes: BTreeMap<_, _> = configs.iter().flatten().map(|id| (*id, member(id.0))).collect();
    Membership::new(configs, nodes).unwrap()
}

fn member(id: u64) -> Member {
    Member {
        name: format!("m{id}"),
        peer_urls: vec![format!("http://h{id}:1")],
        ..Member::default()
    }
}

fn entry(
    term: u64,
    index: u64,
    payload: EntryPayload<super::super::types::Batch, MemberId, Member>,
) -> keelson_wal::Entry {
    let payload = codec::encode_payload(payload);
    keelson_wal::Entry { id: entry_id(&codec::log_id(term, index)), payload }
}

/// Three members, of which a joint configuration was to remove the third, and writes behind it; the
/// vote is of a later term.
fn half_changed() -> FaultyDisk {
    let disk = FaultyDisk::new(3);
    let wal = open(&disk).unwrap();
    let entries = vec![
        entry(1, 0, EntryPayload::Membership(membership(&[&[1, 2, 3]]))),
        entry(1, 1, EntryPayload::Blank),
        entry(4, 2, EntryPayload::Membership(membership(&[&[1, 2, 3], &[1, 2]]))),
        entry(4, 3, EntryPayload::Blank),
    ];
    wal.append(entries, Box::new(|result| result.unwrap())).unwrap();
    wal.save_vote(codec::encode_vote(&Vote::new(6, MemberId(2))), Box::new(|r| r.unwrap()))
        .unwrap();
    wal.close().unwrap();
    disk
}

fn empty_store() -> Store {
    Store::open(Arc::new(MemoryEngine::new()), StoreOptions::default()).unwrap().0
}

/// A store that has applied an entry here, and nothing else.
fn store_at(term: u64, index: u64) -> Store {
    let engine = Arc::new(MemoryEngine::new());
    let (store, mut applier) = Store::open(engine, StoreOptions::default()).unwrap();
    let position = LogPosition { term: Term(term), index: LogIndex(index) };
    applier.apply(&[LogEntry { position, payload: Payload::Blank, wanted: false }]).unwrap();
    store
}

async fn forced(wal: &Wal) -> Result<(), ForceError> {
    force(OWN, wal, &empty_store(), &AppliedMembership::default()).await
}

fn vote(wal: &Wal) -> Vote {
    codec::decode_vote(wal.vote().unwrap()).unwrap()
}

fn last(wal: &Wal) -> Membership {
    last_membership(wal, &StoredMembership::default()).unwrap()
}

#[tokio::test]
async fn the_last_entry_names_this_member_alone_under_a_term_of_its_own() {
    let disk = half_changed();
    let wal = open(&disk).unwrap();
    forced(&wal).await.unwrap();
    assert_eq!(last(&wal), alone(OWN, member(1)));
    assert_eq!(last_of(&wal), Some(codec::log_id(7, 4)), "behind all it had");
    assert_eq!(vote(&wal), Vote::new(7, OWN));
    forced(&wal).await.unwrap();
    assert_eq!(last_of(&wal), Some(codec::log_id(7, 4)), "once is enough");
}

#[tokio::test]
async fn power_may_fail_at_any_step() {
    let whole = half_changed();
    let mut alone_after = 0;
    for step in 1..100 {
        for keep in [Keep::Nothing, Keep::Everything, Keep::Random] {
            let disk = whole.fork(step);
            let before = disk.count(None);
            disk.plan(None, step, Fault::PowerOff);
            let done = match open(&disk) {
                Ok(wal) => forced(&wal).await.is_ok(),
                Err(_) => false,
            };
            let steps = disk.count(None) - before;
            disk.crash(keep);
            let wal = open(&disk).unwrap();
            let is_alone = last(&wal) == alone(OWN, member(1));
            assert!(is_alone || !done, "step {step}: it was told that it is alone");
            assert!(is_alone || last(&wal) == membership(&[&[1, 2, 3], &[1, 2]]), "step {step}");
            if is_alone {
                assert!(vote(&wal) >= Vote::new(7, OWN), "the term came first");
            }
            assert!(wal.state().last.unwrap().index.0 >= 3, "nothing is dropped");
            forced(&wal).await.unwrap();
            assert_eq!(last(&wal), alone(OWN, member(1)));
            if done && steps < step {
                alone_after += 1;
            }
        }
    }
    assert!(alone_after > 0, "some got through");
}

#[tokio::test]
async fn a_log_that_ends_before_the_store_goes_on_behind_it() {
    let disk = half_changed();
    let wal = open(&disk).unwrap();
    let applied = AppliedMembership {
        stored: StoredMembership::new(Some(codec::log_id(1, 0)), membership(&[&[1, 2, 3]])),
        ..AppliedMembership::default()
    };
    force(OWN, &wal, &store_at(5, 9), &applied).await.unwrap();
    assert_eq!(last_of(&wal), Some(codec::log_id(7, 10)));
    assert_eq!(wal.state().purged.map(|at| at.index.0), Some(9));
}

#[tokio::test]
async fn a_store_says_who_the_members_are_where_the_log_does_not() {
    let wal = open(&FaultyDisk::new(1)).unwrap();
    let joint = membership(&[&[1, 2], &[1, 2, 3]]);
    let applied = AppliedMembership {
        stored: StoredMembership::new(Some(codec::log_id(2, 5)), joint),
        ..AppliedMembership::default()
    };
    force(OWN, &wal, &store_at(2, 8), &applied).await.unwrap();
    assert_eq!(last(&wal), alone(OWN, member(1)));
    assert_eq!(last_of(&wal), Some(codec::log_id(3, 9)));
}

#[tokio::test]
async fn without_data_or_a_place_among_the_members_there_is_nothing_to_force() {
    let wal = open(&FaultyDisk::new(1)).unwrap();
    assert!(matches!(forced(&wal).await, Err(ForceError::NoData)));
    let wal = open(&half_changed()).unwrap();
    let stranger = force(MemberId(9), &wal, &empty_store(), &AppliedMembership::default()).await;
    assert!(matches!(stranger, Err(ForceError::Removed(MemberId(9)))));
    let removed =
        AppliedMembership { removed: BTreeSet::from([OWN]), ..AppliedMembership::default() };
    let removed = force(OWN, &wal, &empty_store(), &removed).await;
    assert!(matches!(removed, Err(ForceError::Removed(OWN))));
    assert_eq!(last_of(&wal), Some(codec::log_id(4, 3)), "nothing was written");
}
