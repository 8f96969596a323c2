//! Hostile commands from a seed: everything that decodes, whether a client would send it or not.
//! Nested, overlapping, contradictory; numbers at the ends of their types; keys empty, long or of
//! bytes that mean something elsewhere.

use bytes::Bytes;

use super::generate::{Generator, Now};
use crate::command::{
    Command, Compact, Compare, CompareTarget, DeleteRange, Expiry, KeyRange, LeaseCheckpoint,
    LeaseGrant, LeaseRevoke, Op, Put, Range, Remaining, Txn,
};
use crate::types::{LeaseId, LogIndex, Revision, Term};

/// Keys whose bytes mean something to intervals and encodings.
const ODD_KEYS: [&[u8]; 7] =
    [b"\0", b"\0\0", b"\xff", b"\xff\xff\xff", b"a\0\0", b"a\xff", b"a\0\xff"];

/// How deep hostile txns lie in each other at most.
const DEPTH_MAX: usize = 8;

impl Generator {
    /// The next hostile command, nearly always a txn.
    pub fn hostile(&mut self, now: Now<'_>) -> Command {
        self.look_at_leases(now);
        match self.rng.below(220) {
            0..8 => Command::Put(self.hostile_put()),
            8..16 => Command::DeleteRange(self.hostile_delete()),
            16 => Command::Compact(Compact { revision: self.hostile_revision(now) }),
            17 => Command::Compact(self.compact(now)),
            200..214 => self.lease_command(now),
            214.. => self.hostile_lease_command(now),
            _ => Command::Txn(self.hostile_txn(now, 0)),
        }
    }

    /// A range with everything in it that a range may hold.
    pub fn hostile_range(&mut self, now: Now<'_>) -> Range {
        let mut range = self.range(now);
        if self.rng.chance(1, 3) {
            range.range = self.hostile_interval();
        }
        if self.rng.chance(1, 10) {
            range.revision = self.hostile_revision(now);
        }
        if self.rng.chance(1, 5) {
            range.limit = self.hostile_number();
        }
        if self.rng.chance(1, 10) {
            range.min_mod_revision = self.hostile_revision(now);
            range.max_create_revision = self.hostile_revision(now);
        }
        range
    }

    fn hostile_txn(&mut self, now: Now<'_>, depth: usize) -> Txn {
        Txn {
            compare: (0..self.few()).map(|_| self.hostile_compare(now)).collect(),
            success: self.hostile_ops(now, depth),
            failure: self.hostile_ops(now, depth),
        }
    }

    fn hostile_ops(&mut self, now: Now<'_>, depth: usize) -> Vec<Op> {
        if depth == 0 && self.rng.chance(1, 10) {
            return self.emptied_under_the_put();
        }
        (0..self.few()).map(|_| self.hostile_op(now, depth)).collect()
    }

    fn hostile_op(&mut self, now: Now<'_>, depth: usize) -> Op {
        match self.rng.below(20) {
            0..=3 => Op::Range(self.hostile_range_in_txn(now)),
            4..=10 => Op::Put(self.hostile_put()),
            11..=15 => Op::DeleteRange(self.hostile_delete()),
            _ if depth < DEPTH_MAX => Op::Txn(self.hostile_txn(now, depth + 1)),
            _ => Op::Put(self.hostile_put()),
        }
    }

    /// The txn that kills an etcd cluster: a key is deleted, then kept in part.
    fn emptied_under_the_put(&mut self) -> Vec<Op> {
        let key = self.key();
        let put = Put { key: key.clone(), ignore_value: self.rng.chance(1, 2), ..Put::default() };
        let put = Put { ignore_lease: !put.ignore_value, ..put };
        let range = KeyRange { key, end: Bytes::from_static(b"\0") };
        let mut ops = vec![Op::DeleteRange(DeleteRange { range, prev_kv: true }), Op::Put(put)];
        if self.rng.chance(1, 2) {
            let again = Op::Put(self.hostile_put());
            ops.insert(1, again);
        }
        ops
    }

    /// Mostly small lists: most of a large one is never reached.
    fn few(&mut self) -> usize {
        match self.rng.below(40) {
            0 => self.rng.below(40),
            1..=10 => 0,
            _ => self.rng.below(4),
        }
    }

    fn hostile_compare(&mut self, now: Now<'_>) -> Compare {
        let mut compare = self.compare(now);
        if self.rng.chance(1, 8) {
            compare.range = self.hostile_interval();
        }
        if self.rng.chance(1, 8) {
            let number = self.hostile_number();
            compare.target = match self.rng.below(4) {
                0 => CompareTarget::Version(number),
                1 => CompareTarget::Create(Revision(number)),
                2 => CompareTarget::Mod(Revision(number)),
                _ => CompareTarget::Lease(LeaseId(number)),
            };
        }
        compare
    }

    /// Most keep to what can be carried out, or no txn would ever get far.
    fn hostile_range_in_txn(&mut self, now: Now<'_>) -> Range {
        let mut range = self.hostile_range(now);
        if self.rng.chance(9, 10) {
            range.revision = Revision(0);
        }
        range
    }

    fn hostile_put(&mut self) -> Put {
        let mut put = self.put();
        if self.rng.chance(1, 10) {
            put.key = self.hostile_key();
        }
        if self.rng.chance(1, 20) {
            put.value = self.value();
        }
        match self.rng.below(100) {
            0 => put.lease = LeaseId(self.hostile_number()),
            1..60 => put.lease = LeaseId::NONE,
            _ => {}
        }
        put
    }

    /// Ids, terms and TTLs that nobody sends.
    fn hostile_lease_command(&mut self, now: Now<'_>) -> Command {
        let id = LeaseId(self.hostile_number());
        let granted = LogIndex(self.hostile_number().cast_unsigned());
        let term = match self.rng.below(3) {
            0 => Term(self.hostile_number().cast_unsigned()),
            _ => now.position.term,
        };
        match self.rng.below(4) {
            0 => Command::LeaseGrant(LeaseGrant { id, ttl: self.hostile_number() }),
            1 => Command::LeaseRevoke(LeaseRevoke { id, expiry: None }),
            2 => Command::LeaseRevoke(LeaseRevoke { id, expiry: Some(Expiry { term, granted }) }),
            _ => {
                let left = |ttl| Remaining { id, granted, ttl };
                let leases = (0..self.few()).map(|_| left(self.hostile_number())).collect();
                Command::LeaseCheckpoint(LeaseCheckpoint { term, leases })
            }
        }
    }

    fn hostile_delete(&mut self) -> DeleteRange {
        let mut delete = self.delete();
        if self.rng.chance(1, 4) {
            delete.range = self.hostile_interval();
        }
        delete
    }

    fn hostile_interval(&mut self) -> KeyRange {
        let (key, end) = (self.hostile_key(), self.hostile_key());
        KeyRange { key, end }
    }

    fn hostile_key(&mut self) -> Bytes {
        match self.rng.below(40) {
            0 => Bytes::new(),
            1 => Bytes::from(vec![self.rng.byte(); 300]),
            2..=6 => self.rng.bytes_of(&ODD_KEYS),
            7..=12 => {
                (0..self.rng.between(1, 3)).map(|_| *self.rng.pick(&[0, b'a', 0xff])).collect()
            }
            _ => self.key(),
        }
    }

    fn hostile_revision(&mut self, now: Now<'_>) -> Revision {
        match self.rng.below(4) {
            0 => Revision(self.hostile_number()),
            1 => Revision(now.revision.0.saturating_add(1)),
            2 => Revision(now.compacted.0.saturating_sub(1)),
            _ => Revision(now.revision.0),
        }
    }

    fn hostile_number(&mut self) -> i64 {
        *self.rng.pick(&[i64::MIN, i64::MIN + 1, -2, -1, 0, 1, 2, i64::MAX - 1, i64::MAX])
    }
}
