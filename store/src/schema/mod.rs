//! Where things lie on disk: the tables, and one file for each table's key bytes and value bytes.
//! Nothing outside this folder builds or takes apart a key.

mod bytes;
pub(crate) mod current;
pub(crate) mod deleted;
pub(crate) mod far;
pub(crate) mod lease;
pub(crate) mod log;
pub(crate) mod meta;

pub(crate) use bytes::Malformed;

/// A column family. The order is part of the in-memory batch format only, the names are on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Table {
    /// User key → its living version.
    Current = 0,
    /// Revision → what happened at it.
    Log = 1,
    /// (User key, revision of its deletion) → the generation that ended.
    Deleted = 2,
    /// Applied position, compaction, membership: few and tiny records; and the keyed tables that
    /// are no part of the key space: leases.
    Meta = 3,
}

impl Table {
    /// Every table there is.
    pub const ALL: [Self; 4] = [Self::Current, Self::Log, Self::Deleted, Self::Meta];

    /// The column family's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Log => "log",
            Self::Deleted => "deleted",
            Self::Meta => "meta",
        }
    }
}
