//! The reference model: etcd's key space in the plainest form that could be right. Every version of
//! every key lies in a list, every question is answered by walking lists.
//!
//! What it says where etcd leaves a choice or cannot be followed:
//! * Rows that tie in a sort stay in key order (etcd leaves their order open).
//! * `ignore_value` and `ignore_lease` are checked against the state that the put will see, and
//!   refuse the whole txn. etcd checks the state before the txn and may crash at it.
//! * In a txn, puts are checked before ranges, each kind in order, as etcd does; so of two
//!   mistakes that of the put is answered.
//! * An empty key is refused wherever in a command it stands, also in the branch that is not
//!   taken: etcd refuses the request before it looks at anything else.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::command::{
    Command, Compact, Compare, CompareResult, CompareTarget, DeleteRange, KeyRange,
    LeaseCheckpoint, LeaseGrant, LeaseRevoke, Op, Put, Range, SortOrder, SortTarget, Txn,
};
use crate::lease::Lease;
use crate::response::{
    CompactResponse, DeleteRangeResponse, LeaseCheckpointResponse, LeaseGrantResponse,
    LeaseRevokeResponse, OpResponse, Outcome, PutResponse, RangeResponse, Rejection, Response,
    TxnResponse,
};
use crate::testing::generate::Now;
use crate::types::{KeyValue, LeaseId, LogPosition, Revision, Term};

/// A revision that no store reaches.
const LATEST: Revision = Revision(i64::MAX);

/// A key space with all of its history that can still be read.
#[derive(Clone, Debug)]
pub struct Model {
    revision: Revision,
    compacted: Revision,
    keys: BTreeMap<Bytes, Vec<Version>>,
    leases: BTreeMap<LeaseId, Lease>,
    /// Where the entry stands whose commands are being carried out.
    position: LogPosition,
}

/// What a key was from a revision on: a record, or deleted.
#[derive(Clone, Debug)]
struct Version {
    revision: Revision,
    record: Option<KeyValue>,
}

/// Which branch a txn takes, and which the txns in that branch take.
struct Path {
    succeeded: bool,
    nested: Vec<Path>,
}

/// A txn on its way: the revision it writes at, whether it has written, and the first of its
/// ranges that asked for a revision it cannot have.
struct Progress {
    before: Revision,
    changed: bool,
    refused_range: Option<Rejection>,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            revision: Revision::EMPTY,
            compacted: Revision(-1),
            keys: BTreeMap::new(),
            leases: BTreeMap::new(),
            position: LogPosition::default(),
        }
    }
}

impl Model {
    /// The current revision.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The compacted revision, -1 as long as there was no compaction.
    #[must_use]
    pub fn compacted(&self) -> Revision {
        self.compacted
    }

    /// How far it has come.
    #[must_use]
    pub fn now(&self) -> Now<'_> {
        let Self { revision, compacted, position, ref leases, .. } = *self;
        Now { revision, compacted, position, leases }
    }

    /// The living keys that hang on a lease, in order.
    pub fn lease_keys(&self, id: LeaseId) -> impl Iterator<Item = &Bytes> {
        let living = self.keys.keys().filter_map(|key| Some((key, self.latest(key)?)));
        living.filter(move |(_, record)| record.lease == id).map(|(key, _)| key)
    }

    /// The commands that follow are of the entry that stands here.
    pub fn enter(&mut self, position: LogPosition) {
        self.position = position;
    }

    /// Carries out a command, or refuses it without a trace.
    pub fn apply(&mut self, command: &Command) -> Outcome {
        refuse_empty_keys(command)?;
        match command {
            Command::Put(put) => self.put(put),
            Command::DeleteRange(delete) => {
                let mut progress = self.begin();
                let response = self.delete_now(delete, &mut progress);
                self.commit(&progress);
                Ok(Response::DeleteRange(response))
            }
            Command::Txn(txn) => self.txn(txn).map(Response::Txn),
            Command::Compact(compact) => self.compact(*compact).map(Response::Compact),
            Command::LeaseGrant(grant) => self.lease_grant(*grant).map(Response::LeaseGrant),
            Command::LeaseRevoke(revoke) => self.lease_revoke(*revoke).map(Response::LeaseRevoke),
            Command::LeaseCheckpoint(checkpoint) => {
                self.lease_checkpoint(checkpoint).map(Response::LeaseCheckpoint)
            }
        }
    }

    /// Reads, outside of any txn.
    ///
    /// # Errors
    /// An empty key, or a revision that is not to be had.
    pub fn range(&self, range: &Range) -> Result<RangeResponse, Rejection> {
        if range.range.key.is_empty() {
            return Err(Rejection::EmptyKey);
        }
        let at = match range.revision {
            Revision(..=0) => self.revision,
            revision if revision > self.revision => return Err(Rejection::FutureRevision),
            revision if revision < self.compacted => return Err(Rejection::Compacted),
            revision => revision,
        };
        Ok(self.read(range, at, self.revision))
    }

    // ---- what each command does ----

    fn put(&mut self, put: &Put) -> Outcome {
        // Outside a txn etcd looks at the lease first, inside it looks at the key first.
        self.check_lease(put)?;
        self.check_ignore(put)?;
        let mut progress = self.begin();
        let response = self.put_now(put, &mut progress);
        self.commit(&progress);
        Ok(Response::Put(response))
    }

    fn txn(&mut self, txn: &Txn) -> Result<TxnResponse, Rejection> {
        let path = self.path(txn);
        let mut progress = self.begin();
        let run = self.run(txn, &path, &mut progress);
        let run = match (run, progress.refused_range) {
            (Ok(_), Some(refused)) => Err(refused),
            (run, _) => run,
        };
        match run {
            Ok(_) => self.commit(&progress),
            Err(_) => self.roll_back(),
        }
        run
    }

    fn compact(&mut self, compact: Compact) -> Result<CompactResponse, Rejection> {
        if compact.revision <= self.compacted {
            return Err(Rejection::Compacted);
        }
        if compact.revision > self.revision {
            return Err(Rejection::FutureRevision);
        }
        self.compacted = compact.revision;
        for versions in self.keys.values_mut() {
            let old = versions.iter().filter(|version| version.revision <= self.compacted).count();
            versions.drain(..old.saturating_sub(1));
        }
        self.keys.retain(|_, versions| match versions.as_slice() {
            [only] => only.record.is_some() || only.revision > self.compacted,
            _ => true,
        });
        Ok(CompactResponse { revision: self.revision })
    }

    // ---- leases ----

    fn lease_grant(&mut self, grant: LeaseGrant) -> Result<LeaseGrantResponse, Rejection> {
        let LeaseGrant { id, ttl } = grant;
        if id == LeaseId::NONE {
            return Err(Rejection::LeaseNotFound);
        }
        if self.leases.contains_key(&id) {
            return Err(Rejection::LeaseExists);
        }
        self.leases.insert(id, Lease { id, ttl, remaining: 0, granted: self.position.index });
        Ok(LeaseGrantResponse { revision: self.revision })
    }

    fn lease_revoke(&mut self, revoke: LeaseRevoke) -> Result<LeaseRevokeResponse, Rejection> {
        let lease = self.leases.get(&revoke.id).copied();
        if let Some(expiry) = revoke.expiry {
            self.check_term(expiry.term)?;
            if lease.is_some_and(|lease| lease.granted != expiry.granted) {
                return Err(Rejection::LeaseNotFound);
            }
        }
        let lease = lease.ok_or(Rejection::LeaseNotFound)?;
        let keys: Vec<_> = self.lease_keys(lease.id).cloned().collect();
        let mut progress = self.begin();
        for key in &keys {
            let revision = progress.change();
            self.write(key.clone(), Version { revision, record: None });
        }
        self.commit(&progress);
        self.leases.remove(&lease.id);
        let deleted = i64::try_from(keys.len()).expect("few keys");
        Ok(LeaseRevokeResponse { revision: self.revision, deleted })
    }

    fn lease_checkpoint(
        &mut self,
        checkpoint: &LeaseCheckpoint,
    ) -> Result<LeaseCheckpointResponse, Rejection> {
        self.check_term(checkpoint.term)?;
        for left in &checkpoint.leases {
            if let Some(lease) = self.leases.get_mut(&left.id)
                && lease.granted == left.granted
            {
                lease.remaining = left.ttl;
            }
        }
        Ok(LeaseCheckpointResponse { revision: self.revision })
    }

    fn check_term(&self, term: Term) -> Result<(), Rejection> {
        if term == self.position.term { Ok(()) } else { Err(Rejection::StaleTerm) }
    }

    // ---- txns ----

    fn begin(&self) -> Progress {
        Progress { before: self.revision, changed: false, refused_range: None }
    }

    fn commit(&mut self, progress: &Progress) {
        self.revision = progress.revision();
    }

    /// Takes back every version of a revision that was not reached.
    fn roll_back(&mut self) {
        for versions in self.keys.values_mut() {
            while versions.last().is_some_and(|last| last.revision > self.revision) {
                versions.pop();
            }
        }
        self.keys.retain(|_, versions| !versions.is_empty());
    }

    /// All compares look at the state before the txn, also those of the txns inside it.
    fn path(&self, txn: &Txn) -> Path {
        let succeeded = txn.compare.iter().all(|compare| self.holds(compare));
        let nested = branch(txn, succeeded).iter().filter_map(|op| match op {
            Op::Txn(nested) => Some(self.path(nested)),
            Op::Range(_) | Op::Put(_) | Op::DeleteRange(_) => None,
        });
        Path { succeeded, nested: nested.collect() }
    }

    fn run(&mut self, txn: &Txn, path: &Path, on: &mut Progress) -> Result<TxnResponse, Rejection> {
        let mut nested = path.nested.iter();
        let mut responses = Vec::new();
        for op in branch(txn, path.succeeded) {
            responses.push(match op {
                Op::Range(range) => OpResponse::Range(self.range_in_txn(range, on)),
                Op::Put(put) => {
                    self.check_ignore(put)?;
                    self.check_lease(put)?;
                    OpResponse::Put(self.put_now(put, on))
                }
                Op::DeleteRange(delete) => OpResponse::DeleteRange(self.delete_now(delete, on)),
                Op::Txn(txn) => {
                    let path = nested.next().expect("one path per nested txn");
                    OpResponse::Txn(self.run(txn, path, on)?)
                }
            });
        }
        Ok(TxnResponse { revision: on.revision(), succeeded: path.succeeded, responses })
    }

    fn range_in_txn(&self, range: &Range, on: &mut Progress) -> RangeResponse {
        let refused = match range.revision {
            Revision(0) => None,
            revision if revision > on.before => Some(Rejection::FutureRevision),
            revision if revision < self.compacted => Some(Rejection::Compacted),
            _ => None,
        };
        if refused.is_some() {
            on.refused_range = on.refused_range.or(refused);
            return RangeResponse::default();
        }
        let at = if range.revision.0 <= 0 { on.revision() } else { range.revision };
        self.read(range, at, on.revision())
    }

    fn holds(&self, compare: &Compare) -> bool {
        let found: Vec<_> = self.alive(&compare.range, self.revision).collect();
        if found.is_empty() {
            let by_value = matches!(compare.target, CompareTarget::Value(_));
            return !by_value && holds_for(compare, &KeyValue::default());
        }
        found.into_iter().all(|record| holds_for(compare, record))
    }

    // ---- single changes ----

    fn check_lease(&self, put: &Put) -> Result<(), Rejection> {
        if put.lease != LeaseId::NONE && !self.leases.contains_key(&put.lease) {
            return Err(Rejection::LeaseNotFound);
        }
        Ok(())
    }

    fn check_ignore(&self, put: &Put) -> Result<(), Rejection> {
        if (put.ignore_value || put.ignore_lease) && self.latest(&put.key).is_none() {
            return Err(Rejection::KeyNotFound);
        }
        Ok(())
    }

    fn put_now(&mut self, put: &Put, on: &mut Progress) -> PutResponse {
        let revision = on.change();
        let previous = self.latest(&put.key).cloned();
        let mut record = KeyValue {
            key: put.key.clone(),
            create_revision: revision,
            mod_revision: revision,
            version: 1,
            lease: put.lease,
            value: put.value.clone(),
        };
        if let Some(previous) = &previous {
            record.create_revision = previous.create_revision;
            record.version = previous.version + 1;
            if put.ignore_value {
                record.value = previous.value.clone();
            }
            if put.ignore_lease {
                record.lease = previous.lease;
            }
        }
        self.write(put.key.clone(), Version { revision, record: Some(record) });
        PutResponse { revision, prev_kv: previous.filter(|_| put.prev_kv) }
    }

    fn delete_now(&mut self, delete: &DeleteRange, on: &mut Progress) -> DeleteRangeResponse {
        let deleted: Vec<_> = self.alive(&delete.range, LATEST).cloned().collect();
        for record in &deleted {
            let revision = on.change();
            self.write(record.key.clone(), Version { revision, record: None });
        }
        let count = i64::try_from(deleted.len()).expect("few keys");
        let prev_kvs = if delete.prev_kv { deleted } else { Vec::new() };
        DeleteRangeResponse { revision: on.revision(), deleted: count, prev_kvs }
    }

    fn write(&mut self, key: Bytes, version: Version) {
        self.keys.entry(key).or_default().push(version);
    }

    // ---- reading ----

    fn latest(&self, key: &Bytes) -> Option<&KeyValue> {
        self.keys.get(key)?.last()?.record.as_ref()
    }

    /// The records alive in an interval at a revision, in key order.
    fn alive(&self, range: &KeyRange, at: Revision) -> impl Iterator<Item = &KeyValue> {
        let inside = self.keys.iter().filter(move |(key, _)| contains(range, key));
        inside.filter_map(move |(_, versions)| {
            versions.iter().rfind(|version| version.revision <= at)?.record.as_ref()
        })
    }

    fn read(&self, range: &Range, at: Revision, header: Revision) -> RangeResponse {
        let mut rows: Vec<KeyValue> = self.alive(&range.range, at).cloned().collect();
        let count = i64::try_from(rows.len()).expect("few keys");
        if range.count_only {
            return RangeResponse { revision: header, kvs: Vec::new(), more: false, count };
        }
        let limit = usize::try_from(range.limit).ok().filter(|limit| *limit > 0);
        let filtered = is_filtered(range);
        if let Some(limit) = limit
            && range.sort_order == SortOrder::None
            && !filtered
        {
            // etcd walks its index no further than this, and sorts only what it found.
            rows.truncate(limit.saturating_add(1));
        }
        rows.retain(|row| passes(range, row));
        sort(&mut rows, range);
        let more = limit.is_some_and(|limit| rows.len() > limit);
        rows.truncate(limit.unwrap_or(usize::MAX));
        if range.keys_only {
            rows.iter_mut().for_each(|row| row.value = Bytes::new());
        }
        RangeResponse { revision: header, kvs: rows, more, count }
    }
}

impl Progress {
    /// The store's revision as the txn has left it so far.
    fn revision(&self) -> Revision {
        Revision(self.before.0 + i64::from(self.changed))
    }

    /// The revision of one more change.
    fn change(&mut self) -> Revision {
        self.changed = true;
        self.revision()
    }
}

fn branch(txn: &Txn, succeeded: bool) -> &[Op] {
    if succeeded { &txn.success } else { &txn.failure }
}

/// Whether a key lies in an interval, by etcd's rule.
#[must_use]
pub fn contains(range: &KeyRange, key: &[u8]) -> bool {
    match &range.end[..] {
        [] => key == range.key,
        [0] => key >= &range.key[..],
        end => key >= &range.key[..] && key < end,
    }
}

fn holds_for(compare: &Compare, record: &KeyValue) -> bool {
    let ordering = match &compare.target {
        CompareTarget::Version(version) => record.version.cmp(version),
        CompareTarget::Create(revision) => record.create_revision.cmp(revision),
        CompareTarget::Mod(revision) => record.mod_revision.cmp(revision),
        CompareTarget::Value(value) => record.value.cmp(value),
        CompareTarget::Lease(lease) => record.lease.cmp(lease),
    };
    match compare.result {
        CompareResult::Equal => ordering.is_eq(),
        CompareResult::Greater => ordering.is_gt(),
        CompareResult::Less => ordering.is_lt(),
        CompareResult::NotEqual => ordering.is_ne(),
    }
}

fn is_filtered(range: &Range) -> bool {
    let bounds = [
        range.min_mod_revision,
        range.max_mod_revision,
        range.min_create_revision,
        range.max_create_revision,
    ];
    bounds.iter().any(|bound| bound.0 != 0)
}

fn passes(range: &Range, row: &KeyValue) -> bool {
    let not_below = |bound: Revision, revision| bound.0 == 0 || revision >= bound;
    let not_above = |bound: Revision, revision| bound.0 == 0 || revision <= bound;
    not_above(range.max_mod_revision, row.mod_revision)
        && not_below(range.min_mod_revision, row.mod_revision)
        && not_above(range.max_create_revision, row.create_revision)
        && not_below(range.min_create_revision, row.create_revision)
}

fn sort(rows: &mut [KeyValue], range: &Range) {
    let by = |left: &KeyValue, right: &KeyValue| match range.sort_target {
        SortTarget::Key => left.key.cmp(&right.key),
        SortTarget::Version => left.version.cmp(&right.version),
        SortTarget::Create => left.create_revision.cmp(&right.create_revision),
        SortTarget::Mod => left.mod_revision.cmp(&right.mod_revision),
        SortTarget::Value => left.value.cmp(&right.value),
    };
    match range.sort_order {
        SortOrder::None | SortOrder::Ascend => rows.sort_by(by),
        SortOrder::Descend => rows.sort_by(|left, right| by(right, left)),
    }
}

fn refuse_empty_keys(command: &Command) -> Result<(), Rejection> {
    let empty = match command {
        Command::Put(put) => put.key.is_empty(),
        Command::DeleteRange(delete) => delete.range.key.is_empty(),
        Command::Txn(txn) => has_empty_key(txn),
        Command::Compact(_)
        | Command::LeaseGrant(_)
        | Command::LeaseRevoke(_)
        | Command::LeaseCheckpoint(_) => false,
    };
    if empty { Err(Rejection::EmptyKey) } else { Ok(()) }
}

fn has_empty_key(txn: &Txn) -> bool {
    txn.compare.iter().any(|compare| compare.range.key.is_empty())
        || txn.success.iter().chain(&txn.failure).any(|op| match op {
            Op::Range(range) => range.range.key.is_empty(),
            Op::Put(put) => put.key.is_empty(),
            Op::DeleteRange(delete) => delete.range.key.is_empty(),
            Op::Txn(nested) => has_empty_key(nested),
        })
}

#[cfg(test)]
#[path = "model_test.rs"]
mod tests;
