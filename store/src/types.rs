//! Positions, ids and records: the nouns that every part of the store shares.

use bytes::Bytes;

pub use crate::schema::far::Far;

/// A point in the store's history, etcd's main revision. An empty store is at 1; every command
/// that changes anything moves it by one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub i64);

impl Revision {
    /// The revision of a store that nothing was ever written to.
    pub const EMPTY: Self = Self(1);
    /// The compacted revision of a store that was never compacted.
    pub const NEVER: Self = Self(-1);
}

/// The place of one change: the revision it belongs to, and its number among the changes of that
/// revision. Orders as the changes happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubRevision {
    /// The revision.
    pub main: Revision,
    /// 0 for the first change of the revision.
    pub sub: u32,
}

/// Raft's term, as far as the store needs to know it: part of a position in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term(pub u64);

/// The index of an entry in the replicated log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogIndex(pub u64);

/// Where in the replicated log an entry stands. Positions order by term, then by index; along one
/// log both grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogPosition {
    /// The term the entry was proposed in.
    pub term: Term,
    /// The entry's index.
    pub index: LogIndex,
}

/// A lease's id; 0 means "no lease" wherever one may be given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(pub i64);

impl LeaseId {
    /// Attached to no lease.
    pub const NONE: Self = Self(0);
}

/// One version of one key, as etcd's `mvccpb.KeyValue` shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyValue {
    /// The key: any bytes, never empty.
    pub key: Bytes,
    /// Revision of the put that brought the key to life.
    pub create_revision: Revision,
    /// Revision of the put that wrote this version.
    pub mod_revision: Revision,
    /// 1 for the put that created the key, one more for each put since.
    pub version: i64,
    /// The lease the key hangs on, or [`LeaseId::NONE`].
    pub lease: LeaseId,
    /// The value: any bytes, possibly none.
    pub value: Bytes,
}

impl KeyValue {
    /// The same record, borrowed.
    #[must_use]
    pub fn borrow(&self) -> KeyValueRef<'_> {
        KeyValueRef {
            key: &self.key,
            create_revision: self.create_revision,
            mod_revision: self.mod_revision,
            version: self.version,
            lease: self.lease,
            value: &self.value,
        }
    }
}

/// A [`KeyValue`] that borrows from the iterator it was read from, so that a range of any size
/// passes through without a copy of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyValueRef<'a> {
    /// See [`KeyValue::key`].
    pub key: &'a [u8],
    /// See [`KeyValue::create_revision`].
    pub create_revision: Revision,
    /// See [`KeyValue::mod_revision`].
    pub mod_revision: Revision,
    /// See [`KeyValue::version`].
    pub version: i64,
    /// See [`KeyValue::lease`].
    pub lease: LeaseId,
    /// See [`KeyValue::value`]; empty when only keys were asked for.
    pub value: &'a [u8],
}

impl KeyValueRef<'_> {
    /// Copies the record out of the iterator's buffers.
    #[must_use]
    pub fn to_owned(self) -> KeyValue {
        KeyValue {
            key: Bytes::copy_from_slice(self.key),
            create_revision: self.create_revision,
            mod_revision: self.mod_revision,
            version: self.version,
            lease: self.lease,
            value: Bytes::copy_from_slice(self.value),
        }
    }
}

/// The store's bookkeeping about one living key: everything but its value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyMeta {
    /// Where this version was written.
    pub at: SubRevision,
    /// Revision of the put that brought the key to life.
    pub create: Revision,
    /// 1 for the put that created the key, one more for each put since.
    pub version: i64,
    /// The lease the key hangs on, or [`LeaseId::NONE`].
    pub lease: LeaseId,
    /// Shortcuts into the key's older versions.
    pub far: Far,
}
