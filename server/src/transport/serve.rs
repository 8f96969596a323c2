//! Serves the connections of one runtime.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::Either;
use http::{Request, Response, Version, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::accept::{Accepted, Connections};
use super::http::{Answers, AtStop, Http, HttpOptions};
use super::socket::Socket;
use super::spin::Spin;
use crate::http::{self as plain_http, HttpState};
use crate::rpc::{KvCall, ResponseBody, Router};
use crate::tls::TlsListener;

/// How long open requests may take to finish once the node stops.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(400);

/// Flow-control window of a stream: a large value or range should not stop for round trips.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;

/// Flow-control window of a connection; with it, what a client can have us buffer.
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;

/// Options of client connections.
#[derive(Clone, Copy, Debug)]
pub struct ServeOptions {
    /// Streams open at once on one connection.
    pub max_concurrent_streams: u32,
    /// Silence after which a client is pinged.
    pub keepalive_interval: Duration,
    /// How long a pinged client may take to answer.
    pub keepalive_timeout: Duration,
}

/// Serves connections; one for each runtime.
#[derive(Clone, Debug)]
pub struct Server {
    options: HttpOptions,
    router: Router,
    http: Arc<HttpState>,
    spin: Spin,
}

impl Server {
    /// A server of both protocols, for the current runtime.
    #[must_use]
    pub fn new(options: ServeOptions, router: Router, http: Arc<HttpState>) -> Self {
        Self { options: http_options(options), router, http, spin: Spin::start() }
    }

    /// Serves connections until `stop` turns true and those open then have drained.
    pub async fn run(self, connections: Connections, stop: watch::Receiver<bool>) {
        let http = Http::new(self.options);
        // One count per request, not one for each part of the router.
        let server = Arc::new(self);
        serve(connections, http, stop, move || {
            let server = Arc::clone(&server);
            service_fn(move |request| server.answer(request))
        })
        .await;
    }

    /// Calls of KV are by far the most, and each request is a task with the future returned here
    /// in it, moved and moved again: it is kept to what they need.
    fn answer(
        self: &Arc<Self>,
        request: Request<Incoming>,
    ) -> impl Future<Output = Result<Response<ResponseBody>, Infallible>> + Send + use<> {
        let (server, open) = (Arc::clone(self), self.spin.open());
        let grpc = request.version() == Version::HTTP_2 && is_grpc(&request);
        match KvCall::of(&request).filter(|_| grpc) {
            Some(call) => {
                let body = request.into_body();
                Either::Left(async move {
                    let response = server.router.call_kv(call, body).await;
                    drop(open);
                    Ok(response)
                })
            }
            None => Either::Right(Box::pin(async move {
                let response = match grpc {
                    true => server.router.call(request).await,
                    false => plain(&server.http, request).await,
                };
                drop(open);
                Ok(response)
            })),
        }
    }
}

fn is_grpc<B>(request: &Request<B>) -> bool {
    let kind = request.headers().get(header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

/// Serves what is not gRPC, for listeners of metrics and health.
pub async fn run_plain(
    state: Arc<HttpState>,
    options: ServeOptions,
    connections: Connections,
    stop: watch::Receiver<bool>,
) {
    serve(connections, Http::new(http_options(options)), stop, move || {
        let state = Arc::clone(&state);
        service_fn(move |request| {
            let state = Arc::clone(&state);
            async move { Ok::<_, Infallible>(plain(&state, request).await) }
        })
    })
    .await;
}

fn http_options(options: ServeOptions) -> HttpOptions {
    HttpOptions {
        stream_window_bytes: STREAM_WINDOW_BYTES,
        connection_window_bytes: CONNECTION_WINDOW_BYTES,
        streams_max: options.max_concurrent_streams,
        keepalive_interval: options.keepalive_interval,
        keepalive_timeout: options.keepalive_timeout,
        at_stop: AtStop::Finish,
    }
}

/// Serves each connection in a task of its own, with a service of its own, until `stop` turns true
/// and those open then have drained.
pub(crate) async fn serve<S: Answers + 'static>(
    mut connections: Connections,
    http: Http,
    mut stop: watch::Receiver<bool>,
    service: impl Fn() -> S,
) {
    let mut open = JoinSet::new();
    loop {
        let connection = tokio::select! {
            connection = connections.recv() => connection,
            _ = stop.wait_for(|stop| *stop) => None,
        };
        let Some(connection) = connection else { break };
        while open.try_join_next().is_some() {}
        let Accepted { socket, tls, counted } = connection;
        match TcpStream::from_std(socket) {
            Ok(socket) => {
                let (http, service, stop) = (http.clone(), service(), stop.clone());
                open.spawn(async move {
                    if let Some(socket) = secure(socket, tls).await {
                        http.serve(socket, service, stop).await;
                    }
                    drop(counted);
                });
            }
            Err(error) => tracing::warn!(%error, "a connection could not be registered"),
        }
    }
    let drained = async { while open.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN_TIMEOUT, drained).await.is_err() {
        tracing::info!("connections were still busy when the node stopped");
    }
}

async fn secure(socket: TcpStream, tls: Option<Arc<TlsListener>>) -> Option<Socket> {
    match tls {
        None => Some(Socket::Plain(socket)),
        // Apart, as it is large and soon over.
        Some(tls) => Box::pin(tls.accept(socket)).await.map(Socket::secured),
    }
}

async fn plain(state: &HttpState, request: Request<Incoming>) -> Response<ResponseBody> {
    let (head, _) = request.into_parts();
    let response = plain_http::handle(state, plain_http::Request::of(&head)).await;
    response.map(|bytes| ResponseBody::Plain(Some(bytes)))
}
