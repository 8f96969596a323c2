//! The Election service.

use std::collections::BTreeMap;
use std::pin::Pin;

use futures_util::{Stream, stream};
use keelson_api::etcdserverpb as pb;
use keelson_api::mvccpb;
use keelson_api::v3electionpb::election_server::Election;
use keelson_api::v3electionpb::{
    CampaignRequest, CampaignResponse, LeaderKey, LeaderRequest, LeaderResponse, ProclaimRequest,
    ProclaimResponse, ResignRequest, ResignResponse,
};
use keelson_store::command::Range;
use keelson_store::types::{LeaseId, Revision};
use tonic::{Request, Response, Status};

use super::convert;
use super::kv::blocking;
use super::queue::{Place, Queues, places, rows};
use crate::watch::Inside;

/// The Election service of one runtime.
#[derive(Clone)]
pub(super) struct ElectionService(pub(super) Queues);

type Observed = Pin<Box<dyn Stream<Item = Result<LeaderResponse, Status>> + Send>>;

fn place_of(leader: Option<LeaderKey>) -> Result<Place, Status> {
    let leader = leader.ok_or_else(|| Status::unknown("\"leader\" field must be provided"))?;
    let LeaderKey { key, rev, lease, .. } = leader;
    Ok(Place { key, revision: Revision(rev), lease: LeaseId(lease) })
}

#[tonic::async_trait]
impl Election for ElectionService {
    type ObserveStream = Observed;

    async fn campaign(
        &self,
        request: Request<CampaignRequest>,
    ) -> Result<Response<CampaignResponse>, Status> {
        let CampaignRequest { name, lease, value } = request.into_inner();
        let joined = self.0.join(&name, lease, value.clone()).await?;
        let place = joined.place;
        if joined.before.is_some_and(|before| before.value != value) {
            self.0.set(&place, value).await?;
        }
        let Some(header) = self.0.reach_head(&name, &place).await? else {
            return Err(Status::unknown("election: session is expired"));
        };
        let Place { key, revision, lease } = place;
        let leader = LeaderKey { name, key, rev: revision.0, lease: lease.0 };
        Ok(Response::new(CampaignResponse { header: Some(header), leader: Some(leader) }))
    }

    async fn proclaim(
        &self,
        request: Request<ProclaimRequest>,
    ) -> Result<Response<ProclaimResponse>, Status> {
        let ProclaimRequest { leader, value } = request.into_inner();
        match self.0.set(&place_of(leader)?, value).await? {
            Some(header) => Ok(Response::new(ProclaimResponse { header: Some(header) })),
            None => Err(Status::unknown("election: not leader")),
        }
    }

    async fn leader(
        &self,
        request: Request<LeaderRequest>,
    ) -> Result<Response<LeaderResponse>, Status> {
        let (header, head) = self.0.head(&request.into_inner().name).await?;
        let kv = head.ok_or_else(|| Status::unknown("election: no leader"))?;
        let kv = Some(convert::key_value(kv));
        Ok(Response::new(LeaderResponse { header: Some(header), kv }))
    }

    async fn observe(&self, request: Request<LeaderRequest>) -> Result<Response<Observed>, Status> {
        let observer = Observer::new(&self.0, &request.into_inner().name).await?;
        let leaders = stream::try_unfold(observer, |mut observer| async move {
            let next = observer.next().await?;
            Ok(Some((next, observer)))
        });
        Ok(Response::new(Box::pin(leaders)))
    }

    async fn resign(
        &self,
        request: Request<ResignRequest>,
    ) -> Result<Response<ResignResponse>, Status> {
        let header = self.0.leave(&place_of(request.into_inner().leader)?).await?;
        Ok(Response::new(ResignResponse { header: Some(header) }))
    }
}

/// Follows a queue change by change, so that no leader and no value of one is passed over.
struct Observer {
    watching: Inside,
    /// All who stand, by their create revisions.
    standing: BTreeMap<i64, mvccpb::KeyValue>,
    header: pb::ResponseHeader,
    /// Events that have not been looked at.
    events: std::vec::IntoIter<mvccpb::Event>,
    told: Option<mvccpb::KeyValue>,
}

impl Observer {
    async fn new(queues: &Queues, name: &[u8]) -> Result<Self, Status> {
        let view = queues.kv.view(false).await?;
        let header = queues.kv.header(view.revision());
        let watching = Inside::open(&queues.hub);
        let range = places(name);
        watching.create(pb::WatchCreateRequest {
            key: range.key.clone(),
            range_end: range.end.clone(),
            start_revision: header.revision + 1,
            ..Default::default()
        });
        let range = Range { range, ..Range::default() };
        let all = blocking(move || rows(&view, &range)).await?;
        let standing = all.into_iter().map(|kv| (kv.create_revision.0, convert::key_value(kv)));
        let (standing, events) = (standing.collect(), Vec::new().into_iter());
        Ok(Self { watching, standing, header, events, told: None })
    }

    /// The next leader, or the next value of the same one.
    async fn next(&mut self) -> Result<LeaderResponse, Status> {
        loop {
            let head = self.standing.values().next();
            if let Some(head) = head.filter(|head| self.told.as_ref() != Some(head)) {
                self.told = Some(head.clone());
                let (header, kv) = (Some(self.header), self.told.clone());
                return Ok(LeaderResponse { header, kv });
            }
            match self.events.next() {
                Some(event) => self.apply(event),
                None => {
                    let told = self.watching.next().await?;
                    if told.canceled {
                        return Err(Status::unknown("election: observing lost its place"));
                    }
                    self.header = told.header.unwrap_or(self.header);
                    self.events = told.events.into_iter();
                }
            }
        }
    }

    fn apply(&mut self, event: mvccpb::Event) {
        let Some(kv) = event.kv else { return };
        if event.r#type == i32::from(mvccpb::event::EventType::Delete) {
            self.standing.retain(|_, standing| standing.key != kv.key);
        } else {
            self.standing.insert(kv.create_revision, kv);
        }
    }
}
