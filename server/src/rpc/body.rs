//! The body of a response, of whatever kind, as one type.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use http_body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;
use tonic::Status;

use crate::watch::WatchBody;

static GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/grpc");

/// A response body: a unary message with its trailers, a stream of messages, a generated
/// service's body, or plain bytes over HTTP.
#[derive(Debug)]
pub enum ResponseBody {
    /// A unary response, and how much of it has been taken.
    Unary(Bytes, Taken),
    /// Messages from a task; ends with the status.
    Stream(mpsc::Receiver<Result<Bytes, Status>>, Ended),
    /// From a generated service.
    Tonic(tonic::body::Body),
    /// A stream of watchers.
    Watch(WatchBody),
    /// Not gRPC at all.
    Plain(Option<Bytes>),
}

/// How much of a unary response has been taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Nothing yet.
    Nothing,
    /// The message; the trailers are next.
    Message,
    /// Everything.
    Everything,
}

/// Whether the trailers of a stream have been sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ended(bool);

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match self.get_mut() {
            Self::Unary(message, taken) => Poll::Ready(match *taken {
                Taken::Nothing => {
                    *taken = Taken::Message;
                    Some(Ok(Frame::data(std::mem::take(message))))
                }
                Taken::Message => {
                    *taken = Taken::Everything;
                    Some(Ok(Frame::trailers(ok_trailers())))
                }
                Taken::Everything => None,
            }),
            Self::Stream(_, Ended(true)) => Poll::Ready(None),
            Self::Stream(messages, ended) => messages.poll_recv(cx).map(|message| {
                let trailers = match message {
                    Some(Ok(message)) => return Some(Ok(Frame::data(message))),
                    Some(Err(status)) => trailers(&status),
                    None => ok_trailers(),
                };
                *ended = Ended(true);
                Some(Ok(Frame::trailers(trailers)))
            }),
            Self::Tonic(body) => Pin::new(body).poll_frame(cx),
            Self::Watch(body) => body.poll(cx).map(|next| {
                Some(Ok(match next? {
                    Ok(bytes) => Frame::data(bytes),
                    Err(status) => Frame::trailers(trailers(&status)),
                }))
            }),
            Self::Plain(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Unary(_, taken) => *taken == Taken::Everything,
            Self::Stream(_, ended) => ended.0,
            Self::Tonic(body) => body.is_end_stream(),
            Self::Watch(body) => body.is_ended(),
            Self::Plain(bytes) => bytes.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Plain(Some(bytes)) => SizeHint::with_exact(bytes.len() as u64),
            Self::Plain(None) => SizeHint::with_exact(0),
            Self::Tonic(body) => body.size_hint(),
            Self::Unary(..) | Self::Stream(..) | Self::Watch(_) => SizeHint::default(),
        }
    }
}

fn ok_trailers() -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert(GRPC_STATUS.clone(), HeaderValue::from_static("0"));
    trailers
}

fn trailers(status: &Status) -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(2);
    if status.add_header(&mut trailers).is_err() {
        // Only a status whose details are no header value gets here; ours have none.
        trailers.insert(GRPC_STATUS.clone(), HeaderValue::from_static("13"));
    }
    trailers
}

/// A message under construction behind its gRPC prefix, so that it is framed without a copy.
#[derive(Debug)]
pub(super) struct Message(BytesMut);

impl Message {
    /// An empty message with room for `bytes`.
    pub(super) fn with_capacity(bytes: usize) -> Self {
        let mut buffer = BytesMut::with_capacity(bytes + PREFIX_BYTES);
        buffer.put_bytes(0, PREFIX_BYTES);
        Self(buffer)
    }

    /// The payload's end, to append to.
    pub(super) fn buffer(&mut self) -> &mut BytesMut {
        &mut self.0
    }

    /// Length of the payload so far.
    pub(super) fn len(&self) -> usize {
        self.0.len() - PREFIX_BYTES
    }

    /// Writes the prefix of a message of `len` bytes, of which this is the head.
    ///
    /// # Errors
    /// When the message is larger than a gRPC peer accepts.
    pub(super) fn finish_as_head_of(mut self, len: usize) -> Result<Bytes, Status> {
        self.0[..PREFIX_BYTES].copy_from_slice(&prefix(len)?);
        Ok(self.0.freeze())
    }

    /// Writes the prefix and gives the frame away.
    ///
    /// # Errors
    /// When the payload is larger than a gRPC peer accepts.
    pub(super) fn finish(self) -> Result<Bytes, Status> {
        let len = self.len();
        self.finish_as_head_of(len)
    }
}

/// A flag byte and a length.
pub(super) const PREFIX_BYTES: usize = 5;

/// The gRPC prefix of an uncompressed message of `len` bytes.
///
/// # Errors
/// When the message is larger than a gRPC peer accepts.
pub(super) fn prefix(len: usize) -> Result<[u8; PREFIX_BYTES], Status> {
    let announced = u32::try_from(len).ok().filter(|_| len <= MESSAGE_BYTES_MAX);
    let [a, b, c, d] = announced.ok_or_else(|| too_large(len))?.to_be_bytes();
    Ok([0, a, b, c, d])
}

/// The largest message that goes out: etcd's send limit, a signed 32-bit length.
pub(super) const MESSAGE_BYTES_MAX: usize = i32::MAX as usize;

/// What grpc-go answers when a response outgrows the send limit.
pub(super) fn too_large(len: usize) -> Status {
    Status::resource_exhausted(format!(
        "trying to send message larger than max ({len} vs. {MESSAGE_BYTES_MAX})"
    ))
}

/// A response of one message.
pub(super) fn unary(message: Bytes) -> Response<ResponseBody> {
    grpc(ResponseBody::Unary(message, Taken::Nothing))
}

/// A response whose messages, or whose message's pieces, a task sends as they become ready; the
/// channel's bound is the stream's.
pub(super) fn stream(messages: mpsc::Receiver<Result<Bytes, Status>>) -> Response<ResponseBody> {
    grpc(ResponseBody::Stream(messages, Ended::default()))
}

/// A response of what watchers are told.
pub(super) fn watch(body: WatchBody) -> Response<ResponseBody> {
    grpc(ResponseBody::Watch(body))
}

/// A response that is an error and nothing else.
pub(super) fn error(status: &Status) -> Response<ResponseBody> {
    let mut response = grpc(ResponseBody::Plain(None));
    *response.headers_mut() = trailers(status);
    response.headers_mut().insert(http::header::CONTENT_TYPE, CONTENT_TYPE);
    response
}

fn grpc(body: ResponseBody) -> Response<ResponseBody> {
    let mut response = Response::new(body);
    response.headers_mut().insert(http::header::CONTENT_TYPE, CONTENT_TYPE);
    response
}
