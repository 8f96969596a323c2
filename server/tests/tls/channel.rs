//! A client's end of secured connections.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper_util::rt::TokioIo;
use keelson_api::etcdserverpb::kv_client::KvClient;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::codegen::Service;
use tonic::transport::{Channel, Endpoint, Uri};

use super::common::START_BOUND;
use super::pki::Identity;

/// What a client trusts and shows.
#[derive(Clone, Debug)]
pub(super) struct Trust {
    pub(super) ca: String,
    pub(super) identity: Option<Identity>,
    pub(super) alpn: &'static [&'static str],
    pub(super) versions: &'static [&'static SupportedProtocolVersion],
    /// The address it connects from.
    pub(super) from: [u8; 4],
}

impl Trust {
    pub(super) fn new(ca: &str, identity: Option<&Identity>) -> Self {
        Self {
            ca: ca.to_owned(),
            identity: identity.cloned(),
            alpn: &["h2"],
            versions: rustls::ALL_VERSIONS,
            from: [127, 0, 0, 1],
        }
    }

    pub(super) fn config(&self) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(self.ca.as_bytes()) {
            roots.add(certificate.unwrap()).unwrap();
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(self.versions)
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let chain = CertificateDer::pem_slice_iter(identity.certificate.as_bytes());
                let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain.map(Result::unwrap).collect(), key).unwrap()
            }
        };
        config.alpn_protocols = self.alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        config
    }

    /// A connection whose handshake has ended on this side.
    pub(super) async fn connect(&self, port: u16) -> std::io::Result<TlsStream<TcpStream>> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((self.from, 0).into())?;
        let socket = socket.connect(SocketAddr::from(([127, 0, 0, 1], port))).await?;
        let name = ServerName::try_from("127.0.0.1").unwrap();
        TlsConnector::from(Arc::new(self.config())).connect(name, socket).await
    }

    /// A channel of one connection.
    pub(super) async fn kv(&self, port: u16) -> Result<KvClient<Channel>, tonic::transport::Error> {
        let endpoint = Endpoint::from_static("http://server").connect_timeout(START_BOUND);
        let dial = Dial { trust: self.clone(), port };
        Ok(KvClient::new(endpoint.connect_with_connector(dial).await?))
    }

    /// One HTTP/1.1 request; the text of the whole response.
    pub(super) async fn http1(&self, port: u16, target: &str) -> std::io::Result<String> {
        let mut stream = self.connect(port).await?;
        let head = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        Ok(text)
    }
}

#[derive(Clone)]
struct Dial {
    trust: Trust,
    port: u16,
}

impl Service<Uri> for Dial {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = std::io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _uri: Uri) -> Self::Future {
        let Self { trust, port } = self.clone();
        Box::pin(async move { trust.connect(port).await.map(TokioIo::new) })
    }
}
