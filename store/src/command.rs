//! What can be asked of the store: commands that change it (they travel through the log) and the
//! ranges and compares inside them. Plain values, etcd's words and etcd's rules for intervals.

pub mod codec;

use bytes::Bytes;

use crate::types::{LeaseId, LogIndex, Revision, Term};

/// A request that goes through the log and is applied by every member alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Write one key.
    Put(Put),
    /// Delete the keys of an interval.
    DeleteRange(DeleteRange),
    /// Compare, then run one of two lists of operations, all at one revision.
    Txn(Txn),
    /// Forget history below a revision.
    Compact(Compact),
    /// Make a lease, for keys to hang on.
    LeaseGrant(LeaseGrant),
    /// End a lease, and delete the keys that hang on it.
    LeaseRevoke(LeaseRevoke),
    /// Note how much is left of leases, for the next leader.
    LeaseCheckpoint(LeaseCheckpoint),
}

impl Command {
    /// Whether a key is empty anywhere in it, in a branch that is not taken too: etcd refuses such
    /// a request before it looks at the state.
    pub(crate) fn has_empty_key(&self) -> bool {
        match self {
            Self::Put(put) => put.key.is_empty(),
            Self::DeleteRange(delete) => delete.range.key.is_empty(),
            Self::Txn(txn) => txn.has_empty_key(),
            Self::Compact(_)
            | Self::LeaseGrant(_)
            | Self::LeaseRevoke(_)
            | Self::LeaseCheckpoint(_) => false,
        }
    }
}

impl Txn {
    fn has_empty_key(&self) -> bool {
        self.compare.iter().any(|compare| compare.range.key.is_empty())
            || self.success.iter().chain(&self.failure).any(|op| match op {
                Op::Range(range) => range.range.key.is_empty(),
                Op::Put(put) => put.key.is_empty(),
                Op::DeleteRange(delete) => delete.range.key.is_empty(),
                Op::Txn(txn) => txn.has_empty_key(),
            })
    }
}

/// A set of keys by etcd's rule: `end` empty is exactly `key`; `end` of one zero byte is every key
/// from `key` on; otherwise the half-open interval from `key` to `end`, which may be empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyRange {
    /// First key.
    pub key: Bytes,
    /// End of the interval, see above.
    pub end: Bytes,
}

/// `PutRequest`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Put {
    /// The key to write.
    pub key: Bytes,
    /// Its new value.
    pub value: Bytes,
    /// The lease to attach the key to; [`LeaseId::NONE`] detaches it.
    pub lease: LeaseId,
    /// Answer with the version that this put replaces.
    pub prev_kv: bool,
    /// Keep the current value; the key must exist.
    pub ignore_value: bool,
    /// Keep the current lease; the key must exist.
    pub ignore_lease: bool,
}

/// `DeleteRangeRequest`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteRange {
    /// The keys to delete.
    pub range: KeyRange,
    /// Answer with the deleted versions.
    pub prev_kv: bool,
}

/// `TxnRequest`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Txn {
    /// All must hold for `success` to run.
    pub compare: Vec<Compare>,
    /// Runs when every compare holds.
    pub success: Vec<Op>,
    /// Runs otherwise.
    pub failure: Vec<Op>,
}

/// One operation of a [`Txn`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Read an interval.
    Range(Range),
    /// Write one key.
    Put(Put),
    /// Delete an interval.
    DeleteRange(DeleteRange),
    /// A txn inside the txn.
    Txn(Txn),
}

/// One condition of a [`Txn`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compare {
    /// The keys it speaks of; an interval holds when each of its keys does.
    pub range: KeyRange,
    /// How the found value must relate to the given one.
    pub result: CompareResult,
    /// Which attribute, and the value to hold it against.
    pub target: CompareTarget,
}

/// How a found value must relate to the given one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompareResult {
    /// Found = given.
    Equal,
    /// Found > given.
    Greater,
    /// Found < given.
    Less,
    /// Found ≠ given.
    NotEqual,
}

/// What a compare looks at, with the value given for it. A request whose union did not match its
/// target has been read as 0 or as no bytes, as etcd does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CompareTarget {
    /// The key's version; 0 where the key is missing.
    Version(i64),
    /// The key's create revision; 0 where the key is missing.
    Create(Revision),
    /// The key's mod revision; 0 where the key is missing.
    Mod(Revision),
    /// The key's value; never holds where the key is missing.
    Value(Bytes),
    /// The key's lease; 0 where the key is missing.
    Lease(LeaseId),
}

/// `CompactionRequest`. Waiting for physical removal is the server's business.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compact {
    /// The oldest revision that stays readable.
    pub revision: Revision,
}

/// `LeaseGrantRequest`, its id chosen and its TTL raised to the least there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeaseGrant {
    /// The lease's id.
    pub id: LeaseId,
    /// Seconds that it lives without being kept alive.
    pub ttl: i64,
}

/// `LeaseRevokeRequest`, or a leader's word that a lease has expired.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeaseRevoke {
    /// The lease's id.
    pub id: LeaseId,
    /// Who says so, if not a client.
    pub expiry: Option<Expiry>,
}

/// What a leader found expired. Time is no part of the state, so apply cannot tell whether it was
/// right; but it can tell whether the leader spoke as the leader, of the lease that is there now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expiry {
    /// The leader's term. An entry of another term was appended by another leader, who may have
    /// kept the lease alive since.
    pub term: Term,
    /// The entry that granted the lease, see [`Lease::granted`](crate::Lease::granted).
    pub granted: LogIndex,
}

/// What a leader knows of how much is left of leases. One that led in another term is not heard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaseCheckpoint {
    /// The leader's term.
    pub term: Term,
    /// The leases; those that are not there any more are passed over.
    pub leases: Vec<Remaining>,
}

/// How much is left of one lease.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Remaining {
    /// The lease's id.
    pub id: LeaseId,
    /// The entry that granted it.
    pub granted: LogIndex,
    /// Seconds that the next leader is to give it; 0 for all that was granted.
    pub ttl: i64,
}

/// `RangeRequest` without its consistency level, which is settled before the store is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// The keys to read.
    pub range: KeyRange,
    /// At most this many rows; 0 or less is no limit.
    pub limit: i64,
    /// Read at this revision; 0 or less is the current one (inside a txn only 0 is).
    pub revision: Revision,
    /// Direction of the sort.
    pub sort_order: SortOrder,
    /// What is sorted by.
    pub sort_target: SortTarget,
    /// Leave the values out.
    pub keys_only: bool,
    /// Answer with the count alone.
    pub count_only: bool,
    /// Inclusive bound, 0 is off.
    pub min_mod_revision: Revision,
    /// Inclusive bound, 0 is off.
    pub max_mod_revision: Revision,
    /// Inclusive bound, 0 is off.
    pub min_create_revision: Revision,
    /// Inclusive bound, 0 is off.
    pub max_create_revision: Revision,
}

/// Direction of a range's sort. `None` with a target other than the key sorts ascending.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SortOrder {
    /// As it comes: by key, ascending.
    #[default]
    None,
    /// Smallest first.
    Ascend,
    /// Largest first.
    Descend,
}

/// What a range's rows are sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SortTarget {
    /// The key's bytes.
    #[default]
    Key,
    /// The version.
    Version,
    /// The create revision.
    Create,
    /// The mod revision.
    Mod,
    /// The value's bytes.
    Value,
}
