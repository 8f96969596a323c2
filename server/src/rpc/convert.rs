//! Requests into commands, outcomes into responses. Nothing is copied: bytes are shared.

use keelson_api::errors::Error as Etcd;
use keelson_api::etcdserverpb as pb;
use keelson_api::mvccpb;
use keelson_store::command::{
    Compare, CompareResult, CompareTarget, DeleteRange, KeyRange, Op, Put, Range, SortOrder,
    SortTarget, Txn,
};
use keelson_store::response::{
    DeleteRangeResponse, OpResponse, PutResponse, RangeResponse, TxnResponse,
};
use keelson_store::types::{KeyValue, LeaseId, Revision};
use pb::compare::{CompareResult as PbResult, CompareTarget as PbTarget, TargetUnion};
use pb::range_request::{SortOrder as PbOrder, SortTarget as PbSort};
use tonic::Status;

pub(super) fn range(request: pb::RangeRequest) -> Result<Range, Status> {
    let order = PbOrder::try_from(request.sort_order);
    let target = PbSort::try_from(request.sort_target);
    let (Ok(order), Ok(target)) = (order, target) else {
        return Err(Etcd::InvalidSortOption.status());
    };
    Ok(Range {
        range: KeyRange { key: request.key, end: request.range_end },
        limit: request.limit,
        revision: Revision(request.revision),
        sort_order: match order {
            PbOrder::None => SortOrder::None,
            PbOrder::Ascend => SortOrder::Ascend,
            PbOrder::Descend => SortOrder::Descend,
        },
        sort_target: match target {
            PbSort::Key => SortTarget::Key,
            PbSort::Version => SortTarget::Version,
            PbSort::Create => SortTarget::Create,
            PbSort::Mod => SortTarget::Mod,
            PbSort::Value => SortTarget::Value,
        },
        keys_only: request.keys_only,
        count_only: request.count_only,
        min_mod_revision: Revision(request.min_mod_revision),
        max_mod_revision: Revision(request.max_mod_revision),
        min_create_revision: Revision(request.min_create_revision),
        max_create_revision: Revision(request.max_create_revision),
    })
}

pub(super) fn put(request: pb::PutRequest) -> Put {
    Put {
        key: request.key,
        value: request.value,
        lease: LeaseId(request.lease),
        prev_kv: request.prev_kv,
        ignore_value: request.ignore_value,
        ignore_lease: request.ignore_lease,
    }
}

pub(super) fn delete_range(request: pb::DeleteRangeRequest) -> DeleteRange {
    DeleteRange {
        range: KeyRange { key: request.key, end: request.range_end },
        prev_kv: request.prev_kv,
    }
}

/// A txn whose shape, depth included, has been checked.
pub(super) fn txn(request: pb::TxnRequest) -> Result<Txn, Status> {
    let ops = |ops: Vec<pb::RequestOp>| ops.into_iter().map(op).collect::<Result<_, Status>>();
    Ok(Txn {
        compare: request.compare.into_iter().map(compare).collect::<Result<_, Status>>()?,
        success: ops(request.success)?,
        failure: ops(request.failure)?,
    })
}

fn op(request: pb::RequestOp) -> Result<Op, Status> {
    use pb::request_op::Request;
    Ok(match request.request {
        Some(Request::RequestRange(request)) => Op::Range(range(request)?),
        Some(Request::RequestPut(request)) => Op::Put(put(request)),
        Some(Request::RequestDeleteRange(request)) => Op::DeleteRange(delete_range(request)),
        Some(Request::RequestTxn(request)) => Op::Txn(txn(request)?),
        None => return Err(Etcd::KeyNotFound.status()),
    })
}

/// A union that does not fit its target is read as 0 or as no bytes. A result or target outside
/// the enums is not defined by etcd, whose code lets the former always hold and reads the latter
/// as equal values; we refuse both, as no client can want them.
fn compare(request: pb::Compare) -> Result<Compare, Status> {
    let unknown = |_| Status::invalid_argument("keelson: unknown compare result or target");
    let number = match request.target_union {
        Some(TargetUnion::Version(n) | TargetUnion::CreateRevision(n)) => n,
        Some(TargetUnion::ModRevision(n) | TargetUnion::Lease(n)) => n,
        Some(TargetUnion::Value(_)) | None => 0,
    };
    let target = match (PbTarget::try_from(request.target).map_err(unknown)?, request.target_union)
    {
        (PbTarget::Value, Some(TargetUnion::Value(value))) => CompareTarget::Value(value),
        (PbTarget::Value, _) => CompareTarget::Value(bytes::Bytes::new()),
        (PbTarget::Version, Some(TargetUnion::Version(_))) => CompareTarget::Version(number),
        (PbTarget::Version, _) => CompareTarget::Version(0),
        (PbTarget::Create, Some(TargetUnion::CreateRevision(_))) => {
            CompareTarget::Create(Revision(number))
        }
        (PbTarget::Create, _) => CompareTarget::Create(Revision(0)),
        (PbTarget::Mod, Some(TargetUnion::ModRevision(_))) => CompareTarget::Mod(Revision(number)),
        (PbTarget::Mod, _) => CompareTarget::Mod(Revision(0)),
        (PbTarget::Lease, Some(TargetUnion::Lease(_))) => CompareTarget::Lease(LeaseId(number)),
        (PbTarget::Lease, _) => CompareTarget::Lease(LeaseId::NONE),
    };
    let result = match PbResult::try_from(request.result).map_err(unknown)? {
        PbResult::Equal => CompareResult::Equal,
        PbResult::Greater => CompareResult::Greater,
        PbResult::Less => CompareResult::Less,
        PbResult::NotEqual => CompareResult::NotEqual,
    };
    Ok(Compare { range: KeyRange { key: request.key, end: request.range_end }, result, target })
}

pub(super) fn key_value(kv: KeyValue) -> mvccpb::KeyValue {
    mvccpb::KeyValue {
        key: kv.key,
        create_revision: kv.create_revision.0,
        mod_revision: kv.mod_revision.0,
        version: kv.version,
        value: kv.value,
        lease: kv.lease.0,
    }
}

pub(super) fn put_response(response: PutResponse, header: pb::ResponseHeader) -> pb::PutResponse {
    pb::PutResponse { header: Some(header), prev_kv: response.prev_kv.map(key_value) }
}

pub(super) fn delete_range_response(
    response: DeleteRangeResponse,
    header: pb::ResponseHeader,
) -> pb::DeleteRangeResponse {
    pb::DeleteRangeResponse {
        header: Some(header),
        deleted: response.deleted,
        prev_kvs: response.prev_kvs.into_iter().map(key_value).collect(),
    }
}

pub(super) fn txn_response(response: TxnResponse, header: pb::ResponseHeader) -> pb::TxnResponse {
    pb::TxnResponse {
        header: Some(header),
        succeeded: response.succeeded,
        responses: response.responses.into_iter().map(op_response).collect(),
    }
}

/// Responses inside a txn carry a header that holds only the revision, if that.
fn op_response(response: OpResponse) -> pb::ResponseOp {
    use pb::response_op::Response;
    let header = |revision: Revision| pb::ResponseHeader {
        revision: revision.0,
        ..pb::ResponseHeader::default()
    };
    let response = match response {
        OpResponse::Range(range) => Response::ResponseRange(range_response(range)),
        OpResponse::Put(put) => {
            let header = header(put.revision);
            Response::ResponsePut(put_response(put, header))
        }
        OpResponse::DeleteRange(deleted) => {
            let header = header(deleted.revision);
            Response::ResponseDeleteRange(delete_range_response(deleted, header))
        }
        OpResponse::Txn(txn) => {
            // etcd leaves the header of a txn inside a txn empty.
            Response::ResponseTxn(txn_response(txn, pb::ResponseHeader::default()))
        }
    };
    pb::ResponseOp { response: Some(response) }
}

fn range_response(range: RangeResponse) -> pb::RangeResponse {
    pb::RangeResponse {
        header: Some(pb::ResponseHeader {
            revision: range.revision.0,
            ..pb::ResponseHeader::default()
        }),
        kvs: range.kvs.into_iter().map(key_value).collect(),
        more: range.more,
        count: range.count,
    }
}
