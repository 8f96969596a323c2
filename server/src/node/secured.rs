//! The certificates of both sides, and where the node listens with them.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use super::clients;
use super::run::NodeError;
use crate::config::{Config, Scheme, TransportSecurity, Url};
use crate::tls::{Fixtures, Side, Tls, TlsError, TlsListener};
use crate::transport::{Acceptor, Connections, Listen};

/// The certificates of both sides.
#[derive(Clone, Debug)]
pub(super) struct Secured {
    pub(super) clients: Tls,
    pub(super) peers: Tls,
}

impl Secured {
    /// Reads all files, and follows them from here on.
    pub(super) fn load(config: &Config) -> Result<Self, TlsError> {
        let (client, peer) = (&config.client, &config.peer);
        let listened = [&client.listen_urls[..], &config.metrics.listen_urls].concat();
        let clients = load(config, Side::Clients, &client.tls, &listened, &client.advertise_urls)?;
        let peers = load(config, Side::Peers, &peer.tls, &peer.listen_urls, &peer.advertise_urls)?;
        for tls in [&clients, &peers] {
            tokio::spawn(tls.clone().follow());
        }
        Ok(Self { clients, peers })
    }
}

fn load(
    config: &Config,
    side: Side,
    given: &TransportSecurity,
    listened: &[Url],
    advertised: &[Url],
) -> Result<Tls, TlsError> {
    if given.auto && given.cert_file.is_some() {
        tracing::warn!(?side, "there is a certificate: no other is made, in spite of auto-tls");
    }
    let secured = listened.iter().any(|url| url.scheme == Scheme::Https);
    if given.cert_file.is_some() && !secured {
        tracing::warn!(?side, "there is a certificate, but no https URL to listen on");
    }
    let folder = match side {
        Side::Clients => "client",
        Side::Peers => "peer",
    };
    let mut hosts: Vec<_> = listened.iter().chain(advertised).map(|url| url.host.clone()).collect();
    hosts.sort_unstable();
    hosts.dedup();
    let fixtures = Fixtures { dir: config.member.data_dir.join("fixtures").join(folder), hosts };
    let clock = {
        #[expect(clippy::disallowed_methods, reason = "the node is where clocks are read")]
        Arc::new(SystemTime::now)
    };
    Tls::load(side, given, &config.tls, &fixtures, clock)
}

/// A listener's acceptor, and where its connections come out.
pub(super) type Listening = (Acceptor, Vec<Connections>);

/// All listeners, bound.
pub(super) struct Listeners {
    pub(super) clients: Listening,
    pub(super) metrics: Listening,
    pub(super) peers: Listening,
}

impl Listeners {
    /// Binds all addresses, so that one that is taken ends the start before anything has begun.
    pub(super) fn bind(config: &Config, secured: &Secured) -> Result<Self, NodeError> {
        let reuse_port = config.client.reuse_port;
        let bind = |urls: &[Url], tls: &Tls, runtimes: usize| {
            Acceptor::bind(&listens(urls, tls)?, runtimes, reuse_port)
        };
        let runtimes = clients::runtimes(config);
        let clients = bind(&config.client.listen_urls, &secured.clients, runtimes);
        let metrics = bind(&config.metrics.listen_urls, &secured.clients, 1);
        let peers = bind(&config.peer.listen_urls, &secured.peers, 1);
        Ok(Self {
            clients: clients.map_err(NodeError::Listen)?,
            metrics: metrics.map_err(NodeError::Listen)?,
            peers: peers.map_err(NodeError::ListenPeers)?,
        })
    }
}

/// Each address once, and one queue of handshakes for all of them.
fn listens(urls: &[Url], tls: &Tls) -> io::Result<Vec<Listen>> {
    let listener = Arc::new(TlsListener::new(tls.clone()));
    let mut all: Vec<Listen> = Vec::new();
    for url in urls {
        let address: SocketAddr = url.bind_address().ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, format!("{url} names no address"))
        })?;
        if all.iter().all(|known| known.address != address) {
            let secured = url.scheme == Scheme::Https;
            all.push(Listen { address, tls: secured.then(|| Arc::clone(&listener)) });
        }
    }
    Ok(all)
}
