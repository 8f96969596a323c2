//! Ordinary commands from a seed: what honest clients send, on few keys so that everything
//! collides with everything. All of it passes the checks that etcd makes before it proposes a
//! request, so the same sequence can be sent to a real etcd.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::model::contains;
use super::rng::Rng;
use crate::command::{
    Command, Compact, Compare, CompareResult, CompareTarget, DeleteRange, Expiry, KeyRange,
    LeaseCheckpoint, LeaseGrant, LeaseRevoke, Op, Put, Range, Remaining, SortOrder, SortTarget,
    Txn,
};
use crate::lease::Lease;
use crate::types::{LeaseId, LogIndex, LogPosition, Revision, Term};

/// Keys with shared prefixes, with the bytes at both ends, and one that is a prefix of others.
const KEYS: [&[u8]; 14] = [
    b"\0",
    b"a",
    b"a\0",
    b"a/1",
    b"a/2",
    b"a/3",
    b"ab",
    b"b",
    b"b/1",
    b"b/\xff",
    b"c",
    b"q/01",
    b"q/02",
    b"\xff\xff",
];

/// A lease that nobody grants.
const UNKNOWN_LEASE: LeaseId = LeaseId(0x7777);

/// Leases that come and go.
const LEASES: [i64; 5] = [1, 2, 0x7700, i64::MAX, -1];

/// How many operations a list of a txn has at most.
const OPS_MAX: usize = 5;

/// How deep txns lie in each other at most.
const DEPTH_MAX: usize = 3;

/// How far a store has come: the generators aim at and around it.
#[derive(Clone, Copy, Debug)]
pub struct Now<'a> {
    /// The current revision.
    pub revision: Revision,
    /// The compacted revision.
    pub compacted: Revision,
    /// The entry that is being filled.
    pub position: LogPosition,
    /// The leases there are.
    pub leases: &'a BTreeMap<LeaseId, Lease>,
}

/// A stream of commands and ranges fixed by its seed and by how far the store has come.
#[derive(Clone, Debug)]
pub struct Generator {
    pub(super) rng: Rng,
    leases: Vec<LeaseId>,
    values: u64,
}

impl Generator {
    /// A stream of its own for every seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { rng: Rng::new(seed), leases: Vec::new(), values: 0 }
    }

    /// The stream's own chance, for choices around it.
    pub fn rng(&mut self) -> &mut Rng {
        &mut self.rng
    }

    /// The next command.
    pub fn command(&mut self, now: Now<'_>) -> Command {
        self.look_at_leases(now);
        match self.rng.below(108) {
            0..48 => Command::Put(self.put()),
            48..62 => Command::DeleteRange(self.delete()),
            62..97 => Command::Txn(self.valid_txn(now)),
            97..100 => Command::Compact(self.compact(now)),
            _ => self.lease_command(now),
        }
    }

    /// Puts hang on leases that are there, mostly.
    pub(super) fn look_at_leases(&mut self, now: Now<'_>) {
        self.leases.clear();
        self.leases.extend(now.leases.keys());
    }

    /// A grant, a revocation by a client or by a leader, or a checkpoint; rightly made mostly.
    pub(super) fn lease_command(&mut self, now: Now<'_>) -> Command {
        let id = LeaseId(*self.rng.pick(&LEASES));
        let off = self.rng.chance(1, 6);
        let Some(lease) = now.leases.get(&id).filter(|_| !off) else {
            let ttl = small(&mut self.rng, 600);
            return match self.rng.below(6) {
                0 => Command::LeaseRevoke(LeaseRevoke { id, expiry: None }),
                _ => Command::LeaseGrant(LeaseGrant { id, ttl }),
            };
        };
        let term = Term(now.position.term.0 - u64::from(self.rng.chance(1, 4)));
        let granted = LogIndex(lease.granted.0 - u64::from(self.rng.chance(1, 4)));
        match self.rng.below(3) {
            0 => Command::LeaseRevoke(LeaseRevoke { id, expiry: None }),
            1 => Command::LeaseRevoke(LeaseRevoke { id, expiry: Some(Expiry { term, granted }) }),
            _ => {
                let ttl = small(&mut self.rng, 600);
                let other = Remaining { id: UNKNOWN_LEASE, granted, ttl };
                let leases = vec![other, Remaining { id, granted, ttl }];
                Command::LeaseCheckpoint(LeaseCheckpoint { term, leases })
            }
        }
    }

    /// A range, at the newest revision or at an old one.
    pub fn range(&mut self, now: Now<'_>) -> Range {
        let revision = if self.rng.chance(1, 2) { Revision(0) } else { self.revision(now) };
        let rng = &mut self.rng;
        let limit = if rng.chance(1, 2) { 0 } else { small(rng, 6) };
        let mut range = Range { limit, revision, ..Range::default() };
        if rng.chance(2, 5) {
            range.sort_order = *rng.pick(&[SortOrder::None, SortOrder::Ascend, SortOrder::Descend]);
            range.sort_target = *rng.pick(&[
                SortTarget::Key,
                SortTarget::Version,
                SortTarget::Create,
                SortTarget::Mod,
                SortTarget::Value,
            ]);
        }
        range.keys_only = rng.chance(1, 8);
        range.count_only = rng.chance(1, 8);
        if rng.chance(1, 5) {
            range.min_mod_revision = self.bound(now);
            range.max_mod_revision = self.bound(now);
            range.min_create_revision = self.bound(now);
            range.max_create_revision = self.bound(now);
        }
        range.range = self.interval();
        range
    }

    /// One of the keys.
    pub fn key(&mut self) -> Bytes {
        self.rng.bytes_of(&KEYS)
    }

    /// One key, or an interval of any of etcd's kinds.
    pub fn interval(&mut self) -> KeyRange {
        let (key, zero) = (self.key(), Bytes::from_static(b"\0"));
        let end = match self.rng.below(12) {
            0..=4 => Bytes::new(),
            5 => zero.clone(),
            6..=8 => prefix_end(&key),
            // Now and then it ends before it begins.
            _ => self.key(),
        };
        if self.rng.chance(1, 12) {
            return KeyRange { key: zero.clone(), end: zero };
        }
        KeyRange { key, end }
    }

    /// A revision that can be read, or is a little off.
    fn revision(&mut self, now: Now<'_>) -> Revision {
        let (low, high) = (now.compacted.0.max(0) - 1, now.revision.0 + 1);
        let span = usize::try_from(high - low).unwrap_or(1);
        let back = self.rng.below(span + 1);
        Revision(low + i64::try_from(back).unwrap_or(0))
    }

    fn bound(&mut self, now: Now<'_>) -> Revision {
        if self.rng.chance(2, 3) { Revision(0) } else { self.revision(now) }
    }

    /// Nearly always one that no earlier put wrote.
    pub(super) fn value(&mut self) -> Bytes {
        self.values += 1;
        match self.rng.below(20) {
            0 => Bytes::new(),
            1 => Bytes::from_static(b"same"),
            2 => Bytes::from(vec![self.rng.byte(); 300]),
            _ => Bytes::from(format!("value {}", self.values)),
        }
    }

    fn lease(&mut self) -> LeaseId {
        match self.rng.below(40) {
            0 => UNKNOWN_LEASE,
            1..=15 if !self.leases.is_empty() => *self.rng.pick(&self.leases),
            _ => LeaseId::NONE,
        }
    }

    pub(super) fn put(&mut self) -> Put {
        let mut put = Put { key: self.key(), prev_kv: self.rng.chance(2, 5), ..Put::default() };
        put.ignore_value = self.rng.chance(1, 12);
        put.ignore_lease = self.rng.chance(1, 12);
        if !put.ignore_value {
            put.value = self.value();
        }
        if !put.ignore_lease {
            put.lease = self.lease();
        }
        put
    }

    pub(super) fn delete(&mut self) -> DeleteRange {
        DeleteRange { range: self.interval(), prev_kv: self.rng.chance(2, 5) }
    }

    pub(super) fn compact(&mut self, now: Now<'_>) -> Compact {
        Compact { revision: self.revision(now) }
    }

    pub(super) fn compare(&mut self, now: Now<'_>) -> Compare {
        let target = match self.rng.below(5) {
            0 => CompareTarget::Version(small(&mut self.rng, 4)),
            1 => CompareTarget::Create(self.bound(now)),
            2 => CompareTarget::Mod(self.bound(now)),
            3 => CompareTarget::Value(self.value()),
            _ => CompareTarget::Lease(self.lease()),
        };
        let results = [
            CompareResult::Equal,
            CompareResult::Greater,
            CompareResult::Less,
            CompareResult::NotEqual,
        ];
        let range = if self.rng.chance(2, 3) {
            KeyRange { key: self.key(), end: Bytes::new() }
        } else {
            self.interval()
        };
        Compare { range, result: *self.rng.pick(&results), target }
    }

    /// A txn without the collisions that etcd refuses.
    fn valid_txn(&mut self, now: Now<'_>) -> Txn {
        let mut txn = self.txn(now, 0);
        let mut unused = Vec::new();
        without_collisions(&mut txn, &mut unused, &[]);
        txn
    }

    fn txn(&mut self, now: Now<'_>, depth: usize) -> Txn {
        Txn {
            compare: (0..self.rng.below(3)).map(|_| self.compare(now)).collect(),
            success: self.ops(now, depth),
            failure: self.ops(now, depth),
        }
    }

    fn ops(&mut self, now: Now<'_>, depth: usize) -> Vec<Op> {
        (0..self.rng.below(OPS_MAX + 1)).map(|_| self.op(now, depth)).collect()
    }

    fn op(&mut self, now: Now<'_>, depth: usize) -> Op {
        match self.rng.below(12) {
            0..=3 => Op::Range(self.range_in_txn(now)),
            4..=7 => Op::Put(self.put()),
            8..=9 => Op::DeleteRange(self.delete()),
            _ if depth < DEPTH_MAX => Op::Txn(self.txn(now, depth + 1)),
            _ => Op::Put(self.put()),
        }
    }

    /// Mostly at the newest revision: one that is off refuses the whole txn.
    fn range_in_txn(&mut self, now: Now<'_>) -> Range {
        let mut range = self.range(now);
        if self.rng.chance(3, 4) {
            range.revision = Revision(0);
        }
        range
    }
}

/// A number from 0 up to, not including, `bound`.
fn small(rng: &mut Rng, bound: usize) -> i64 {
    i64::try_from(rng.below(bound)).expect("small")
}

/// The first key behind all keys that begin with `prefix`; one zero byte, which is etcd's word for
/// no end, when there is none.
fn prefix_end(prefix: &[u8]) -> Bytes {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            return Bytes::from(end);
        }
    }
    Bytes::from_static(b"\0")
}

/// Drops puts of keys that the list puts or deletes elsewhere: `seen` are the keys put so far,
/// `deleted` what the lists around this txn delete.
fn without_collisions(txn: &mut Txn, seen: &mut Vec<Bytes>, deleted: &[KeyRange]) {
    let before = seen.clone();
    for list in [&mut txn.success, &mut txn.failure] {
        let mut deleted = deleted.to_vec();
        deletions(list, &mut deleted);
        let mut in_list = before.clone();
        list.retain_mut(|op| match op {
            Op::Put(put) => {
                let free = !in_list.contains(&put.key)
                    && !deleted.iter().any(|range| contains(range, &put.key));
                in_list.push(put.key.clone());
                free
            }
            Op::Txn(nested) => {
                without_collisions(nested, &mut in_list, &deleted);
                true
            }
            Op::Range(_) | Op::DeleteRange(_) => true,
        });
        seen.extend(in_list);
    }
}

fn deletions(list: &[Op], into: &mut Vec<KeyRange>) {
    for op in list {
        match op {
            Op::DeleteRange(delete) => into.push(delete.range.clone()),
            Op::Txn(nested) => {
                deletions(&nested.success, into);
                deletions(&nested.failure, into);
            }
            Op::Range(_) | Op::Put(_) => {}
        }
    }
}
