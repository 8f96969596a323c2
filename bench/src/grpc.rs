//! A gRPC client on bare h2: one connection, unary and streaming calls, answers counted.

use std::cell::Cell;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::client::SendRequest;
use h2::{RecvStream, SendStream};
use http::header::{CONTENT_TYPE, HeaderValue, TE};
use http::{HeaderMap, Method as Verb, Request, Uri, Version};
use tokio::net::TcpStream;

use crate::cork::Cork;
use crate::frame::{Scan, Shape};

/// Flow-control windows: large, so that the generator never holds a large answer back.
const WINDOW_BYTES: u32 = 16 * 1024 * 1024;

/// The window that HTTP/2 begins with, and the least that a connection can have.
pub const WINDOW_BYTES_MIN: u32 = 65_535;

/// A method of etcd's API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// KV.Put
    Put,
    /// KV.Range
    Range,
    /// KV.RangeStream
    RangeStream,
    /// KV.Txn
    Txn,
    /// KV.DeleteRange
    DeleteRange,
    /// Maintenance.Status
    Status,
    /// Watch.Watch
    Watch,
}

impl Method {
    const ALL: [Self; 7] = [
        Self::Put,
        Self::Range,
        Self::RangeStream,
        Self::Txn,
        Self::DeleteRange,
        Self::Status,
        Self::Watch,
    ];

    fn path(self) -> &'static str {
        match self {
            Self::Put => "/etcdserverpb.KV/Put",
            Self::Range => "/etcdserverpb.KV/Range",
            Self::RangeStream => "/etcdserverpb.KV/RangeStream",
            Self::Txn => "/etcdserverpb.KV/Txn",
            Self::DeleteRange => "/etcdserverpb.KV/DeleteRange",
            Self::Status => "/etcdserverpb.Maintenance/Status",
            Self::Watch => "/etcdserverpb.Watch/Watch",
        }
    }

    fn shape(self) -> Shape {
        if self == Self::RangeStream { Shape::Wrapped } else { Shape::Flat }
    }
}

/// Runs a future with connections of its own on this thread.
pub fn block_on<F: Future>(future: F) -> anyhow::Result<F::Output> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(tokio::task::LocalSet::new().block_on(&runtime, future))
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server answered with an error.
    #[error("grpc status {code}: {message}")]
    Status {
        /// gRPC status code.
        code: u32,
        /// Text, as it was on the wire.
        message: String,
    },
    /// The answer cannot be understood or is not what was asked for.
    #[error("{0}")]
    Answer(String),
    /// The connection is gone, or the stream was reset.
    #[error("connection: {0}")]
    Connection(#[from] h2::Error),
}

impl Error {
    /// Whether further calls on the connection are pointless.
    pub fn is_fatal(&self) -> bool {
        match self {
            Self::Connection(e) => !e.is_reset() || e.is_library(),
            Self::Status { .. } | Self::Answer(_) => false,
        }
    }
}

/// One connection; clones share it.
#[derive(Debug, Clone)]
pub struct Connection {
    send: SendRequest<Bytes>,
    /// Request heads by method, built once.
    heads: [Request<()>; 7],
    parked: Rc<Cell<bool>>,
}

impl Connection {
    /// Connects. The connection is driven by a task of the current `LocalSet`.
    pub async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        Self::open_with(address, WINDOW_BYTES).await
    }

    /// Connects, and lets the server send so many bytes ahead.
    pub async fn open_with(address: SocketAddr, window: u32) -> anyhow::Result<Self> {
        let cork = Cork::new(TcpStream::connect(address).await?)?;
        let handle = cork.handle();
        let opening = h2::client::Builder::new()
            .enable_push(false)
            .initial_window_size(window)
            .initial_connection_window_size(window)
            .handshake::<_, Bytes>(cork);
        // The preface waits in the cork until the connection is driven, which is fine: nothing is
        // read before the first request.
        let (send, connection) = opening.await?;
        let parked = Rc::new(Cell::new(false));
        let driver = Driver { connection: handle.drive(connection), parked: Rc::clone(&parked) };
        tokio::task::spawn_local(driver);
        let heads = Method::ALL.map(|method| head(address, method));
        Ok(Self { send, heads, parked })
    }

    /// From now on nothing is taken from the socket: what a client does that is stuck.
    pub fn park(&self) {
        self.parked.set(true);
    }

    /// Opens a stream in both directions and sends its first messages.
    pub async fn duplex(&mut self, method: Method, messages: Bytes) -> Result<Duplex, Error> {
        poll_fn(|cx| self.send.poll_ready(cx)).await?;
        let head = self.heads[method as usize].clone();
        let (response, mut send) = self.send.send_request(head, false)?;
        send.send_data(messages, false)?;
        let response = response.await?;
        check_head(&response)?;
        Ok(Duplex { _send: send, receive: response.into_body() })
    }

    /// Makes a call and counts its answer, which is not kept.
    pub async fn call(&mut self, method: Method, body: Bytes) -> Result<Scan, Error> {
        self.call_with(method, body, |_| ()).await
    }

    /// Makes a call and shows the bytes of its answer to `see` as they come in.
    pub async fn call_with(
        &mut self,
        method: Method,
        body: Bytes,
        mut see: impl FnMut(&Bytes),
    ) -> Result<Scan, Error> {
        poll_fn(|cx| self.send.poll_ready(cx)).await?;
        let head = self.heads[method as usize].clone();
        let (response, mut stream) = self.send.send_request(head, false)?;
        stream.send_data(body, true)?;
        let response = response.await?;
        check_head(&response)?;
        let mut body = response.into_body();
        let mut scan = Scan::new(method.shape());
        while let Some(chunk) = body.data().await {
            let chunk = chunk?;
            body.flow_control().release_capacity(chunk.len())?;
            scan.feed(&chunk).map_err(|e| Error::Answer(e.to_string()))?;
            see(&chunk);
        }
        let trailers = body.trailers().await?;
        let trailers = trailers.ok_or_else(|| Error::Answer("no trailers".to_owned()))?;
        check_status(&trailers, false)?;
        scan.finish().map_err(|e| Error::Answer(e.to_string()))?;
        Ok(scan)
    }
}

/// A stream in both directions. It ends with this value.
#[derive(Debug)]
pub struct Duplex {
    /// Half a stream is reset when the other half goes.
    _send: SendStream<Bytes>,
    receive: RecvStream,
}

impl Duplex {
    /// The next bytes, wherever they are cut; none after the last.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        let Some(chunk) = self.receive.data().await else {
            if let Some(trailers) = self.receive.trailers().await? {
                check_status(&trailers, false)?;
            }
            return Ok(None);
        };
        let chunk = chunk?;
        self.receive.flow_control().release_capacity(chunk.len())?;
        Ok(Some(chunk))
    }
}

/// Drives a connection until it is parked.
struct Driver<F> {
    connection: F,
    parked: Rc<Cell<bool>>,
}

impl<F: Future + Unpin> Future for Driver<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // Nobody wakes a parked connection: it stays until its runtime goes.
        if self.parked.get() {
            return Poll::Pending;
        }
        Pin::new(&mut self.connection).poll(cx).map(|_| ())
    }
}

fn check_head<B>(response: &http::Response<B>) -> Result<(), Error> {
    if response.status() != http::StatusCode::OK {
        return Err(Error::Answer(format!("http status {}", response.status())));
    }
    // An error without a body comes in the head alone.
    check_status(response.headers(), true)
}

fn head(address: SocketAddr, method: Method) -> Request<()> {
    let uri = Uri::builder()
        .scheme("http")
        .authority(address.to_string())
        .path_and_query(method.path())
        .build()
        .expect("an address and a fixed path make a uri");
    let mut request = Request::new(());
    *request.method_mut() = Verb::POST;
    *request.version_mut() = Version::HTTP_2;
    *request.uri_mut() = uri;
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(TE, HeaderValue::from_static("trailers"));
    request
}

/// Fails unless the status is 0. It may be absent where it is optional.
fn check_status(headers: &HeaderMap, optional: bool) -> Result<(), Error> {
    let Some(status) = headers.get("grpc-status") else {
        return if optional { Ok(()) } else { Err(Error::Answer("no grpc status".to_owned())) };
    };
    if status.as_bytes() == b"0" {
        return Ok(());
    }
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let code = text(status)
        .parse()
        .map_err(|_| Error::Answer(format!("grpc status {status:?} is no number")))?;
    let message = headers.get("grpc-message").map(text).unwrap_or_default();
    Err(Error::Status { code, message })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_in_the_order_of_the_methods() {
        for (i, method) in Method::ALL.into_iter().enumerate() {
            assert_eq!(method as usize, i);
        }
    }

    #[test]
    fn status_zero_is_success_and_others_keep_their_text() {
        let mut headers = HeaderMap::new();
        assert!(check_status(&headers, true).is_ok());
        assert!(check_status(&headers, false).is_err());
        headers.insert("grpc-status", HeaderValue::from_static("0"));
        assert!(check_status(&headers, false).is_ok());
        headers.insert("grpc-status", HeaderValue::from_static("14"));
        headers.insert("grpc-message", HeaderValue::from_static("etcdserver: no leader"));
        let error = check_status(&headers, true).unwrap_err();
        assert_eq!(error.to_string(), "grpc status 14: etcdserver: no leader");
        assert!(!error.is_fatal());
        headers.insert("grpc-status", HeaderValue::from_static("x"));
        assert!(matches!(check_status(&headers, true), Err(Error::Answer(_))));
    }
}
