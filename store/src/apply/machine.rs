//! The state machine at work: puts, deletes and compactions on the batch in the making.

use std::sync::Arc;

use bytes::Bytes;

use crate::command::{Command, Compact, DeleteRange, Put};
use crate::engine::{Blocks, Direction, Engine, Snapshot};
use crate::error::{Error, corrupt};
use crate::events::Event;
use crate::lease::LeaseChange;
use crate::metrics::Metrics;
use crate::mvcc::compaction::Cuts;
use crate::mvcc::interval::Interval;
use crate::mvcc::meta_cache::MetaCache;
use crate::mvcc::view::View;
use crate::response::{
    CompactResponse, DeleteRangeResponse, Outcome, PutResponse, Rejection, Response,
};
use crate::schema::far::Far;
use crate::schema::log::{Prev, Record};
use crate::schema::meta::State;
use crate::schema::{Table, current};
use crate::types::{KeyMeta, KeyValue, LeaseId, LogPosition, Revision, SubRevision};

use super::known_leases::KnownLeases;
use super::overlay::{Living, Overlay};

/// Why a command came to an end early.
#[derive(Debug)]
pub(super) enum Failure {
    /// It is refused; what it did so far is taken back.
    Rejected(Rejection),
    /// The store cannot go on.
    Broken(Error),
}

impl From<Rejection> for Failure {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Broken(error)
    }
}

impl From<crate::engine::Error> for Failure {
    fn from(error: crate::engine::Error) -> Self {
        Self::Broken(error.into())
    }
}

/// A key's living version as a command finds it.
#[derive(Clone, Debug)]
pub(super) struct Prior {
    pub(super) meta: KeyMeta,
    /// Its value, where it was asked for.
    pub(super) value: Option<Bytes>,
}

/// The state that the batch in the making has reached.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) engine: Arc<dyn Engine>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) state: State,
    pub(super) cuts: Cuts,
    pub(super) overlay: Overlay,
    pub(super) cache: MetaCache<KeyMeta>,
    /// The state before the batch.
    pub(super) base: Arc<View>,
    /// What the batch has changed, in order.
    pub(super) events: Vec<Event>,
    /// Changes that the command in hand has made: the next one's sub-revision.
    pub(super) changes: u32,
    /// Whether somebody waits for the outcome.
    pub(super) wanted: bool,
    /// Where the entry in hand stands.
    pub(super) position: LogPosition,
    pub(super) leases: KnownLeases,
    /// What the batch has done to leases.
    pub(super) lease_changes: Vec<LeaseChange>,
}

impl Machine {
    /// Carries out one command, wholly or not at all.
    pub(super) fn execute(&mut self, command: &Command) -> Result<Outcome, Error> {
        if command.has_empty_key() {
            self.metrics.rejections.add(1);
            return Ok(Err(Rejection::EmptyKey));
        }
        let mark = (self.overlay.mark(), self.events.len());
        self.changes = 0;
        let metrics = Arc::clone(&self.metrics);
        let done = match command {
            Command::Put(put) => self.put(put).map(Response::Put),
            Command::DeleteRange(delete) => self.delete_range(delete).map(Response::DeleteRange),
            Command::Txn(txn) => {
                metrics.txns.add(1);
                self.txn(txn).map(Response::Txn)
            }
            Command::Compact(compact) => self.compact(*compact).map(Response::Compact),
            Command::LeaseGrant(grant) => self.lease_grant(*grant).map(Response::LeaseGrant),
            Command::LeaseRevoke(revoke) => self.lease_revoke(*revoke).map(Response::LeaseRevoke),
            Command::LeaseCheckpoint(checkpoint) => {
                self.lease_checkpoint(checkpoint).map(Response::LeaseCheckpoint)
            }
        };
        match done {
            Ok(response) => {
                self.state.revision = self.reached();
                Ok(Ok(response))
            }
            Err(Failure::Rejected(rejection)) => {
                metrics.rejections.add(1);
                let (overlay, events) = mark;
                self.overlay.roll_back(overlay);
                self.events.truncate(events);
                Ok(Err(rejection))
            }
            Err(Failure::Broken(error)) => Err(error),
        }
    }

    /// The revision as the command in hand has left it so far.
    pub(super) const fn reached(&self) -> Revision {
        Revision(self.state.revision.0 + if self.changes > 0 { 1 } else { 0 })
    }

    /// A put outside a txn: etcd asks for the lease before it looks for the key.
    fn put(&mut self, put: &Put) -> Result<PutResponse, Failure> {
        self.check_lease(put.lease)?;
        self.put_checked(put)
    }

    /// A put inside a txn: etcd looks for the key before it asks for the lease.
    pub(super) fn put_in_txn(&mut self, put: &Put) -> Result<PutResponse, Failure> {
        if (put.ignore_value || put.ignore_lease) && self.prior(&put.key, |_| false)?.is_none() {
            return Err(Rejection::KeyNotFound.into());
        }
        self.check_lease(put.lease)?;
        self.put_checked(put)
    }

    fn put_checked(&mut self, put: &Put) -> Result<PutResponse, Failure> {
        if put.key.is_empty() {
            return Err(Rejection::EmptyKey.into());
        }
        let compacted = self.state.compacted;
        let needs_value = (put.prev_kv && self.wanted) || put.ignore_value;
        let prior = self.prior(&put.key, |meta| needs_value || meta.at.main <= compacted)?;
        if (put.ignore_value || put.ignore_lease) && prior.is_none() {
            return Err(Rejection::KeyNotFound.into());
        }
        let lease = match &prior {
            Some(prior) if put.ignore_lease => prior.meta.lease,
            _ => put.lease,
        };
        let value = match &prior {
            Some(prior) if put.ignore_value => prior.loaded_value().clone(),
            _ => put.value.clone(),
        };
        let at = self.next_place()?;
        let meta = match &prior {
            None => KeyMeta { at, create: at.main, version: 1, lease, far: Far::NONE },
            Some(Prior { meta, .. }) => KeyMeta {
                at,
                create: meta.create,
                version: meta.version + 1,
                lease,
                far: meta.far.next(meta.version, meta.at, compacted),
            },
        };
        let now = Living { meta, value: value.clone() };
        self.record(&put.key, prior.as_ref(), meta, &value, Some(now));
        self.metrics.puts.add(1);
        let prev_kv = prior.filter(|_| put.prev_kv && self.wanted);
        let prev_kv = prev_kv.map(|prior| prior.into_key_value(put.key.clone()));
        Ok(PutResponse { revision: self.reached(), prev_kv })
    }

    pub(super) fn delete_range(
        &mut self,
        delete: &DeleteRange,
    ) -> Result<DeleteRangeResponse, Failure> {
        if delete.range.key.is_empty() {
            return Err(Rejection::EmptyKey.into());
        }
        let compacted = self.state.compacted;
        let answer_values = delete.prev_kv && self.wanted;
        let needs_value = |meta: &KeyMeta| answer_values || meta.at.main <= compacted;
        let doomed = self.living(&Interval::of(&delete.range), needs_value)?;
        let mut response = DeleteRangeResponse::default();
        for (key, prior) in doomed {
            let at = self.next_place()?;
            let far = prior.meta.far.next(prior.meta.version, prior.meta.at, compacted);
            let meta = KeyMeta { at, far, lease: LeaseId::NONE, ..prior.meta };
            self.record(&key, Some(&prior), meta, &Bytes::new(), None);
            response.deleted += 1;
            if answer_values {
                response.prev_kvs.push(prior.into_key_value(key));
            }
        }
        self.metrics.deletes.add(1);
        self.metrics.keys_deleted.add(response.deleted.unsigned_abs());
        response.revision = self.reached();
        Ok(response)
    }

    fn compact(&mut self, compact: Compact) -> Result<CompactResponse, Failure> {
        let Compact { revision } = compact;
        if revision <= self.state.compacted {
            return Err(Rejection::Compacted.into());
        }
        if revision > self.state.revision {
            return Err(Rejection::FutureRevision.into());
        }
        self.state.compacted = revision;
        self.cuts.push(revision, self.state.revision);
        Ok(CompactResponse { revision: self.state.revision })
    }

    /// The place of the next change.
    pub(super) fn next_place(&mut self) -> Result<SubRevision, Error> {
        let main = self.state.revision.0.checked_add(1).ok_or(Error::Exhausted("revisions"))?;
        let sub = self.changes;
        self.changes = sub.checked_add(1).ok_or(Error::Exhausted("changes in one revision"))?;
        Ok(SubRevision { main: Revision(main), sub })
    }

    /// Writes a version, or a deletion if the key is to be nothing `now`.
    pub(super) fn record(
        &mut self,
        key: &Bytes,
        prior: Option<&Prior>,
        meta: KeyMeta,
        value: &Bytes,
        now: Option<Living>,
    ) {
        let was = prior.map(|prior| (prior.meta, prior.value.as_ref()));
        self.events.push(Event::new(key, meta, now.is_some().then_some(value), was));
        let mut embedded = Vec::new();
        let prev = match prior {
            None => Prev::None,
            Some(prior) if prior.meta.at.main > self.state.compacted => {
                Prev::Pointer(prior.meta.at)
            }
            // Its own log record may be cut, so a pointer might lead nowhere.
            Some(prior) => {
                current::encode(&prior.meta, prior.loaded_value(), &mut embedded);
                Prev::Embedded(&embedded)
            }
        };
        let record = Record { deletion: now.is_none(), key, meta, prev, value };
        self.overlay.record(&record, key, prior.is_some(), now);
        self.attach(key, prior.map_or(LeaseId::NONE, |prior| prior.meta.lease), meta.lease);
    }

    /// What is known of a living key; its value too, if `needs_value` says so.
    pub(super) fn prior(
        &mut self,
        key: &[u8],
        needs_value: impl Fn(&KeyMeta) -> bool,
    ) -> Result<Option<Prior>, Error> {
        if let Some(pending) = self.overlay.get(key) {
            let prior = |now: &Living| Prior { meta: now.meta, value: Some(now.value.clone()) };
            return Ok(pending.now.as_ref().map(prior));
        }
        if let Some(meta) = self.cache.get(key)
            && !needs_value(meta)
        {
            return Ok(Some(Prior { meta: *meta, value: None }));
        }
        let mut found = None;
        self.engine.get_with(Table::Current, key, &mut |record| {
            found = Some(current::decode(record).map(|version| Prior {
                meta: version.meta,
                value: needs_value(&version.meta).then(|| Bytes::copy_from_slice(version.value)),
            }));
        })?;
        let prior = found.transpose().map_err(corrupt(Table::Current, key))?;
        Ok(prior)
    }

    /// The living keys of an interval in order, with their values where `needs_value` says so.
    fn living(
        &mut self,
        interval: &Interval,
        needs_value: impl Fn(&KeyMeta) -> bool,
    ) -> Result<Vec<(Bytes, Prior)>, Error> {
        if let Some(key) = interval.single() {
            let prior = self.prior(key, needs_value)?;
            return Ok(prior
                .map(|prior| (Bytes::copy_from_slice(key), prior))
                .into_iter()
                .collect());
        }
        let mut found = Vec::new();
        if interval.is_empty() {
            return Ok(found);
        }
        let snapshot = self.overlay.over(self.base.snapshot());
        let (bounds, forward) = (interval.bounds(), Direction::Forward);
        let mut cursor = snapshot.cursor(Table::Current, bounds, forward, Blocks::Keep)?;
        while let Some((key, record)) = cursor.row() {
            let version = current::decode(record).map_err(corrupt(Table::Current, key))?;
            let value = needs_value(&version.meta).then(|| Bytes::copy_from_slice(version.value));
            let prior = Prior { meta: version.meta, value };
            found.push((Bytes::copy_from_slice(key), prior));
            cursor.advance()?;
        }
        Ok(found)
    }
}

impl Prior {
    fn loaded_value(&self) -> &Bytes {
        self.value.as_ref().expect("a value that is used was asked for")
    }

    fn into_key_value(self, key: Bytes) -> KeyValue {
        let value = self.loaded_value().clone();
        let KeyMeta { at, create, version, lease, .. } = self.meta;
        KeyValue { key, create_revision: create, mod_revision: at.main, version, lease, value }
    }
}
