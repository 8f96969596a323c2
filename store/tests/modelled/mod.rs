//! Runs steps on a store and on the reference model side by side, and compares all that can be
//! asked of both.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use keelson_store::command::{Command, KeyRange, Range, codec};
use keelson_store::engine::{Engine, MemoryEngine, RocksEngine, RocksOptions};
use keelson_store::events::{Event, Since};
use keelson_store::response::{RangeResponse, Rejection};
use keelson_store::testing::model::Model;
use keelson_store::testing::shrink::{minimise, simpler_commands};
use keelson_store::types::{KeyValue, LeaseId, LogIndex, LogPosition, Revision, Term};
use keelson_store::{Applier, Lease, LogEntry, Options, Payload, ReadError, Store, View};
use tempfile::TempDir;

/// What happens to a store.
#[derive(Clone, Debug)]
#[allow(dead_code, reason = "each of the tests that share this uses a part")]
pub(crate) enum Step {
    /// One call of apply, of these entries.
    Apply(Vec<Vec<Command>>),
    /// A range on the newest view.
    Range(Range),
    /// Everything at every revision, and the hashes.
    CheckAll,
    /// Keeps the newest view, in place of the one kept before, whose answers are checked once more.
    Hold,
    /// Makes durable what is there.
    Flush,
    /// Removes what compaction has made unreadable.
    RemoveGarbage,
    /// Loses what is not durable, opens again and replays the log.
    Crash,
}

/// On what the store runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum On {
    Memory,
    Rocks,
}

/// Where the entry with an index stands: leaders change now and then.
pub(crate) fn position(index: u64) -> LogPosition {
    LogPosition { term: Term(1 + index / 16), index: LogIndex(index) }
}

/// Hashes by revision and compacted revision.
pub(crate) type Hashes = BTreeMap<(Revision, Revision), u32>;

enum Ground {
    Memory(Arc<MemoryEngine>),
    Rocks(Arc<RocksEngine>, TempDir),
}

struct Pair {
    ground: Ground,
    options: Options,
    store: Store,
    applier: Applier,
    log: Vec<LogEntry>,
    model: Model,
    held: Option<(Arc<View>, Model)>,
    hashes: Hashes,
}

/// Runs the steps; if store and model disagree, looks for the shortest sequence that shows it and
/// panics with that.
#[expect(clippy::print_stderr, reason = "the search for a shorter sequence may be cut short")]
pub(crate) fn check(name: &str, on: On, options: Options, steps: Vec<Step>) -> Hashes {
    let error = match run(on, options, &steps) {
        Ok(hashes) => return hashes,
        Err(error) => error,
    };
    eprintln!("{name} on {on:?} fails, looking for a shorter sequence: {error}");
    let runs_max = if on == On::Memory { 4000 } else { 100 };
    let fails = |steps: &[Step]| run(on, options, steps).is_err();
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let steps = minimise(steps, runs_max, simpler_steps, fails);
    std::panic::set_hook(hook);
    let last = run(on, options, &steps).err();
    panic!("{name} on {on:?}: {error}\nshortest: {steps:#?}\nends in: {last:?}");
}

/// Runs the steps, a panic of the store being one more way to disagree.
fn run(on: On, options: Options, steps: &[Step]) -> Result<Hashes, String> {
    let run = || {
        let mut pair = Pair::new(on, options);
        steps.iter().try_for_each(|step| pair.step(step))?;
        Ok(pair.hashes)
    };
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
        Err(format!("panicked: {}", text.unwrap_or_default()))
    })
}

fn simpler_steps(step: &Step) -> Vec<Step> {
    let Step::Apply(entries) = step else { return Vec::new() };
    let mut simpler = Vec::new();
    for (at, commands) in entries.iter().enumerate() {
        let mut change = |commands: Option<Vec<Command>>| {
            let mut entries = entries.clone();
            entries.splice(at..=at, commands);
            simpler.push(Step::Apply(entries));
        };
        change(None);
        for (at, command) in commands.iter().enumerate() {
            let mut fewer = commands.clone();
            fewer.remove(at);
            change(Some(fewer));
            for command in simpler_commands(command) {
                let mut changed = commands.clone();
                changed[at] = command;
                change(Some(changed));
            }
        }
    }
    simpler
}

impl Pair {
    fn new(on: On, options: Options) -> Self {
        let ground = match on {
            On::Memory => Ground::Memory(Arc::new(MemoryEngine::new())),
            On::Rocks => {
                let dir = tempfile::tempdir().expect("a folder for the test");
                Ground::Rocks(open_rocks(&dir), dir)
            }
        };
        let (store, applier) = Store::open(ground.engine(), options).expect("an empty store opens");
        let (log, model) = (Vec::new(), Model::default());
        Self { ground, options, store, applier, log, model, held: None, hashes: Hashes::new() }
    }

    fn step(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Apply(entries) => self.apply(entries),
            Step::Range(range) => check_range(&self.store.view(), &self.model, range),
            Step::CheckAll => self.check_all(),
            Step::Hold => {
                let old = self.held.replace((self.store.view(), self.model.clone()));
                old.map_or(Ok(()), |(view, model)| check_history(&view, &model))
            }
            Step::Flush => self.store.flush().map_err(|error| error.to_string()),
            Step::RemoveGarbage => {
                self.store.physical_compaction_step().map_err(|error| error.to_string())?;
                self.check_all()
            }
            Step::Crash => self.crash(),
        }
    }

    fn apply(&mut self, entries: &[Vec<Command>]) -> Result<(), String> {
        let first = self.log.len();
        for commands in entries {
            let position = position(u64::try_from(self.log.len()).expect("a short log") + 1);
            let payload = Payload::Commands(codec::encode(commands));
            self.log.push(LogEntry { position, payload, wanted: true });
        }
        let outcomes = self.applier.apply(&self.log[first..]).map_err(|error| error.to_string())?;
        assert_eq!(outcomes.len(), entries.len());
        for ((commands, outcomes), entry) in entries.iter().zip(outcomes).zip(&self.log[first..]) {
            assert_eq!(outcomes.len(), commands.len());
            self.model.enter(entry.position);
            for (command, outcome) in commands.iter().zip(outcomes) {
                let expected = self.model.apply(command);
                agree(&outcome, &expected, command)?;
            }
        }
        let view = self.store.view();
        agree(&view.revision(), &self.model.revision(), &"revision after a batch")?;
        agree(&view.compacted(), &self.model.compacted(), &"compacted revision after a batch")?;
        check_leases(&view, &self.model, 2)
    }

    /// Every revision that can be read, and the two next to them.
    fn check_all(&mut self) -> Result<(), String> {
        let view = self.store.view();
        check_history(&view, &self.model)?;
        check_events(&self.store, &self.model)?;
        check_leases(&view, &self.model, 1000)?;
        for revision in readable(&self.model) {
            let hashed = view.hash_kv(revision).map_err(|error| error.to_string())?;
            let at = (hashed.revision, hashed.compacted);
            agree(&at, &(revision, self.model.compacted()), &"what was hashed")?;
            let before = *self.hashes.entry(at).or_insert(hashed.hash);
            agree(&hashed.hash, &before, &format_args!("hash at {at:?}"))?;
        }
        Ok(())
    }

    fn crash(&mut self) -> Result<(), String> {
        self.held = None;
        let persisted = self.store.persisted().map_err(|error| error.to_string())?;
        self.ground = self.ground.after_a_crash();
        (self.store, self.applier) =
            Store::open(self.ground.engine(), self.options).map_err(|error| error.to_string())?;
        agree(&self.applier.applied(), &persisted, &"what a crash left")?;
        for entry in &mut self.log {
            entry.wanted = false;
        }
        for entries in self.log.chunks(7) {
            self.applier.apply(entries).map_err(|error| error.to_string())?;
        }
        self.check_all()
    }
}

impl Ground {
    fn engine(&self) -> Arc<dyn Engine> {
        match self {
            Self::Memory(engine) => Arc::clone(engine) as Arc<dyn Engine>,
            Self::Rocks(engine, _) => Arc::clone(engine) as Arc<dyn Engine>,
        }
    }

    /// What a killed process would leave behind. Closing RocksDB would flush, so its files are
    /// copied while it is open.
    fn after_a_crash(&self) -> Self {
        match self {
            Self::Memory(engine) => Self::Memory(Arc::new(engine.crash())),
            Self::Rocks(_, from) => {
                // Its own threads may still add and drop files: a copy counts if none did.
                let to = std::iter::repeat_with(|| copy_if_at_rest(from.path()))
                    .take(1000)
                    .find_map(|copied| copied.ok().flatten())
                    .expect("rests at last");
                Self::Rocks(open_rocks(&to), to)
            }
        }
    }
}

/// A copy of the files in a folder, unless any of them came, went or grew meanwhile.
fn copy_if_at_rest(from: &Path) -> std::io::Result<Option<TempDir>> {
    let list = || -> std::io::Result<BTreeMap<_, _>> {
        let files = std::fs::read_dir(from)?;
        files.map(|file| file.and_then(|f| Ok((f.file_name(), f.metadata()?.len())))).collect()
    };
    let before = list()?;
    let to = tempfile::tempdir()?;
    for name in before.keys().filter(|name| *name != "LOCK") {
        std::fs::copy(from.join(name), to.path().join(name))?;
    }
    let at_rest = list()? == before;
    Ok(at_rest.then_some(to))
}

fn open_rocks(dir: &TempDir) -> Arc<RocksEngine> {
    let small = RocksOptions { memtable_bytes: 4 << 20, block_cache_bytes: 4 << 20 };
    Arc::new(RocksEngine::open(dir.path(), &small).expect("the folder opens"))
}

fn readable(model: &Model) -> impl Iterator<Item = Revision> + use<> {
    (model.compacted().0.max(1)..=model.revision().0).map(Revision)
}

/// Ranges and counts over everything and over parts, at every revision.
fn check_history(view: &View, model: &Model) -> Result<(), String> {
    let outside = [Revision(model.compacted().0 - 1), Revision(model.revision().0 + 1)];
    for revision in readable(model).chain(outside) {
        for (key, end) in [(&b"\0"[..], &b"\0"[..]), (b"a", b"b"), (b"a/", b"c"), (b"q", b"\0")] {
            let range = KeyRange { key: key.to_vec().into(), end: end.to_vec().into() };
            let range = Range { range, revision, ..Range::default() };
            check_range(view, model, &range)?;
            check_range(view, model, &Range { count_only: true, ..range.clone() })?;
            check_range(view, model, &Range { limit: 1, ..range })?;
        }
    }
    Ok(())
}

/// Bytes of a slice of events: a few records.
const SLICE_BYTES: usize = 100;

/// The events from each revision to the next one turn the model's state at the one into that at the
/// other, they say what was before, and memory tells the same as the table.
fn check_events(store: &Store, model: &Model) -> Result<(), String> {
    let view = store.view();
    let first = Revision(model.compacted().0.max(1));
    let mut events = Vec::new();
    let mut position = first;
    while position <= view.revision() {
        let slice = view.events(position, SLICE_BYTES, &mut |_| true);
        let slice = slice.map_err(|error| error.to_string())?;
        assert!(slice.next > position, "a slice brings its reader further");
        events.extend(slice.events);
        position = slice.next;
    }
    let mut rest = &events[..];
    for revision in readable(model) {
        let (now, later) = rest.split_at(rest.partition_point(|e| e.revision() <= revision));
        rest = later;
        assert!(now.iter().all(|event| event.revision() == revision), "in order: {now:?}");
        if revision == first {
            continue;
        }
        let before = state(model, Revision(revision.0 - 1));
        let mut state_now = before.clone();
        for event in now {
            let was = view.before(event).map_err(|error| error.to_string())?;
            // What an event creates had nothing before, whatever the same revision deleted.
            let creates = !event.deletion && event.kv.create_revision == revision;
            let expected = before.get(&event.kv.key).filter(|_| !creates);
            agree(&was.as_ref(), &expected, &event)?;
            match event.deletion {
                true => state_now.remove(&event.kv.key),
                false => state_now.insert(event.kv.key.clone(), event.kv.clone()),
            };
        }
        agree(&state_now, &state(model, revision), &format_args!("after events at {revision:?}"))?;
    }
    for position in readable(model) {
        let Since::Batches(batches, next) = store.events().since(position) else { continue };
        agree(&next, &Revision(view.revision().0 + 1), &"what memory waits for")?;
        let recent = batches.iter().flat_map(|batch| batch.events());
        let told = |event: &Event| (event.deletion, event.kv.clone());
        let recent: Vec<_> = recent.filter(|e| e.revision() >= position).map(told).collect();
        let from = events.partition_point(|event| event.revision() < position);
        let table: Vec<_> = events[from..].iter().map(told).collect();
        agree(&recent, &table, &format_args!("events in memory from {position:?}"))?;
    }
    let too_early = view.events(Revision(first.0 - 1), SLICE_BYTES, &mut |_| true);
    let refused = matches!(too_early, Err(ReadError::Compacted));
    agree(&refused, &(model.compacted().0 > 0), &"events from below the compacted revision")
}

fn state(model: &Model, revision: Revision) -> BTreeMap<Bytes, KeyValue> {
    let range = KeyRange { key: Bytes::from_static(b"\0"), end: Bytes::from_static(b"\0") };
    let kvs = model.range(&Range { range, revision, ..Range::default() }).expect("readable").kvs;
    kvs.into_iter().map(|kv| (kv.key.clone(), kv)).collect()
}

/// All leases and what hangs on them, read in slices of `limit`.
fn check_leases(view: &View, model: &Model, limit: usize) -> Result<(), String> {
    let mut leases: Vec<Lease> = Vec::new();
    loop {
        let from = leases.last().map_or(Some(i64::MIN), |last| last.id.0.checked_add(1));
        let Some(from) = from else { break };
        let found = view.leases(LeaseId(from), limit).map_err(|error| error.to_string())?;
        if found.is_empty() {
            break;
        }
        leases.extend(found);
    }
    let expected: Vec<Lease> = model.now().leases.values().copied().collect();
    agree(&leases, &expected, &"the leases")?;
    for id in [1, 2, 0x7700, 0x7777, i64::MAX, -1].map(LeaseId) {
        let mut keys = Vec::new();
        loop {
            let after = keys.last().cloned();
            let slice = view.lease_keys(id, after.as_deref(), limit);
            let slice = slice.map_err(|error| error.to_string())?;
            if slice.is_empty() {
                break;
            }
            keys.extend(slice);
        }
        let expected: Vec<_> = model.lease_keys(id).cloned().collect();
        agree(&keys, &expected, &format_args!("the keys of {id:?}"))?;
        let lease = view.lease(id).map_err(|error| error.to_string())?;
        agree(&lease, &model.now().leases.get(&id).copied(), &id)?;
    }
    Ok(())
}

fn check_range(view: &View, model: &Model, range: &Range) -> Result<(), String> {
    let mut kvs = Vec::new();
    let answer = match view.range(range, &mut |row| {
        kvs.push(row.to_owned());
        std::ops::ControlFlow::Continue(())
    }) {
        Ok(summary) => {
            let (count, more) = (summary.count, summary.more);
            Ok(RangeResponse { revision: view.revision(), kvs, more, count })
        }
        Err(ReadError::Compacted) => Err(Rejection::Compacted),
        Err(ReadError::FutureRevision) => Err(Rejection::FutureRevision),
        Err(error @ ReadError::Store(_)) => return Err(error.to_string()),
    };
    agree::<Result<RangeResponse, Rejection>>(&answer, &model.range(range), range)
}

fn agree<T: PartialEq + Debug>(got: &T, expected: &T, of: &impl Debug) -> Result<(), String> {
    if got == expected {
        return Ok(());
    }
    Err(format!("{of:?}\n  store answers {got:?}\n  model answers {expected:?}"))
}
