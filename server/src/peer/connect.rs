//! Sockets to other members: the place where TLS will wrap them.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Uri;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tonic::codegen::Service;

use crate::config::{Scheme, Url};

/// Connects to a member at the first of its peer URLs that answers. The URLs may change while the
/// member lives; the next connection takes them as they are then.
#[derive(Clone, Debug)]
pub(super) struct Connector {
    peer_urls: Arc<Mutex<Vec<String>>>,
}

impl Connector {
    pub(super) fn new(peer_urls: Arc<Mutex<Vec<String>>>) -> Self {
        Self { peer_urls }
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<PeerSocket>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _uri: Uri) -> Self::Future {
        let urls = self.peer_urls.lock().clone();
        Box::pin(async move { Ok(TokioIo::new(open(&urls).await?)) })
    }
}

/// Opens a socket to the first URL that answers.
pub(super) async fn open(peer_urls: &[String]) -> io::Result<PeerSocket> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "no peer URL is known");
    for text in peer_urls {
        match open_one(text).await {
            Ok(socket) => return Ok(socket),
            Err(error) => last = io::Error::new(error.kind(), format!("{text}: {error}")),
        }
    }
    Err(last)
}

async fn open_one(text: &str) -> io::Result<PeerSocket> {
    let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidInput, why);
    let url = Url::parse(text).map_err(invalid)?;
    if url.scheme != Scheme::Http {
        return Err(invalid("TLS between members is not supported yet".to_owned()));
    }
    let socket = TcpStream::connect((url.host.as_str(), url.port)).await?;
    socket.set_nodelay(true)?;
    Ok(PeerSocket(socket))
}

/// A socket that is never written to in vectors: HTTP/2 would send each payload apart from its
/// header, a segment each.
#[derive(Debug)]
pub(super) struct PeerSocket(TcpStream);

impl AsyncRead for PeerSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, into)
    }
}

impl AsyncWrite for PeerSocket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
