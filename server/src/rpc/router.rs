//! From a request's path to its handler.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use hyper::body::Incoming;
use keelson_api::errors::Error as Etcd;
use keelson_api::etcdserverpb::cluster_server::ClusterServer;
use keelson_api::etcdserverpb::lease_server::LeaseServer;
use keelson_api::etcdserverpb::maintenance_server::MaintenanceServer;
use keelson_api::health::health_server::HealthServer;
use keelson_api::v3electionpb::election_server::ElectionServer;
use keelson_api::v3lockpb::lock_server::LockServer;
use tonic::Status;
use tonic::codegen::Service;

use super::body::{self, ResponseBody};
use super::cluster::ClusterService;
use super::election::ElectionService;
use super::frame::read_message;
use super::health::HealthService;
use super::kv::KvService;
use super::lease::{LeaseRoom, LeaseService};
use super::lock::LockService;
use super::maintenance::MaintenanceService;
use super::queue::Queues;
use super::watch;
use crate::observe::metrics::{Metrics, Rpc};
use crate::watch::Hub;

/// Room for a message beyond `--max-request-bytes`: etcd's allowance for what wraps a request.
const MESSAGE_OVERHEAD_BYTES: usize = 512 << 10;

/// Everything that answers gRPC on one runtime.
#[derive(Debug)]
pub struct Services {
    /// KV, and what the other services are made of.
    pub kv: KvService,
    /// Watchers.
    pub(crate) hub: Arc<Hub>,
    /// What the Lease service is made of beside.
    pub leases: LeaseRoom,
    /// The quota that Status reports.
    pub quota_bytes: i64,
    /// Counts calls.
    pub metrics: Arc<Metrics>,
}

/// Routes gRPC requests of one runtime; cheap to clone.
#[derive(Clone)]
pub struct Router {
    kv: KvService,
    maintenance: MaintenanceServer<MaintenanceService>,
    cluster: ClusterServer<ClusterService>,
    lease: LeaseServer<LeaseService>,
    lock: LockServer<LockService>,
    election: ElectionServer<ElectionService>,
    health: HealthServer<HealthService>,
    hub: Arc<Hub>,
    message_bytes_max: usize,
    metrics: Arc<Metrics>,
    /// Where each KV method stands in the metrics, so that a call looks nothing up.
    kv_rpcs: [usize; KvMethod::ALL.len()],
}

impl std::fmt::Debug for Router {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Router").field("kv", &self.kv).finish_non_exhaustive()
    }
}

impl Router {
    /// Builds the router of one runtime.
    #[must_use]
    pub fn new(services: Services) -> Self {
        let Services { kv, leases, hub, quota_bytes, metrics } = services;
        let maintenance = MaintenanceService {
            store: kv.store.clone(),
            raft: kv.raft.clone(),
            barrier: kv.barrier.clone(),
            identity: kv.identity.clone(),
            quota_bytes,
        };
        let cluster = ClusterService {
            raft: kv.raft.clone(),
            barrier: kv.barrier.clone(),
            identity: kv.identity.clone(),
        };
        let lease = LeaseService { kv: kv.clone(), room: leases };
        let queues = Queues { kv: kv.clone(), leases: lease.clone(), hub: Arc::clone(&hub) };
        Self {
            message_bytes_max: kv.limits.request_bytes_max + MESSAGE_OVERHEAD_BYTES,
            maintenance: MaintenanceServer::new(maintenance),
            cluster: ClusterServer::new(cluster),
            lease: LeaseServer::new(lease),
            lock: LockServer::new(LockService(queues.clone())),
            election: ElectionServer::new(ElectionService(queues)),
            health: HealthServer::new(HealthService),
            hub,
            kv_rpcs: KvMethod::ALL.map(|method| position(&metrics, method)),
            metrics,
            kv,
        }
    }

    /// Answers one gRPC request.
    pub async fn call(&self, request: Request<Incoming>) -> Response<ResponseBody> {
        if let Some(call) = KvCall::of(&request) {
            return self.call_kv(call, request.into_body()).await;
        }
        let Some((service, method)) = service_and_method(request.uri().path()) else {
            let text = format!("malformed method name: {:?}", request.uri().path());
            return body::error(&Status::resource_exhausted(text));
        };
        let for_learners = learners_answer(service, method);
        if let Err(status) = self.admit(requires_leader(request.headers()), for_learners) {
            return body::error(&status);
        }
        match service {
            "etcdserverpb.KV" => unknown(service, Some(method)),
            "etcdserverpb.Maintenance" => self.counted(self.maintenance.clone(), request).await,
            "etcdserverpb.Cluster" => self.counted(self.cluster.clone(), request).await,
            "etcdserverpb.Watch" if method == "Watch" => self.watch(request),
            "etcdserverpb.Watch" => unknown(service, Some(method)),
            "etcdserverpb.Lease" => self.counted(self.lease.clone(), request).await,
            "v3lockpb.Lock" => self.counted(self.lock.clone(), request).await,
            "v3electionpb.Election" => self.counted(self.election.clone(), request).await,
            "grpc.health.v1.Health" => self.counted(self.health.clone(), request).await,
            _ => unknown(service, None),
        }
    }

    /// Refuses what this member cannot answer as it stands: without a leader where the client asks
    /// for one, and as a learner what is not `for_learners`.
    fn admit(&self, requires_leader: bool, for_learners: bool) -> Result<(), Status> {
        if requires_leader && !self.kv.raft.has_leader() {
            return Err(Etcd::NoLeader.status());
        }
        if !for_learners && self.kv.raft.is_learner() {
            return Err(Etcd::NotSupportedForLearner.status());
        }
        Ok(())
    }

    /// Answers a call of KV. Its future is part of every request's task, and moved with it: large
    /// ones among the futures in it are boxed.
    pub async fn call_kv(&self, call: KvCall, body: Incoming) -> Response<ResponseBody> {
        let rpc = &self.metrics.rpc.all()[self.kv_rpcs[call.method as usize]];
        rpc.started.inc();
        let answer = pin!(async {
            self.admit(call.requires_leader, matches!(call.method, KvMethod::Range))?;
            let message = read_message(body, self.message_bytes_max).await?;
            rpc.msg_received.inc();
            self.answer(call.method, message).await
        });
        let answered = match call.timeout {
            None => answer.await,
            Some(timeout) => match Box::pin(tokio::time::timeout(timeout, answer)).await {
                Ok(answered) => answered,
                Err(_) => Err(Status::deadline_exceeded("context deadline exceeded")),
            },
        };
        match answered {
            Ok(response) => {
                rpc.msg_sent.inc();
                rpc.handled(0).inc();
                response
            }
            Err(status) => {
                rpc.handled(status.code().into()).inc();
                body::error(&status)
            }
        }
    }

    fn watch(&self, request: Request<Incoming>) -> Response<ResponseBody> {
        if let Some(rpc) = self.metrics.rpc.by_path(request.uri().path()) {
            rpc.started.inc();
        }
        let requires_leader = requires_leader(request.headers());
        watch::watch(&self.hub, request, requires_leader, self.message_bytes_max)
    }

    /// Calls a generated service; what it answered is read off its headers.
    async fn counted<S>(&self, service: S, request: Request<Incoming>) -> Response<ResponseBody>
    where
        S: Service<Request<Incoming>, Response = Response<tonic::body::Body>, Error = Infallible>,
    {
        let Some(rpc) = self.metrics.rpc.by_path(request.uri().path()) else {
            return generated(service, request).await;
        };
        rpc.started.inc();
        rpc.msg_received.inc();
        let response = generated(service, request).await;
        match Status::from_header_map(response.headers()) {
            Some(status) => rpc.handled(status.code().into()).inc(),
            None => {
                rpc.msg_sent.inc();
                rpc.handled(0).inc();
            }
        }
        response
    }

    async fn answer(
        &self,
        method: KvMethod,
        message: Bytes,
    ) -> Result<Response<ResponseBody>, Status> {
        match method {
            KvMethod::Range => self.kv.range(message).await,
            KvMethod::RangeStream => Box::pin(self.kv.range_stream(message)).await,
            KvMethod::Put => self.kv.put(message).await,
            KvMethod::DeleteRange => self.kv.delete_range(message).await,
            KvMethod::Txn => self.kv.txn(message).await,
            KvMethod::Compact => Box::pin(self.kv.compact(message)).await,
        }
    }
}

fn service_and_method(path: &str) -> Option<(&str, &str)> {
    path.strip_prefix('/').and_then(|path| path.split_once('/'))
}

/// What a request to KV says before its message.
#[derive(Clone, Copy, Debug)]
pub struct KvCall {
    method: KvMethod,
    /// How long the client will wait.
    timeout: Option<Duration>,
    requires_leader: bool,
}

impl KvCall {
    /// The call that a gRPC request makes, if it is one of a method of KV.
    #[must_use]
    pub fn of<B>(request: &Request<B>) -> Option<Self> {
        let (service, method) = service_and_method(request.uri().path())?;
        let method = KvMethod::named(method).filter(|_| service == "etcdserverpb.KV")?;
        let headers = request.headers();
        let (timeout, requires_leader) = (timeout(headers), requires_leader(headers));
        Some(Self { method, timeout, requires_leader })
    }
}

#[derive(Clone, Copy, Debug)]
enum KvMethod {
    Range,
    RangeStream,
    Put,
    DeleteRange,
    Txn,
    Compact,
}

impl KvMethod {
    const ALL: [Self; 6] =
        [Self::Range, Self::RangeStream, Self::Put, Self::DeleteRange, Self::Txn, Self::Compact];

    fn name(self) -> &'static str {
        match self {
            Self::Range => "Range",
            Self::RangeStream => "RangeStream",
            Self::Put => "Put",
            Self::DeleteRange => "DeleteRange",
            Self::Txn => "Txn",
            Self::Compact => "Compact",
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.name() == name)
    }
}

fn position(metrics: &Metrics, method: KvMethod) -> usize {
    let is_it = |rpc: &Rpc| rpc.def.service == "etcdserverpb.KV" && rpc.def.method == method.name();
    metrics.rpc.all().iter().position(is_it).expect("the metrics know every method of KV")
}

async fn generated<S>(mut service: S, request: Request<Incoming>) -> Response<ResponseBody>
where
    S: Service<Request<Incoming>, Response = Response<tonic::body::Body>, Error = Infallible>,
{
    match service.call(request).await {
        Ok(response) => response.map(ResponseBody::Tonic),
        Err(never) => match never {},
    }
}

/// What grpc-go says of a service or method it does not have.
fn unknown(service: &str, method: Option<&str>) -> Response<ResponseBody> {
    let text = match method {
        None => format!("unknown service {service}"),
        Some(method) => format!("unknown method {method} for service {service}"),
    };
    body::error(&Status::unimplemented(text))
}

/// What a learner answers beside ranges, of which it answers the serializable ones.
fn learners_answer(service: &str, method: &str) -> bool {
    matches!((service, method), ("etcdserverpb.Maintenance", "Status" | "Snapshot"))
        || service == "grpc.health.v1.Health"
}

/// Whether a client wants no answer from a member that knows no leader.
pub(super) fn requires_leader(headers: &HeaderMap) -> bool {
    headers.get("hasleader").is_some_and(|value| value == "true")
}

/// The client's deadline: digits and a unit. One that does not read is no deadline.
fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    // Eight digits by the gRPC specification.
    let count: u64 = Some(digits).filter(|digits| digits.len() <= 8)?.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(count * 3600),
        "M" => Duration::from_secs(count * 60),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_read_as_grpc_writes_them() {
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", text.parse().unwrap());
            timeout(&headers)
        };
        assert_eq!(read("5S"), Some(Duration::from_secs(5)));
        assert_eq!(read("99999999H"), Some(Duration::from_secs(99_999_999 * 3600)));
        assert_eq!(read("250m"), Some(Duration::from_millis(250)));
        for odd in ["", "S", "5", "5s", "-1S", "999999999S", "1.5S", "é"] {
            assert_eq!(read(odd), None, "{odd:?}");
        }
        assert_eq!(timeout(&HeaderMap::new()), None);
    }
}
