//! HTTP on one connection: tells the version, and serves it with one service, corked.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::sync::watch;

use super::cork::{ConnectionError, Cork, Corked};
use super::sniff::{Protocol, sniff};
use super::socket::Socket;
use crate::tls::Complaints;

/// A connection must have said what it speaks, and an HTTP/1.1 request its headers, by then.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

/// What the connections of a listener may do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HttpOptions {
    /// Flow-control window of a stream.
    pub(crate) stream_window_bytes: u32,
    /// Flow-control window of a connection; with it, what the other side can have us buffer.
    pub(crate) connection_window_bytes: u32,
    /// Streams open at once.
    pub(crate) streams_max: u32,
    /// Silence after which the other side is pinged.
    pub(crate) keepalive_interval: Duration,
    /// How long it may take to answer.
    pub(crate) keepalive_timeout: Duration,
    /// What becomes of open requests when the node stops.
    pub(crate) at_stop: AtStop,
}

/// What becomes of open requests when the node stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AtStop {
    /// They are answered, as far as there is time.
    Finish,
    /// They end with their connection.
    Drop,
}

/// Answers the requests of one connection.
pub(crate) trait Answers:
    Service<
        Request<Incoming>,
        Response = Response<Self::Body>,
        Error = Infallible,
        Future: Send + 'static,
    > + Send
{
    type Body: Body<Data = Bytes, Error: Into<ConnectionError>> + Send + 'static;
}

impl<S, B> Answers for S
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Send,
    S::Future: Send + 'static,
    B: Body<Data = Bytes, Error: Into<ConnectionError>> + Send + 'static,
{
    type Body = B;
}

/// Serves HTTP on the connections of a listener; clones share what was said about them.
#[derive(Clone, Debug)]
pub(crate) struct Http {
    options: HttpOptions,
    complaints: Arc<Complaints>,
}

impl Http {
    pub(crate) fn new(options: HttpOptions) -> Self {
        Self { options, complaints: Arc::default() }
    }

    /// Serves a connection until it ends, or `stop` turns true.
    pub(crate) async fn serve(
        &self,
        mut socket: Socket,
        service: impl Answers,
        stop: watch::Receiver<bool>,
    ) {
        let Ok(Ok((protocol, replay))) =
            tokio::time::timeout(HELLO_TIMEOUT, sniff(&mut socket)).await
        else {
            return;
        };
        let ended = match protocol {
            Protocol::Http2 => self.http2(Cork::new(socket, replay), service, stop).await,
            Protocol::Http1 => self.http1(Cork::new(socket, replay), service, stop).await,
            Protocol::Tls => return self.complain(&socket),
        };
        if let Err(error) = ended {
            tracing::debug!(error, "a connection ended early");
        }
    }

    async fn http2(
        &self,
        cork: Cork<Socket>,
        service: impl Answers,
        mut stop: watch::Receiver<bool>,
    ) -> Result<(), ConnectionError> {
        let options = &self.options;
        let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(options.stream_window_bytes)
            .initial_connection_window_size(options.connection_window_bytes)
            .max_concurrent_streams(options.streams_max)
            .keep_alive_interval(options.keepalive_interval)
            .keep_alive_timeout(options.keepalive_timeout)
            .serve_connection(TokioIo::new(cork.clone()), service);
        let mut corked = Corked::new(connection, cork);
        tokio::select! {
            ended = &mut corked => return ended,
            _ = stop.wait_for(|stop| *stop) => {}
        }
        match options.at_stop {
            AtStop::Drop => return Ok(()),
            AtStop::Finish => corked.connection().graceful_shutdown(),
        }
        corked.await
    }

    async fn http1(
        &self,
        cork: Cork<Socket>,
        service: impl Answers,
        mut stop: watch::Receiver<bool>,
    ) -> Result<(), ConnectionError> {
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HELLO_TIMEOUT)
            .serve_connection(TokioIo::new(cork.clone()), service);
        let mut corked = Corked::new(connection, cork);
        tokio::select! {
            ended = &mut corked => return ended,
            _ = stop.wait_for(|stop| *stop) => {}
        }
        match self.options.at_stop {
            AtStop::Drop => return Ok(()),
            AtStop::Finish => corked.connection().graceful_shutdown(),
        }
        corked.await
    }

    /// Of TLS where it is not spoken, or within TLS.
    fn complain(&self, socket: &Socket) {
        let Some(from) = socket.peer() else { return };
        let why = "it speaks TLS, and this listener does not: use http, or listen with https";
        if let Some(suppressed) = self.complaints.say(&from.to_string(), why) {
            tracing::warn!(%from, why, suppressed, "a connection was turned away");
        }
    }
}
