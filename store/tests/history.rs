//! Every revision, read later, is what it was when it was the newest: over random histories, with
//! compaction, physical removal, flushes and crashes at random moments, on every engine.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod common;

use std::sync::Arc;

use common::{Chance, History, Member, everything, log_of, random_batches, rows};
use keelson_store::command::{Command, Range, SortOrder, SortTarget, codec};
use keelson_store::engine::{Engine, MemoryEngine, RocksEngine, RocksOptions};
use keelson_store::response::Outcome;
use keelson_store::types::{KeyValue, Revision};
use keelson_store::{LogEntry, Payload, ReadError};

const SMALL: RocksOptions = RocksOptions { memtable_bytes: 4 << 20, block_cache_bytes: 4 << 20 };

/// Applies command by command, remembering what each revision looked like.
fn history_of(entries: &[LogEntry]) -> (Member, History, Vec<Vec<Outcome>>) {
    let (mut member, _) = Member::in_memory();
    let mut history = History::from([(1, Vec::new())]);
    let mut outcomes = Vec::new();
    let mut index = 0;
    for entry in entries {
        let Payload::Commands(bytes) = &entry.payload else { panic!("only commands here") };
        let mut of_entry = Vec::new();
        for command in codec::decode(bytes).unwrap() {
            index += 1;
            let mut single = common::entry_after(None, &[command]);
            single.position.index.0 = index;
            of_entry.extend(member.applier.apply(&[single]).unwrap().remove(0));
            history.insert(member.revision(), member.everything_at(0));
        }
        outcomes.push(of_entry);
    }
    (member, history, outcomes)
}

/// Compares every revision that can be read with what it was.
fn check_history(member: &Member, history: &History) {
    let view = member.store.view();
    for (revision, expected) in history {
        let range = Range { revision: Revision(*revision), ..everything() };
        if *revision < view.compacted().0 {
            let refused = view.range(&range, &mut |_| panic!("a compacted row"));
            assert!(matches!(refused, Err(ReadError::Compacted)), "at {revision}");
            continue;
        }
        if *revision > view.revision().0 {
            let refused = view.range(&range, &mut |_| panic!("a future row"));
            assert!(matches!(refused, Err(ReadError::FutureRevision)), "at {revision}");
            continue;
        }
        check_revision(member, &range, expected);
    }
}

fn check_revision(member: &Member, range: &Range, expected: &[KeyValue]) {
    let count = i64::try_from(expected.len()).unwrap();
    let (found, counted, more) = rows(&member.store, range);
    assert_eq!(found, expected, "at {:?}", range.revision);
    assert_eq!((counted, more), (count, false));
    let backward = Range { sort_order: SortOrder::Descend, ..range.clone() };
    let reversed: Vec<_> = expected.iter().rev().cloned().collect();
    assert_eq!(rows(&member.store, &backward).0, reversed, "backward at {:?}", range.revision);
    let limited = Range { limit: 2, ..range.clone() };
    let first: Vec<_> = expected.iter().take(2).cloned().collect();
    assert_eq!(rows(&member.store, &limited), (first, count, expected.len() > 2));
    let counting = Range { count_only: true, ..range.clone() };
    assert_eq!(rows(&member.store, &counting), (vec![], count, false));
    let by_mod = Range {
        sort_target: SortTarget::Mod,
        sort_order: SortOrder::Descend,
        limit: 3,
        ..range.clone()
    };
    let mut newest = expected.to_vec();
    newest.sort_by(|a, b| b.mod_revision.cmp(&a.mod_revision).then(a.key.cmp(&b.key)));
    newest.truncate(3);
    assert_eq!(rows(&member.store, &by_mod).0, newest);
    for row in expected {
        let mut single = range.clone();
        single.range.key = row.key.clone();
        single.range.end = bytes::Bytes::new();
        assert_eq!(rows(&member.store, &single), (vec![row.clone()], 1, false));
    }
}

fn seeds() -> impl Iterator<Item = Vec<Vec<Command>>> {
    (0..12).map(|seed| random_batches(&mut Chance(seed), 120))
}

#[test]
fn one_batch_or_many_give_the_same() {
    for batches in seeds() {
        let entries = log_of(&batches);
        let (single, history, expected) = history_of(&entries);
        let mut chance = Chance(entries.len() as u64);
        let (mut member, _) = Member::in_memory();
        let mut outcomes = Vec::new();
        let mut rest = &entries[..];
        while !rest.is_empty() {
            let many = usize::try_from(chance.below(20) + 1).unwrap().min(rest.len());
            outcomes.extend(member.applier.apply(&rest[..many]).unwrap());
            rest = &rest[many..];
        }
        assert_eq!(outcomes, expected);
        check_history(&member, &history);
        assert_eq!(member.hash(0), single.hash(0));
    }
}

/// D7: what has been removed, flushed or lost physically shows in no answer.
#[test]
fn physical_state_is_never_observed() {
    for (seed, batches) in seeds().enumerate() {
        let entries = log_of(&batches);
        let (plain, history, expected) = history_of(&entries);
        let mut chance = Chance(seed as u64 + 1000);
        let (mut member, mut engine) = Member::in_memory();
        let mut outcomes: Vec<Vec<Outcome>> = vec![Vec::new(); entries.len()];
        let mut at = 0;
        while at < entries.len() {
            let many = usize::try_from(chance.below(6) + 1).unwrap().min(entries.len() - at);
            let done = member.applier.apply(&entries[at..at + many]).unwrap();
            for (slot, done) in outcomes[at..].iter_mut().zip(done) {
                *slot = done;
            }
            at += many;
            match chance.below(8) {
                0 => member.store.flush().unwrap(),
                1..=3 => {
                    let progress = member.store.physical_compaction_step().unwrap();
                    assert_eq!(progress.done, progress.wanted);
                }
                4 => {
                    engine = Arc::new(engine.crash());
                    member = Member::open(Arc::clone(&engine) as Arc<dyn Engine>);
                    let applied = member.applier.applied().map_or(0, |applied| applied.index.0);
                    at = usize::try_from(applied).unwrap();
                }
                _ => {}
            }
            let upto = member.revision();
            let known = history.range(..=upto).map(|(at, rows)| (*at, rows.clone())).collect();
            check_history(&member, &known);
        }
        assert_eq!(outcomes, expected, "seed {seed}");
        let compacted = plain.compacted().max(1);
        for revision in compacted..=plain.revision() {
            assert_eq!(member.hash(revision), plain.hash(revision), "seed {seed} at {revision}");
        }
    }
}

/// A view taken before a compaction reads what it could read, whatever is removed meanwhile.
#[test]
fn an_old_view_keeps_what_it_reads() {
    for batches in seeds() {
        let entries = log_of(&batches);
        let (member, history, _) = history_of(&entries[..60]);
        let view = member.store.view();
        let mut member = member;
        let top = member.revision();
        for round in 0..40 {
            member.put("hot", &round.to_string()).unwrap();
            member.delete("k", "l").unwrap();
        }
        for compacted in [top, top + 20, member.revision()] {
            member.compact(compacted).unwrap();
            let progress = member.store.physical_compaction_step().unwrap();
            assert!(progress.done < progress.wanted);
        }
        for (revision, expected) in history.range(view.compacted().0.max(1)..) {
            let range = Range { revision: Revision(*revision), ..everything() };
            let mut found = Vec::new();
            view.range(&range, &mut |row| {
                found.push(row.to_owned());
                std::ops::ControlFlow::Continue(())
            })
            .unwrap();
            assert_eq!(&found, expected, "at {revision}");
        }
        drop(view);
        let progress = member.store.physical_compaction_step().unwrap();
        assert_eq!(progress.done, progress.wanted);
    }
}

#[test]
fn a_key_with_many_versions_is_read_anywhere() {
    let (mut member, _) = Member::in_memory();
    let commands: Vec<_> = (0..5_000).map(|n| common::put("key", &n.to_string())).collect();
    member.applier.apply(&log_of(&[commands])).unwrap();
    for revision in (2..=5_001).step_by(37).chain([2, 3, 17, 18, 257, 258, 4097, 4098, 5_001]) {
        let found = member.everything_at(revision);
        assert_eq!(found[0].value, (revision - 2).to_string(), "at {revision}");
        assert_eq!(found[0].version, revision - 1);
    }
    assert!(member.everything_at(1).is_empty());
    member.delete("key", "").unwrap();
    member.compact(4_000).unwrap();
    member.store.physical_compaction_step().unwrap();
    for revision in [4_000, 4_001, 4_500, 5_001] {
        assert_eq!(member.everything_at(revision)[0].value, (revision - 2).to_string());
    }
    assert!(member.everything_at(5_002).is_empty());
}

#[test]
fn rocksdb_answers_as_memory_does() {
    let dir = tempfile::tempdir().unwrap();
    for (seed, batches) in seeds().take(4).enumerate() {
        let entries = log_of(&batches);
        let (plain, history, expected) = history_of(&entries);
        let path = dir.path().join(seed.to_string());
        let open = || Member::open(Arc::new(RocksEngine::open(&path, &SMALL).unwrap()));
        let mut member = open();
        let (head, tail) = entries.split_at(70);
        let mut outcomes = member.applier.apply(head).unwrap();
        member.store.physical_compaction_step().unwrap();
        member.store.flush().unwrap();
        drop(member);
        let mut member = open();
        outcomes.extend(member.applier.apply(tail).unwrap());
        assert_eq!(outcomes, expected);
        check_history(&member, &history);
        member.store.physical_compaction_step().unwrap();
        check_history(&member, &history);
        assert_eq!(member.hash(0), plain.hash(0));
    }
}

#[test]
fn a_memory_engine_is_not_shared_with_its_crashed_self() {
    let (mut member, engine) = Member::in_memory();
    member.put("a", "1").unwrap();
    let crashed: Arc<dyn Engine> = Arc::new(MemoryEngine::crash(&engine));
    member.put("a", "2").unwrap();
    assert_eq!(Member::open(crashed).revision(), 1);
}

/// A queue: the head is deleted, the tail grows, readers look at the head. What they step over is
/// remembered, and nobody ever misses a live key for it.
#[test]
fn a_moving_queue_hides_nobody() {
    let (mut member, _) = Member::in_memory();
    let name = |n: i64| format!("queue/{n:06}");
    let mut live: std::collections::BTreeSet<i64> = (0..400).collect();
    member
        .applier
        .apply(&log_of(&[live.iter().map(|n| common::put(&name(*n), "x")).collect()]))
        .unwrap();
    let mut chance = Chance(77);
    for round in 0..400 {
        let head = *live.first().unwrap();
        live.remove(&head);
        member.delete(&name(head), "").unwrap();
        live.insert(400 + round);
        member.put(&name(400 + round), "x").unwrap();
        if chance.one_in(5) {
            // Somebody comes to life among the dead.
            let reborn = i64::try_from(chance.below(400)).unwrap();
            live.insert(reborn);
            member.put(&name(reborn), "again").unwrap();
        }
        let from = i64::try_from(chance.below(400)).unwrap();
        let first =
            Range { range: common::key_range(&name(from), "r"), limit: 1, ..Range::default() };
        let (rows, count, more) = rows(&member.store, &first);
        let expected: Vec<_> = live.range(from..).collect();
        assert_eq!(count, i64::try_from(expected.len()).unwrap());
        assert_eq!(more, expected.len() > 1);
        assert_eq!(rows[0].key, name(*expected[0]), "round {round} from {from}");
        let all = member.everything_at(0);
        assert!(
            all.iter().map(|row| row.key.to_vec()).eq(live.iter().map(|n| name(*n).into_bytes()))
        );
    }
}

/// A watcher may start at the compacted revision, so what happened there stays; what lies below
/// goes.
#[test]
fn the_record_at_the_compacted_revision_stays() {
    let (mut member, engine) = Member::in_memory();
    for n in 0..10 {
        member.put("key", &n.to_string()).unwrap();
    }
    member.compact(member.revision()).unwrap();
    member.store.physical_compaction_step().unwrap();
    let logged = |main: u64| {
        let key = [&main.to_be_bytes()[..], &[0; 4]].concat();
        engine.snapshot().get(keelson_store::engine::Table::Log, &key).unwrap().is_some()
    };
    assert_eq!(member.revision(), 11);
    assert!(logged(11));
    assert!((2..11).all(|revision| !logged(revision)));
}
