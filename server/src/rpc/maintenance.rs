//! The Maintenance service: what operators ask a member.

use std::sync::Arc;

use keelson_api::errors::Error as Etcd;
use keelson_api::etcdserverpb as pb;
use keelson_store::Store;
use keelson_store::types::Revision;
use pb::maintenance_server::Maintenance;
use tonic::{Request, Response, Status};

use super::errors;
use crate::cli::ETCD_VERSION;
use crate::node::Identity;
use crate::raft::{Change, MemberId, RaftHandle, ReadBarrier, Version};

/// The Maintenance service of one runtime.
#[derive(Clone)]
pub(super) struct MaintenanceService {
    pub(super) store: Store,
    pub(super) raft: RaftHandle,
    pub(super) barrier: ReadBarrier,
    pub(super) identity: Arc<Identity>,
    pub(super) quota_bytes: i64,
}

fn not_yet(what: &str) -> Status {
    Status::unimplemented(format!("keelson: {what} is not there yet"))
}

#[tonic::async_trait]
impl Maintenance for MaintenanceService {
    async fn status(
        &self,
        _request: Request<pb::StatusRequest>,
    ) -> Result<Response<pb::StatusResponse>, Status> {
        let (raft, agreed) = (self.raft.status(), self.raft.agreed());
        let sizes = self.store.sizes().map_err(|error| errors::not_read(&error.into()))?;
        let mut errors = Vec::new();
        if raft.leader.is_none() {
            errors.push(Etcd::NoLeader.text().to_owned());
        }
        Ok(Response::new(pb::StatusResponse {
            header: Some(self.identity.header(self.store.view().revision(), raft.term)),
            version: ETCD_VERSION.to_owned(),
            db_size: sizes.allocated.cast_signed(),
            leader: raft.leader.map_or(0, |id| id.0),
            raft_index: raft.committed_index,
            raft_term: raft.term,
            raft_applied_index: raft.applied_index,
            errors,
            db_size_in_use: sizes.in_use.cast_signed(),
            is_learner: raft.is_learner,
            storage_version: agreed.version.map_or(String::new(), |version| version.to_string()),
            db_size_quota: self.quota_bytes,
            downgrade_info: Some(pb::DowngradeInfo {
                enabled: agreed.downgrade.is_some(),
                target_version: agreed.downgrade.map_or(String::new(), |v| v.to_string()),
            }),
        }))
    }

    async fn hash_kv(
        &self,
        request: Request<pb::HashKvRequest>,
    ) -> Result<Response<pb::HashKvResponse>, Status> {
        let revision = Revision(request.get_ref().revision);
        let view = self.store.view();
        let current = view.revision();
        let hashing = tokio::task::spawn_blocking(move || view.hash_kv(revision));
        let hash = hashing.await.map_err(|_| Etcd::Stopped.status())?;
        let hash = hash.map_err(|error| errors::not_read(&error))?;
        Ok(Response::new(pb::HashKvResponse {
            header: Some(self.identity.header(current, self.raft.term())),
            hash: hash.hash,
            compact_revision: hash.compacted.0,
            hash_revision: hash.revision.0,
        }))
    }

    /// Nothing raises alarms yet, so there are none to list or to disarm.
    async fn alarm(
        &self,
        request: Request<pb::AlarmRequest>,
    ) -> Result<Response<pb::AlarmResponse>, Status> {
        use pb::alarm_request::AlarmAction;
        let action = AlarmAction::try_from(request.get_ref().action);
        if !matches!(action, Ok(AlarmAction::Get | AlarmAction::Deactivate)) {
            return Err(not_yet("raising alarms"));
        }
        self.barrier.pass().await.map_err(errors::not_current)?;
        let header = self.identity.header(self.store.view().revision(), self.raft.term());
        Ok(Response::new(pb::AlarmResponse { header: Some(header), alarms: Vec::new() }))
    }

    /// Space is given back in the background all the time; there is nothing to stop the world for.
    async fn defragment(
        &self,
        _request: Request<pb::DefragmentRequest>,
    ) -> Result<Response<pb::DefragmentResponse>, Status> {
        Ok(Response::new(pb::DefragmentResponse::default()))
    }

    async fn hash(
        &self,
        _request: Request<pb::HashRequest>,
    ) -> Result<Response<pb::HashResponse>, Status> {
        Err(not_yet("the hash of the whole backend (use HashKV)"))
    }

    type SnapshotStream = futures_util::stream::Empty<Result<pb::SnapshotResponse, Status>>;

    async fn snapshot(
        &self,
        _request: Request<pb::SnapshotRequest>,
    ) -> Result<Response<Self::SnapshotStream>, Status> {
        Err(not_yet("a snapshot for backup"))
    }

    async fn move_leader(
        &self,
        request: Request<pb::MoveLeaderRequest>,
    ) -> Result<Response<pb::MoveLeaderResponse>, Status> {
        let target = MemberId(request.get_ref().target_id);
        self.raft.move_leader(target).await.map_err(errors::not_moved)?;
        Ok(Response::new(pb::MoveLeaderResponse::default()))
    }

    async fn downgrade(
        &self,
        request: Request<pb::DowngradeRequest>,
    ) -> Result<Response<pb::DowngradeResponse>, Status> {
        use pb::downgrade_request::DowngradeAction;
        let request = request.into_inner();
        let target = || {
            let version = Version::parse(&request.version);
            version.ok_or_else(|| Etcd::WrongDowngradeVersionFormat.status())
        };
        let change = match DowngradeAction::try_from(request.action) {
            Ok(DowngradeAction::Validate) => {
                let target = target()?;
                self.barrier.pass().await.map_err(errors::not_current)?;
                self.raft.check_downgrade(target).map_err(errors::not_changed)?;
                None
            }
            Ok(DowngradeAction::Enable) => Some(Change::Downgrade(Some(target()?))),
            Ok(DowngradeAction::Cancel) => Some(Change::Downgrade(None)),
            Err(_) => return Err(Status::unknown("etcdserver: unknown method")),
        };
        if let Some(change) = change {
            self.raft.change(change).await.map_err(errors::not_changed)?;
        }
        let header = self.identity.header(self.store.view().revision(), self.raft.term());
        let version = self.raft.agreed().version.map_or(String::new(), |version| version.short());
        Ok(Response::new(pb::DowngradeResponse { header: Some(header), version }))
    }
}
