//! A hub on a store in memory, with clients that read when they like, and what they must have been
//! told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use keelson_api::etcdserverpb::watch_request::RequestUnion;
use keelson_api::etcdserverpb::{
    ResponseHeader, WatchCancelRequest, WatchCreateRequest, WatchProgressRequest, WatchRequest,
    WatchResponse,
};
use keelson_store::command::{Command, Compact, DeleteRange, KeyRange, Op, Put, Txn, codec};
use keelson_store::engine::MemoryEngine;
use keelson_store::types::{KeyValue, LogIndex, LogPosition, Revision, Term};
use keelson_store::{Applier, LogEntry, Options, Payload, Store};
use prost::Message as _;

use crate::observe::metrics::Metrics;
use crate::watch::hub::{Hub, HubOptions, StreamId};
use crate::watch::{Feed, WatchBody};

/// What happened, by the book: one change of one key.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Happened {
    pub(super) revision: i64,
    pub(super) deletion: bool,
    pub(super) kv: KeyValue,
    pub(super) before: Option<KeyValue>,
}

/// A client's stream.
pub(super) struct Client {
    pub(super) id: StreamId,
    pub(super) body: WatchBody,
    arrived: BytesMut,
    /// How it ended.
    pub(super) ended: Option<tonic::Status>,
}

pub(super) struct Rig {
    pub(super) hub: Arc<Hub>,
    applier: Applier,
    /// Another member, which is always up to date.
    leader: (Arc<MemoryEngine>, Applier),
    /// What this member has not applied yet.
    held_back: Option<Vec<LogEntry>>,
    state: BTreeMap<Bytes, KeyValue>,
    pub(super) revision: i64,
    pub(super) compacted: i64,
    index: u64,
    pub(super) happened: Vec<Happened>,
    _feed: Feed,
}

impl Rig {
    pub(super) fn new(event_log_bytes: usize) -> Self {
        let options = Options { event_log_bytes, ..Options::default() };
        let (store, applier) = Store::open(Arc::new(MemoryEngine::new()), options).unwrap();
        let engine = Arc::new(MemoryEngine::new());
        let (_, leader) = Store::open(Arc::clone(&engine) as _, options).unwrap();
        let header = |revision: Revision| ResponseHeader {
            revision: revision.0,
            raft_term: 2,
            ..Default::default()
        };
        let hub = Hub::new(HubOptions {
            store,
            header: Box::new(header),
            has_leader: Box::new(|| true),
            leader_interval: Duration::from_secs(1),
            progress_interval: Duration::from_secs(600),
            fragment_bytes: 300,
            metrics: Arc::new(Metrics::new(false)),
        });
        Self {
            hub,
            applier,
            leader: (engine, leader),
            held_back: None,
            state: BTreeMap::new(),
            revision: 1,
            compacted: 0,
            index: 0,
            happened: Vec::new(),
            _feed: Feed::new(),
        }
    }

    pub(super) fn put(&mut self, key: &str, value: &str) {
        self.change(&[(key, Some(value))]);
    }

    pub(super) fn delete(&mut self, key: &str) {
        self.change(&[(key, None)]);
    }

    /// One txn of puts and deletions of different keys. Deletions of what is not there are none.
    pub(super) fn change(&mut self, changes: &[(&str, Option<&str>)]) {
        let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
        let op = |(key, value): &(&str, Option<&str>)| match value {
            Some(value) => Op::Put(Put { key: bytes(key), value: bytes(value), ..Put::default() }),
            None => Op::DeleteRange(DeleteRange {
                range: KeyRange { key: bytes(key), end: Bytes::new() },
                prev_kv: false,
            }),
        };
        let success = changes.iter().map(op).collect();
        let next = self.revision + 1;
        for (key, value) in changes {
            let before = self.state.get(key.as_bytes()).cloned();
            let (create, version) =
                before.as_ref().map_or((next, 1), |kv| (kv.create_revision.0, kv.version + 1));
            let kv = KeyValue {
                key: bytes(key),
                mod_revision: Revision(next),
                create_revision: Revision(if value.is_some() { create } else { 0 }),
                version: if value.is_some() { version } else { 0 },
                value: value.map(bytes).unwrap_or_default(),
                ..KeyValue::default()
            };
            match value {
                Some(_) => self.state.insert(kv.key.clone(), kv.clone()),
                None if before.is_none() => continue,
                None => self.state.remove(key.as_bytes()),
            };
            self.revision = next;
            let deletion = value.is_none();
            self.happened.push(Happened { revision: next, deletion, kv, before });
        }
        self.apply(Command::Txn(Txn { success, ..Txn::default() }));
    }

    pub(super) fn compact(&mut self, revision: i64) {
        self.compacted = revision;
        self.apply(Command::Compact(Compact { revision: Revision(revision) }));
    }

    fn apply(&mut self, command: Command) {
        self.index += 1;
        let position = LogPosition { term: Term(1), index: LogIndex(self.index) };
        let payload = Payload::Commands(codec::encode(&[command]));
        let entry = LogEntry { position, payload, wanted: true };
        self.leader.1.apply(std::slice::from_ref(&entry)).unwrap();
        match &mut self.held_back {
            Some(held_back) => held_back.push(entry),
            None => drop(self.applier.apply(&[entry]).unwrap()),
        }
    }

    /// This member hears of nothing until it catches up.
    pub(super) fn hold_back(&mut self) {
        self.held_back.get_or_insert_default();
    }

    /// All at once, from the log.
    pub(super) fn catch_up_by_log(&mut self) {
        if let Some(entries) = self.held_back.take() {
            self.applier.apply(&entries).unwrap();
        }
    }

    /// By a snapshot of the other member.
    pub(super) fn catch_up_by_snapshot(&mut self) {
        if self.held_back.take().is_some() {
            use keelson_store::engine::Engine as _;
            let home = tempfile::tempdir().unwrap();
            let dir = home.path().join("checkpoint");
            self.leader.0.checkpoint(&dir).unwrap();
            let engine = MemoryEngine::open_checkpoint(&dir).unwrap();
            self.applier.replace(Arc::new(engine)).unwrap();
        }
    }

    pub(super) fn open(&self) -> Client {
        let (id, body) = self.hub.open(false);
        Client { id, body, arrived: BytesMut::new(), ended: None }
    }

    pub(super) fn create(&self, client: &Client, create: WatchCreateRequest) {
        self.ask(client, RequestUnion::CreateRequest(create));
    }

    pub(super) fn cancel(&self, client: &Client, watch_id: i64) {
        self.ask(client, RequestUnion::CancelRequest(WatchCancelRequest { watch_id }));
    }

    pub(super) fn ask_progress(&self, client: &Client) {
        self.ask(client, RequestUnion::ProgressRequest(WatchProgressRequest {}));
    }

    fn ask(&self, client: &Client, request: RequestUnion) {
        self.hub.request(client.id, WatchRequest { request_union: Some(request) });
    }

    /// Delivers what can be delivered.
    pub(super) async fn settle(&self) {
        while self.hub.dispatch() {}
        while self.hub.round().await {}
    }
}

impl Client {
    /// What one look into the stream brings.
    pub(super) fn read(&mut self) -> Vec<WatchResponse> {
        let cx = Context::from_waker(Waker::noop());
        match self.body.poll(&cx) {
            Poll::Ready(Some(Ok(bytes))) => self.arrived.extend_from_slice(&bytes),
            Poll::Ready(Some(Err(status))) => self.ended = Some(status),
            Poll::Ready(None) | Poll::Pending => {}
        }
        let mut responses = Vec::new();
        while self.arrived.len() >= 5 {
            let len = (&self.arrived[1..5]).get_u32() as usize;
            assert!(self.arrived.len() >= 5 + len, "frames are whole");
            self.arrived.advance(5);
            responses.push(WatchResponse::decode(self.arrived.split_to(len)).unwrap());
        }
        responses
    }

    /// Reads until nothing more comes.
    pub(super) async fn read_all(&mut self, rig: &Rig) -> Vec<WatchResponse> {
        let mut all = Vec::new();
        loop {
            rig.settle().await;
            let some = self.read();
            if some.is_empty() {
                return all;
            }
            all.extend(some);
        }
    }
}

/// A request for a key, or a range of keys.
pub(super) fn on(key: &str, end: &str, start_revision: i64) -> WatchCreateRequest {
    WatchCreateRequest {
        key: Bytes::copy_from_slice(key.as_bytes()),
        range_end: Bytes::copy_from_slice(end.as_bytes()),
        start_revision,
        ..Default::default()
    }
}

/// Key, revision and kind of all events, in their order.
pub(super) fn told(responses: &[WatchResponse]) -> Vec<(String, i64, bool)> {
    let events = responses.iter().flat_map(|response| &response.events);
    events
        .map(|event| {
            let kv = event.kv.as_ref().unwrap();
            (String::from_utf8(kv.key.to_vec()).unwrap(), kv.mod_revision, event.r#type == 1)
        })
        .collect()
}
