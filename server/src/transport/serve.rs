//! Serves the connections of one runtime.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::Either;
use http::{Request, Response, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::accept::{Accepted, Connections};
use super::cork::{ConnectionError, Cork, Corked};
use super::sniff::{Protocol, sniff};
use super::spin::Spin;
use crate::http::{self as plain_http, HttpState};
use crate::rpc::{KvCall, ResponseBody, Router};

/// A connection must have said what it speaks, and an HTTP/1.1 request its headers, by then.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

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
    options: ServeOptions,
    router: Router,
    http: Arc<HttpState>,
    spin: Spin,
}

impl Server {
    /// A server of both protocols, for the current runtime.
    #[must_use]
    pub fn new(options: ServeOptions, router: Router, http: Arc<HttpState>) -> Self {
        Self { options, router, http, spin: Spin::start() }
    }

    /// Serves connections until `stop` turns true and those open then have drained.
    pub async fn run(self, connections: Connections, stop: watch::Receiver<bool>) {
        let stopping = stop.clone();
        run(connections, stop, move |socket| self.clone().serve(socket, stopping.clone())).await;
    }

    async fn serve(
        self,
        mut socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        stop: watch::Receiver<bool>,
    ) {
        let Ok(Ok((protocol, replay))) =
            tokio::time::timeout(HELLO_TIMEOUT, sniff(&mut socket)).await
        else {
            return;
        };
        let cork = Cork::new(socket, replay);
        let ended = match protocol {
            Protocol::Http2 => self.serve_http2(cork, stop).await,
            Protocol::Http1 => serve_http1(self.http, cork, stop).await,
        };
        if let Err(error) = ended {
            tracing::debug!(error, "a connection ended early");
        }
    }

    async fn serve_http2<S>(
        self,
        cork: Cork<S>,
        mut stop: watch::Receiver<bool>,
    ) -> Result<(), ConnectionError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let options = self.options;
        // One count per request, not one for each part of the router.
        let server = Arc::new(self);
        let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_concurrent_streams(options.max_concurrent_streams)
            .keep_alive_interval(options.keepalive_interval)
            .keep_alive_timeout(options.keepalive_timeout)
            .serve_connection(
                TokioIo::new(cork.clone()),
                service_fn(move |request| server.answer(request)),
            );
        let mut corked = Corked::new(connection, cork);
        tokio::select! {
            ended = &mut corked => return ended,
            _ = stop.wait_for(|stop| *stop) => corked.connection().graceful_shutdown(),
        }
        corked.await
    }

    /// Calls of KV are by far the most, and each request is a task with the future returned here
    /// in it, moved and moved again: it is kept to what they need.
    fn answer(
        self: &Arc<Self>,
        request: Request<Incoming>,
    ) -> impl Future<Output = Result<Response<ResponseBody>, Infallible>> + Send + use<> {
        let (server, open) = (Arc::clone(self), self.spin.open());
        let grpc = is_grpc(&request);
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

/// Serves HTTP/1.1 alone, for listeners of metrics and health.
pub async fn run_plain(
    http: Arc<HttpState>,
    connections: Connections,
    stop: watch::Receiver<bool>,
) {
    let stopping = stop.clone();
    let serve = move |socket| {
        let (http, stop) = (Arc::clone(&http), stopping.clone());
        async move {
            let cork = Cork::new(socket, Bytes::new());
            if let Err(error) = serve_http1(http, cork, stop).await {
                tracing::debug!(error, "a connection ended early");
            }
        }
    };
    run(connections, stop, serve).await;
}

/// Serves each connection in a task of its own until `stop` turns true and those open then have
/// drained.
pub(crate) async fn run<F>(
    mut connections: Connections,
    mut stop: watch::Receiver<bool>,
    serve: impl Fn(TcpStream) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let mut open = JoinSet::new();
    loop {
        let connection = tokio::select! {
            connection = connections.recv() => connection,
            _ = stop.wait_for(|stop| *stop) => None,
        };
        let Some(connection) = connection else { break };
        while open.try_join_next().is_some() {}
        let Accepted { socket, counted } = connection;
        match TcpStream::from_std(socket) {
            Ok(socket) => {
                let serving = serve(socket);
                open.spawn(async move {
                    serving.await;
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

async fn serve_http1<S>(
    http: Arc<HttpState>,
    cork: Cork<S>,
    mut stop: watch::Receiver<bool>,
) -> Result<(), ConnectionError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HELLO_TIMEOUT)
        .serve_connection(
            TokioIo::new(cork.clone()),
            service_fn(move |request| {
                let http = Arc::clone(&http);
                async move { Ok::<_, Infallible>(plain(&http, request).await) }
            }),
        );
    let mut corked = Corked::new(connection, cork);
    tokio::select! {
        ended = &mut corked => return ended,
        _ = stop.wait_for(|stop| *stop) => corked.connection().graceful_shutdown(),
    }
    corked.await
}

async fn plain(http: &HttpState, request: Request<Incoming>) -> Response<ResponseBody> {
    let (head, _) = request.into_parts();
    let response = plain_http::handle(http, plain_http::Request::of(&head)).await;
    response.map(|bytes| ResponseBody::Plain(Some(bytes)))
}
