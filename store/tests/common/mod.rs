//! What the integration tests share: a store with its applier and log, and a source of chance.
#![allow(unreachable_pub, reason = "a module of each test, not a library")]
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use keelson_store::command::codec;
use keelson_store::command::{
    Command, Compact, Compare, CompareResult, CompareTarget, DeleteRange, Expiry, KeyRange,
    LeaseCheckpoint, LeaseGrant, LeaseRevoke, Op, Put, Range, Remaining, Txn,
};
use keelson_store::engine::{Engine, MemoryEngine};
use keelson_store::response::Outcome;
use keelson_store::types::{KeyValue, LeaseId, LogIndex, LogPosition, Revision, Term};
use keelson_store::{Applier, Lease, LogEntry, Options, Payload, Store};

/// A seeded source of chance; the same on every machine.
#[derive(Clone, Debug)]
pub struct Chance(pub u64);

impl Chance {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// A store as one member has it.
pub struct Member {
    pub store: Store,
    pub applier: Applier,
}

impl Member {
    pub fn open(engine: Arc<dyn Engine>) -> Self {
        let (store, applier) = Store::open(engine, Options::default()).unwrap();
        Self { store, applier }
    }

    pub fn in_memory() -> (Self, Arc<MemoryEngine>) {
        let engine = Arc::new(MemoryEngine::new());
        (Self::open(Arc::clone(&engine) as Arc<dyn Engine>), engine)
    }

    /// Applies one command as the next entry.
    pub fn command(&mut self, command: Command) -> Outcome {
        let entry = entry_after(self.applier.applied(), &[command]);
        let mut outcomes = self.applier.apply(&[entry]).unwrap();
        outcomes.remove(0).remove(0)
    }

    pub fn put(&mut self, key: &str, value: &str) -> Outcome {
        self.command(put(key, value))
    }

    pub fn delete(&mut self, key: &str, end: &str) -> Outcome {
        self.command(delete(key, end))
    }

    pub fn compact(&mut self, revision: i64) -> Outcome {
        self.command(Command::Compact(Compact { revision: Revision(revision) }))
    }

    /// All rows at a revision.
    pub fn everything_at(&self, revision: i64) -> Vec<KeyValue> {
        rows(&self.store, &Range { revision: Revision(revision), ..everything() }).0
    }

    /// All leases, each with the keys that hang on it.
    pub fn leases(&self) -> Vec<(Lease, Vec<Bytes>)> {
        let view = self.store.view();
        let leases = view.leases(LeaseId(i64::MIN), usize::MAX).unwrap();
        let keys = |lease: Lease| view.lease_keys(lease.id, None, usize::MAX).unwrap();
        leases.into_iter().map(|lease| (lease, keys(lease))).collect()
    }

    pub fn revision(&self) -> i64 {
        self.store.view().revision().0
    }

    pub fn compacted(&self) -> i64 {
        self.store.view().compacted().0
    }

    pub fn hash(&self, revision: i64) -> (u32, i64, i64) {
        let hash = self.store.view().hash_kv(Revision(revision)).unwrap();
        (hash.hash, hash.revision.0, hash.compacted.0)
    }
}

pub fn entry_after(applied: Option<LogPosition>, commands: &[Command]) -> LogEntry {
    let index = LogIndex(applied.map_or(1, |applied| applied.index.0 + 1));
    let position = LogPosition { term: Term(1), index };
    LogEntry { position, payload: Payload::Commands(codec::encode(commands)), wanted: true }
}

/// Entries 1, 2, 3, … with these commands each.
pub fn log_of(batches: &[Vec<Command>]) -> Vec<LogEntry> {
    let mut entries: Vec<LogEntry> = Vec::new();
    for commands in batches {
        entries.push(entry_after(entries.last().map(|last| last.position), commands));
    }
    entries
}

pub fn everything() -> Range {
    Range { range: key_range("\0", "\0"), ..Range::default() }
}

/// Rows, count and more of a range; panics on an error.
pub fn rows(store: &Store, range: &Range) -> (Vec<KeyValue>, i64, bool) {
    let mut rows = Vec::new();
    let summary = store
        .view()
        .range(range, &mut |row| {
            rows.push(row.to_owned());
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
    (rows, summary.count, summary.more)
}

pub fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

pub fn key_range(key: &str, end: &str) -> KeyRange {
    KeyRange { key: bytes(key), end: bytes(end) }
}

pub fn put(key: &str, value: &str) -> Command {
    Command::Put(Put { key: bytes(key), value: bytes(value), prev_kv: true, ..Put::default() })
}

pub fn delete(key: &str, end: &str) -> Command {
    Command::DeleteRange(DeleteRange { range: key_range(key, end), prev_kv: true })
}

/// What each revision looked like when it was the newest one.
pub type History = BTreeMap<i64, Vec<KeyValue>>;

/// Chance commands on few keys, with compactions now and then; some are refused.
pub fn random_batches(chance: &mut Chance, entries: usize) -> Vec<Vec<Command>> {
    let mut written = 1;
    let mut batches = Vec::new();
    for _ in 0..entries {
        let commands = (0..=chance.below(3)).map(|_| random_command(chance, &mut written));
        batches.push(commands.collect());
    }
    batches
}

fn random_key(chance: &mut Chance) -> String {
    // A hot key, a few warm ones, and some with bytes that need escaping.
    match chance.below(8) {
        0..=2 => "hot".into(),
        3 => format!("z\0{}", chance.below(3)),
        _ => format!("k{:02}", chance.below(12)),
    }
}

fn random_command(chance: &mut Chance, written: &mut u64) -> Command {
    *written += 1;
    match chance.below(30) {
        0..=13 => Command::Put(random_put(chance)),
        14..=16 => Command::DeleteRange(random_delete(chance)),
        17..=21 => Command::Txn(random_txn(chance, *written, 0)),
        22 => Command::Compact(Compact {
            revision: Revision(i64::try_from(chance.below(*written)).unwrap()),
        }),
        23 => delete(&random_key(chance), "\0"),
        _ => random_lease_command(chance, *written),
    }
}

fn random_lease_command(chance: &mut Chance, written: u64) -> Command {
    let id = random_lease(chance);
    let ttl = i64::try_from(chance.below(100)).unwrap();
    // Which entry granted a lease depends on how commands lie in entries, and some tests lay them
    // otherwise: an expiry finds none here. The model's tests have those that do.
    let (term, granted) = (Term(1), LogIndex(u64::MAX - chance.below(written)));
    match chance.below(8) {
        0..=3 => Command::LeaseGrant(LeaseGrant { id, ttl }),
        4 => Command::LeaseRevoke(LeaseRevoke { id, expiry: None }),
        5 => Command::LeaseRevoke(LeaseRevoke { id, expiry: Some(Expiry { term, granted }) }),
        _ => {
            let leases = (0..40).map(|at| Remaining { id, granted: LogIndex(at), ttl });
            Command::LeaseCheckpoint(LeaseCheckpoint { term, leases: leases.collect() })
        }
    }
}

fn random_lease(chance: &mut Chance) -> LeaseId {
    LeaseId(i64::try_from(7 + chance.below(4)).unwrap())
}

fn random_put(chance: &mut Chance) -> Put {
    let ignore_value = chance.one_in(8);
    Put {
        key: random_key(chance).into(),
        value: if ignore_value { Bytes::new() } else { chance.next().to_string().into() },
        lease: if chance.one_in(6) { random_lease(chance) } else { LeaseId::NONE },
        prev_kv: chance.one_in(2),
        ignore_value,
        ignore_lease: chance.one_in(10),
    }
}

fn random_delete(chance: &mut Chance) -> DeleteRange {
    let key = random_key(chance);
    let end = if chance.one_in(3) { random_key(chance) } else { String::new() };
    DeleteRange { range: key_range(&key, &end), prev_kv: chance.one_in(2) }
}

fn random_txn(chance: &mut Chance, written: u64, depth: u64) -> Txn {
    let ops = |chance: &mut Chance| {
        let count = chance.below(4);
        (0..count).map(|_| random_op(chance, written, depth)).collect()
    };
    let success = ops(chance);
    let failure = ops(chance);
    let target = match chance.below(3) {
        0 => CompareTarget::Version(i64::try_from(chance.below(3)).unwrap()),
        1 => CompareTarget::Value(chance.below(9).to_string().into()),
        _ => CompareTarget::Mod(Revision(i64::try_from(chance.below(written)).unwrap())),
    };
    let compare = Compare {
        range: key_range(&random_key(chance), ""),
        result: if chance.one_in(2) { CompareResult::Greater } else { CompareResult::Less },
        target,
    };
    Txn { compare: vec![compare], success, failure }
}

fn random_op(chance: &mut Chance, written: u64, depth: u64) -> Op {
    match chance.below(10) {
        0..=3 => Op::Put(random_put(chance)),
        4..=5 => Op::DeleteRange(random_delete(chance)),
        6..=8 => {
            let revision = if chance.one_in(2) {
                Revision(0)
            } else {
                Revision(i64::try_from(chance.below(written)).unwrap())
            };
            Op::Range(Range { revision, ..everything() })
        }
        _ if depth < 3 => Op::Txn(random_txn(chance, written, depth + 1)),
        _ => Op::Put(random_put(chance)),
    }
}
