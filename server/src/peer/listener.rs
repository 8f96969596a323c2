//! Serves the peer URLs: gRPC for members, and two pages of HTTP for those that want to join.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use keelson_api::peer::peer_server::PeerServer;
use serde_json::json;
use tokio::sync::watch;
use tonic::codegen::Service;

use super::link::FRAME_BYTES_MAX;
use super::service::PeerService;
use super::transport::PeerHandler;
use crate::raft::{Agreed, ClusterId, Member, MemberId};
use crate::transport::{self, AtStop, Connections, Http, HttpOptions};

/// Flow-control window of a stream, the counterpart of the sender's.
const STREAM_WINDOW_BYTES: u32 = 8 << 20;

/// Calls open at once on one connection: a follower's forwards, which its own limits bound below.
const STREAMS_MAX: u32 = 1024;

/// Who the members are, as `/members` shows them: id, member, and whether it is a learner.
type MemberRows = Vec<(MemberId, Member, bool)>;

/// What the HTTP pages are made of.
pub struct PeerHttp {
    /// The cluster.
    pub cluster: ClusterId,
    /// The server's version.
    pub version: &'static str,
    /// What the members have agreed on, as this one knows it.
    pub agreed: Box<dyn Fn() -> Agreed + Send + Sync>,
    /// The members as this one knows them.
    pub members: Box<dyn Fn() -> MemberRows + Send + Sync>,
}

impl std::fmt::Debug for PeerHttp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PeerHttp").field("cluster", &self.cluster).finish_non_exhaustive()
    }
}

type Body = UnsyncBoxBody<Bytes, tonic::Status>;

#[derive(Clone)]
struct Listener {
    service: PeerServer<PeerService>,
    http: Arc<PeerHttp>,
}

/// Serves the connections of the peer URLs on the current runtime until `stop` turns true. A
/// connection that is silent for twice `keepalive` is given up.
pub async fn serve(
    handler: Arc<dyn PeerHandler>,
    http: Arc<PeerHttp>,
    keepalive: Duration,
    connections: Connections,
    stop: watch::Receiver<bool>,
) {
    let service = PeerServer::new(PeerService { handler })
        .max_decoding_message_size(FRAME_BYTES_MAX)
        .max_encoding_message_size(FRAME_BYTES_MAX);
    let listener = Listener { service, http };
    let http = Http::new(HttpOptions {
        stream_window_bytes: STREAM_WINDOW_BYTES,
        connection_window_bytes: STREAM_WINDOW_BYTES,
        streams_max: STREAMS_MAX,
        keepalive_interval: keepalive,
        keepalive_timeout: keepalive,
        // An open append stream never ends by itself: the connection goes with it.
        at_stop: AtStop::Drop,
    });
    transport::serve(connections, http, stop, move || {
        let listener = listener.clone();
        service_fn(move |request| {
            let listener = listener.clone();
            async move { Ok::<_, Infallible>(listener.answer(request).await) }
        })
    })
    .await;
}

impl Listener {
    async fn answer(mut self, request: Request<Incoming>) -> Response<Body> {
        let grpc = request
            .headers()
            .get(header::CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
        if !grpc {
            return self.http.page(request.method(), request.uri().path());
        }
        match self.service.call(request).await {
            Ok(response) => response.map(BodyExt::boxed_unsync),
            Err(never) => match never {},
        }
    }
}

impl PeerHttp {
    fn page(&self, method: &Method, path: &str) -> Response<Body> {
        if !matches!(path, "/version" | "/members" | "/downgrade/enabled") {
            return self.plain(StatusCode::NOT_FOUND, "404 page not found\n".to_owned());
        }
        if method != Method::GET {
            return self.plain(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n".to_owned());
        }
        let agreed = (self.agreed)();
        if path == "/downgrade/enabled" {
            return self.plain(StatusCode::OK, agreed.downgrade.is_some().to_string());
        }
        let server = self.version;
        let cluster = agreed.version.map_or("not_decided".to_owned(), |v| v.to_string());
        let text = match path {
            "/version" => json!({ "etcdserver": server, "etcdcluster": cluster }).to_string(),
            _ => serde_json::Value::Array(
                (self.members)()
                    .into_iter()
                    .map(|(id, member, learner)| row(id, member, learner))
                    .collect(),
            )
            .to_string(),
        };
        let mut response = self.plain(StatusCode::OK, text);
        let json = header::HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        response
    }

    fn plain(&self, status: StatusCode, text: String) -> Response<Body> {
        let body = Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed_unsync();
        let mut response = Response::new(body);
        *response.status_mut() = status;
        let id = header::HeaderValue::from_str(&self.cluster.to_string())
            .expect("hexadecimal digits are a header value");
        response.headers_mut().insert("x-etcd-cluster-id", id);
        response
    }
}

/// A member in etcd's words; what is empty is left out.
fn row(id: MemberId, member: Member, learner: bool) -> serde_json::Value {
    let mut row = json!({ "id": id.0, "peerURLs": member.peer_urls });
    let fields = row.as_object_mut().expect("it was made as an object");
    if learner {
        fields.insert("isLearner".to_owned(), true.into());
    }
    if !member.name.is_empty() {
        fields.insert("name".to_owned(), member.name.into());
    }
    if !member.client_urls.is_empty() {
        fields.insert("clientURLs".to_owned(), member.client_urls.into());
    }
    row
}
