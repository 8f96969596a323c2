//! One moment of the key space: a snapshot, with the revision and the compacted revision that
//! belong to it. Read views and the applier's half-done batch are both read through this.

use crate::engine::{Blocks, Snapshot};
use crate::error::{Error, ReadError, corrupt};
use crate::schema::{Table, current};
use crate::types::{KeyValueRef, Revision};

use super::interval::Interval;

/// Knows how many keys live in an interval without walking it.
pub(crate) trait LiveCount {
    fn live_count(&self, interval: &Interval) -> Result<u64, Error>;
}

/// See the module.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    pub(crate) snapshot: &'a dyn Snapshot,
    pub(crate) revision: Revision,
    pub(crate) compacted: Revision,
    pub(crate) counts: &'a dyn LiveCount,
    /// What becomes of the blocks it reads.
    pub(crate) blocks: Blocks,
}

impl Reader<'_> {
    /// The revision that a range outside a txn asks for: 0 and less is the current one.
    pub(crate) fn resolve(&self, asked: Revision) -> Result<Revision, ReadError> {
        if asked.0 <= 0 {
            return Ok(self.revision);
        }
        if asked > self.revision {
            return Err(ReadError::FutureRevision);
        }
        if asked < self.compacted {
            return Err(ReadError::Compacted);
        }
        Ok(asked)
    }

    /// Hands the living version of a key to `read`.
    pub(crate) fn newest(
        &self,
        key: &[u8],
        mut read: impl FnMut(KeyValueRef<'_>),
    ) -> Result<bool, Error> {
        let mut decoded = Ok(());
        let found = self.snapshot.get_with(Table::Current, key, &mut |record| {
            decoded = current::decode(record).map(|version| read(version.row(key)));
        })?;
        decoded.map_err(corrupt(Table::Current, key))?;
        Ok(found)
    }
}
