//! Histories for tests: written by hand, or told by a simulated store that keeps its promises.

use std::collections::BTreeMap;

use super::model::Model;
use crate::history::{
    Action, Answer, Compare, Header, History, Kv, Op, Outcome, RangeRequest, Request, Response,
    Target,
};
use crate::random::Random;

/// A history by hand. Each operation is a client of its own.
#[derive(Debug, Default)]
pub(super) struct Script {
    ops: Vec<Op>,
}

impl Script {
    pub(super) fn ok(
        &mut self,
        at: (u64, u64),
        request: Request,
        revision: i64,
        answer: Answer,
    ) -> usize {
        let header = Header { revision, ..Header::default() };
        self.add(at, request, Outcome::Ok(Response { header, answer }))
    }

    pub(super) fn fail(&mut self, at: (u64, u64), request: Request) -> usize {
        self.add(at, request, Outcome::Fail("refused".to_owned()))
    }

    pub(super) fn unknown(&mut self, at: u64, request: Request) -> usize {
        self.add((at, u64::MAX), request, Outcome::Unknown("no answer".to_owned()))
    }

    fn add(&mut self, at: (u64, u64), request: Request, outcome: Outcome) -> usize {
        let id = self.ops.len();
        let number = u64::try_from(id).unwrap();
        self.ops.push(Op {
            id: number,
            process: number,
            node: 0,
            life: (1, 1),
            invoked: at.0 * 10,
            completed: at.1.saturating_mul(10),
            request,
            outcome,
        });
        id
    }

    /// On another member than the first.
    pub(super) fn on(&mut self, op: usize, node: usize, life: u32) {
        (self.ops[op].node, self.ops[op].life) = (node, (life, life));
    }

    pub(super) fn history(self) -> History {
        History::of(self.ops)
    }
}

/// A range's answer with these keys and values; their numbers do not matter.
pub(super) fn rows(pairs: &[(String, String)]) -> Answer {
    let kv = |(key, value): &(String, String)| kv(key, value, 2, 2, 1);
    let kvs: Vec<Kv> = pairs.iter().map(kv).collect();
    Answer::Range { count: i64::try_from(kvs.len()).unwrap(), kvs }
}

pub(super) fn kv(key: &str, value: &str, create: i64, modified: i64, version: i64) -> Kv {
    Kv { key: key.to_owned(), value: value.to_owned(), create, modified, version }
}

/// What a simulated history is like.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub ops: usize,
    pub clients: usize,
    pub registers: u64,
    /// Of 100 writes, so many have no answer.
    pub unknown_percent: u64,
    /// Whether sets and lists are used too.
    pub mixed: bool,
    /// Whether revisions without an owner are looked at in the end, as a run does.
    pub probed: bool,
}

impl Default for Shape {
    fn default() -> Self {
        Self { ops: 400, clients: 8, registers: 3, unknown_percent: 10, mixed: true, probed: true }
    }
}

/// A history of a correct store with several members, random overlaps and lost answers.
pub(super) fn good(seed: u64, shape: Shape) -> History {
    Simulation::new(seed, shape).run()
}

const MEMBERS: usize = 3;

#[derive(Debug)]
struct Pending {
    op: usize,
    applied: bool,
}

#[derive(Debug)]
struct Simulation {
    shape: Shape,
    random: Random,
    time: u64,
    store: Model,
    past: Vec<Model>,
    members: Vec<Model>,
    ops: Vec<Op>,
    clients: Vec<Option<Pending>>,
    /// Writes whose clients have given up, and which may still take effect.
    late: Vec<usize>,
    seen: BTreeMap<(usize, String), Option<Kv>>,
    written: u64,
}

impl Simulation {
    fn new(seed: u64, shape: Shape) -> Self {
        Self {
            shape,
            random: Random::new(seed, 77),
            time: 0,
            store: Model::default(),
            past: vec![Model::default(); 2],
            members: vec![Model::default(); MEMBERS],
            ops: Vec::new(),
            clients: (0..shape.clients).map(|_| None).collect(),
            late: Vec::new(),
            seen: BTreeMap::new(),
            written: 0,
        }
    }

    fn run(mut self) -> History {
        while self.ops.len() < self.shape.ops {
            self.time += 1;
            let client = self.random.index(self.clients.len());
            self.turn(client);
            if !self.late.is_empty() && self.random.percent(5) {
                let late = self.late.swap_remove(self.random.index(self.late.len()));
                self.apply(late, false);
            }
            if self.random.percent(10) {
                let member = self.random.index(MEMBERS);
                self.members[member] = self.store.clone();
            }
        }
        for client in 0..self.clients.len() {
            while self.clients[client].is_some() {
                self.time += 1;
                self.turn(client);
            }
        }
        self.read_all();
        let mut history = History::of(self.ops);
        if self.shape.probed {
            probe(&mut history, &self.past, self.time);
        }
        history
    }

    /// Asks, takes effect or answers.
    fn turn(&mut self, client: usize) {
        match self.clients[client].take() {
            None => self.clients[client] = Some(self.invoke(client)),
            Some(Pending { op, applied: false }) => {
                if self.ops[op].request.is_write()
                    && self.random.percent(self.shape.unknown_percent / 2)
                {
                    self.late.push(op);
                    return;
                }
                self.apply(op, true);
                self.clients[client] = Some(Pending { op, applied: true });
            }
            Some(Pending { op, applied: true }) => self.answer(client, op),
        }
    }

    fn answer(&mut self, client: usize, op: usize) {
        if self.ops[op].request.is_write() && self.random.percent(self.shape.unknown_percent / 2) {
            self.ops[op].outcome = Outcome::Unknown("no answer".to_owned());
            self.ops[op].completed = u64::MAX;
            return;
        }
        self.ops[op].completed = self.time;
        let op = &self.ops[op];
        let Some(response) = op.response() else { return };
        if op.request.is_serializable() {
            return;
        }
        for action in op.request.actions() {
            if let Action::Range(range) = action {
                let shown = response.answer.kvs().into_iter().find(|kv| kv.key == range.key);
                self.seen.insert((client, range.key.clone()), shown.cloned());
            }
        }
    }

    fn apply(&mut self, op: usize, is_awaited: bool) {
        let node = self.ops[op].node;
        let is_local = self.ops[op].request.is_serializable();
        let store = if is_local { &mut self.members[node] } else { &mut self.store };
        let answer = store.apply(&self.ops[op].request);
        let revision = store.revision();
        if !is_local {
            if self.shape.probed {
                self.past.resize(usize::try_from(revision).unwrap() + 1, self.store.clone());
            }
            self.members[node] = self.store.clone();
        }
        if is_awaited {
            let header = Header { revision, ..Header::default() };
            self.ops[op].outcome = Outcome::Ok(Response { header, answer });
        }
    }

    fn invoke(&mut self, client: usize) -> Pending {
        let request = self.request(client);
        let op = self.ops.len();
        self.push(client, request);
        Pending { op, applied: false }
    }

    fn push(&mut self, client: usize, request: Request) {
        let node = self.random.index(MEMBERS);
        let outcome = Outcome::Unknown("no answer".to_owned());
        self.ops.push(Op {
            id: u64::try_from(self.ops.len()).unwrap(),
            process: u64::try_from(client).unwrap(),
            node,
            life: (1, 1),
            invoked: self.time,
            // An operation that is answered gets its time then.
            completed: u64::MAX,
            request,
            outcome,
        });
    }

    fn request(&mut self, client: usize) -> Request {
        self.written += 1;
        let value = format!("{client}.{}", self.written);
        if self.shape.mixed && self.random.percent(50) {
            return if self.random.percent(50) {
                self.set(value)
            } else {
                self.list(client, &value)
            };
        }
        let key = format!("j/r/{}", self.random.below(self.shape.registers));
        match self.random.below(10) {
            0..3 => Request::range(RangeRequest::one(&key)),
            3 => Request::range(RangeRequest { serializable: true, ..RangeRequest::one(&key) }),
            4..7 => Request::put(key, value),
            7 => Request::delete(key),
            _ => {
                let target = match self.seen.get(&(client, key.clone())) {
                    Some(Some(kv)) if self.random.percent(50) => Target::Value(kv.value.clone()),
                    Some(Some(kv)) => Target::Modified(kv.modified),
                    Some(None) | None => Target::Modified(0),
                };
                Request::Txn {
                    compares: vec![Compare { key: key.clone(), target }],
                    success: vec![Action::Put { key: key.clone(), value }],
                    failure: vec![Action::Range(RangeRequest::one(&key))],
                }
            }
        }
    }

    fn set(&mut self, value: String) -> Request {
        let set = format!("j/s/{:06}/", self.written / 100);
        let serializable = self.random.percent(20);
        match self.random.below(3) {
            0 => Request::range(RangeRequest { serializable, ..RangeRequest::prefix(&set) }),
            _ => Request::put(format!("{set}{value}"), value),
        }
    }

    fn list(&mut self, client: usize, name: &str) -> Request {
        let lists = [0, 1].map(|n| format!("j/a/{:05}/{n}", self.written / 200));
        let known = lists.iter().all(|list| self.seen.contains_key(&(client, list.clone())));
        if !known || self.random.percent(40) {
            let success = lists.iter().map(|list| Action::Range(RangeRequest::one(list))).collect();
            return Request::Txn { compares: Vec::new(), success, failure: Vec::new() };
        }
        let (mut compares, mut success) = (Vec::new(), Vec::new());
        for (index, list) in lists.iter().enumerate() {
            let seen = self.seen.remove(&(client, list.clone())).flatten();
            let modified = seen.as_ref().map_or(0, |kv| kv.modified);
            compares.push(Compare { key: list.clone(), target: Target::Modified(modified) });
            if index == 1 && self.random.percent(50) {
                success.push(Action::Range(RangeRequest::one(list)));
                continue;
            }
            let before = seen.map_or_else(String::new, |kv| format!("{} ", kv.value));
            let value = format!("{before}{name}.{index}a {name}.{index}b");
            success.push(Action::Put { key: list.clone(), value });
        }
        Request::Txn { compares, success, failure: Vec::new() }
    }

    /// The last read of everything, from each member.
    fn read_all(&mut self) {
        for node in 0..MEMBERS {
            self.time += 1;
            self.members[node] = self.store.clone();
            let op = self.ops.len();
            self.push(1000, Request::range(RangeRequest::prefix("j/")));
            self.ops[op].node = node;
            self.apply(op, true);
            self.time += 1;
            self.answer(1000, op);
        }
    }
}

/// Looks at revisions without an owner, as the end of a run does.
fn probe(history: &mut History, past: &[Model], time: u64) {
    let newest = past.last().expect("there is a past").revision();
    let mut time = time;
    for revision in super::unowned_revisions(history) {
        let then = &past[usize::try_from(revision).unwrap()];
        let written =
            RangeRequest { revision, min_modified: revision, ..RangeRequest::prefix("j/") };
        let all = RangeRequest { revision, ..RangeRequest::prefix("j/r/") };
        for range in [written, all] {
            time += 2;
            let answer = then.range(&range);
            let header = Header { revision: newest, ..Header::default() };
            history.ops.push(Op {
                id: u64::try_from(history.ops.len()).unwrap(),
                process: 2000,
                node: 0,
                life: (1, 1),
                invoked: time,
                completed: time + 1,
                request: Request::range(range),
                outcome: Outcome::Ok(Response { header, answer }),
            });
        }
    }
}
