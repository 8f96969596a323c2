//! What clients meet: both versions of HTTP, versions and suites of TLS, certificates demanded.

use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{HandshakeKind, ProtocolVersion, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::alone;
use super::channel::Trust;
use super::common::requests::{all, get, put};
use super::common::{Kind, Server, http_request};
use super::pki::{Authority, Files, Identity, Wanted};

static ONLY_TLS12: &[&SupportedProtocolVersion] = &[&rustls::version::TLS12];

/// A server over TLS.
struct Secured {
    server: Server,
    ca: Authority,
    client: Identity,
    files: Files,
}

fn secured(flags: &[&str], demands: bool) -> Secured {
    let ca = Authority::new("ca");
    let files = Files::new(&ca.pem(), &ca.issue(&Wanted::default()));
    let mut server = Server::prepare(Kind::subject(), flags);
    server.schemes.0 = "https";
    let own = files.flags("");
    server.flags.extend(own[..if demands { 4 } else { 2 }].iter().cloned());
    server.launch();
    let client = ca.issue(&Wanted { name: "client", ..Wanted::default() });
    Secured { server, ca, client, files }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_and_large_requests_pass() {
    let Secured { server, ca, .. } = secured(&[], false);
    let mut kv = Trust::new(&ca.pem(), None).kv(server.client_port).await.unwrap();
    let large = vec![3_u8; 1 << 20];
    for number in 0..8 {
        kv.put(put(format!("large/{number}"), large.clone())).await.unwrap();
    }
    kv = kv.max_decoding_message_size(usize::MAX);
    // Far more than a socket holds: the rest goes when there is room again.
    let got = kv.range(all()).await.unwrap().into_inner();
    assert_eq!(got.kvs.len(), 8);
    assert!(got.kvs.iter().all(|row| row.value == large));
    let small = (0..200).map(|number| {
        let mut kv = kv.clone();
        async move { kv.put(put(format!("small/{number}"), "value")).await.unwrap() }
    });
    futures_util::future::join_all(small).await;
    assert_eq!(kv.range(get("small/199")).await.unwrap().into_inner().kvs.len(), 1);
}

fn spare_port() -> u16 {
    Server::prepare(Kind::subject(), &[]).client_port
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_versions_of_http_and_the_pages_of_metrics() {
    let mut server = Server::prepare(Kind::subject(), &[]);
    let metrics_port = spare_port();
    let ca = Authority::new("ca");
    let files = Files::new(&ca.pem(), &ca.issue(&Wanted::default()));
    server.schemes.0 = "https";
    server.flags.extend(files.flags("")[..2].iter().cloned());
    server.flags.push(format!("--listen-metrics-urls=https://127.0.0.1:{metrics_port}"));
    server.launch();
    let offers: [&'static [&'static str]; 2] = [&["http/1.1"], &[]];
    for alpn in offers {
        let trust = Trust { alpn, ..Trust::new(&ca.pem(), None) };
        for port in [server.client_port, metrics_port] {
            let health = trust.http1(port, "/health").await.unwrap();
            assert!(health.starts_with("HTTP/1.1 200") && health.contains("\"true\""), "{health}");
            let metrics = trust.http1(port, "/metrics").await.unwrap();
            assert!(metrics.contains("etcd_server_has_leader 1"), "{metrics}");
        }
    }
    let both = Trust { alpn: &["http/1.1", "h2"], ..Trust::new(&ca.pem(), None) };
    for port in [server.client_port, metrics_port] {
        let stream = both.connect(port).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_server_listens_in_clear_text_and_over_tls() {
    let plain = format!("127.0.0.1:{}", spare_port());
    let ca = Authority::new("ca");
    let files = Files::new(&ca.pem(), &ca.issue(&Wanted::default()));
    let mut server = Server::prepare(Kind::subject(), &[]);
    server.schemes.0 = "https";
    let urls = format!("{},http://{plain}", server.client_url());
    server.flags.extend(files.flags("")[..2].iter().cloned());
    server.flags.push(format!("--listen-client-urls={urls}"));
    server.flags.push(format!("--advertise-client-urls={urls}"));
    server.launch();
    let mut kv = Trust::new(&ca.pem(), None).kv(server.client_port).await.unwrap();
    kv.put(put("key", "value")).await.unwrap();
    let clear = keelson_api::client::Client::connect(&[&plain]).await.unwrap();
    assert_eq!(clear.kv().range(get("key")).await.unwrap().into_inner().kvs.len(), 1);
    assert_eq!(http_request(&plain, "GET", "/health").status, 200);
}

/// Whether a request gets through; if not, what the other side said. By HTTP/1.1, as a gRPC client
/// may keep the reason to itself.
async fn gets_through(trust: &Trust, server: &Server) -> Result<(), String> {
    let trust = Trust { alpn: &["http/1.1"], ..trust.clone() };
    let answer = trust.http1(server.client_port, "/health").await;
    let answer = answer.map_err(|error| error.to_string())?;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_demanded() {
    let Secured { server, ca, client, .. } = secured(&[], true);
    gets_through(&Trust::new(&ca.pem(), Some(&client)), &server).await.unwrap();
    let none = gets_through(&Trust::new(&ca.pem(), None), &server).await.unwrap_err();
    assert!(none.contains("CertificateRequired"), "{none}");
    let foreign = Authority::new("foreign").issue(&Wanted::default());
    let foreign = gets_through(&Trust::new(&ca.pem(), Some(&foreign)), &server).await;
    assert!(foreign.as_ref().is_err_and(|error| error.contains("UnknownCA")), "{foreign:?}");
    server.wait_log("it shows no certificate");
    server.wait_log("its certificate is not of a trusted authority");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn host_names_and_lists_hold_for_clients_too() {
    let Secured { mut server, ca, client, files } = secured(&[], true);
    server.kill();
    files.put("crl.pem", &ca.revoke(&[5]));
    server.flags.push(format!("--client-crl-file={}", files.path("crl.pem").display()));
    server.flags.push("--client-cert-allowed-hostname=a.example,localhost".to_owned());
    server.launch();
    let trust = |identity: &Identity| Trust::new(&ca.pem(), Some(identity));
    gets_through(&trust(&client), &server).await.unwrap();
    let other = ca.issue(&Wanted { hosts: &["b.example"], ..Wanted::default() });
    let other = gets_through(&trust(&other), &server).await;
    assert!(other.as_ref().is_err_and(|error| error.contains("CertificateUnknown")), "{other:?}");
    let revoked = ca.issue(&Wanted { serial: 5, ..Wanted::default() });
    let refused = gets_through(&trust(&revoked), &server).await;
    assert!(refused.as_ref().is_err_and(|e| e.contains("CertificateRevoked")), "{refused:?}");
    server.wait_log("valid for none of the allowed host names");

    // A list takes back what it was used for a moment ago, as nothing is remembered.
    files.put("crl.pem", &ca.revoke(&[1]));
    server.wait_log("new certificates are in use");
    let now = gets_through(&trust(&client), &server).await;
    assert!(now.as_ref().is_err_and(|error| error.contains("CertificateRevoked")), "{now:?}");
    gets_through(&trust(&revoked), &server).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_again_is_checked_again() {
    let Secured { server, ca, client, .. } = secured(&[], true);
    for versions in [rustls::ALL_VERSIONS, ONLY_TLS12] {
        let trust = Trust { versions, alpn: &[], ..Trust::new(&ca.pem(), Some(&client)) };
        // One configuration for both connections: sessions would be remembered in it.
        let connector = TlsConnector::from(Arc::new(trust.config()));
        for _ in 0..2 {
            let socket = TcpStream::connect(("127.0.0.1", server.client_port)).await.unwrap();
            let name = ServerName::try_from("localhost").unwrap();
            let mut stream = connector.connect(name, socket).await.unwrap();
            let request = b"GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
            stream.write_all(request).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            assert_eq!(stream.get_ref().1.handshake_kind(), Some(HandshakeKind::Full));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_and_suites_are_those_of_the_flags() {
    let suite = "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256";
    let Secured { server, ca, .. } = secured(&[&format!("--cipher-suites={suite}")], false);
    let old = Trust { versions: ONLY_TLS12, ..Trust::new(&ca.pem(), None) };
    gets_through(&old, &server).await.unwrap();
    let stream = old.connect(server.client_port).await.unwrap();
    let chosen = stream.get_ref().1.negotiated_cipher_suite().unwrap().suite();
    assert_eq!(chosen.as_str(), Some(suite));

    let Secured { server, ca, .. } = secured(&["--tls-min-version=TLS1.3"], false);
    let old = Trust { ca: ca.pem(), ..old };
    assert!(gets_through(&old, &server).await.is_err(), "1.2 is not spoken");
    gets_through(&Trust::new(&ca.pem(), None), &server).await.unwrap();

    let Secured { server, ca, .. } = secured(&["--tls-max-version=TLS1.2"], false);
    let stream = Trust::new(&ca.pem(), None).connect(server.client_port).await.unwrap();
    assert_eq!(stream.get_ref().1.protocol_version(), Some(ProtocolVersion::TLSv1_2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_makes_its_certificate_itself() {
    let _alone = alone().await;
    let mut server = Server::prepare(Kind::subject(), &["--auto-tls"]);
    server.schemes.0 = "https";
    server.launch();
    let made =
        || std::fs::read_to_string(server.data_dir.join("fixtures/client/cert.pem")).unwrap();
    let first = made();
    let trust = Trust::new(&first, None);
    gets_through(&trust, &server).await.unwrap();
    server.kill();
    server.launch();
    gets_through(&trust, &server).await.unwrap();
    assert_eq!(
        std::fs::read_to_string(server.data_dir.join("fixtures/client/cert.pem")).unwrap(),
        first
    );
}
