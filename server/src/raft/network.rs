//! openraft's messages to other members, on a [`PeerTransport`].

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use openraft::OptionalSend;
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::v2::RaftNetworkV2;
use openraft::network::{RPCOption, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendError,
    StreamAppendResult, TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::type_config::alias::SnapshotOf;

use super::codec::CodecError;
use super::snapshot::Outgoing;
use super::state_machine::SnapshotDir;
use super::types::{Member, MemberId, TypeConfig, Vote};
use super::wire;
use crate::peer::{Call, PeerError, PeerTransport};

/// Makes clients of other members.
#[derive(Debug)]
pub(crate) struct Peers {
    pub(crate) transport: Arc<dyn PeerTransport>,
    pub(crate) outgoing: Arc<Outgoing>,
}

/// A client of one other member.
#[derive(Debug)]
pub(crate) struct Peer {
    to: MemberId,
    /// Carries heartbeats alone: single calls, which wait behind no entries.
    heartbeats: bool,
    transport: Arc<dyn PeerTransport>,
    outgoing: Arc<Outgoing>,
}

impl Peers {
    fn client(&self, to: MemberId, node: &Member, heartbeats: bool) -> Peer {
        self.transport.know(to, &node.peer_urls);
        let (transport, outgoing) = (Arc::clone(&self.transport), Arc::clone(&self.outgoing));
        Peer { to, heartbeats, transport, outgoing }
    }
}

impl RaftNetworkFactory<TypeConfig> for Peers {
    type Network = Peer;

    async fn new_client(&mut self, target: MemberId, node: &Member) -> Peer {
        self.client(target, node, false)
    }

    async fn new_heartbeat_client(&mut self, target: MemberId, node: &Member) -> Peer {
        self.client(target, node, true)
    }
}

type Failed = RPCError<TypeConfig>;

/// openraft waits before it tries an unreachable member again, and tries a failed call at once.
fn failed(error: PeerError) -> Failed {
    match error {
        PeerError::NoAnswer { .. } => RPCError::Network(NetworkError::from_string(error)),
        PeerError::NotSent { .. } | PeerError::Refused { .. } => {
            RPCError::Unreachable(Unreachable::from_string(error))
        }
    }
}

/// The other member answers in a form that this version does not know.
fn odd(error: CodecError) -> Failed {
    RPCError::Unreachable(Unreachable::new(&error))
}

impl Peer {
    async fn call<T>(
        &self,
        call: Call,
        body: Bytes,
        option: RPCOption,
        decode: impl FnOnce(Bytes) -> Result<T, CodecError>,
    ) -> Result<T, Failed> {
        let answer = self.transport.call(self.to, call, body, option.hard_ttl()).await;
        decode(answer.map_err(failed)?).map_err(odd)
    }

    async fn heartbeat(
        &self,
        request: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<StreamAppendResult<TypeConfig>, Failed> {
        let body = wire::encode_append(request);
        self.call(Call::Heartbeat, body, option, wire::decode_append_answer).await
    }
}

type AppendAnswers<'s> = BoxStream<'s, Result<StreamAppendResult<TypeConfig>, Failed>>;

impl RaftNetworkV2<TypeConfig> for Peer {
    type SnapshotData = SnapshotDir;

    /// Not used by openraft once [`stream_append`](Self::stream_append) is there.
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, Failed> {
        let last = rpc.entries.last().map(|entry| entry.log_id).or(rpc.prev_log_id);
        let mut answers = self.stream_append(Box::pin(stream::iter([rpc])), option).await?;
        match answers.next().await {
            None => Err(RPCError::Network(NetworkError::from_string("the stream ended"))),
            Some(answer) => Ok(match answer? {
                Ok(matched) if matched == last => AppendEntriesResponse::Success,
                Ok(matched) => AppendEntriesResponse::PartialSuccess(matched),
                Err(StreamAppendError::Conflict(_)) => AppendEntriesResponse::Conflict,
                Err(StreamAppendError::HigherVote(vote)) => AppendEntriesResponse::HigherVote(vote),
            }),
        }
    }

    /// Many appends are under way at once: requests are encoded and sent as the connection takes
    /// them, answers come back in their order. The first request is taken before the connection is
    /// tried, because taking it is where openraft waits after a failure.
    fn stream_append<'s, S>(
        &'s mut self,
        mut input: S,
        option: RPCOption,
    ) -> BoxFuture<'s, Result<AppendAnswers<'s>, Failed>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        Box::pin(async move {
            let Some(request) = input.next().await else {
                return Ok(Box::pin(stream::empty()) as AppendAnswers<'s>);
            };
            if self.heartbeats {
                let answer = self.heartbeat(request, option).await?;
                return Ok(Box::pin(stream::iter([Ok(answer)])) as AppendAnswers<'s>);
            }
            let requests = stream::iter([request]).chain(input).map(wire::encode_append);
            let answers = self.transport.append(self.to, Box::pin(requests)).await;
            let answers = answers
                .map_err(failed)?
                .map(|answer| wire::decode_append_answer(answer.map_err(failed)?).map_err(odd));
            Ok(Box::pin(answers) as AppendAnswers<'s>)
        })
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, Failed> {
        let body = wire::encode_vote_request(&rpc);
        self.call(Call::Vote, body, option, wire::decode_vote_answer).await
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, Failed> {
        let body = wire::encode_vote_request(&rpc);
        self.call(Call::PreVote, body, option, wire::decode_vote_answer).await
    }

    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, Failed> {
        let body = wire::encode_transfer(&req);
        self.call(Call::TransferLeader, body, option, wire::decode_transfer_answer).await
    }

    /// The description says how far the snapshot goes at least; what travels is newer.
    async fn full_snapshot(
        &mut self,
        vote: Vote,
        described: SnapshotOf<TypeConfig, SnapshotDir>,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let index = described.meta.last_log_id.map_or(0, |last| last.index);
        let sending = self.outgoing.send(&*self.transport, self.to, vote, index);
        let sent = tokio::select! {
            sent = sending => sent,
            closed = cancel => return Err(StreamingError::Closed(closed)),
        };
        sent.map(SnapshotResponse::new).map_err(|error| {
            tracing::warn!(to = %self.to, %error, "a snapshot did not arrive");
            StreamingError::Unreachable(Unreachable::new(&error))
        })
    }
}
