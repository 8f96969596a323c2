//! A server that answers at once and keeps nothing: the limit of what can be measured here.
//!
//! It has the transport that a quick server would have: hyper's HTTP/2 over corked sockets on
//! single-threaded runtimes, connections dealt out in turn.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::thread::JoinHandle;

use anyhow::Context as _;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use keelson_api::etcdserverpb::{
    PutResponse, RangeRequest, RangeResponse, ResponseHeader, TxnResponse,
};
use keelson_api::mvccpb::KeyValue;
use prost::Message;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::LocalSet;

use crate::cork::Cork;
use crate::frame;

/// Accepted connections on their way to a worker.
const HANDOVER_MAX: usize = 1024;
/// As many streams as a client likes, within reason.
const STREAMS_MAX: u32 = 100_000;
/// Most keys of one answer.
const KEYS_MAX: i64 = 100_000;
const VALUE_BYTES: usize = 256;
const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 4 * 1024 * 1024;

/// Requests seen.
#[derive(Debug, Default)]
pub struct Counts {
    /// KV.Put
    pub puts: AtomicU64,
    /// KV.Range
    pub ranges: AtomicU64,
    /// KV.Txn
    pub txns: AtomicU64,
    /// Anything else, which was refused.
    pub others: AtomicU64,
}

/// A running null server; it ends when dropped.
#[derive(Debug)]
pub struct Null {
    address: SocketAddr,
    counts: Arc<Counts>,
    stop: Option<oneshot::Sender<()>>,
    threads: Vec<JoinHandle<()>>,
}

impl Null {
    /// Listens and answers from as many threads.
    pub fn start(listen: SocketAddr, threads: usize) -> anyhow::Result<Self> {
        anyhow::ensure!(threads > 0, "--threads must be at least 1");
        let listener =
            std::net::TcpListener::bind(listen).with_context(|| format!("listen on {listen}"))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let counts = Arc::new(Counts::default());
        let mut senders = Vec::new();
        let mut handles = Vec::new();
        for _ in 0..threads {
            let (sender, receiver) = mpsc::channel(HANDOVER_MAX);
            let counts = Arc::clone(&counts);
            senders.push(sender);
            handles.push(std::thread::spawn(move || work(receiver, &counts)));
        }
        let (stop, stopped) = oneshot::channel();
        handles.push(std::thread::spawn(move || accept(listener, &senders, stopped)));
        Ok(Self { address, counts, stop: Some(stop), threads: handles })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Requests seen so far.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Serves until the process ends.
    pub fn serve(mut self) {
        for thread in std::mem::take(&mut self.threads) {
            thread.join().ok();
        }
    }
}

impl Drop for Null {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            stop.send(()).ok();
        }
        for thread in self.threads.drain(..) {
            thread.join().ok();
        }
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("the system gives a thread its event queue")
}

/// Deals connections out until told to stop; then the workers end, because the senders are gone.
fn accept(
    listener: std::net::TcpListener,
    workers: &[mpsc::Sender<std::net::TcpStream>],
    mut stopped: oneshot::Receiver<()>,
) {
    runtime().block_on(async {
        let listener = TcpListener::from_std(listener).expect("a listener that does not block");
        for worker in workers.iter().cycle() {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = &mut stopped => return,
            };
            let Ok((stream, _)) = accepted else { continue };
            let Ok(stream) = stream.into_std() else { continue };
            worker.send(stream).await.ok();
        }
    });
}

fn work(mut connections: mpsc::Receiver<std::net::TcpStream>, counts: &Arc<Counts>) {
    LocalSet::new().block_on(&runtime(), async {
        while let Some(stream) = connections.recv().await {
            // A connection that fails is the client's to notice.
            if let Ok(stream) = TcpStream::from_std(stream) {
                tokio::task::spawn_local(converse(stream, Arc::clone(counts)));
            }
        }
    });
}

async fn converse(stream: TcpStream, counts: Arc<Counts>) {
    let Ok(cork) = Cork::new(stream) else { return };
    let handle = cork.handle();
    let service = hyper::service::service_fn(move |request| {
        let counts = Arc::clone(&counts);
        async move { Ok::<_, Infallible>(answer(request, &counts).await) }
    });
    let connection = hyper::server::conn::http2::Builder::new(Local)
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .serve_connection(TokioIo::new(cork), service);
    handle.drive(Box::pin(connection)).await.ok();
}

#[derive(Clone)]
struct Local;

impl<F> hyper::rt::Executor<F> for Local
where
    F: Future<Output = ()> + 'static,
{
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

async fn answer(request: Request<Incoming>, counts: &Counts) -> Response<Canned> {
    let (head, body) = request.into_parts();
    let Ok(body) = body.collect().await else { return failed("13") };
    let body = body.to_bytes();
    let (count, message) = match head.uri.path() {
        "/etcdserverpb.KV/Put" => (&counts.puts, put()),
        "/etcdserverpb.KV/Txn" => (&counts.txns, txn()),
        "/etcdserverpb.KV/Range" => (&counts.ranges, range(&body)),
        _ => (&counts.others, None),
    };
    count.fetch_add(1, Ordering::Relaxed);
    // 12 is Unimplemented.
    message.map_or_else(|| failed("12"), succeeded)
}

fn header() -> Option<ResponseHeader> {
    Some(ResponseHeader { cluster_id: 1, member_id: 1, revision: 1, raft_term: 1 })
}

fn put() -> Option<Bytes> {
    Some(frame::encode(&PutResponse { header: header(), prev_kv: None }))
}

fn txn() -> Option<Bytes> {
    let succeeded = true;
    Some(frame::encode(&TxnResponse { header: header(), succeeded, responses: Vec::new() }))
}

/// As many keys as the limit asks for, at least one; none for a count.
fn range(body: &Bytes) -> Option<Bytes> {
    let message = body.get(frame::PREFIX_BYTES..)?;
    let request = RangeRequest::decode(message).ok()?;
    let count = if request.count_only { 0 } else { request.limit.clamp(1, KEYS_MAX) };
    static VALUE: [u8; VALUE_BYTES] = [b'v'; VALUE_BYTES];
    let kv = KeyValue {
        key: request.key,
        value: Bytes::from_static(&VALUE),
        create_revision: 1,
        mod_revision: 1,
        version: 1,
        lease: 0,
    };
    let kvs = vec![kv; usize::try_from(count).ok()?];
    Some(frame::encode(&RangeResponse { header: header(), kvs, more: false, count }))
}

fn grpc(status: Option<&'static str>, body: Canned) -> Response<Canned> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    if let Some(status) = status {
        headers.insert("grpc-status", HeaderValue::from_static(status));
    }
    response
}

fn succeeded(message: Bytes) -> Response<Canned> {
    grpc(None, Canned { message: Some(message), trailers: true })
}

fn failed(status: &'static str) -> Response<Canned> {
    grpc(Some(status), Canned { message: None, trailers: false })
}

/// A message and the trailers of success, or nothing.
struct Canned {
    message: Option<Bytes>,
    trailers: bool,
}

impl Body for Canned {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(message) = self.message.take() {
            return Poll::Ready(Some(Ok(Frame::data(message))));
        }
        if !std::mem::take(&mut self.trailers) {
            return Poll::Ready(None);
        }
        let mut trailers = HeaderMap::with_capacity(1);
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.message.is_none() && !self.trailers
    }
}
