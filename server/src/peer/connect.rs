//! Sockets to other members, secured where their URLs say so.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Uri;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::codegen::Service;

use crate::config::{Scheme, Url};
use crate::tls::{Complaints, HANDSHAKE_TIMEOUT, Other, Tls, is_alert, why};
use crate::transport::Socket;

/// The protocol that a connection is for, in the words of the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speak {
    Http1,
    Http2,
}

/// Opens sockets to other members; clones share their certificates.
#[derive(Clone, Debug)]
pub struct Dialer {
    tls: Tls,
    complaints: Arc<Complaints>,
}

impl Dialer {
    /// Shows and checks certificates as `tls` says.
    #[must_use]
    pub fn new(tls: Tls) -> Self {
        Self { tls, complaints: Arc::default() }
    }

    /// Opens a socket to the first URL that answers.
    pub(super) async fn open(&self, peer_urls: &[String], speak: Speak) -> io::Result<PeerSocket> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "no peer URL is known");
        for text in peer_urls {
            match self.open_one(text, speak).await {
                Ok(socket) => {
                    let (url, complaints) = (text.clone(), Arc::clone(&self.complaints));
                    return Ok(PeerSocket { socket, url, complaints });
                }
                Err(error) => last = io::Error::new(error.kind(), format!("{text}: {error}")),
            }
        }
        Err(last)
    }

    async fn open_one(&self, text: &str, speak: Speak) -> io::Result<Socket> {
        let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidInput, why);
        let url = Url::parse(text).map_err(invalid)?;
        let secured = match url.scheme {
            Scheme::Http => false,
            Scheme::Https => true,
            Scheme::Unix | Scheme::Unixs => {
                return Err(invalid("Unix sockets are not supported yet".to_owned()));
            }
        };
        let socket = TcpStream::connect((url.host.as_str(), url.port)).await?;
        socket.set_nodelay(true)?;
        if !secured {
            return Ok(Socket::Plain(socket));
        }
        let handshake = self.handshake(socket, url.host, speak);
        let secured = match tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake).await {
            Ok(secured) => secured,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        };
        secured.map(Socket::secured).map_err(|error| {
            let why = why(&error, Other::Server);
            complain(&self.complaints, text, &why);
            io::Error::new(error.kind(), why)
        })
    }

    async fn handshake(
        &self,
        socket: TcpStream,
        host: String,
        speak: Speak,
    ) -> io::Result<TlsStream<TcpStream>> {
        let config = self.tls.client().ok_or_else(|| {
            io::Error::other(
                "--peer-trusted-ca-file is needed, to check other members' certificates against",
            )
        })?;
        let name = ServerName::try_from(host).map_err(io::Error::other)?;
        let connector = TlsConnector::from(config);
        match speak {
            Speak::Http2 => connector.connect(name, socket).await,
            Speak::Http1 => {
                connector.with_alpn(vec![b"http/1.1".to_vec()]).connect(name, socket).await
            }
        }
    }
}

fn complain(complaints: &Complaints, url: &str, why: &str) {
    if let Some(suppressed) = complaints.say(url, why) {
        tracing::warn!(url, why, suppressed, "no secured connection to another member");
    }
}

/// Connects to a member at the first of its peer URLs that answers. The URLs may change while the
/// member lives; the next connection takes them as they are then.
#[derive(Clone, Debug)]
pub(super) struct Connector {
    dialer: Dialer,
    peer_urls: Arc<Mutex<Vec<String>>>,
}

impl Connector {
    pub(super) fn new(dialer: Dialer, peer_urls: Arc<Mutex<Vec<String>>>) -> Self {
        Self { dialer, peer_urls }
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
        let (dialer, urls) = (self.dialer.clone(), self.peer_urls.lock().clone());
        Box::pin(async move { Ok(TokioIo::new(dialer.open(&urls, Speak::Http2).await?)) })
    }
}

/// A socket to another member, which may still refuse this one: with TLS 1.3 the handshake has
/// ended here before the other side has looked at the certificate.
#[derive(Debug)]
pub(super) struct PeerSocket {
    socket: Socket,
    url: String,
    complaints: Arc<Complaints>,
}

impl AsyncRead for PeerSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.socket).poll_read(cx, into);
        if let Poll::Ready(Err(error)) = &read
            && is_alert(error)
        {
            complain(&self.complaints, &self.url, &why(error, Other::Server));
        }
        read
    }
}

impl AsyncWrite for PeerSocket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
