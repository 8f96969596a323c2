//! The Cluster service of a cluster of one: it can be listed.

use std::sync::Arc;

use keelson_api::etcdserverpb as pb;
use keelson_store::types::Revision;
use pb::cluster_server::Cluster;
use tonic::{Request, Response, Status};

use super::errors;
use crate::node::Identity;
use crate::raft::{RaftHandle, ReadBarrier};

/// The Cluster service of one runtime.
#[derive(Clone, Debug)]
pub(super) struct ClusterService {
    pub(super) raft: RaftHandle,
    pub(super) barrier: ReadBarrier,
    pub(super) identity: Arc<Identity>,
}

fn alone() -> Status {
    Status::unimplemented("keelson: this version runs as a cluster of one; its members are fixed")
}

#[tonic::async_trait]
impl Cluster for ClusterService {
    async fn member_list(
        &self,
        request: Request<pb::MemberListRequest>,
    ) -> Result<Response<pb::MemberListResponse>, Status> {
        if request.get_ref().linearizable {
            self.barrier.pass().await.map_err(errors::not_current)?;
        }
        let mut members = self.raft.members();
        members.sort_by_key(|(id, ..)| *id);
        let members = members
            .into_iter()
            .map(|(id, member, voting)| pb::Member {
                id: id.0,
                name: member.name,
                peer_ur_ls: member.peer_urls,
                client_ur_ls: member.client_urls,
                is_learner: !voting,
            })
            .collect();
        // etcd leaves the revision out of this service's headers.
        let header = Some(self.identity.header(Revision(0), self.raft.term()));
        Ok(Response::new(pb::MemberListResponse { header, members }))
    }

    async fn member_add(
        &self,
        _request: Request<pb::MemberAddRequest>,
    ) -> Result<Response<pb::MemberAddResponse>, Status> {
        Err(alone())
    }

    async fn member_remove(
        &self,
        _request: Request<pb::MemberRemoveRequest>,
    ) -> Result<Response<pb::MemberRemoveResponse>, Status> {
        Err(alone())
    }

    async fn member_update(
        &self,
        _request: Request<pb::MemberUpdateRequest>,
    ) -> Result<Response<pb::MemberUpdateResponse>, Status> {
        Err(alone())
    }

    async fn member_promote(
        &self,
        _request: Request<pb::MemberPromoteRequest>,
    ) -> Result<Response<pb::MemberPromoteResponse>, Status> {
        Err(alone())
    }
}
