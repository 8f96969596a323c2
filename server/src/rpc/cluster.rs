//! The Cluster service: who the members are, and changing it.

use std::sync::Arc;

use keelson_api::errors::Error as Etcd;
use keelson_api::etcdserverpb as pb;
use keelson_store::types::Revision;
use pb::cluster_server::Cluster;
use tonic::{Request, Response, Status};

use super::errors;
use crate::config::Url;
use crate::node::{Identity, added_member_id};
use crate::raft::{Change, MemberId, RaftHandle, ReadBarrier, Row};

/// The Cluster service of one runtime.
#[derive(Clone, Debug)]
pub(super) struct ClusterService {
    pub(super) raft: RaftHandle,
    pub(super) barrier: ReadBarrier,
    pub(super) identity: Arc<Identity>,
}

impl ClusterService {
    /// etcd leaves the revision out of this service's headers.
    fn header(&self) -> Option<pb::ResponseHeader> {
        Some(self.identity.header(Revision(0), self.raft.term()))
    }

    async fn change(&self, change: Change) -> Result<Vec<pb::Member>, Status> {
        let rows = self.raft.change(change).await.map_err(errors::not_changed)?;
        Ok(members(rows))
    }
}

fn members(mut rows: Vec<Row>) -> Vec<pb::Member> {
    rows.sort_by_key(|row| row.id);
    let shown = |row: Row| {
        let is_learner = row.is_learner();
        pb::Member {
            id: row.id.0,
            name: row.member.name,
            peer_ur_ls: row.member.peer_urls,
            client_ur_ls: row.member.client_urls,
            is_learner,
        }
    };
    rows.into_iter().map(shown).collect()
}

/// Peer URLs as they are kept: at least one, all of which read, sorted.
fn peer_urls(given: &[String]) -> Result<Vec<String>, Status> {
    let bad = || Etcd::MemberBadURLs.status();
    let read = |text: &String| Url::parse(text).map(|url| url.to_string()).map_err(|_| bad());
    let mut urls = given.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    urls.sort_unstable();
    if urls.is_empty() { Err(bad()) } else { Ok(urls) }
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
        let members = members(self.raft.members());
        Ok(Response::new(pb::MemberListResponse { header: self.header(), members }))
    }

    async fn member_add(
        &self,
        request: Request<pb::MemberAddRequest>,
    ) -> Result<Response<pb::MemberAddResponse>, Status> {
        let request = request.into_inner();
        let peer_urls = peer_urls(&request.peer_ur_ls)?;
        let id = added_member_id(&peer_urls);
        let members =
            self.change(Change::Add { id, learner: request.is_learner, peer_urls }).await?;
        let member = members.iter().find(|member| member.id == id.0).cloned();
        Ok(Response::new(pb::MemberAddResponse { header: self.header(), member, members }))
    }

    async fn member_remove(
        &self,
        request: Request<pb::MemberRemoveRequest>,
    ) -> Result<Response<pb::MemberRemoveResponse>, Status> {
        let members = self.change(Change::Remove(MemberId(request.get_ref().id))).await?;
        Ok(Response::new(pb::MemberRemoveResponse { header: self.header(), members }))
    }

    async fn member_update(
        &self,
        request: Request<pb::MemberUpdateRequest>,
    ) -> Result<Response<pb::MemberUpdateResponse>, Status> {
        let request = request.into_inner();
        let peer_urls = peer_urls(&request.peer_ur_ls)?;
        let members = self.change(Change::Update { id: MemberId(request.id), peer_urls }).await?;
        Ok(Response::new(pb::MemberUpdateResponse { header: self.header(), members }))
    }

    async fn member_promote(
        &self,
        request: Request<pb::MemberPromoteRequest>,
    ) -> Result<Response<pb::MemberPromoteResponse>, Status> {
        let members = self.change(Change::Promote(MemberId(request.get_ref().id))).await?;
        Ok(Response::new(pb::MemberPromoteResponse { header: self.header(), members }))
    }
}
