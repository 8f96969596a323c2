//! Random requests over few keys, so that they meet: valid and invalid, plain and nested.

use bytes::Bytes;
use keelson_api::etcdserverpb::compare::TargetUnion;
use keelson_api::etcdserverpb::request_op::Request as Op;
use keelson_api::etcdserverpb::{
    CompactionRequest, Compare, DeleteRangeRequest, LeaseGrantRequest, LeaseRevokeRequest,
    LeaseTimeToLiveRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
};

use super::common::{Request, Rng};

/// Neighbours, prefixes of each other, and the ends of the order.
const KEYS: [&[u8]; 14] = [
    b"a",
    b"a\0",
    b"a\0\0",
    b"a\0\x01",
    b"ab",
    b"abc",
    b"b",
    b"b\xff",
    b"b\xff\xff",
    b"c",
    b"\0",
    b"\x01",
    b"\xff",
    b"\xff\xff",
];

/// What an interval may end with, besides keys.
const ENDS: [&[u8]; 4] = [b"\0", b"", b"d", b"b\0"];

const VALUES: [&[u8]; 6] =
    [b"", b"1", b"2", b"10", b"\0\xff", b"a longer value than the others are"];

/// Leases that come and go; some are never granted.
const LEASES: [i64; 7] = [1, 2, 3, -4, i64::MAX, 8, 9];

/// Seconds that no run takes.
const LEASE_TTL: i64 = 100_000;

/// Transactions in transactions go this deep.
const DEPTH_MAX: u64 = 3;

pub(crate) struct Generator {
    rng: Rng,
    /// The newest revision that was seen in a response.
    pub(crate) revision: i64,
    /// The last compaction that was accepted.
    pub(crate) compacted: i64,
}

impl Generator {
    pub(crate) fn new(rng: Rng) -> Self {
        Self { rng, revision: 1, compacted: 0 }
    }

    /// Takes note of an accepted request.
    pub(crate) fn learn(&mut self, request: &Request, revision: i64) {
        assert!(revision >= self.revision, "revision {revision} after {}", self.revision);
        self.revision = revision;
        if let Request::Compact(compact) = request {
            self.compacted = compact.revision;
        }
    }

    pub(crate) fn next(&mut self) -> Request {
        match self.rng.below(108) {
            0..30 => Request::Put(self.put()),
            30..42 => Request::Delete(self.delete()),
            42..68 => Request::Range(self.range()),
            68..99 => Request::Txn(self.txn(0)),
            99 => Request::Compact(self.compact()),
            _ => self.about_a_lease(),
        }
    }

    fn one_of(&mut self, list: &[&'static [u8]]) -> Bytes {
        let chosen: &'static [u8] = self.rng.pick::<&'static [u8]>(list);
        Bytes::from_static(chosen)
    }

    fn key(&mut self) -> Bytes {
        if self.rng.one_in(60) {
            return Bytes::new();
        }
        self.one_of(&KEYS)
    }

    /// A key, or an interval: proper, open, empty, or upside down.
    fn interval(&mut self) -> (Bytes, Bytes) {
        let end = match self.rng.below(4) {
            0 => Bytes::new(),
            1 => self.one_of(&ENDS),
            _ => self.one_of(&KEYS),
        };
        (self.key(), end)
    }

    fn put(&mut self) -> PutRequest {
        let ignore_value = self.rng.one_in(8);
        let may_be_empty = ignore_value && !self.rng.one_in(6);
        let value = if may_be_empty { Bytes::new() } else { self.one_of(&VALUES) };
        PutRequest {
            key: self.key(),
            value,
            lease: self.lease(),
            prev_kv: self.rng.one_in(3),
            ignore_value,
            ignore_lease: self.rng.one_in(12),
        }
    }

    /// Mostly one that is granted more often than not, or it would be the put's only matter.
    fn lease(&mut self) -> i64 {
        match self.rng.below(40) {
            0 => *self.rng.pick(&LEASES),
            1..=6 => *self.rng.pick(&LEASES[..2]),
            _ => 0,
        }
    }

    fn about_a_lease(&mut self) -> Request {
        let id = *self.rng.pick(&LEASES[..5]);
        match self.rng.below(20) {
            0..10 => {
                let odd = [LEASE_TTL, 10_000_000_000, 9_000_000_000];
                let ttl = if self.rng.one_in(6) { *self.rng.pick(&odd) } else { LEASE_TTL };
                Request::Grant(LeaseGrantRequest { id, ttl })
            }
            10..12 => Request::Revoke(LeaseRevokeRequest { id }),
            12 => Request::Revoke(LeaseRevokeRequest { id: 0 }),
            _ => {
                let keys = self.rng.one_in(2);
                Request::TimeToLive(LeaseTimeToLiveRequest { id, keys })
            }
        }
    }

    fn delete(&mut self) -> DeleteRangeRequest {
        let (key, range_end) = self.interval();
        DeleteRangeRequest { key, range_end, prev_kv: self.rng.one_in(2) }
    }

    fn range(&mut self) -> RangeRequest {
        let (key, range_end) = self.interval();
        let mut range = RangeRequest { key, range_end, ..Default::default() };
        if self.rng.one_in(2) {
            range.revision = self.some_revision();
        }
        if self.rng.one_in(2) {
            range.limit = self.rng.between(-1, 6);
        }
        if self.rng.one_in(2) {
            range.sort_order = i32::try_from(self.rng.below(3)).unwrap();
            range.sort_target = i32::try_from(self.rng.below(5)).unwrap();
        }
        range.serializable = self.rng.one_in(3);
        range.keys_only = self.rng.one_in(5);
        range.count_only = self.rng.one_in(8);
        if self.rng.one_in(4) {
            let bounds = [
                &mut range.min_mod_revision,
                &mut range.max_mod_revision,
                &mut range.min_create_revision,
                &mut range.max_create_revision,
            ];
            for bound in bounds {
                if self.rng.one_in(2) {
                    *bound = self.rng.between((self.revision - 30).max(0), self.revision + 1);
                }
            }
        }
        range
    }

    /// Mostly one that can be read; also the current one in all its spellings, the future, and
    /// what is compacted.
    fn some_revision(&mut self) -> i64 {
        match self.rng.below(12) {
            0 => self.rng.between(-3, 0),
            1 => self.rng.between(self.revision, self.revision + 2),
            2 => self.rng.between((self.compacted - 2).max(0), self.compacted + 2),
            3..6 => self.rng.between(self.compacted.max(1), self.revision.max(self.compacted + 1)),
            _ => self.rng.between((self.revision - 20).max(self.compacted).max(1), self.revision),
        }
    }

    fn compact(&mut self) -> CompactionRequest {
        let revision = match self.rng.below(6) {
            0 => self.rng.between(-2, self.compacted),
            1 => self.rng.between(self.revision, self.revision + 2),
            _ => self.rng.between(self.compacted, self.revision),
        };
        CompactionRequest { revision, physical: self.rng.one_in(2) }
    }

    fn txn(&mut self, depth: u64) -> TxnRequest {
        let compares = self.rng.below(4);
        let compare = (0..compares).map(|_| self.compare()).collect();
        TxnRequest { compare, success: self.ops(depth), failure: self.ops(depth) }
    }

    fn compare(&mut self) -> Compare {
        let (key, range_end) = match self.rng.one_in(4) {
            true => self.interval(),
            false => (self.key(), Bytes::new()),
        };
        let (target, union) = match self.rng.below(5) {
            0 => (0, TargetUnion::Version(self.rng.between(0, 3))),
            1 => (1, TargetUnion::CreateRevision(self.near())),
            2 => (2, TargetUnion::ModRevision(self.near())),
            3 => (3, TargetUnion::Value(self.one_of(&VALUES))),
            _ => (4, TargetUnion::Lease(self.rng.between(0, 2))),
        };
        Compare {
            result: i32::try_from(self.rng.below(4)).unwrap(),
            // Sometimes the union holds something else than the target names, or nothing.
            target: if self.rng.one_in(20) {
                i32::try_from(self.rng.below(5)).unwrap()
            } else {
                target
            },
            key,
            range_end,
            target_union: if self.rng.one_in(30) { None } else { Some(union) },
        }
    }

    /// A revision that keys may have.
    fn near(&mut self) -> i64 {
        if self.rng.one_in(3) {
            0
        } else {
            self.rng.between((self.revision - 10).max(0), self.revision)
        }
    }

    fn ops(&mut self, depth: u64) -> Vec<RequestOp> {
        let count = if self.rng.one_in(6) { 0 } else { self.rng.below(5) };
        let mut ops = Vec::new();
        for _ in 0..count {
            let request = match self.rng.below(20) {
                0..7 => Some(Op::RequestPut(self.put())),
                7..11 => Some(Op::RequestDeleteRange(self.delete())),
                11..17 => Some(Op::RequestRange(self.range())),
                17..19 if depth < DEPTH_MAX => Some(Op::RequestTxn(self.txn(depth + 1))),
                17..19 => Some(Op::RequestRange(self.range())),
                _ if self.rng.one_in(10) => None,
                _ => Some(Op::RequestPut(self.put())),
            };
            ops.push(RequestOp { request });
        }
        self.spare_etcd(ops)
    }

    /// Leaves out what ends etcd for good: a deletion without end, then a put that keeps what the
    /// deleted key had. Deletions without end lose their end where such a put is about; deletions
    /// of nested lists run within the same transaction, so the whole list is looked through.
    fn spare_etcd(&mut self, mut ops: Vec<RequestOp>) -> Vec<RequestOp> {
        if keeps(&ops) {
            close(&mut ops);
        }
        ops
    }
}

fn keeps(ops: &[RequestOp]) -> bool {
    ops.iter().any(|op| match &op.request {
        Some(Op::RequestPut(put)) => put.ignore_value || put.ignore_lease,
        Some(Op::RequestTxn(txn)) => keeps(&txn.success) || keeps(&txn.failure),
        Some(Op::RequestRange(_) | Op::RequestDeleteRange(_)) | None => false,
    })
}

fn close(ops: &mut [RequestOp]) {
    for op in ops {
        match &mut op.request {
            Some(Op::RequestDeleteRange(delete)) if delete.range_end == b"\0"[..] => {
                delete.range_end = Bytes::new();
            }
            Some(Op::RequestTxn(txn)) => {
                close(&mut txn.success);
                close(&mut txn.failure);
            }
            Some(Op::RequestDeleteRange(_) | Op::RequestPut(_) | Op::RequestRange(_)) | None => {}
        }
    }
}
