//! Leases: granting, revoking, checkpoints, and which keys hang on which.

use bytes::Bytes;

use crate::command::{Expiry, LeaseCheckpoint, LeaseGrant, LeaseRevoke, Remaining};
use crate::error::{Error, corrupt};
use crate::lease::{Lease, LeaseChange, attached_keys};
use crate::response::{
    LeaseCheckpointResponse, LeaseGrantResponse, LeaseRevokeResponse, Rejection,
};
use crate::schema::{Malformed, Table, lease};
use crate::types::{KeyMeta, LeaseId, Term};

use super::machine::{Failure, Machine};

/// Keys of a lease that are looked up at a time while it is revoked: a lease may have a million.
const REVOKE_SLICE: usize = 1024;

impl Machine {
    pub(super) fn lease_grant(&mut self, grant: LeaseGrant) -> Result<LeaseGrantResponse, Failure> {
        let LeaseGrant { id, ttl } = grant;
        if id == LeaseId::NONE {
            return Err(Rejection::LeaseNotFound.into());
        }
        if self.lease(id)?.is_some() {
            return Err(Rejection::LeaseExists.into());
        }
        let lease = Lease { id, ttl, remaining: 0, granted: self.position.index };
        self.overlay.set_meta(&lease::key(id), Some(lease::encode(&lease)));
        self.leases.add(id);
        self.lease_changes.push(LeaseChange::Granted(lease));
        Ok(LeaseGrantResponse { revision: self.reached() })
    }

    /// Deletes the keys in one revision, in key order.
    pub(super) fn lease_revoke(
        &mut self,
        revoke: LeaseRevoke,
    ) -> Result<LeaseRevokeResponse, Failure> {
        let LeaseRevoke { id, expiry } = revoke;
        if let Some(Expiry { term, .. }) = expiry {
            self.check_term(term)?;
        }
        let found = self.lease(id)?;
        // A lease that was revoked and granted anew under its id is not the one that has expired.
        let meant = found
            .filter(|lease| expiry.is_none_or(|Expiry { granted, .. }| granted == lease.granted));
        if meant.is_none() {
            return Err(Rejection::LeaseNotFound.into());
        }
        let deleted = self.delete_attached(id)?;
        self.overlay.set_meta(&lease::key(id), None);
        self.leases.remove(id);
        self.lease_changes.push(LeaseChange::Revoked(id));
        self.metrics.keys_deleted.add(deleted.unsigned_abs());
        Ok(LeaseRevokeResponse { revision: self.reached(), deleted })
    }

    pub(super) fn lease_checkpoint(
        &mut self,
        checkpoint: &LeaseCheckpoint,
    ) -> Result<LeaseCheckpointResponse, Failure> {
        self.check_term(checkpoint.term)?;
        for Remaining { id, granted, ttl } in &checkpoint.leases {
            let Some(lease) = self.lease(*id)?.filter(|lease| lease.granted == *granted) else {
                continue;
            };
            let lease = Lease { remaining: *ttl, ..lease };
            self.overlay.set_meta(&lease::key(*id), Some(lease::encode(&lease)));
        }
        Ok(LeaseCheckpointResponse { revision: self.reached() })
    }

    /// Leases are looked up here and nowhere else.
    pub(super) fn check_lease(&mut self, id: LeaseId) -> Result<(), Failure> {
        if id == LeaseId::NONE || self.leases.contains(id) {
            return Ok(());
        }
        self.lease(id)?.map(|_| self.leases.add(id)).ok_or(Rejection::LeaseNotFound.into())
    }

    /// Hangs a key on the lease of its new version, and takes it off that of the one before.
    pub(super) fn attach(&mut self, key: &Bytes, before: LeaseId, now: LeaseId) {
        if before == now {
            return;
        }
        if before != LeaseId::NONE {
            self.overlay.set_meta(&lease::attachment(before, key), None);
        }
        if now != LeaseId::NONE {
            self.overlay.set_meta(&lease::attachment(now, key), Some(Vec::new()));
        }
    }

    /// A leader's word counts in the entries that it appended itself. One that was cut off and has
    /// come back as a leader, or whose entry another leader took on, may be wrong by now.
    fn check_term(&self, term: Term) -> Result<(), Rejection> {
        if term == self.position.term { Ok(()) } else { Err(Rejection::StaleTerm) }
    }

    fn lease(&self, id: LeaseId) -> Result<Option<Lease>, Error> {
        let key = lease::key(id);
        let mut found = None;
        let mut read = |record: &[u8]| found = Some(lease::decode(id, record));
        match self.overlay.meta(&key) {
            Some(changed) => changed.into_iter().for_each(&mut read),
            None => {
                self.engine.get_with(Table::Meta, &key, &mut read)?;
            }
        }
        found.transpose().map_err(corrupt(Table::Meta, &key))
    }

    fn delete_attached(&mut self, id: LeaseId) -> Result<i64, Failure> {
        let mut deleted = 0;
        let mut after: Option<Bytes> = None;
        loop {
            let snapshot = self.overlay.over(self.base.snapshot());
            let keys = attached_keys(&snapshot, id, after.as_deref(), REVOKE_SLICE)?;
            let Some(last) = keys.last() else { return Ok(deleted) };
            after = Some(last.clone());
            for key in keys {
                self.delete_attached_key(id, &key)?;
                deleted += 1;
            }
        }
    }

    fn delete_attached_key(&mut self, id: LeaseId, key: &Bytes) -> Result<(), Failure> {
        let compacted = self.state.compacted;
        let prior = self.prior(key, |meta| meta.at.main <= compacted)?;
        let Some(prior) = prior.filter(|prior| prior.meta.lease == id) else {
            let what = Malformed("attachment of a key that does not hang on the lease");
            return Err(corrupt(Table::Meta, &lease::attachment(id, key))(what).into());
        };
        let at = self.next_place()?;
        let far = prior.meta.far.next(prior.meta.version, prior.meta.at, compacted);
        let meta = KeyMeta { at, far, lease: LeaseId::NONE, ..prior.meta };
        self.record(key, Some(&prior), meta, &Bytes::new(), None);
        Ok(())
    }
}
