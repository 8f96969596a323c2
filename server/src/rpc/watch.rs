//! The Watch service: one stream of requests, one of responses.

use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;
use keelson_api::etcdserverpb::WatchRequest;
use prost::Message as _;
use tonic::Status;

use super::body::{self, ResponseBody};
use super::frame::Messages;
use crate::watch::{Hub, StreamId};

/// Answers `Watch.Watch`; requests are read as long as the client takes the answers.
pub(super) fn watch(
    hub: &Arc<Hub>,
    request: Request<Incoming>,
    requires_leader: bool,
    message_bytes_max: usize,
) -> Response<ResponseBody> {
    let (stream, responses) = hub.open(requires_leader);
    let requests = Messages::new(request.into_body(), message_bytes_max);
    tokio::spawn(read(Arc::clone(hub), stream, requests));
    body::watch(responses)
}

async fn read(hub: Arc<Hub>, stream: StreamId, mut requests: Messages<Incoming>) {
    while hub.room(stream).await {
        let request = match requests.next().await {
            Ok(Some(message)) => WatchRequest::decode(message).map_err(|error| {
                Status::internal(format!("grpc: failed to unmarshal the received message: {error}"))
            }),
            // The client has nothing more to ask for, and listens.
            Ok(None) => return,
            Err(status) => Err(status),
        };
        match request {
            Ok(request) => hub.request(stream, request),
            Err(status) => return hub.end(stream, status),
        }
    }
}
