//! What comes over a connection and is no request at all, or only a part of one.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::Request as HttpRequest;
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::common::requests::{all, get, put};
use super::common::{
    Bystander, Kind, RawReply, Request, Rng, Server, grpc_frame, http_request, open_h2, raw_grpc,
    send, within,
};

const RANGE: &str = "/etcdserverpb.KV/Range";
const GRPC: &str = "application/grpc";
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Longest wait for the end of a connection that makes no sense.
const BOUND: Duration = Duration::from_secs(10);

/// Requests the bystander does while something hangs.
const MEANWHILE: u64 = 20;

/// Sends bytes and reads until the server ends the connection.
async fn until_closed(server: &Server, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(server.endpoint()).await.unwrap();
    // The server may have enough before all is written.
    stream.write_all(bytes).await.ok();
    let mut answer = Vec::new();
    // A reset is an end, too.
    within(BOUND, "the end of the connection", stream.read_to_end(&mut answer)).await.ok();
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rubbish_on_the_port_is_turned_away() {
    let server = Server::start(Kind::subject());
    let bystander = Bystander::start(&server).await;
    let mut rng = Rng::new(3);
    let mut cases: Vec<Vec<u8>> = Vec::new();
    for len in [1usize, 10, 100, 5000] {
        cases.push((0..len).map(|_| rng.next().to_le_bytes()[0]).collect());
    }
    cases.iter_mut().for_each(|rubbish| rubbish[0] = 0xfe);
    // TLS on a plain port.
    cases.push([&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], &[7; 600]].concat());
    for rubbish in cases {
        let mut stream = TcpStream::connect(server.endpoint()).await.unwrap();
        stream.write_all(&rubbish).await.unwrap();
        // The end of input, so that few bytes are not waited upon.
        stream.shutdown().await.ok();
        let mut answer = Vec::new();
        let end = stream.read_to_end(&mut answer);
        within(BOUND, "the end of a senseless connection", end).await.ok();
        let text = String::from_utf8_lossy(&answer);
        let len = rubbish.len();
        assert!(answer.is_empty() || text.starts_with("HTTP/1.1 400"), "{len} bytes: {text}");
    }
    bystander.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http2_with_nonsense_in_it_is_ended() {
    let server = Server::start(Kind::subject());
    let bystander = Bystander::start(&server).await;
    let frame = |len: u32, kind: u8, flags: u8, stream: u32, payload: &[u8]| {
        let mut frame = BytesMut::new();
        frame.put_slice(PREFACE);
        // Settings first, as it has to be.
        frame.put_slice(&[0, 0, 0, 4, 0, 0, 0, 0, 0]);
        frame.put_slice(&len.to_be_bytes()[1..]);
        frame.put_u8(kind);
        frame.put_u8(flags);
        frame.put_u32(stream);
        frame.put_slice(payload);
        frame
    };
    let cases: [(&str, BytesMut); 5] = [
        ("frame larger than allowed", frame(0xff_ffff, 0, 0, 1, &[0; 20_000])),
        ("data on stream 0", frame(4, 0, 0, 0, b"data")),
        ("headers that do not decompress", frame(6, 1, 4, 1, &[0xff; 6])),
        ("continuation of nothing", frame(4, 9, 4, 1, b"cont")),
        ("settings of a wrong length", frame(5, 4, 0, 0, b"12345")),
    ];
    for (name, bytes) in cases {
        let answer = until_closed(&server, &bytes).await;
        // Its settings, then the farewell.
        assert!(!answer.starts_with(b"HTTP/1.1 200"), "{name}: {answer:?}");
    }
    let answer = until_closed(&server, &[PREFACE, &[0xaa; 3000]].concat()).await;
    assert!(!answer.starts_with(b"HTTP/1.1 200"), "{answer:?}");
    bystander.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http1_on_a_grpc_path_is_refused() {
    let server = Server::start(Kind::subject());
    let bystander = Bystander::start(&server).await;
    let endpoint = server.endpoint();
    for method in ["POST", "GET"] {
        let endpoint = endpoint.clone();
        let response = tokio::task::spawn_blocking(move || http_request(&endpoint, method, RANGE))
            .await
            .unwrap();
        assert!((400..500).contains(&response.status), "{method}: {response:?}");
    }
    bystander.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_grpc_gets_the_code_that_etcd_gives() {
    let (keelson, etcd) = (Server::start(Kind::subject()), Server::etcd());
    let bystander = Bystander::start(&keelson).await;
    let good = get("a").encode_to_vec();
    let mut compressed = BytesMut::from(&grpc_frame(&good)[..]);
    compressed[0] = 1;
    let mut endless = BytesMut::from(&grpc_frame(&good)[..]);
    endless[4] = 200;
    let cases = [
        ("a good one", RANGE, grpc_frame(&good)),
        ("not protobuf", RANGE, grpc_frame(&[0xff; 30])),
        ("a cut message", RANGE, grpc_frame(&[0x0a, 0x50, b'a'])),
        ("compressed without saying how", RANGE, compressed.freeze()),
        ("shorter than its frame says", RANGE, endless.freeze()),
        ("no message", RANGE, Bytes::new()),
        ("unknown method", "/etcdserverpb.KV/Frobnicate", grpc_frame(&good)),
        ("unknown service", "/etcdserverpb.Nothing/Range", grpc_frame(&good)),
        ("no method", "/nothing", grpc_frame(&good)),
    ];
    for (name, path, body) in cases {
        let ours = raw_grpc(&keelson.endpoint(), path, GRPC, body.clone()).await;
        let theirs = raw_grpc(&etcd.endpoint(), path, GRPC, body).await;
        assert_eq!(code(&ours), code(&theirs), "{name}: keelson {ours:?}, etcd {theirs:?}");
    }
    bystander.finish().await;
}

/// The gRPC code; `None` where there is none.
fn code(reply: &RawReply) -> Option<u16> {
    match reply {
        RawReply::Http { grpc, .. } => grpc.as_ref().map(|(code, _)| *code),
        RawReply::Reset(_) => None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_content_types_are_refused() {
    let server = Server::start(Kind::subject());
    let bystander = Bystander::start(&server).await;
    let frame = grpc_frame(&get("a").encode_to_vec());
    for content_type in ["text/plain", "application/json"] {
        let reply = raw_grpc(&server.endpoint(), RANGE, content_type, frame.clone()).await;
        let refused = match &reply {
            RawReply::Http { status, grpc } => {
                *status >= 400 || grpc.as_ref().is_some_and(|g| g.0 != 0)
            }
            RawReply::Reset(_) => true,
        };
        assert!(refused, "{content_type}: {reply:?}");
    }
    bystander.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silence_holds_nobody_up() {
    let server = Server::start(Kind::subject());
    let bystander = Bystander::start(&server).await;
    let mut held = Vec::new();
    // Nothing, half of a preface, a preface alone, and half of an HTTP/1.1 head.
    for bytes in [&b""[..], &PREFACE[..10], PREFACE, b"GET /health HTTP/1.1\r\nHost:"] {
        for _ in 0..10 {
            let mut stream = TcpStream::connect(server.endpoint()).await.unwrap();
            stream.write_all(bytes).await.unwrap();
            held.push(stream);
        }
    }
    // Half of a request, on many streams of one connection.
    let mut half = open_h2(&server.endpoint()).await;
    let mut streams = Vec::new();
    for _ in 0..50 {
        half = half.ready().await.unwrap();
        let request =
            HttpRequest::post(format!("http://{}/etcdserverpb.KV/Put", server.endpoint()))
                .header("content-type", GRPC)
                .header("te", "trailers")
                .body(())
                .unwrap();
        let (response, mut stream) = half.send_request(request, false).unwrap();
        let frame = grpc_frame(&put("half", "v").encode_to_vec());
        stream.send_data(frame.slice(..frame.len() / 2), false).unwrap();
        streams.push((response, stream));
    }
    bystander.does(MEANWHILE).await;
    let client = server.client().await;
    let got = client.kv().range(get("half")).await.unwrap().into_inner();
    assert_eq!(got.count, 0, "half a put puts nothing");
    // Gone without a word.
    drop(streams);
    drop(held);
    bystander.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_read_holds_nobody_up() {
    let server = Server::start(Kind::subject());
    let client = server.client().await;
    for n in 0..64 {
        let large = put(format!("large-{n:02}"), vec![b'x'; 256 * 1024]);
        send(&client, &Request::Put(large)).await.unwrap();
    }
    let bystander = Bystander::start(&server).await;
    let mut slow = open_h2(&server.endpoint()).await;
    let mut unread = Vec::new();
    for _ in 0..8 {
        slow = slow.ready().await.unwrap();
        let request = HttpRequest::post(format!("http://{}{RANGE}", server.endpoint()))
            .header("content-type", GRPC)
            .header("te", "trailers")
            .body(())
            .unwrap();
        let (response, mut stream) = slow.send_request(request, false).unwrap();
        stream.send_data(grpc_frame(&all().encode_to_vec()), true).unwrap();
        // The head comes, the body stays where it is: no window is given back.
        unread.push(within(BOUND, "the head of a response", response).await.unwrap());
    }
    bystander.does(MEANWHILE).await;
    drop(unread);
    bystander.finish().await;
}
