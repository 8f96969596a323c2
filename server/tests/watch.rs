//! Watching, beside real etcd: the same responses on the wire, the same lines from etcdctl.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic and tell")]

mod common;

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use common::requests::{compact, delete, delete_range, op, put, txn};
use common::{Kind, Request, Server, etcd_program, send, within};
use keelson_api::client::Client;
use keelson_api::etcdserverpb::watch_create_request::FilterType;
use keelson_api::etcdserverpb::watch_request::RequestUnion;
use keelson_api::etcdserverpb::{
    WatchCancelRequest, WatchCreateRequest, WatchProgressRequest, WatchRequest, WatchResponse,
};
use tokio::sync::mpsc;
use tonic::{Code, Streaming};

/// Longest wait for something that must come.
const BOUND: Duration = Duration::from_secs(20);

/// Long enough to show that nothing comes, in the few cases where that is the point: a response
/// that came later would be found in front of the next expected one.
const FLAGS: &[&str] = &["--experimental-watch-progress-notify-interval=1s"];

fn both() -> [Server; 2] {
    let etcd = [FLAGS, &["--unsafe-no-fsync"]].concat();
    [Server::start_with(Kind::subject(), FLAGS), Server::start_with(Kind::Etcd, &etcd)]
}

/// One stream.
struct Stream {
    requests: mpsc::Sender<WatchRequest>,
    responses: Streaming<WatchResponse>,
}

impl Stream {
    /// A stream with its first watcher: etcd says nothing before it is asked for something.
    async fn open(client: &Client, first: WatchCreateRequest) -> Self {
        let (requests, mut receiver) = mpsc::channel(100);
        let first = WatchRequest { request_union: Some(RequestUnion::CreateRequest(first)) };
        requests.send(first).await.unwrap();
        let asked = futures_util::stream::poll_fn(move |cx| receiver.poll_recv(cx));
        let responses = within(BOUND, "the stream", client.watch().watch(asked)).await;
        Self { requests, responses: responses.unwrap().into_inner() }
    }

    async fn ask(&self, request: RequestUnion) {
        self.requests.send(WatchRequest { request_union: Some(request) }).await.unwrap();
    }

    async fn create(&self, create: WatchCreateRequest) {
        self.ask(RequestUnion::CreateRequest(create)).await;
    }

    /// The next response, without what tells servers apart.
    async fn next(&mut self) -> WatchResponse {
        let next = within(BOUND, "a response", self.responses.message()).await;
        let mut next = next.unwrap().expect("the stream goes on");
        if let Some(header) = &mut next.header {
            (header.cluster_id, header.member_id, header.raft_term) = (0, 0, 0);
        }
        next
    }
}

fn on(key: &'static str, end: &'static str, start_revision: i64) -> WatchCreateRequest {
    WatchCreateRequest {
        key: key.into(),
        range_end: end.into(),
        start_revision,
        ..Default::default()
    }
}

async fn write(client: &Client) {
    for request in [
        Request::Put(put("a", "1")),
        Request::Put(put("b", "1")),
        Request::Put(put("a", "2")),
        Request::Txn(txn(vec![], vec![op(put("c", "1")), op(put("d", "1"))], vec![])),
        Request::Delete(delete("a")),
        Request::Delete(delete_range("b", "d")),
        Request::Put(put("a", "3")),
    ] {
        send(client, &request).await.unwrap();
    }
}

fn wants(create: &WatchCreateRequest, is_put: bool, key: &str) -> bool {
    let filter = if is_put { FilterType::Noput } else { FilterType::Nodelete };
    let inside = match &create.range_end[..] {
        [] => create.key == key,
        [0] => true,
        end => &create.key[..] <= key.as_bytes() && key.as_bytes() < end,
    };
    inside && !create.filters.contains(&filter.into())
}

fn reaches(response: &WatchResponse, revision: i64) -> bool {
    let last = response.events.last().and_then(|event| event.kv.as_ref());
    last.is_some_and(|kv| kv.mod_revision >= revision)
}

/// Responses of events as one where they follow each other: how many revisions a watcher that
/// catches up is told of at once is a matter of time.
fn merged(responses: Vec<WatchResponse>) -> Vec<WatchResponse> {
    let mut merged: Vec<WatchResponse> = Vec::new();
    for mut response in responses {
        let last = response.events.last().and_then(|event| event.kv.as_ref());
        let Some(last) = last.map(|kv| kv.mod_revision) else {
            merged.push(response);
            continue;
        };
        assert!(response.header.take().unwrap().revision >= last);
        match merged.last_mut().filter(|before| !before.events.is_empty()) {
            Some(before) => before.events.extend(response.events),
            None => merged.push(response),
        }
    }
    merged
}

/// What one server says to everything that is asked for in order.
async fn conversation(server: &Server) -> Vec<WatchResponse> {
    let client = server.client().await;
    write(&client).await;
    let mut said = Vec::new();
    let past = |prev_kv, filters: &[FilterType]| WatchCreateRequest {
        prev_kv,
        filters: filters.iter().map(|filter| i32::from(*filter)).collect(),
        ..on("\0", "\0", 1)
    };
    for create in [
        past(false, &[]),
        past(true, &[]),
        past(true, &[FilterType::Noput]),
        past(false, &[FilterType::Nodelete]),
        on("a", "", 4),
        on("a", "", 9),
        on("c", "e", 2),
    ] {
        let mut stream = Stream::open(&client, create.clone()).await;
        said.push(stream.next().await);
        // Live from here on.
        for (key, request) in [
            ("a", Request::Put(put("a", "live"))),
            ("c", Request::Put(put("c", "live"))),
            ("c", Request::Delete(delete("c"))),
            ("a", Request::Delete(delete("a"))),
        ] {
            let revision = send(&client, &request).await.unwrap().header().revision;
            let is_put = matches!(request, Request::Put(_));
            if wants(&create, is_put, key) {
                while !said.last().is_some_and(|response| reaches(response, revision)) {
                    said.push(stream.next().await);
                }
            }
        }
    }
    let mut stream = Stream::open(&client, on("b", "a", 0)).await;
    stream.create(WatchCreateRequest { watch_id: 5, ..on("x", "", 0) }).await;
    stream.create(WatchCreateRequest { watch_id: 5, ..on("x", "", 0) }).await;
    stream.create(WatchCreateRequest { watch_id: -7, ..on("x", "", 0) }).await;
    stream.create(on("", "", 0)).await;
    stream.create(on("x", "", 0)).await;
    stream.ask(RequestUnion::CancelRequest(WatchCancelRequest { watch_id: 99 })).await;
    stream.ask(RequestUnion::CancelRequest(WatchCancelRequest { watch_id: -7 })).await;
    stream.ask(RequestUnion::CancelRequest(WatchCancelRequest { watch_id: 0 })).await;
    for _ in 0..8 {
        said.push(stream.next().await);
    }
    stream.ask(RequestUnion::ProgressRequest(WatchProgressRequest {})).await;
    said.push(stream.next().await);

    send(&client, &Request::Compact(compact(6))).await.unwrap();
    let mut stream = Stream::open(&client, on("\0", "\0", 5)).await;
    stream.create(WatchCreateRequest { prev_kv: true, ..on("b", "", 6) }).await;
    let mut compacted = Vec::new();
    for _ in 0..4 {
        compacted.push(stream.next().await);
    }
    // Which of the two watchers hears first is a matter of time as well.
    compacted.sort_by_key(|response| response.watch_id);
    said.extend(compacted);
    merged(said)
}

#[tokio::test]
async fn responses_are_those_of_etcd() {
    let servers = both();
    let mut said = Vec::new();
    for server in &servers {
        said.push(conversation(server).await);
    }
    for (number, (ours, theirs)) in said[0].iter().zip(&said[1]).enumerate() {
        assert_eq!(ours, theirs, "response {number}");
    }
    assert_eq!(said[0].len(), said[1].len());
}

#[tokio::test]
async fn an_idle_watcher_is_told_of_progress() {
    for server in both() {
        let client = server.client().await;
        let mut stream =
            Stream::open(&client, WatchCreateRequest { progress_notify: true, ..on("a", "", 0) })
                .await;
        stream.create(on("a", "", 0)).await;
        for _ in 0..2 {
            assert!(stream.next().await.created);
        }
        send(&client, &Request::Put(put("other", "v"))).await.unwrap();
        loop {
            let told = stream.next().await;
            assert_eq!((told.watch_id, told.events.len()), (0, 0), "{:?}", server.kind);
            if told.header.unwrap().revision == 2 {
                break;
            }
        }
    }
}

/// Whoever has asked for everything goes on listening.
#[tokio::test]
async fn a_stream_outlives_its_requests() {
    for server in both() {
        let client = server.client().await;
        let mut stream = Stream::open(&client, on("a", "", 0)).await;
        assert!(stream.next().await.created);
        let (closed, _) = mpsc::channel(1);
        stream.requests = closed;
        send(&client, &Request::Put(put("a", "v"))).await.unwrap();
        assert_eq!(stream.next().await.events.len(), 1, "{:?}", server.kind);
    }
}

#[tokio::test]
async fn a_server_that_stops_says_so() {
    let mut server = Server::start(Kind::subject());
    let client = server.client().await;
    let mut stream = Stream::open(&client, on("a", "", 0)).await;
    assert!(stream.next().await.created);
    let stopped = server.terminate(BOUND).expect("a watcher does not hold it up");
    assert!(stopped.success());
    let status = within(BOUND, "the end", stream.responses.message()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
}

/// "last" in base64.
const LAST_IN_JSON: &str = "bGFzdA==";

/// Reads what an etcdctl watch prints, until a line says that it has seen the last event.
fn watch_lines(server: &Server, args: &[&str], stdin: &str) -> Vec<String> {
    let mut child = Command::new(etcd_program("etcdctl"))
        .arg(format!("--endpoints={}", server.endpoint()))
        .arg("watch")
        .args(args)
        .env_clear()
        .env("ETCDCTL_API", "3")
        .env("PATH", std::env::var_os("PATH").unwrap())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(stdin.as_bytes()).unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let (sender, receiver) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            // Whoever asked may have seen enough.
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    let mut seen: Vec<String> = Vec::new();
    while !seen.last().is_some_and(|line| line.contains("last") || line.contains(LAST_IN_JSON)) {
        match receiver.recv_timeout(BOUND) {
            Ok(line) => seen.push(line.replace(&server.endpoint(), "<client>")),
            Err(error) => panic!("{:?} {args:?}: {error}, {seen:#?}", server.kind),
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    drop(receiver);
    reader.join().unwrap();
    seen
}

fn masked(line: &str) -> String {
    let mut text = line.to_owned();
    for field in ["cluster_id", "member_id", "raft_term"] {
        if let Some(at) = text.find(&format!("\"{field}\":")) {
            let from = at + field.len() + 3;
            let len = text[from..].chars().take_while(char::is_ascii_digit).count();
            text.replace_range(from..from + len, "0");
        }
    }
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcdctl_prints_the_same_lines() {
    let servers = both();
    for server in &servers {
        let client = server.client().await;
        write(&client).await;
        send(&client, &Request::Put(put("z", "last"))).await.unwrap();
    }
    let cases: &[(&[&str], &str)] = &[
        (&["--rev=1", "--prefix", ""], ""),
        (&["--rev=1", "--prefix", "--prev-kv", ""], ""),
        (&["--rev=4", "a", "zz"], ""),
        (&["--rev=1", "-w", "json", "a", "zz"], ""),
        (&["--rev=1", "--progress-notify", "a", "zz"], ""),
        (&["--rev=1", "a", "zz", "--", "sh", "-c", "env | grep ETCD_WATCH_ | sort"], ""),
        (&["-i"], "watch --rev=2 --prev-kv a zz\n"),
        (&["-i", "--rev=3"], "watch --rev=3 a zz -- echo an event\nwatch --rev=1 z\n"),
    ];
    for (args, stdin) in cases {
        let [ours, theirs] = [&servers[0], &servers[1]].map(|server| {
            let lines = watch_lines(server, args, stdin);
            lines.iter().map(|line| masked(line)).collect::<Vec<_>>()
        });
        println!("etcdctl watch {args:?}\n{}", theirs.join("\n"));
        if args.contains(&"-i") && args.len() > 1 {
            // Two watchers on one terminal: their lines may come in either order.
            let sorted = |mut lines: Vec<String>| {
                lines.sort_unstable();
                lines.len() > 2 && lines.contains(&"last".to_owned())
            };
            assert!(sorted(ours) && sorted(theirs), "{args:?}");
        } else {
            assert_eq!(ours, theirs, "{args:?}");
        }
    }
}
