//! Requests and answers of a history as messages of etcd's API.

use keelson_api::etcdserverpb as pb;
use keelson_api::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use keelson_api::etcdserverpb::request_op::Request as OpRequest;
use keelson_api::etcdserverpb::response_op::Response as OpResponse;
use keelson_api::mvccpb;

use crate::history::{Action, Answer, Compare, Header, Kv, RangeRequest, Target};

pub(super) fn range(range: &RangeRequest) -> pb::RangeRequest {
    pb::RangeRequest {
        key: range.key.clone().into(),
        range_end: range.end.clone().unwrap_or_default().into(),
        serializable: range.serializable,
        revision: range.revision,
        min_mod_revision: range.min_modified,
        ..pb::RangeRequest::default()
    }
}

pub(super) fn put(key: &str, value: &str) -> pb::PutRequest {
    pb::PutRequest {
        key: key.to_owned().into(),
        value: value.to_owned().into(),
        prev_kv: true,
        ..pb::PutRequest::default()
    }
}

pub(super) fn delete(key: &str) -> pb::DeleteRangeRequest {
    pb::DeleteRangeRequest {
        key: key.to_owned().into(),
        prev_kv: true,
        ..pb::DeleteRangeRequest::default()
    }
}

pub(super) fn txn(compares: &[Compare], success: &[Action], failure: &[Action]) -> pb::TxnRequest {
    pb::TxnRequest {
        compare: compares.iter().map(compare).collect(),
        success: success.iter().map(step).collect(),
        failure: failure.iter().map(step).collect(),
    }
}

fn step(action: &Action) -> pb::RequestOp {
    let request = match action {
        Action::Range(of) => OpRequest::RequestRange(range(of)),
        Action::Put { key, value } => OpRequest::RequestPut(put(key, value)),
        Action::Delete { key } => OpRequest::RequestDeleteRange(delete(key)),
    };
    pb::RequestOp { request: Some(request) }
}

fn compare(of: &Compare) -> pb::Compare {
    let (target, union) = match &of.target {
        Target::Modified(revision) => (CompareTarget::Mod, TargetUnion::ModRevision(*revision)),
        Target::Value(value) => (CompareTarget::Value, TargetUnion::Value(value.clone().into())),
    };
    pb::Compare {
        result: CompareResult::Equal.into(),
        target: target.into(),
        key: of.key.clone().into(),
        target_union: Some(union),
        ..pb::Compare::default()
    }
}

pub(super) fn header(header: Option<pb::ResponseHeader>) -> Header {
    let header = header.unwrap_or_default();
    Header { revision: header.revision, term: header.raft_term, member: header.member_id }
}

pub(super) fn from_range(response: pb::RangeResponse) -> Answer {
    Answer::Range { kvs: response.kvs.into_iter().map(kv).collect(), count: response.count }
}

pub(super) fn from_put(response: pb::PutResponse) -> Answer {
    Answer::Put { prev: response.prev_kv.map(kv) }
}

pub(super) fn from_delete(response: pb::DeleteRangeResponse) -> Answer {
    Answer::Delete {
        deleted: response.deleted,
        prev: response.prev_kvs.into_iter().map(kv).collect(),
    }
}

/// `None` if a step has an answer that its request cannot have.
pub(super) fn from_txn(response: pb::TxnResponse) -> Option<Answer> {
    let answers = response.responses.into_iter().map(|step| match step.response? {
        OpResponse::ResponseRange(range) => Some(from_range(range)),
        OpResponse::ResponsePut(put) => Some(from_put(put)),
        OpResponse::ResponseDeleteRange(delete) => Some(from_delete(delete)),
        OpResponse::ResponseTxn(_) => None,
    });
    Some(Answer::Txn { succeeded: response.succeeded, answers: answers.collect::<Option<_>>()? })
}

/// Bytes that are no text come out as text that was never written, which checkers then report.
fn kv(kv: mvccpb::KeyValue) -> Kv {
    Kv {
        key: String::from_utf8_lossy(&kv.key).into_owned(),
        value: String::from_utf8_lossy(&kv.value).into_owned(),
        create: kv.create_revision,
        modified: kv.mod_revision,
        version: kv.version,
    }
}
