//! Short ways to write requests.

use bytes::Bytes;
use keelson_api::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use keelson_api::etcdserverpb::request_op::Request as Op;
use keelson_api::etcdserverpb::{
    CompactionRequest, Compare, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
};

/// The end of an interval that has none.
pub const OPEN: &[u8] = b"\0";

pub fn put(key: impl Into<Bytes>, value: impl Into<Bytes>) -> PutRequest {
    PutRequest { key: key.into(), value: value.into(), ..Default::default() }
}

pub fn get(key: impl Into<Bytes>) -> RangeRequest {
    RangeRequest { key: key.into(), ..Default::default() }
}

pub fn range(key: impl Into<Bytes>, end: impl Into<Bytes>) -> RangeRequest {
    RangeRequest { key: key.into(), range_end: end.into(), ..Default::default() }
}

/// Every key there is.
pub fn all() -> RangeRequest {
    range(OPEN, OPEN)
}

pub fn delete(key: impl Into<Bytes>) -> DeleteRangeRequest {
    DeleteRangeRequest { key: key.into(), ..Default::default() }
}

pub fn delete_range(key: impl Into<Bytes>, end: impl Into<Bytes>) -> DeleteRangeRequest {
    DeleteRangeRequest { key: key.into(), range_end: end.into(), ..Default::default() }
}

pub fn compact(revision: i64) -> CompactionRequest {
    CompactionRequest { revision, physical: false }
}

pub fn txn(compare: Vec<Compare>, success: Vec<RequestOp>, failure: Vec<RequestOp>) -> TxnRequest {
    TxnRequest { compare, success, failure }
}

/// A condition on the revision of the last change.
pub fn if_mod(key: impl Into<Bytes>, result: CompareResult, revision: i64) -> Compare {
    Compare {
        key: key.into(),
        result: result.into(),
        target: CompareTarget::Mod.into(),
        target_union: Some(TargetUnion::ModRevision(revision)),
        ..Default::default()
    }
}

/// Any request as an operation of a transaction.
pub fn op(request: impl IntoOp) -> RequestOp {
    RequestOp { request: Some(request.into_op()) }
}

pub trait IntoOp {
    fn into_op(self) -> Op;
}

impl IntoOp for PutRequest {
    fn into_op(self) -> Op {
        Op::RequestPut(self)
    }
}

impl IntoOp for RangeRequest {
    fn into_op(self) -> Op {
        Op::RequestRange(self)
    }
}

impl IntoOp for DeleteRangeRequest {
    fn into_op(self) -> Op {
        Op::RequestDeleteRange(self)
    }
}

impl IntoOp for TxnRequest {
    fn into_op(self) -> Op {
        Op::RequestTxn(self)
    }
}
