//! What the store answers: one [`Outcome`] per command, whatever the command was.

use crate::types::{KeyValue, Revision};

/// The answer to one command. A [`Rejection`] left no trace in the store.
pub type Outcome = Result<Response, Rejection>;

/// The answer to a command that was carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// To a put.
    Put(PutResponse),
    /// To a delete.
    DeleteRange(DeleteRangeResponse),
    /// To a txn.
    Txn(TxnResponse),
    /// To a compaction.
    Compact(CompactResponse),
    /// To a grant.
    LeaseGrant(LeaseGrantResponse),
    /// To a revocation.
    LeaseRevoke(LeaseRevokeResponse),
    /// To a checkpoint.
    LeaseCheckpoint(LeaseCheckpointResponse),
}

/// `PutResponse`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PutResponse {
    /// For the header: the revision this put made.
    pub revision: Revision,
    /// The version before, when asked for and there was one.
    pub prev_kv: Option<KeyValue>,
}

/// `DeleteRangeResponse`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteRangeResponse {
    /// For the header: the new revision, or the unchanged one when nothing matched.
    pub revision: Revision,
    /// How many keys were deleted.
    pub deleted: i64,
    /// The deleted versions in key order, when asked for.
    pub prev_kvs: Vec<KeyValue>,
}

/// `TxnResponse`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TxnResponse {
    /// For the header: the store's revision after the txn.
    pub revision: Revision,
    /// Whether every compare held.
    pub succeeded: bool,
    /// One per operation of the branch that ran, in order.
    pub responses: Vec<OpResponse>,
}

/// The answer to one operation of a txn. The revision in each is the store's revision as that
/// operation left it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpResponse {
    /// To a range.
    Range(RangeResponse),
    /// To a put.
    Put(PutResponse),
    /// To a delete.
    DeleteRange(DeleteRangeResponse),
    /// To a nested txn.
    Txn(TxnResponse),
}

/// `RangeResponse`, for ranges inside a txn; other ranges hand their rows to a sink.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RangeResponse {
    /// For the header.
    pub revision: Revision,
    /// The rows.
    pub kvs: Vec<KeyValue>,
    /// There was more than the limit let through.
    pub more: bool,
    /// Live keys in the interval, whatever limit and filters say.
    pub count: i64,
}

/// `CompactionResponse`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CompactResponse {
    /// For the header: the store's current revision.
    pub revision: Revision,
}

/// `LeaseGrantResponse`; what was granted is what was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeaseGrantResponse {
    /// For the header: the store's revision, which a grant does not move.
    pub revision: Revision,
}

/// `LeaseRevokeResponse`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeaseRevokeResponse {
    /// For the header: the new revision, or the unchanged one when nothing hung on the lease.
    pub revision: Revision,
    /// How many keys went with the lease.
    pub deleted: i64,
}

/// `LeaseCheckpointResponse`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeaseCheckpointResponse {
    /// For the header: the store's current revision.
    pub revision: Revision,
}

/// Why a command was refused. Each maps to one etcd error; none leaves a trace in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// A key was empty.
    #[error("key is not provided")]
    EmptyKey,
    /// `ignore_value` or `ignore_lease` on a key that does not exist at that point, or an
    /// operation that holds no request.
    #[error("key not found")]
    KeyNotFound,
    /// A put on a lease that does not exist, or a revocation of one.
    #[error("requested lease not found")]
    LeaseNotFound,
    /// A grant of an id that is in use.
    #[error("lease already exists")]
    LeaseExists,
    /// A leader's word on a lease, in an entry of a term that it did not lead in.
    #[error("not the leader any more that found this of the lease")]
    StaleTerm,
    /// A revision below the compacted one.
    #[error("required revision has been compacted")]
    Compacted,
    /// A revision that does not exist yet.
    #[error("required revision is a future revision")]
    FutureRevision,
}
