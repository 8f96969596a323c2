//! Leases as the store knows them: a TTL, and the keys that go when the lease does. When that is,
//! is a leader's business; here is no clock.

use bytes::Bytes;

use crate::engine::{Blocks, Bounds, Direction, Snapshot};
use crate::error::{Error, corrupt};
use crate::mvcc::view::View;
use crate::schema::{Table, lease};
use crate::types::{LeaseId, LogIndex};

/// A lease that has been granted and not revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Its id.
    pub id: LeaseId,
    /// Seconds that it was granted for.
    pub ttl: i64,
    /// Seconds that a new leader is to give it; 0 for all that was granted.
    pub remaining: i64,
    /// The log entry that granted it. Together with the id this tells it from any lease that had
    /// the id before: two grants of one entry are never both seen from outside.
    pub granted: LogIndex,
}

/// What became of a lease, for who keeps its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseChange {
    /// It was granted.
    Granted(Lease),
    /// It is gone.
    Revoked(LeaseId),
}

impl View {
    /// One lease.
    ///
    /// # Errors
    /// The store failed.
    pub fn lease(&self, id: LeaseId) -> Result<Option<Lease>, Error> {
        let key = lease::key(id);
        let Some(record) = self.snapshot().get(Table::Meta, &key)? else { return Ok(None) };
        lease::decode(id, &record).map(Some).map_err(corrupt(Table::Meta, &key))
    }

    /// At most `limit` leases with ids from `from` on, in the order of their ids.
    ///
    /// # Errors
    /// The store failed.
    pub fn leases(&self, from: LeaseId, limit: usize) -> Result<Vec<Lease>, Error> {
        let (lower, upper) = lease::bounds(from);
        let bounds = Bounds { lower: &lower, upper: Some(&upper) };
        let snapshot = self.snapshot();
        let mut cursor = snapshot.cursor(Table::Meta, bounds, Direction::Forward, Blocks::Pass)?;
        let mut found = Vec::new();
        while let Some((row, record)) = cursor.row().filter(|_| found.len() < limit) {
            let lease = lease::decode_key(row).and_then(|id| lease::decode(id, record));
            found.push(lease.map_err(corrupt(Table::Meta, row))?);
            cursor.advance()?;
        }
        Ok(found)
    }

    /// At most `limit` keys that hang on a lease, in key order: the first ones, or those behind
    /// `after`.
    ///
    /// # Errors
    /// The store failed.
    pub fn lease_keys(
        &self,
        id: LeaseId,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Bytes>, Error> {
        attached_keys(self.snapshot(), id, after, limit)
    }
}

/// See [`View::lease_keys`], of any snapshot.
pub(crate) fn attached_keys(
    snapshot: &dyn Snapshot,
    id: LeaseId,
    after: Option<&[u8]>,
    limit: usize,
) -> Result<Vec<Bytes>, Error> {
    let mut lower = lease::attachment(id, after.unwrap_or_default());
    if after.is_some() {
        // The first key there is behind `after`.
        lower.push(0);
    }
    let upper = lease::attachments_end(id);
    let bounds = Bounds { lower: &lower, upper: Some(&upper) };
    let mut cursor = snapshot.cursor(Table::Meta, bounds, Direction::Forward, Blocks::Keep)?;
    let mut keys = Vec::new();
    while let Some((row, _)) = cursor.row().filter(|_| keys.len() < limit) {
        let key = lease::attached_key(row).map_err(corrupt(Table::Meta, row))?;
        keys.push(Bytes::copy_from_slice(key));
        cursor.advance()?;
    }
    Ok(keys)
}
