//! The Lease service.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, ReadyChunks};
use futures_util::{Stream, StreamExt};
use keelson_api::errors::Error as Etcd;
use keelson_api::etcdserverpb as pb;
use keelson_store::command::{Command, LeaseGrant, LeaseRevoke};
use keelson_store::response::Response as Stored;
use keelson_store::types::LeaseId;
use pb::lease_server::Lease;
use tonic::{Request, Response, Status, Streaming};

use super::kv::{KvService, blocking};
use super::{errors, router};
use crate::lease::{LeaseIds, Lessor, TTL_MAX, TimeLeft};

/// Keep-alives of one stream that are answered together.
const KEEP_ALIVES_MAX: usize = 256;

/// Keys or leases that are read at a time.
const READ_SLICE: usize = 10_000;

/// Ids that are tried for a lease whose client leaves the choice to the server: a second one is
/// needed about never.
const TRIES: usize = 5;

/// A stream that asked for a leader ends after so many election timeouts without one; etcd's.
const LEADERLESS_ELECTIONS: u32 = 3;

/// What the service is made of beside what KV is.
#[derive(Clone, Debug)]
pub struct LeaseRoom {
    /// Knows the time of leases.
    pub lessor: Arc<Lessor>,
    /// Chooses ids.
    pub ids: Arc<LeaseIds>,
    /// What a TTL is raised to, in seconds.
    pub ttl_min: i64,
    /// The election timeout.
    pub election_timeout: Duration,
}

/// The Lease service of one runtime.
#[derive(Clone, Debug)]
pub(super) struct LeaseService {
    pub(super) kv: KvService,
    pub(super) room: LeaseRoom,
}

/// About what a grant or a revocation takes in the log.
const COMMAND_BYTES: usize = 24;

type KeepAlives = Pin<Box<dyn Stream<Item = Result<pb::LeaseKeepAliveResponse, Status>> + Send>>;

impl LeaseService {
    async fn grant(&self, id: LeaseId, ttl: i64) -> Result<Option<pb::ResponseHeader>, Status> {
        let grant = Command::LeaseGrant(LeaseGrant { id, ttl });
        let (stored, term) = self.kv.propose(grant, COMMAND_BYTES).await?;
        let Stored::LeaseGrant(response) = stored else { unreachable!("a grant answers as one") };
        Ok(Some(self.kv.header_at(response.revision, term)))
    }

    /// Grants under an id that nobody has.
    pub(super) async fn grant_any(
        &self,
        ttl: i64,
    ) -> Result<(LeaseId, Option<pb::ResponseHeader>), Status> {
        let mut refused = Etcd::LeaseExist.status();
        for _ in 0..TRIES {
            let id = LeaseId(self.room.ids.next());
            match self.grant(id, ttl).await {
                Ok(header) => return Ok((id, header)),
                Err(status) if status.message() == refused.message() => refused = status,
                Err(status) => return Err(status),
            }
        }
        Err(refused)
    }

    async fn time_left(&self, id: LeaseId) -> Result<Option<TimeLeft>, Status> {
        let told = self.room.lessor.ask(&[id], false).await.pop().expect("one answer");
        told.map_err(errors::not_asked)
    }

    /// The keys that hang on a lease, as the store has them once it holds all that was committed.
    async fn keys(&self, id: LeaseId) -> Result<Vec<Bytes>, Status> {
        self.kv.barrier.pass().await.map_err(errors::not_current)?;
        let view = self.kv.store.view();
        blocking(move || {
            let mut keys: Vec<Bytes> = Vec::new();
            loop {
                let after = keys.last().cloned();
                let slice = view
                    .lease_keys(id, after.as_deref(), READ_SLICE)
                    .map_err(|error| errors::not_read(&error.into()))?;
                if slice.is_empty() {
                    return Ok(keys);
                }
                keys.extend(slice);
            }
        })
        .await
    }

    /// One answer to each request, in their order; what cannot be answered ends them.
    async fn keep_alive(
        &self,
        requests: Vec<Result<pb::LeaseKeepAliveRequest, Status>>,
    ) -> Vec<Result<pb::LeaseKeepAliveResponse, Status>> {
        let mut broken = None;
        let mut ids = Vec::new();
        for request in requests {
            match request {
                Ok(request) => ids.push(LeaseId(request.id)),
                Err(status) => {
                    broken = Some(Err(status));
                    break;
                }
            }
        }
        // The header tells of the moment before, as etcd's does.
        let header = self.kv.header(self.kv.store.view().revision());
        let told = self.room.lessor.ask(&ids, true).await;
        let answer = |(id, told): (LeaseId, Result<Option<TimeLeft>, _>)| {
            let ttl = told.map_err(errors::not_asked)?.map_or(0, |left| left.granted);
            Ok(pb::LeaseKeepAliveResponse { header: Some(header), id: id.0, ttl })
        };
        ids.iter().copied().zip(told).map(answer).chain(broken).collect()
    }
}

/// A stream of keep-alives on its way.
struct KeepingAlive {
    service: LeaseService,
    requests: ReadyChunks<Streaming<pb::LeaseKeepAliveRequest>>,
    /// Ends when the client's demand for a leader is disappointed.
    leaderless: BoxFuture<'static, ()>,
}

impl KeepingAlive {
    /// The next answers; the last ones if they hold an error.
    async fn next(
        mut self,
    ) -> Option<(Vec<Result<pb::LeaseKeepAliveResponse, Status>>, Option<Self>)> {
        let Self { service, requests, leaderless } = &mut self;
        let answered = async {
            let chunk = requests.next().await?;
            Some(service.keep_alive(chunk).await)
        };
        let answers = tokio::select! {
            answers = answered => answers?,
            () = leaderless => vec![Err(Etcd::NoLeader.status())],
        };
        let ended = answers.iter().any(Result::is_err);
        Some((answers, (!ended).then_some(self)))
    }
}

#[tonic::async_trait]
impl Lease for LeaseService {
    type LeaseKeepAliveStream = KeepAlives;

    async fn lease_grant(
        &self,
        request: Request<pb::LeaseGrantRequest>,
    ) -> Result<Response<pb::LeaseGrantResponse>, Status> {
        let pb::LeaseGrantRequest { ttl, id } = request.into_inner();
        if ttl > TTL_MAX {
            return Err(Etcd::LeaseTTLTooLarge.status());
        }
        let ttl = ttl.max(self.room.ttl_min);
        let (id, header) = match id {
            0 => self.grant_any(ttl).await?,
            id => (LeaseId(id), self.grant(LeaseId(id), ttl).await?),
        };
        let error = String::new();
        Ok(Response::new(pb::LeaseGrantResponse { header, id: id.0, ttl, error }))
    }

    async fn lease_revoke(
        &self,
        request: Request<pb::LeaseRevokeRequest>,
    ) -> Result<Response<pb::LeaseRevokeResponse>, Status> {
        let revoke = LeaseRevoke { id: LeaseId(request.get_ref().id), expiry: None };
        let (stored, term) = self.kv.propose(Command::LeaseRevoke(revoke), COMMAND_BYTES).await?;
        let Stored::LeaseRevoke(response) = stored else { unreachable!("so does a revocation") };
        let header = Some(self.kv.header_at(response.revision, term));
        Ok(Response::new(pb::LeaseRevokeResponse { header }))
    }

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<pb::LeaseKeepAliveRequest>>,
    ) -> Result<Response<KeepAlives>, Status> {
        let headers = request.metadata().clone().into_headers();
        let leaderless: BoxFuture<'static, ()> = if router::requires_leader(&headers) {
            let (raft, election) = (self.kv.raft.clone(), self.room.election_timeout);
            Box::pin(async move { raft.without_leader(LEADERLESS_ELECTIONS * election).await })
        } else {
            Box::pin(std::future::pending())
        };
        let requests = request.into_inner().ready_chunks(KEEP_ALIVES_MAX);
        let start = KeepingAlive { service: self.clone(), requests, leaderless };
        let answers = stream::unfold(Some(start), |going: Option<KeepingAlive>| async move {
            going?.next().await
        });
        Ok(Response::new(Box::pin(answers.flat_map(stream::iter))))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<pb::LeaseTimeToLiveRequest>,
    ) -> Result<Response<pb::LeaseTimeToLiveResponse>, Status> {
        let pb::LeaseTimeToLiveRequest { id, keys } = request.into_inner();
        let left = self.time_left(LeaseId(id)).await?;
        let keys = if keys && left.is_some() { self.keys(LeaseId(id)).await? } else { Vec::new() };
        let (ttl, granted_ttl) = left.map_or((-1, 0), |left| (left.remaining, left.granted));
        let header = Some(self.kv.header(self.kv.store.view().revision()));
        Ok(Response::new(pb::LeaseTimeToLiveResponse { header, id, ttl, granted_ttl, keys }))
    }

    /// Of this member alone, as etcd's is: it answers without a leader, too.
    async fn lease_leases(
        &self,
        _request: Request<pb::LeaseLeasesRequest>,
    ) -> Result<Response<pb::LeaseLeasesResponse>, Status> {
        let view = self.kv.store.view();
        let header = Some(self.kv.header(view.revision()));
        let mut ids = blocking(move || {
            let mut ids: Vec<LeaseId> = Vec::new();
            let mut from = Some(i64::MIN);
            while let Some(first) = from {
                let slice = view
                    .leases(LeaseId(first), READ_SLICE)
                    .map_err(|error| errors::not_read(&error.into()))?;
                from = slice.last().and_then(|last| last.id.0.checked_add(1));
                ids.extend(slice.iter().map(|lease| lease.id));
            }
            Ok(ids)
        })
        .await?;
        self.room.lessor.sort_by_deadline(&mut ids);
        let leases = ids.into_iter().map(|id| pb::LeaseStatus { id: id.0 }).collect();
        Ok(Response::new(pb::LeaseLeasesResponse { header, leases }))
    }
}
