//! Messages to peers. A cluster of one has none; the seam is here so that a second member needs a
//! transport and nothing else.

use std::future::Future;

use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::v2::RaftNetworkV2;
use openraft::network::{RPCOption, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::type_config::alias::SnapshotOf;

use super::state_machine::SnapshotDir;
use super::types::{Member, MemberId, TypeConfig, Vote};

/// Refuses every peer: configuration admits only a cluster of one.
#[derive(Debug)]
pub(crate) struct NoPeers;

#[derive(Debug, thiserror::Error)]
#[error("member {0} cannot be reached: this node runs as a cluster of one")]
struct NoPeer(MemberId);

#[derive(Debug)]
pub(crate) struct Peer(MemberId);

impl RaftNetworkFactory<TypeConfig> for NoPeers {
    type Network = Peer;

    async fn new_client(&mut self, target: MemberId, _node: &Member) -> Peer {
        Peer(target)
    }
}

impl Peer {
    fn unreachable(&self) -> RPCError<TypeConfig> {
        RPCError::Unreachable(Unreachable::new(&NoPeer(self.0)))
    }
}

impl RaftNetworkV2<TypeConfig> for Peer {
    type SnapshotData = SnapshotDir;

    async fn append_entries(
        &mut self,
        _rpc: AppendEntriesRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        Err(self.unreachable())
    }

    async fn vote(
        &mut self,
        _rpc: VoteRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        Err(self.unreachable())
    }

    async fn pre_vote(
        &mut self,
        _rpc: VoteRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        Err(self.unreachable())
    }

    async fn full_snapshot(
        &mut self,
        _vote: Vote,
        _snapshot: SnapshotOf<TypeConfig, SnapshotDir>,
        _cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        Err(StreamingError::Unreachable(Unreachable::new(&NoPeer(self.0))))
    }
}
