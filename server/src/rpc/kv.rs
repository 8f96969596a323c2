//! The KV service: what a store lives by.

use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use keelson_api::errors::Error as Etcd;
use keelson_api::etcdserverpb as pb;
use keelson_store::command::{Command, Compact, Op, Range, SortTarget, Txn};
use keelson_store::response::{Outcome, Response as Stored};
use keelson_store::types::Revision;
use keelson_store::{Store, View, validate};
use tokio::sync::watch;
use tonic::Status;

use super::body::{self, Message, ResponseBody};
use super::{check, convert, errors, large, rows, stream};
use crate::node::Identity;
use crate::raft::{Proposer, RaftHandle, ReadBarrier};

/// Limits of the KV service.
#[derive(Clone, Copy, Debug)]
pub struct KvLimits {
    /// Compares or operations in one list of a txn.
    pub txn_ops_max: usize,
    /// Largest request that goes into the log.
    pub request_bytes_max: usize,
}

/// Reads of at most this many rows are answered on the runtime's own thread; larger ones go to a
/// thread of their own, so that they hold up no other connection. A thousand rows take about as
/// long as ten small requests.
const INLINE_ROWS_MAX: u64 = 1000;

/// So do answers of up to this many bytes.
const INLINE_BYTES_MAX: usize = 512 << 10;

/// The KV service of one runtime.
#[derive(Clone)]
pub struct KvService {
    /// Reads.
    pub store: Store,
    /// Writes.
    pub proposer: Proposer,
    /// The barrier before linearizable reads.
    pub barrier: ReadBarrier,
    /// How far old revisions have been removed.
    pub removed: watch::Receiver<Revision>,
    /// For the term of read responses.
    pub raft: RaftHandle,
    /// For response headers.
    pub identity: Arc<Identity>,
    /// Limits.
    pub limits: KvLimits,
}

impl std::fmt::Debug for KvService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KvService").field("limits", &self.limits).finish_non_exhaustive()
    }
}

type Answer = Result<Response<ResponseBody>, Status>;

impl KvService {
    /// `KV.Range`.
    pub(super) async fn range(&self, request: Bytes) -> Answer {
        let (range, serializable) = decode_range(request)?;
        let view = self.view(serializable).await?;
        let header = self.header(view.revision());
        if rows_at_most(&view, &range) <= INLINE_ROWS_MAX
            && let Some(message) = read_small(&view, &range, &header)?
        {
            return Ok(body::unary(message));
        }
        Box::pin(large::answer(view, range, header)).await
    }

    /// `KV.RangeStream`.
    pub(super) async fn range_stream(&self, request: Bytes) -> Answer {
        let (range, serializable) = decode_range(request)?;
        stream::check(&range)?;
        let view = self.view(serializable).await?;
        let header = self.header(view.revision());
        let message_bytes = self.limits.request_bytes_max;
        Ok(body::stream(stream::start(view, range, header, message_bytes)?))
    }

    /// `KV.Put`.
    pub(super) async fn put(&self, request: Bytes) -> Answer {
        let bytes = self.admit(&request)?;
        let put = convert::put(decode(request)?);
        validate::put(&put).map_err(errors::invalid)?;
        let (stored, term) = self.propose(Command::Put(put), bytes).await?;
        let Stored::Put(response) = stored else { unreachable!("a put answers as a put") };
        let header = self.header_at(response.revision, term);
        encode(&convert::put_response(response, header))
    }

    /// `KV.DeleteRange`.
    pub(super) async fn delete_range(&self, request: Bytes) -> Answer {
        let bytes = self.admit(&request)?;
        let delete = convert::delete_range(decode(request)?);
        validate::delete_range(&delete).map_err(errors::invalid)?;
        let (stored, term) = self.propose(Command::DeleteRange(delete), bytes).await?;
        let Stored::DeleteRange(response) = stored else {
            unreachable!("a delete answers as a delete")
        };
        let header = self.header_at(response.revision, term);
        encode(&convert::delete_range_response(response, header))
    }

    /// `KV.Txn`.
    pub(super) async fn txn(&self, request: Bytes) -> Answer {
        let admitted = self.admit(&request);
        let request: pb::TxnRequest = decode(request)?;
        check::txn(&request, self.limits.txn_ops_max)?;
        let serializable = reads_serializably(&request);
        let txn = convert::txn(request)?;
        validate::txn(&txn, self.limits.txn_ops_max).map_err(errors::invalid)?;
        if reads_only(&txn) {
            return Box::pin(self.read_txn(txn, serializable)).await;
        }
        let (stored, term) = self.propose(Command::Txn(txn), admitted?).await?;
        let Stored::Txn(response) = stored else { unreachable!("a txn answers as a txn") };
        let header = self.header_at(response.revision, term);
        encode(&convert::txn_response(response, header))
    }

    /// A txn of nothing but ranges needs no log entry: it is a read.
    async fn read_txn(&self, txn: Txn, serializable: bool) -> Answer {
        let view = self.view(serializable).await?;
        let header = self.header(view.revision());
        blocking(move || {
            let response = view.read_txn(&txn).map_err(|error| errors::not_read(&error))?;
            encode(&convert::txn_response(response, header))
        })
        .await
    }

    /// `KV.Compact`.
    pub(super) async fn compact(&self, request: Bytes) -> Answer {
        let bytes = request.len();
        let request: pb::CompactionRequest = decode(request)?;
        let compact = Compact { revision: Revision(request.revision) };
        let (stored, term) = self.propose(Command::Compact(compact), bytes).await?;
        let Stored::Compact(response) = stored else { unreachable!("so does a compaction") };
        if request.physical {
            // The sender is gone only when the node stops.
            drop(self.removed.clone().wait_for(|removed| *removed >= compact.revision).await);
        }
        let header = Some(self.header_at(response.revision, term));
        encode(&pb::CompactionResponse { header })
    }

    /// A view that is current, or whatever is there if the client does not mind.
    pub(super) async fn view(&self, serializable: bool) -> Result<Arc<View>, Status> {
        if !serializable {
            if self.raft.is_learner() {
                return Err(Etcd::NotSupportedForLearner.status());
            }
            self.barrier.pass().await.map_err(errors::not_current)?;
        }
        Ok(self.store.view())
    }

    pub(super) async fn propose(
        &self,
        command: Command,
        bytes: usize,
    ) -> Result<(Stored, u64), Status> {
        let proposal = self.proposer.propose(command, bytes).await.map_err(|error| {
            let leader_lost = self.raft.lost_leader_during(self.proposer.timeout());
            errors::not_proposed(error, leader_lost)
        })?;
        let outcome: Outcome = proposal.outcome;
        Ok((outcome.map_err(errors::rejected)?, proposal.term))
    }

    /// The size of a request that may go into the log.
    fn admit(&self, request: &Bytes) -> Result<usize, Status> {
        if request.len() > self.limits.request_bytes_max {
            return Err(Etcd::RequestTooLarge.status());
        }
        Ok(request.len())
    }

    pub(super) fn header(&self, revision: Revision) -> pb::ResponseHeader {
        self.header_at(revision, self.raft.term())
    }

    pub(super) fn header_at(&self, revision: Revision, raft_term: u64) -> pb::ResponseHeader {
        self.identity.header(revision, raft_term)
    }
}

fn decode<M: prost::Message + Default>(request: Bytes) -> Result<M, Status> {
    M::decode(request)
        .map_err(|error| Status::internal(format!("grpc: error unmarshalling request: {error}")))
}

fn encode(message: &impl prost::Message) -> Answer {
    let len = message.encoded_len();
    if len > body::MESSAGE_BYTES_MAX {
        return Err(body::too_large(len));
    }
    let mut out = Message::with_capacity(len);
    message.encode_raw(out.buffer());
    Ok(body::unary(out.finish()?))
}

fn decode_range(request: Bytes) -> Result<(Range, bool), Status> {
    let request: pb::RangeRequest = decode(request)?;
    check::range(&request)?;
    let serializable = request.serializable;
    Ok((convert::range(request)?, serializable))
}

pub(super) async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, Status> + Send + 'static,
) -> Result<T, Status> {
    match tokio::task::spawn_blocking(read).await {
        Ok(result) => result,
        Err(_) => Err(Etcd::Stopped.status()),
    }
}

/// How many rows a read may have to look at, cheaply and from above.
fn rows_at_most(view: &View, range: &Range) -> u64 {
    if range.range.end.is_empty() || range.count_only {
        return 1;
    }
    let rows = view.rows_at_most(&range.range);
    match u64::try_from(range.limit) {
        // In key order a limit ends the walk; filters and sorts look at everything.
        Ok(limit) if limit > 0 && is_plain(range) => rows.min(limit),
        _ => rows,
    }
}

/// In key order and without filters on revisions.
pub(super) fn is_plain(range: &Range) -> bool {
    let bounds = [
        range.min_mod_revision,
        range.max_mod_revision,
        range.min_create_revision,
        range.max_create_revision,
    ];
    range.sort_target == SortTarget::Key && bounds.iter().all(|bound| *bound == Revision(0))
}

/// The answer, framed, unless it turns out to be large.
fn read_small(
    view: &View,
    range: &Range,
    header: &pb::ResponseHeader,
) -> Result<Option<Bytes>, Status> {
    let mut message = Message::with_capacity(512);
    rows::put_header(message.buffer(), header);
    let mut outgrown = false;
    let totals = view
        .range(range, &mut |row| {
            rows::put_row(message.buffer(), &row);
            outgrown = message.len() > INLINE_BYTES_MAX;
            if outgrown { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .map_err(|error| errors::not_read(&error))?;
    if outgrown {
        return Ok(None);
    }
    rows::put_totals(message.buffer(), totals.more, totals.count);
    message.finish().map(Some)
}

fn reads_only(txn: &Txn) -> bool {
    txn.success.iter().chain(&txn.failure).all(|op| matches!(op, Op::Range(_)))
}

fn reads_serializably(txn: &pb::TxnRequest) -> bool {
    use pb::request_op::Request;
    txn.success
        .iter()
        .chain(&txn.failure)
        .all(|op| matches!(&op.request, Some(Request::RequestRange(range)) if range.serializable))
}
