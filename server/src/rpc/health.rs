//! `grpc.health.v1`: the service "" (and each of ours by name) is serving whenever it answers.

use keelson_api::health::health_check_response::ServingStatus;
use keelson_api::health::health_server::Health;
use keelson_api::health::{HealthCheckRequest, HealthCheckResponse};
use tonic::{Request, Response, Status};

/// Listening begins when the node is ready, so there is no other answer to give.
#[derive(Clone, Copy, Debug)]
pub(super) struct HealthService;

const SERVICES: [&str; 4] =
    ["", "etcdserverpb.KV", "etcdserverpb.Maintenance", "etcdserverpb.Cluster"];

fn check(request: &HealthCheckRequest) -> Result<HealthCheckResponse, Status> {
    if !SERVICES.contains(&request.service.as_str()) {
        return Err(Status::not_found("unknown service"));
    }
    Ok(HealthCheckResponse { status: ServingStatus::Serving.into() })
}

#[tonic::async_trait]
impl Health for HealthService {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        check(request.get_ref()).map(Response::new)
    }

    type WatchStream = std::pin::Pin<
        Box<dyn futures_util::Stream<Item = Result<HealthCheckResponse, Status>> + Send>,
    >;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        use futures_util::StreamExt as _;
        let now = check(request.get_ref())
            .unwrap_or(HealthCheckResponse { status: ServingStatus::ServiceUnknown.into() });
        // The status does not change while the connection lives.
        let updates = futures_util::stream::iter([Ok(now)]).chain(futures_util::stream::pending());
        Ok(Response::new(Box::pin(updates)))
    }
}
