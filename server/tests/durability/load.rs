//! Concurrent clients that write unique values and note down what they asked for and were told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use keelson_api::client::Client;
use keelson_api::etcdserverpb::compare::CompareResult;
use keelson_api::etcdserverpb::{DeleteRangeRequest, PutRequest, RequestOp};
use tokio::task::JoinHandle;

use super::common::requests::{compact, delete, get, if_mod, op, put, txn};
use super::common::{Outcome, Reply, Request, Rng, Server, now, send};

/// Clients; two share a connection.
const CLIENTS: u64 = 8;

/// All clients write these keys. Few enough that they collide, and that all of them are read at
/// each revision.
const KEYS: u64 = 12;

/// Members that are not there are tried this often before a request of a cluster fails.
const TRIES_MAX: u32 = 500;

/// Pause between two tries.
const TRY_PAUSE: Duration = Duration::from_millis(10);

/// One operation of one client.
#[derive(Debug)]
pub(crate) struct Op {
    /// Round, client and number.
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) began: Instant,
    pub(crate) ended: Instant,
    /// `None`: the connection broke before the answer came.
    pub(crate) reply: Option<Reply>,
}

/// What was asked for.
#[derive(Debug, Clone)]
pub(crate) enum Kind {
    Put {
        key: Bytes,
        value: Bytes,
    },
    Delete {
        key: Bytes,
    },
    /// Puts and deletions in one transaction, if `guard` was last changed at a revision.
    Txn {
        guard: Option<(Bytes, i64)>,
        puts: Vec<(Bytes, Bytes)>,
        deletes: Vec<Bytes>,
    },
    Read {
        key: Bytes,
    },
}

impl Op {
    /// The reply to a write that was acknowledged, whether or not it changed anything.
    pub(crate) fn acknowledged(&self) -> Option<&Reply> {
        let is_write = !matches!(self.kind, Kind::Read { .. });
        self.reply.as_ref().filter(|_| is_write)
    }
}

fn request(kind: &Kind) -> Request {
    match kind.clone() {
        Kind::Put { key, value } => Request::Put(PutRequest { prev_kv: true, ..put(key, value) }),
        Kind::Delete { key } => {
            Request::Delete(DeleteRangeRequest { prev_kv: true, ..delete(key) })
        }
        Kind::Read { key } => Request::Range(get(key)),
        Kind::Txn { guard, puts, deletes } => {
            let compare =
                guard.iter().map(|(k, rev)| if_mod(k.clone(), CompareResult::Equal, *rev));
            let puts = puts.into_iter().map(|(key, value)| op(put(key, value)));
            let deletes = deletes.into_iter().map(|key| op(delete(key)));
            let success: Vec<RequestOp> = puts.chain(deletes).collect();
            let failure = guard.iter().map(|(key, _)| op(get(key.clone()))).collect();
            Request::Txn(txn(compare.collect(), success, failure))
        }
    }
}

/// There was no connection, or it closed (a server that stops says so) before it took the request.
fn never_sent(text: &str) -> bool {
    text.contains("tcp connect error") || text == "operation was canceled"
}

/// Clients at work.
pub(crate) struct Load {
    dying: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Vec<Op>>>,
}

impl Load {
    pub(crate) async fn start(
        server: &Server,
        seed: u64,
        round: u64,
        compaction: Option<i64>,
    ) -> Self {
        let (dying, stop) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let mut clients = Vec::new();
        let mut shared = server.client().await;
        if let Some(revision) = compaction {
            let client = shared.clone();
            clients.push(tokio::spawn(async move {
                // It may fail: the server may be killed first.
                send(&client, &Request::Compact(compact(revision))).await.ok();
                Vec::new()
            }));
        }
        for number in 0..CLIENTS {
            if number % 2 == 0 {
                shared = server.client().await;
            }
            let name = format!("{round}-{number}");
            let rng = Rng::new(seed.wrapping_add(number));
            let worker = Worker::new(vec![shared.clone()], rng, name, (&dying, &stop));
            clients.push(tokio::spawn(worker.run()));
        }
        Self { dying, stop, clients }
    }

    /// Clients of a cluster: each begins at another member and goes on to the next one when the
    /// connection breaks, until it is told to stop.
    pub(crate) async fn start_on(servers: &[Server], seed: u64, round: u64) -> Self {
        let (dying, stop) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let mut clients = Vec::new();
        for number in 0..CLIENTS {
            let mut members = Vec::new();
            for server in servers {
                members.push(server.client().await);
            }
            members.rotate_left(usize::try_from(number).unwrap() % servers.len());
            let name = format!("{round}-{number}");
            let rng = Rng::new(seed.wrapping_add(number));
            let worker = Worker::new(members, rng, name, (&dying, &stop));
            clients.push(tokio::spawn(worker.run_on()));
        }
        Self { dying, stop, clients }
    }

    /// Has the clients of a cluster end after what they are doing.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
    }

    /// From here on errors are expected.
    pub(crate) fn about_to_die(&self) {
        self.dying.store(true, Ordering::SeqCst);
    }

    pub(crate) async fn join(self) -> Vec<Op> {
        let mut ops = Vec::new();
        for client in self.clients {
            ops.extend(client.await.expect("no request fails while the server lives"));
        }
        ops
    }
}

struct Worker {
    /// The member that is asked stands first.
    members: Vec<Client>,
    rng: Rng,
    name: String,
    dying: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    /// A key and the revision of its last change, as this client saw it.
    known: Option<(Bytes, i64)>,
    ops: Vec<Op>,
}

impl Worker {
    fn new(
        members: Vec<Client>,
        rng: Rng,
        name: String,
        (dying, stop): (&Arc<AtomicBool>, &Arc<AtomicBool>),
    ) -> Self {
        let (dying, stop) = (Arc::clone(dying), Arc::clone(stop));
        Self { members, rng, name, dying, stop, known: None, ops: Vec::new() }
    }

    /// Works until it is told to stop, at whichever member answers.
    async fn run_on(mut self) -> Vec<Op> {
        while !self.stop.load(Ordering::SeqCst) {
            let name = format!("{}-{}", self.name, self.ops.len());
            let kind = self.choose(&name);
            let began = now();
            let outcome = self.send_somewhere(&kind).await;
            let ended = now();
            let reply = match outcome {
                Ok(reply) => Some(reply),
                Err(error) => {
                    assert!(self.dying.load(Ordering::SeqCst), "{kind:?} failed: {error:?}");
                    self.members.rotate_left(1);
                    None
                }
            };
            self.learn(&kind, reply.as_ref());
            self.ops.push(Op { name, kind, began, ended, reply });
        }
        self.ops
    }

    /// A request that never left this client is sent to the next member.
    async fn send_somewhere(&mut self, kind: &Kind) -> Outcome {
        let mut tries = 0;
        loop {
            let outcome = send(&self.members[0], &request(kind)).await;
            match outcome {
                Err((_, text)) if never_sent(&text) && tries < TRIES_MAX => {
                    tries += 1;
                    self.members.rotate_left(1);
                    tokio::time::sleep(TRY_PAUSE).await;
                }
                outcome => return outcome,
            }
        }
    }

    /// Works until the connection breaks.
    async fn run(mut self) -> Vec<Op> {
        loop {
            let name = format!("{}-{}", self.name, self.ops.len());
            let kind = self.choose(&name);
            let began = now();
            let outcome: Outcome = send(&self.members[0], &request(&kind)).await;
            let ended = now();
            let reply = match outcome {
                Ok(reply) => Some(reply),
                Err(error) => {
                    assert!(self.dying.load(Ordering::SeqCst), "{kind:?} failed: {error:?}");
                    None
                }
            };
            let is_end = reply.is_none();
            self.learn(&kind, reply.as_ref());
            self.ops.push(Op { name, kind, began, ended, reply });
            if is_end {
                return self.ops;
            }
        }
    }

    fn learn(&mut self, kind: &Kind, reply: Option<&Reply>) {
        match (kind, reply) {
            (Kind::Put { key, .. }, Some(reply)) => {
                self.known = Some((key.clone(), reply.header().revision));
            }
            (Kind::Read { key }, Some(Reply::Range(r))) => {
                let revision = r.kvs.first().map_or(0, |kv| kv.mod_revision);
                self.known = Some((key.clone(), revision));
            }
            _ => {}
        }
    }

    fn key(&mut self) -> Bytes {
        format!("key-{:02}", self.rng.below(KEYS)).into()
    }

    /// Values are unique: they begin with the name of the operation. Some are long, so that writes
    /// are cut by a kill.
    fn value(&mut self, name: &str) -> Bytes {
        let padding = if self.rng.one_in(10) { self.rng.below(3000) } else { self.rng.below(40) };
        format!("{name} {}", ".".repeat(usize::try_from(padding).unwrap())).into()
    }

    fn choose(&mut self, name: &str) -> Kind {
        match self.rng.below(10) {
            0..4 => Kind::Put { key: self.key(), value: self.value(name) },
            4 => Kind::Delete { key: self.key() },
            5..8 => self.txn(name),
            _ => Kind::Read { key: self.key() },
        }
    }

    fn txn(&mut self, name: &str) -> Kind {
        let mut keys: Vec<Bytes> = (0..self.rng.between(1, 4)).map(|_| self.key()).collect();
        keys.sort_unstable();
        keys.dedup();
        let deletes = if keys.len() > 1 && self.rng.one_in(2) {
            keys.split_off(keys.len() - 1)
        } else {
            vec![]
        };
        let puts = keys.into_iter().map(|key| (key, self.value(name))).collect();
        let guard = if self.rng.one_in(2) { self.known.take() } else { None };
        Kind::Txn { guard, puts, deletes }
    }
}
