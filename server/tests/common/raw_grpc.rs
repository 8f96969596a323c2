//! gRPC without a gRPC library: what a broken client may put on the wire.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use h2::client::{ResponseFuture, SendRequest};
use http::{HeaderMap, Request};
use tokio::net::TcpStream;

use super::wait::within;

/// Longest wait for a reply.
const BOUND: Duration = Duration::from_secs(10);

/// What came back on a stream.
#[derive(Debug)]
pub enum RawReply {
    /// A response, with the gRPC status where there is one.
    Http { status: u16, grpc: Option<(u16, String)> },
    /// The stream or the connection was ended.
    Reset(String),
}

/// A message in its frame.
pub fn grpc_frame(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(message.len() + 5);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap());
    frame.put_slice(message);
    frame.freeze()
}

/// An HTTP/2 connection with small windows of its own; a task keeps it going.
pub async fn open_h2(endpoint: &str) -> SendRequest<Bytes> {
    let socket = TcpStream::connect(endpoint).await.unwrap();
    let (send, connection) = h2::client::handshake(socket).await.unwrap();
    tokio::spawn(async move {
        // The server may well end what is done to it here; the requests tell.
        connection.await.ok();
    });
    send
}

/// One request with this path, content type and body.
pub async fn raw_grpc(endpoint: &str, path: &str, content_type: &str, body: Bytes) -> RawReply {
    let mut send = open_h2(endpoint).await.ready().await.unwrap();
    let request = Request::post(format!("http://{endpoint}{path}"))
        .header("content-type", content_type)
        .header("te", "trailers")
        .body(())
        .unwrap();
    let (response, mut stream) = send.send_request(request, false).unwrap();
    if let Err(error) = stream.send_data(body, true) {
        return RawReply::Reset(error.to_string());
    }
    match within(BOUND, path, reply(response)).await {
        Ok(reply) => reply,
        Err(error) => RawReply::Reset(error.to_string()),
    }
}

async fn reply(response: ResponseFuture) -> Result<RawReply, h2::Error> {
    let (head, mut body) = response.await?.into_parts();
    while let Some(data) = body.data().await {
        body.flow_control().release_capacity(data?.len())?;
    }
    let trailers = body.trailers().await?;
    let grpc = trailers.as_ref().and_then(grpc_status).or_else(|| grpc_status(&head.headers));
    Ok(RawReply::Http { status: head.status.as_u16(), grpc })
}

fn grpc_status(headers: &HeaderMap) -> Option<(u16, String)> {
    let text = |name| headers.get(name).map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned());
    Some((text("grpc-status")?.parse().ok()?, text("grpc-message").unwrap_or_default()))
}
