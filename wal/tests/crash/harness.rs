//! A log beside a model that knows what was accepted and what was acknowledged.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use keelson_wal::disk::FaultyDisk;
use keelson_wal::{
    Done, Entry, EntryId, Error, LogState, Options, Recovery, Term, Wal, WriterMode,
};

pub(crate) const DIR: &str = "/log";

/// Small segments that roll often, nothing kept in memory, no threads.
pub(crate) fn options() -> Options {
    Options {
        segment_bytes: 8 << 10,
        ring_bytes: 0,
        nonce_seed: 7,
        writer: WriterMode::Inline,
        ..Options::default()
    }
}

pub(crate) fn open(disk: &FaultyDisk) -> Result<(Wal, Recovery), Error> {
    Wal::open(Arc::new(disk.clone()), Path::new(DIR), options())
}

pub(crate) fn segments(disk: &FaultyDisk) -> Vec<PathBuf> {
    let mut paths = disk.paths();
    paths.retain(|path| path.extension().is_some_and(|ext| ext == "wal"));
    paths
}

/// A splitmix sequence.
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// The contents of a log.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Contents {
    pub(crate) purged: Option<EntryId>,
    pub(crate) last: Option<EntryId>,
    pub(crate) entries: BTreeMap<u64, Entry>,
    pub(crate) vote: Option<Bytes>,
}

impl Contents {
    /// Everything a log says about itself, each payload read and compared with what it was.
    pub(crate) fn of(wal: &Wal) -> Result<Self, Error> {
        let LogState { purged, last } = wal.state();
        let entries = wal.entries(0..u64::MAX, usize::MAX)?;
        let entries = entries.into_iter().map(|entry| (entry.id.index.0, entry)).collect();
        Ok(Self { purged, last, entries, vote: wal.vote() })
    }

    fn next_index(&self) -> u64 {
        self.last.map_or(1, |last| last.index.0 + 1)
    }

    fn push(&mut self, entry: Entry) {
        self.last = Some(entry.id);
        self.entries.insert(entry.id.index.0, entry);
    }

    fn truncate(&mut self, last_kept: Option<EntryId>) {
        self.last = last_kept.or(self.purged);
        let end = self.next_index();
        self.entries.retain(|index, _| *index < end);
    }

    fn purge(&mut self, upto: EntryId) {
        self.purged = self.purged.max(Some(upto));
        self.last = if self.last.is_none_or(|last| last.index < upto.index) {
            Some(upto)
        } else {
            self.last
        };
        self.entries.retain(|index, _| *index > upto.index.0);
    }
}

/// One operation.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Append(Vec<Entry>),
    Truncate(Option<EntryId>),
    Purge(EntryId),
    Vote(Bytes),
    Committed(Bytes),
}

/// The contents after each record ever accepted, and how many of these must survive.
pub(crate) struct Model {
    pub(crate) states: Vec<Contents>,
    /// Index into `states` of the newest acknowledged one.
    pub(crate) acked: Arc<AtomicUsize>,
    pub(crate) marks: Vec<Option<Bytes>>,
    term: u64,
    made: u64,
}

impl Model {
    pub(crate) fn new() -> Self {
        Self::from(Contents::default(), None, 1, 0)
    }

    fn from(contents: Contents, mark: Option<Bytes>, term: u64, made: u64) -> Self {
        let acked = Arc::new(AtomicUsize::new(0));
        Self { states: vec![contents], acked, marks: vec![mark], term, made }
    }

    pub(crate) fn now(&self) -> &Contents {
        self.states.last().expect("there is a first state")
    }

    pub(crate) fn entry(&mut self, index: u64, len: usize) -> Entry {
        self.made += 1;
        let mut payload = format!("entry {index} made {} ", self.made).into_bytes();
        payload.resize(payload.len().max(len), (self.made % 251) as u8);
        Entry { id: EntryId::new(self.term, index), payload: payload.into() }
    }

    pub(crate) fn append(&mut self, count: u64, len: usize) -> Step {
        let first = self.now().next_index();
        Step::Append((first..first + count).map(|index| self.entry(index, len)).collect())
    }

    /// Some operation that is allowed now.
    pub(crate) fn random_step(&mut self, chance: &mut Chance) -> Step {
        let now = self.now().clone();
        match chance.below(20) {
            0 | 1 => {
                self.term += 1;
                Step::Vote(Bytes::from(format!("vote {}", self.term)))
            }
            2 => {
                self.made += 1;
                Step::Committed(Bytes::from(format!("committed {}", self.made)))
            }
            3 | 4 => {
                let kept = now.entries.values().map(|entry| entry.id).chain(now.purged);
                let kept: Vec<_> = kept.collect();
                let at = chance.below(kept.len() as u64 + 1) as usize;
                self.term += 1;
                Step::Truncate(kept.get(at).copied())
            }
            5 | 6 => match now.entries.values().nth(chance.below(30) as usize) {
                Some(entry) => Step::Purge(entry.id),
                None => Step::Purge(EntryId::new(self.term, now.next_index() + 3)),
            },
            7 => Step::Purge(EntryId { term: Term(self.term), ..self.beyond(chance) }),
            _ => {
                let count = 1 + chance.below(4);
                let len = if chance.below(8) == 0 { 1500 } else { chance.below(300) } as usize;
                self.append(count, len)
            }
        }
    }

    fn beyond(&self, chance: &mut Chance) -> EntryId {
        EntryId::new(self.term, self.now().next_index() + chance.below(5))
    }

    /// Runs a step on both; an error leaves the model as it was.
    pub(crate) fn run(&mut self, wal: &Wal, step: Step) -> Result<(), Error> {
        let mut states = vec![self.now().clone()];
        let mut next = self.now().clone();
        match &step {
            Step::Append(entries) => {
                for entry in entries {
                    next.push(entry.clone());
                    states.push(next.clone());
                }
            }
            Step::Truncate(last_kept) => next.truncate(*last_kept),
            Step::Purge(upto) => next.purge(*upto),
            Step::Vote(vote) => next.vote = Some(vote.clone()),
            Step::Committed(mark) => {
                wal.save_committed(mark.clone())?;
                self.marks.push(Some(mark.clone()));
                return Ok(());
            }
        }
        if !matches!(step, Step::Append(_)) {
            states.push(next);
        }
        let before = self.states.len();
        self.states.extend(states.drain(1..));
        let (acked, end) = (Arc::clone(&self.acked), self.states.len() - 1);
        let done: Done = Box::new(move |result| {
            if result.is_ok() {
                acked.store(end, Ordering::SeqCst);
            }
        });
        let result = match step {
            Step::Append(entries) => wal.append(entries, done),
            Step::Truncate(last_kept) => wal.truncate_after(last_kept, done),
            Step::Purge(upto) => wal.purge(upto, done),
            Step::Vote(vote) => wal.save_vote(vote, done),
            Step::Committed(_) => Ok(()),
        };
        if result.is_err() {
            self.states.truncate(before);
        }
        result
    }

    pub(crate) fn acked(&self) -> usize {
        self.acked.load(Ordering::SeqCst)
    }

    /// Checks that the log came back as some state that was not yet given up, and not older than
    /// the newest acknowledged one; the model goes on from there.
    pub(crate) fn check_recovered(&mut self, wal: &Wal, context: &str) {
        let found = Contents::of(wal).unwrap_or_else(|e| panic!("{context}: can't read: {e}"));
        let acked = self.acked();
        let at = self.states.iter().skip(acked).position(|state| *state == found);
        if at.is_none() {
            let older = self.states.iter().position(|state| *state == found);
            panic!(
                "{context}: recovered {:?} to {:?}, {} entries; that is state {older:?} of {}, \
                 acknowledged was {acked}: {:?} to {:?}, {} entries",
                found.purged,
                found.last,
                found.entries.len(),
                self.states.len(),
                self.states[acked].purged,
                self.states[acked].last,
                self.states[acked].entries.len(),
            );
        }
        let mark = wal.committed();
        assert!(self.marks.contains(&mark), "{context}: committed mark {mark:?} was never saved");
        *self = Self::from(found, mark, self.term + 1, self.made);
    }
}

/// Opens and checks, then shows that what opening reported does not depend on what was not yet
/// synced: the power goes at once, and the log must come back the same.
pub(crate) fn reopen_twice(disk: &FaultyDisk, model: &mut Model, context: &str) -> Wal {
    let (wal, _) = open(disk).unwrap_or_else(|e| panic!("{context}: {e}"));
    model.check_recovered(&wal, context);
    disk.crash(keelson_wal::disk::Keep::Nothing);
    drop(wal);
    let (wal, _) = open(disk).unwrap_or_else(|e| panic!("{context}, again: {e}"));
    model.check_recovered(&wal, context);
    wal
}
