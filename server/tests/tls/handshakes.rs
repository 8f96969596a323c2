//! Handshakes that never come, and those who speak something else.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::channel::Trust;
use super::common::requests::put;
use super::common::{Kind, START_BOUND, Server, poll, within};
use super::pki::{Authority, Files, Wanted};

/// More than one source may have under way.
const SILENT: usize = 150;

/// Far beyond the deadline of a handshake.
const BOUND: Duration = Duration::from_secs(30);

fn secured(peers: bool) -> (Server, Authority, Files) {
    let ca = Authority::new("ca");
    let files = Files::new(&ca.pem(), &ca.issue(&Wanted::default()));
    let mut server = Server::prepare(Kind::subject(), &[]);
    server.schemes.0 = "https";
    server.flags.extend(files.flags("")[..2].iter().cloned());
    if peers {
        server.schemes.1 = "https";
        server.flags.extend(files.flags("peer-"));
    }
    server.launch();
    (server, ca, files)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_that_never_speak_are_closed_and_hold_up_nobody_else() {
    let (server, ca, _files) = secured(true);
    let mut silent = Vec::new();
    for number in 0..SILENT {
        let port = if number % 2 == 0 { server.client_port } else { server.peer_port };
        let mut socket = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        if number % 3 == 0 {
            // The beginning of a handshake, and then nothing.
            socket.write_all(b"\x16\x03\x01\x02\x00\x01").await.unwrap();
        }
        silent.push(socket);
    }
    let elsewhere = Trust { from: [127, 0, 0, 2], ..Trust::new(&ca.pem(), None) };
    let mut kv = elsewhere.kv(server.client_port).await.unwrap();
    kv.put(put("key", "value")).await.unwrap();
    for mut socket in silent {
        let mut rest = Vec::new();
        let end = socket.read_to_end(&mut rest);
        within(BOUND, "the end of a silent connection", end).await.ok();
    }
    server.wait_log("it did not complete the handshake in time");
    let mut kv = Trust::new(&ca.pem(), None).kv(server.client_port).await.unwrap();
    kv.put(put("key", "again")).await.unwrap();
}

/// How often something is logged, at least twice.
fn lines(server: &Server, text: &str) -> usize {
    let count = || server.log().matches(text).count();
    let twice = poll(START_BOUND, || (count() >= 2).then_some(()));
    assert!(twice.is_some(), "{text:?} is there {} times:\n{}", count(), server.log_tail());
    count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clear_text_on_a_port_of_tls_is_told_once() {
    let (server, ca, _files) = secured(true);
    for port in [server.client_port, server.peer_port] {
        for bytes in [
            &b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n"[..],
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
            b"\0\0\0\0",
        ]
        .repeat(10)
        {
            let mut socket = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            socket.write_all(bytes).await.unwrap();
            socket.shutdown().await.ok();
            let mut rest = Vec::new();
            let end = socket.read_to_end(&mut rest);
            within(BOUND, "the end of a senseless connection", end).await.ok();
        }
    }
    assert_eq!(lines(&server, "it must connect with https"), 2, "one for each listener");
    let mut kv = Trust::new(&ca.pem(), None).kv(server.client_port).await.unwrap();
    kv.put(put("key", "value")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_on_a_port_in_clear_text_is_told_once() {
    let server = Server::start(Kind::subject());
    let ca = Authority::new("ca");
    for port in [server.client_port, server.peer_port] {
        for _ in 0..5 {
            assert!(Trust::new(&ca.pem(), None).connect(port).await.is_err());
        }
    }
    let lines = lines(&server, "it speaks TLS, and this listener does not");
    // Each thread that serves clients may say it.
    assert!((2..=10).contains(&lines), "{lines} lines");
    server.client().await.kv().put(put("key", "value")).await.unwrap();
}
