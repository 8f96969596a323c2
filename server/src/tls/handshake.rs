//! The server's side of the handshake.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::complaints::Complaints;
use super::handle::{Side, Tls};
use super::origin;
use super::queue::Queue;
use super::why::{Other, why};

/// From the connection to the end of its handshake, the wait for its turn included.
pub(crate) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long one that is refused may take to hear why: to close at once would reset the connection,
/// and the reason be lost on the way.
const FAREWELL_TIMEOUT: Duration = Duration::from_millis(500);

/// What it may still say meanwhile.
const FAREWELL_BYTES_MAX: u64 = 64 << 10;

/// Takes secured connections for one listener.
#[derive(Debug)]
pub struct TlsListener {
    tls: Tls,
    queue: Queue,
    complaints: Complaints,
}

impl TlsListener {
    /// A listener with these certificates.
    #[must_use]
    pub fn new(tls: Tls) -> Self {
        Self { tls, queue: Queue::new(), complaints: Complaints::default() }
    }

    /// The secured connection; none if it did not come about, which is logged.
    pub(crate) async fn accept(&self, socket: TcpStream) -> Option<TlsStream<TcpStream>> {
        let from = socket.peer_addr().ok()?;
        let Some(place) = self.queue.join(from.ip()) else {
            self.complain(from, "too many connections wait for a handshake");
            return None;
        };
        let accepting = async {
            let _turn = place.turn().await;
            self.handshake(socket, from.ip()).await
        };
        match tokio::time::timeout(HANDSHAKE_TIMEOUT, accepting).await {
            Ok(Ok(stream)) => return Some(stream),
            Ok(Err(why)) => self.complain(from, &why),
            Err(_) => self.complain(from, "it did not complete the handshake in time"),
        }
        None
    }

    async fn handshake(
        &self,
        socket: TcpStream,
        from: IpAddr,
    ) -> Result<TlsStream<TcpStream>, String> {
        let config = self.tls.server().ok_or("there is no certificate to listen with")?;
        let accepted = TlsAcceptor::from(config).accept(socket).into_fallible().await;
        let mut stream = match accepted {
            Ok(stream) => stream,
            Err((error, socket)) => {
                farewell(socket).await;
                return Err(why(&error, Other::Client));
            }
        };
        let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
        if let Some(certificate) = certificates.first()
            && !self.tls.options().skip_client_san_verification
            && let Err(why) = origin::check(certificate, from).await
        {
            stream.shutdown().await.ok();
            return Err(why);
        }
        Ok(stream)
    }

    fn complain(&self, from: SocketAddr, why: &str) {
        let from = from.ip();
        let Some(suppressed) = self.complaints.say(&from.to_string(), why) else { return };
        let whom = match self.tls.options().side {
            Side::Clients => "a client",
            Side::Peers => "a member",
        };
        tracing::warn!(%from, why, suppressed, "{whom} was turned away from TLS");
    }
}

/// Hears the other side out, so that it reads the alert that was sent.
async fn farewell(mut socket: TcpStream) {
    let listening = async {
        socket.shutdown().await.ok();
        let mut rest = (&mut socket).take(FAREWELL_BYTES_MAX);
        tokio::io::copy(&mut rest, &mut tokio::io::sink()).await.ok();
    };
    tokio::time::timeout(FAREWELL_TIMEOUT, listening).await.ok();
}
