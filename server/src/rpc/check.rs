//! The shape of a txn, checked in etcd's order, so that of several mistakes the same one is named.
//!
//! What only the store can see, keys that one list puts twice or puts and deletes, is checked
//! afterwards by the store's own rules.

use keelson_api::errors::Error as Etcd;
use keelson_api::etcdserverpb as pb;
use pb::range_request::{SortOrder, SortTarget};
use pb::request_op::Request;
use tonic::Status;

/// Nesting that is followed; etcd's own decoder stops at a hundred messages, two per txn.
const TXN_DEPTH_MAX: usize = 48;

/// Checks a txn that may hold `ops_max` compares, or operations in a branch.
pub(super) fn txn(txn: &pb::TxnRequest, ops_max: usize) -> Result<(), Status> {
    nested(txn, ops_max, 1)
}

fn nested(txn: &pb::TxnRequest, ops_max: usize, depth: usize) -> Result<(), Status> {
    let largest = txn.compare.len().max(txn.success.len()).max(txn.failure.len());
    if largest > ops_max || depth > TXN_DEPTH_MAX {
        return Err(Etcd::TooManyOps.status());
    }
    for compare in &txn.compare {
        key(&compare.key)?;
    }
    for op in txn.success.iter().chain(&txn.failure) {
        match &op.request {
            Some(Request::RequestRange(range)) => self::range(range)?,
            Some(Request::RequestPut(put)) => self::put(put)?,
            Some(Request::RequestDeleteRange(delete)) => key(&delete.key)?,
            Some(Request::RequestTxn(txn)) => nested(txn, ops_max - largest, depth + 1)?,
            None => return Err(Etcd::KeyNotFound.status()),
        }
    }
    Ok(())
}

/// Checks a range.
pub(super) fn range(range: &pb::RangeRequest) -> Result<(), Status> {
    key(&range.key)?;
    let known = SortOrder::try_from(range.sort_order).is_ok()
        && SortTarget::try_from(range.sort_target).is_ok();
    if known { Ok(()) } else { Err(Etcd::InvalidSortOption.status()) }
}

/// Checks a put.
pub(super) fn put(put: &pb::PutRequest) -> Result<(), Status> {
    key(&put.key)?;
    if put.ignore_value && !put.value.is_empty() {
        return Err(Etcd::ValueProvided.status());
    }
    if put.ignore_lease && put.lease != 0 {
        return Err(Etcd::LeaseProvided.status());
    }
    Ok(())
}

fn key(key: &[u8]) -> Result<(), Status> {
    if key.is_empty() { Err(Etcd::EmptyKey.status()) } else { Ok(()) }
}
