//! The body of a response, of whatever kind, as one type.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use http_body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;
use tonic::Status;

static GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/grpc");

/// A response body: a unary message with its trailers, a stream of messages, a generated
/// service's body, or plain bytes over HTTP.
#[derive(Debug)]
pub enum ResponseBody {
    /// What is left of a unary response.
    Unary(VecDeque<Frame<Bytes>>),
    /// Messages from a task; ends with the status.
    Stream(mpsc::Receiver<Result<Bytes, Status>>, Ended),
    /// From a generated service.
    Tonic(tonic::body::Body),
    /// Not gRPC at all.
    Plain(Option<Bytes>),
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
            Self::Unary(frames) => Poll::Ready(frames.pop_front().map(Ok)),
            Self::Stream(_, Ended(true)) => Poll::Ready(None),
            Self::Stream(messages, ended) => messages.poll_recv(cx).map(|message| {
                let status = match message {
                    Some(Ok(message)) => return Some(Ok(Frame::data(message))),
                    Some(Err(status)) => status,
                    None => Status::new(tonic::Code::Ok, ""),
                };
                *ended = Ended(true);
                Some(Ok(Frame::trailers(trailers(&status))))
            }),
            Self::Tonic(body) => Pin::new(body).poll_frame(cx),
            Self::Plain(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Unary(frames) => frames.is_empty(),
            Self::Stream(_, ended) => ended.0,
            Self::Tonic(body) => body.is_end_stream(),
            Self::Plain(bytes) => bytes.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Plain(Some(bytes)) => SizeHint::with_exact(bytes.len() as u64),
            Self::Plain(None) => SizeHint::with_exact(0),
            Self::Tonic(body) => body.size_hint(),
            Self::Unary(_) | Self::Stream(..) => SizeHint::default(),
        }
    }
}

fn trailers(status: &Status) -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(2);
    if status.code() == tonic::Code::Ok {
        trailers.insert(GRPC_STATUS.clone(), HeaderValue::from_static("0"));
    } else if status.add_header(&mut trailers).is_err() {
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
        let mut buffer = BytesMut::with_capacity(bytes + 5);
        buffer.put_bytes(0, 5);
        Self(buffer)
    }

    /// The payload's end, to append to.
    pub(super) fn buffer(&mut self) -> &mut BytesMut {
        &mut self.0
    }

    /// Length of the payload so far.
    pub(super) fn len(&self) -> usize {
        self.0.len() - 5
    }

    /// Writes the prefix and gives the frame away.
    ///
    /// # Errors
    /// When the payload is larger than a gRPC peer accepts.
    pub(super) fn finish(mut self) -> Result<Bytes, Status> {
        let len = self.len();
        let Some(announced) = u32::try_from(len).ok().filter(|_| len <= MESSAGE_BYTES_MAX) else {
            return Err(too_large(len));
        };
        self.0[1..5].copy_from_slice(&announced.to_be_bytes());
        Ok(self.0.freeze())
    }
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
    let ok = Status::new(tonic::Code::Ok, "");
    grpc(ResponseBody::Unary(VecDeque::from([
        Frame::data(message),
        Frame::trailers(trailers(&ok)),
    ])))
}

/// A response of messages that a task sends as they become ready; the channel's bound is the
/// stream's.
pub(super) fn stream(messages: mpsc::Receiver<Result<Bytes, Status>>) -> Response<ResponseBody> {
    grpc(ResponseBody::Stream(messages, Ended::default()))
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
