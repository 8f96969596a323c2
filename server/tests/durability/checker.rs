//! The revision checker: replays the history that the store tells by revision, and holds against it
//! what each client was told.
//!
//! Values are unique, so a put shows whose it is; what remains are revisions that only delete.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use keelson_api::client::Client;

use super::common::Reply;
use super::history::{Change, History, State, states};
use super::load::{Kind, Op};

pub(crate) struct Checker {
    /// State and change of each revision that is known, from `first` on; the first has no change.
    first: i64,
    known: Vec<(Change, State)>,
}

impl Checker {
    /// An empty store is at revision 1.
    pub(crate) fn new() -> Self {
        Self { first: 1, known: vec![(Change::default(), State::new())] }
    }

    pub(crate) fn revision(&self) -> i64 {
        self.first + i64::try_from(self.known.len()).unwrap() - 1
    }

    pub(crate) fn state(&self) -> &State {
        &self.known.last().expect("there is always one").1
    }

    /// Forgets what is below.
    pub(crate) fn compacted(&mut self, revision: i64) {
        let below = usize::try_from(revision - self.first).unwrap();
        self.known.drain(..below);
        self.first = revision;
    }

    fn at(&self, revision: i64) -> &(Change, State) {
        let known = usize::try_from(revision - self.first).ok().and_then(|n| self.known.get(n));
        known.unwrap_or_else(|| {
            panic!("revision {revision} was acknowledged, the newest is {}", self.revision())
        })
    }

    /// Checks what the clients of one round were told against what is there now.
    pub(crate) fn check(&mut self, ops: &[Op], news: History) {
        let from = self.revision();
        self.known.extend(news.revisions);
        let mut owners: BTreeMap<i64, &Op> = BTreeMap::new();
        for op in ops.iter().filter(|op| op.reply.is_some()) {
            if let Some(revision) = self.check_reply(op) {
                let other = owners.insert(revision, op);
                assert!(other.is_none(), "{op:?} and {other:?} have the same revision");
                assert!(revision > from, "{op:?} went into the past, {from} was there before");
            }
        }
        self.check_doubtful(ops, from, &mut owners);
        let nobody = (from + 1..=self.revision()).find(|revision| !owners.contains_key(revision));
        if let Some(revision) = nobody {
            panic!("nobody asked for revision {revision}: {:?}", self.at(revision).0);
        }
        check_order(ops);
    }

    /// One reply against the state it speaks of; the revision it made, if it made one.
    fn check_reply(&self, op: &Op) -> Option<i64> {
        let reply = op.reply.as_ref()?;
        let revision = reply.header().revision;
        let (change, state) = self.at(revision);
        match (&op.kind, reply) {
            (Kind::Read { key }, Reply::Range(r)) => {
                assert_eq!(r.kvs.first(), state.get(key), "{op:?}");
                return None;
            }
            (Kind::Put { key, .. }, Reply::Put(r)) => {
                assert_eq!(r.prev_kv.as_ref(), self.at(revision - 1).1.get(key), "{op:?}");
            }
            (Kind::Delete { key }, Reply::Delete(r)) => {
                if r.deleted == 0 {
                    assert!(!state.contains_key(key), "{op:?}");
                    return None;
                }
                assert_eq!(r.prev_kvs.first(), self.at(revision - 1).1.get(key), "{op:?}");
            }
            (Kind::Txn { guard, .. }, Reply::Txn(r)) => {
                let before = if r.succeeded { &self.at(revision - 1).1 } else { state };
                assert_eq!(holds(guard.as_ref(), before), r.succeeded, "{op:?}");
                if !r.succeeded {
                    return None;
                }
            }
            (kind, reply) => panic!("{kind:?} was answered with {reply:?}"),
        }
        assert_eq!(change, &self.effect(&op.kind, revision), "{op:?} wholly and alone");
        Some(revision)
    }

    /// What a write changes if it gets this revision.
    fn effect(&self, kind: &Kind, revision: i64) -> Change {
        let before = &self.at(revision - 1).1;
        let there =
            |keys: &[Bytes]| keys.iter().filter(|k| before.contains_key(*k)).cloned().collect();
        match kind {
            Kind::Put { key, value } => Change {
                puts: BTreeMap::from([(key.clone(), value.clone())]),
                deletes: BTreeSet::new(),
            },
            Kind::Delete { key } => {
                Change { puts: BTreeMap::new(), deletes: there(std::slice::from_ref(key)) }
            }
            Kind::Txn { puts, deletes, .. } => {
                Change { puts: puts.iter().cloned().collect(), deletes: there(deletes) }
            }
            Kind::Read { .. } => Change::default(),
        }
    }

    /// Gives the revisions that nobody was told of to operations without an answer: each at most
    /// once, and each revision must be the whole of its operation.
    fn check_doubtful<'a>(&self, ops: &'a [Op], from: i64, owners: &mut BTreeMap<i64, &'a Op>) {
        let doubtful = || ops.iter().filter(|op| op.reply.is_none());
        let by_name: HashMap<&[u8], &Op> = doubtful().map(|op| (op.name.as_bytes(), op)).collect();
        let mut used: BTreeSet<&str> = BTreeSet::new();
        for revision in from + 1..=self.revision() {
            if owners.contains_key(&revision) {
                continue;
            }
            let change = &self.at(revision).0;
            let owner = match change.puts.values().next() {
                Some(value) => by_name.get(value.split(|b| *b == b' ').next().unwrap()).copied(),
                None => doubtful().find(|op| {
                    matches!(&op.kind, Kind::Delete { .. })
                        && !used.contains(op.name.as_str())
                        && self.effect(&op.kind, revision) == *change
                }),
            };
            let Some(owner) = owner else { continue };
            assert_eq!(change, &self.effect(&owner.kind, revision), "{owner:?} at {revision}");
            if let Kind::Txn { guard, .. } = &owner.kind {
                assert!(holds(guard.as_ref(), &self.at(revision - 1).1), "{owner:?} at {revision}");
            }
            assert!(used.insert(&owner.name), "{owner:?} came in twice, again at {revision}");
            owners.insert(revision, owner);
        }
    }

    /// Reads everything that is known once more.
    pub(crate) async fn check_again(&self, client: &Client) {
        let states = states(client, self.first, self.revision()).await;
        assert_eq!(states.len(), self.known.len());
        for ((revision, now), (_, then)) in (self.first..).zip(&states).zip(&self.known) {
            assert_eq!(now, then, "the past has changed at {revision}");
        }
    }
}

/// Whether the condition of a transaction is met.
fn holds(guard: Option<&(Bytes, i64)>, state: &State) -> bool {
    guard.is_none_or(|(key, revision)| state.get(key).map_or(0, |kv| kv.mod_revision) == *revision)
}

/// Real time: what ended before another operation began has no later revision, and an earlier one
/// if the other made a revision of its own.
fn check_order(ops: &[Op]) {
    let answered = || ops.iter().filter(|op| op.reply.is_some());
    let revision = |op: &Op| op.reply.as_ref().map_or(0, |reply| reply.header().revision);
    let mut by_begin: Vec<&Op> = answered().collect();
    by_begin.sort_by_key(|op| op.began);
    let mut by_end: Vec<&Op> = answered().collect();
    by_end.sort_by_key(|op| op.ended);
    let mut ended = by_end.into_iter().peekable();
    let mut newest = 0;
    for op in by_begin {
        while let Some(earlier) = ended.next_if(|earlier| earlier.ended < op.began) {
            newest = newest.max(revision(earlier));
        }
        let is_put = matches!(op.kind, Kind::Put { .. });
        let lowest = if is_put { newest + 1 } else { newest };
        assert!(revision(op) >= lowest, "{op:?} began after {newest} had been told");
    }
}
