//! The bytes of the commands that are about leases.
//!
//! ```text
//! grant       │ 6 │ id │ ttl │
//! revoke      │ 7 │ 0 │ id │                      a client's
//!             │ 7 │ 1 │ id │ term │ granted │     a leader's: it has expired
//! checkpoint  │ 8 │ term │ count │ id │ granted │ ttl │ …
//! ```

use crate::command::{Expiry, LeaseCheckpoint, LeaseGrant, LeaseRevoke, Remaining};
use crate::types::{LeaseId, LogIndex, Term};

use super::{
    DecodeError, Reader, TAG_LEASE_CHECKPOINT, TAG_LEASE_GRANT, TAG_LEASE_REVOKE, Writer, flag,
};

const EXPIRED: u8 = 1;

impl Writer {
    pub(super) fn lease_grant(&mut self, grant: &LeaseGrant) {
        self.byte(TAG_LEASE_GRANT);
        self.signed(grant.id.0);
        self.signed(grant.ttl);
    }

    pub(super) fn lease_revoke(&mut self, revoke: &LeaseRevoke) {
        self.byte(TAG_LEASE_REVOKE);
        self.byte(flag(revoke.expiry.is_some(), EXPIRED));
        self.signed(revoke.id.0);
        if let Some(Expiry { term, granted }) = revoke.expiry {
            self.varint(term.0);
            self.varint(granted.0);
        }
    }

    pub(super) fn lease_checkpoint(&mut self, checkpoint: &LeaseCheckpoint) {
        self.byte(TAG_LEASE_CHECKPOINT);
        self.varint(checkpoint.term.0);
        self.length(checkpoint.leases.len());
        for Remaining { id, granted, ttl } in &checkpoint.leases {
            self.signed(id.0);
            self.varint(granted.0);
            self.signed(*ttl);
        }
    }
}

impl Reader {
    pub(super) fn lease_grant(&mut self) -> Result<LeaseGrant, DecodeError> {
        let id = LeaseId(self.signed("a lease")?);
        Ok(LeaseGrant { id, ttl: self.signed("a lease's TTL")? })
    }

    pub(super) fn lease_revoke(&mut self) -> Result<LeaseRevoke, DecodeError> {
        let flags = self.flags(EXPIRED, "revocation's flags")?;
        let id = LeaseId(self.signed("a lease")?);
        let expiry = if flags & EXPIRED == 0 {
            None
        } else {
            let term = Term(self.varint("a term")?);
            Some(Expiry { term, granted: LogIndex(self.varint("a lease's grant")?) })
        };
        Ok(LeaseRevoke { id, expiry })
    }

    pub(super) fn lease_checkpoint(&mut self) -> Result<LeaseCheckpoint, DecodeError> {
        let term = Term(self.varint("a term")?);
        let mut leases = Vec::new();
        for _ in 0..self.varint("the number of leases")? {
            leases.push(Remaining {
                id: LeaseId(self.signed("a lease")?),
                granted: LogIndex(self.varint("a lease's grant")?),
                ttl: self.signed("a lease's TTL")?,
            });
        }
        Ok(LeaseCheckpoint { term, leases })
    }
}
