//! A request, what a server makes of it, and the form in which two servers' answers are compared.

use keelson_api::client::Client;
use keelson_api::etcdserverpb::range_request::{SortOrder, SortTarget};
use keelson_api::etcdserverpb::request_op::Request as Op;
use keelson_api::etcdserverpb::response_op::Response as OpResponse;
use keelson_api::etcdserverpb::{
    CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse,
    LeaseGrantRequest, LeaseGrantResponse, LeaseRevokeRequest, LeaseRevokeResponse,
    LeaseTimeToLiveRequest, LeaseTimeToLiveResponse, PutRequest, PutResponse, RangeRequest,
    RangeResponse, ResponseHeader, TxnRequest, TxnResponse,
};
use keelson_api::mvccpb::KeyValue;
use tonic::{Code, Status};

/// A request of the KV service, or one about leases.
#[derive(Debug, Clone)]
pub enum Request {
    Range(RangeRequest),
    Put(PutRequest),
    Delete(DeleteRangeRequest),
    Txn(TxnRequest),
    Compact(CompactionRequest),
    Grant(LeaseGrantRequest),
    Revoke(LeaseRevokeRequest),
    TimeToLive(LeaseTimeToLiveRequest),
}

/// The response to it.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    Range(RangeResponse),
    Put(PutResponse),
    Delete(DeleteRangeResponse),
    Txn(TxnResponse),
    Compact(CompactionResponse),
    Grant(LeaseGrantResponse),
    Revoke(LeaseRevokeResponse),
    TimeToLive(LeaseTimeToLiveResponse),
}

impl Reply {
    pub fn header(&self) -> &ResponseHeader {
        let header = match self {
            Self::Range(r) => &r.header,
            Self::Put(r) => &r.header,
            Self::Delete(r) => &r.header,
            Self::Txn(r) => &r.header,
            Self::Compact(r) => &r.header,
            Self::Grant(r) => &r.header,
            Self::Revoke(r) => &r.header,
            Self::TimeToLive(r) => &r.header,
        };
        header.as_ref().expect("a response has a header")
    }
}

/// The response, or the code and text of the error.
pub type Outcome = Result<Reply, (Code, String)>;

/// Sends a request and takes what comes.
pub async fn send(client: &Client, request: &Request) -> Outcome {
    let (mut kv, mut lease) = (client.kv(), client.lease());
    let reply = match request.clone() {
        Request::Range(r) => kv.range(r).await.map(|r| Reply::Range(r.into_inner())),
        Request::Put(r) => kv.put(r).await.map(|r| Reply::Put(r.into_inner())),
        Request::Delete(r) => kv.delete_range(r).await.map(|r| Reply::Delete(r.into_inner())),
        Request::Txn(r) => kv.txn(r).await.map(|r| Reply::Txn(r.into_inner())),
        Request::Compact(r) => kv.compact(r).await.map(|r| Reply::Compact(r.into_inner())),
        Request::Grant(r) => lease.lease_grant(r).await.map(|r| Reply::Grant(r.into_inner())),
        Request::Revoke(r) => lease.lease_revoke(r).await.map(|r| Reply::Revoke(r.into_inner())),
        Request::TimeToLive(r) => {
            lease.lease_time_to_live(r).await.map(|r| Reply::TimeToLive(r.into_inner()))
        }
    };
    reply.map_err(|status: Status| (status.code(), status.message().to_owned()))
}

/// An outcome without what may differ: ids, terms, and the order of rows that sort alike.
pub fn canonical(request: &Request, outcome: Outcome) -> Outcome {
    outcome.map(|mut reply| {
        match (request, &mut reply) {
            (Request::Range(request), Reply::Range(r)) => range(request, r),
            (Request::Put(_), Reply::Put(r)) => anonymous(&mut r.header),
            (Request::Delete(_), Reply::Delete(r)) => anonymous(&mut r.header),
            (Request::Txn(request), Reply::Txn(r)) => txn(request, r),
            (Request::Compact(_), Reply::Compact(r)) => anonymous(&mut r.header),
            (Request::Grant(_), Reply::Grant(r)) => anonymous(&mut r.header),
            (Request::Revoke(_), Reply::Revoke(r)) => anonymous(&mut r.header),
            (Request::TimeToLive(_), Reply::TimeToLive(r)) => time_to_live(r),
            (_, other) => panic!("{request:?} was answered with {other:?}"),
        }
        reply
    })
}

fn anonymous(header: &mut Option<ResponseHeader>) {
    if let Some(header) = header {
        (header.cluster_id, header.member_id, header.raft_term) = (0, 0, 0);
    }
}

/// Keys come in no defined order, and time passes.
fn time_to_live(response: &mut LeaseTimeToLiveResponse) {
    anonymous(&mut response.header);
    response.keys.sort();
    let passed = response.granted_ttl - response.ttl;
    if response.granted_ttl > 0 && (0..LEASE_SECONDS_PASSED_MAX).contains(&passed) {
        response.ttl = response.granted_ttl;
    }
}

/// Longer than any run takes.
const LEASE_SECONDS_PASSED_MAX: i64 = 3600;

fn txn(request: &TxnRequest, response: &mut TxnResponse) {
    anonymous(&mut response.header);
    let ops = if response.succeeded { &request.success } else { &request.failure };
    assert_eq!(ops.len(), response.responses.len(), "one response for each operation");
    for (op, answer) in ops.iter().zip(&mut response.responses) {
        match (op.request.as_ref(), answer.response.as_mut()) {
            (Some(Op::RequestRange(q)), Some(OpResponse::ResponseRange(r))) => range(q, r),
            (Some(Op::RequestTxn(q)), Some(OpResponse::ResponseTxn(r))) => txn(q, r),
            (Some(Op::RequestPut(_)), Some(OpResponse::ResponsePut(r))) => anonymous(&mut r.header),
            (Some(Op::RequestDeleteRange(_)), Some(OpResponse::ResponseDeleteRange(r))) => {
                anonymous(&mut r.header);
            }
            (op, answer) => panic!("{op:?} was answered with {answer:?}"),
        }
    }
}

/// Rows that sort alike come in no defined order, and a limit may cut any of them: such rows are
/// put in the order of their keys, and those that tie with the last row of a cut answer are
/// reduced to what they tie in.
fn range(request: &RangeRequest, response: &mut RangeResponse) {
    anonymous(&mut response.header);
    let Ok(target) = SortTarget::try_from(request.sort_target) else { return };
    let field = |kv: &KeyValue| -> Vec<u8> {
        match target {
            SortTarget::Key => kv.key.to_vec(),
            SortTarget::Version => kv.version.to_be_bytes().to_vec(),
            SortTarget::Create => kv.create_revision.to_be_bytes().to_vec(),
            SortTarget::Mod => kv.mod_revision.to_be_bytes().to_vec(),
            SortTarget::Value => kv.value.to_vec(),
        }
    };
    if target == SortTarget::Key {
        return;
    }
    if target == SortTarget::Value && request.keys_only {
        // What they were sorted by is gone.
        if response.more {
            response.kvs.fill(KeyValue::default());
        }
        response.kvs.sort_by(|a, b| a.key.cmp(&b.key));
        return;
    }
    let descending = request.sort_order == i32::from(SortOrder::Descend);
    let ordered = response.kvs.windows(2).all(|pair| {
        let (left, right) = (field(&pair[0]), field(&pair[1]));
        if descending { left >= right } else { left <= right }
    });
    assert!(ordered, "{request:?} was answered out of order: {response:?}");
    if let Some(last) = response.kvs.last().filter(|_| response.more).map(field) {
        for kv in response.kvs.iter_mut().filter(|kv| field(kv) == last) {
            *kv = KeyValue { value: last.clone().into(), ..Default::default() };
        }
    }
    response.kvs.sort_by(|a, b| (field(a), &a.key).cmp(&(field(b), &b.key)));
}
