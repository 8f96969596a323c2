//! Bytes on the wire, written out by hand: field numbers and types are part of the contract.

use bytes::Bytes;
use keelson_api::etcdserverpb::{
    Compare, LeaseGrantRequest, PutRequest, RangeRequest, RangeResponse, RequestOp, ResponseHeader,
    StatusResponse, TxnRequest, WatchResponse, compare, request_op,
};
use keelson_api::mvccpb::{Event, KeyValue};
use prost::Message;

#[test]
fn put() {
    let message = PutRequest {
        key: "a".into(),
        value: "bc".into(),
        lease: 300,
        prev_kv: true,
        ignore_value: true,
        ignore_lease: true,
    };
    assert_eq!(message.encode_to_vec(), b"\x0a\x01a\x12\x02bc\x18\xac\x02\x20\x01\x28\x01\x30\x01");
}

#[test]
fn range() {
    let message = RangeRequest {
        key: "a".into(),
        range_end: Bytes::from_static(b"\0"),
        limit: 1,
        revision: 2,
        sort_order: 2,
        sort_target: 4,
        serializable: true,
        keys_only: true,
        count_only: true,
        min_mod_revision: 3,
        max_mod_revision: 4,
        min_create_revision: 5,
        max_create_revision: 6,
    };
    let bytes = b"\x0a\x01a\x12\x01\0\x18\x01\x20\x02\x28\x02\x30\x04\x38\x01\x40\x01\x48\x01\
        \x50\x03\x58\x04\x60\x05\x68\x06";
    assert_eq!(message.encode_to_vec(), bytes);
}

#[test]
fn range_response() {
    let bytes = b"\x0a\x08\x08\x01\x10\x02\x18\x03\x20\x04\
        \x12\x0e\x0a\x01k\x10\x02\x18\x03\x20\x04\x2a\x01v\x30\x05\x18\x01\x20\x07";
    let header = ResponseHeader { cluster_id: 1, member_id: 2, revision: 3, raft_term: 4 };
    let kv = KeyValue {
        key: "k".into(),
        create_revision: 2,
        mod_revision: 3,
        version: 4,
        value: "v".into(),
        lease: 5,
    };
    let expected = RangeResponse { header: Some(header), kvs: vec![kv], more: true, count: 7 };
    assert_eq!(RangeResponse::decode(&bytes[..]).unwrap(), expected);
}

#[test]
fn txn() {
    let condition = Compare {
        result: compare::CompareResult::NotEqual.into(),
        target: compare::CompareTarget::Lease.into(),
        key: "k".into(),
        range_end: "l".into(),
        target_union: Some(compare::TargetUnion::Lease(1)),
    };
    let put = PutRequest { key: "k".into(), ..Default::default() };
    let success = RequestOp { request: Some(request_op::Request::RequestPut(put)) };
    let message = TxnRequest { compare: vec![condition], success: vec![success], failure: vec![] };
    let bytes = b"\x0a\x0d\x08\x03\x10\x04\x1a\x01k\x40\x01\x82\x04\x01l\x12\x05\x12\x03\x0a\x01k";
    assert_eq!(message.encode_to_vec(), bytes);
}

#[test]
fn watch_events_have_number_eleven() {
    let event = Event { r#type: 1, ..Default::default() };
    let message = WatchResponse { watch_id: 1, events: vec![event], ..Default::default() };
    assert_eq!(message.encode_to_vec(), b"\x10\x01\x5a\x02\x08\x01");
}

#[test]
fn lease_and_status() {
    let grant = LeaseGrantRequest { ttl: 10, id: 11 };
    assert_eq!(grant.encode_to_vec(), b"\x08\x0a\x10\x0b");
    let status = StatusResponse { db_size: 1, raft_applied_index: 2, ..Default::default() };
    assert_eq!(status.encode_to_vec(), b"\x18\x01\x38\x02");
}
