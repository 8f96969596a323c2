//! The store as everybody but the applier holds it: views to read, and the upkeep that no answer
//! depends on.

use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use parking_lot::Mutex;

use crate::apply::Applier;
use crate::engine::{Engine, RocksEngine, RocksOptions, Sizes, Table, WriteBatch};
use crate::error::{Error, corrupt};
use crate::events::{Event, EventLog};
use crate::metrics::Metrics;
use crate::mvcc::compaction::{Cuts, Pin, Pins};
use crate::mvcc::view::View;
use crate::options::Options;
use crate::schema::meta::{self, State};
use crate::types::{LogPosition, Revision};

use crate::apply::Start;

/// A handle to the store. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    shared: Arc<Shared>,
}

/// What the handles and the applier share.
#[derive(Debug)]
pub(crate) struct Shared {
    source: ArcSwap<Source>,
    view: ArcSwap<View>,
    events: EventLog,
    metrics: Arc<Metrics>,
}

/// Where the data is. Another one takes its place when the store is replaced; views of the former
/// hold on to it for as long as they are read.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) engine: Arc<dyn Engine>,
    pins: Pins,
    physical: Mutex<Physical>,
}

impl Source {
    fn new(engine: Arc<dyn Engine>) -> Self {
        let physical = Physical { cut_below: Revision::NEVER, removed_to: Revision::NEVER };
        Self { engine, pins: Pins::default(), physical: Mutex::new(physical) }
    }

    pub(crate) fn pin(&self, readable: Revision) -> Arc<Pin> {
        self.pins.pin(readable)
    }
}

/// What is read when a store begins, before anything is applied to it.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) source: Source,
    pub(crate) state: State,
    pub(crate) cuts: Cuts,
    pub(crate) start: Start,
    pub(crate) view: View,
}

impl Opened {
    pub(crate) fn read(engine: Arc<dyn Engine>, metrics: &Arc<Metrics>) -> Result<Self, Error> {
        check_schema(&*engine)?;
        let snapshot = engine.snapshot();
        let state = read_state(snapshot.get(Table::Meta, meta::STATE)?)?;
        let cuts = read_cuts(snapshot.get(Table::Meta, meta::COMPACTION)?)?;
        let start = Start::read(&*snapshot, state.revision)?;
        let source = Source::new(engine);
        let view = View::new(
            state,
            snapshot,
            start.counts.view(),
            (start.zones.map(), start.zones.reports()),
            Arc::clone(metrics),
            source.pin(state.compacted),
        );
        Ok(Self { source, state, cuts, start, view })
    }
}

/// What an engine holds, as far as consensus is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The last log entry in it.
    pub applied: Option<LogPosition>,
    /// What the consensus layer stored about the members.
    pub membership: Option<Bytes>,
}

impl Held {
    /// Reads it from an engine that no store has been opened on.
    ///
    /// # Errors
    /// It cannot be read, or another version of this code wrote it.
    pub fn read(engine: &dyn Engine) -> Result<Self, Error> {
        check_schema(engine)?;
        let snapshot = engine.snapshot();
        let state = read_state(snapshot.get(Table::Meta, meta::STATE)?)?;
        let membership = snapshot.get(Table::Meta, meta::MEMBERSHIP)?;
        Ok(Self { applied: state.applied, membership })
    }
}

/// How far removal has come since the store was opened.
#[derive(Debug)]
struct Physical {
    cut_below: Revision,
    removed_to: Revision,
}

/// What a step of physical compaction reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PhysicalProgress {
    /// The compacted revision whose removal pass is done and durable.
    pub done: Revision,
    /// The store's compacted revision; more than `done` while an older view is being read.
    pub wanted: Revision,
}

impl Store {
    /// Opens the store in a folder, making it if there is none.
    ///
    /// # Errors
    /// It cannot be opened or read.
    pub fn open_dir(
        dir: &Path,
        rocks: &RocksOptions,
        options: Options,
    ) -> Result<(Self, Applier), Error> {
        Self::open(Arc::new(RocksEngine::open(dir, rocks)?), options)
    }

    /// Opens the store that an engine holds, and the one applier that may write to it.
    ///
    /// # Errors
    /// It cannot be read, or another version of this code wrote it.
    pub fn open(engine: Arc<dyn Engine>, options: Options) -> Result<(Self, Applier), Error> {
        let metrics = Arc::new(Metrics::default());
        let Opened { source, state, cuts, start, view } = Opened::read(engine, &metrics)?;
        let shared = Arc::new(Shared {
            source: ArcSwap::from_pointee(source),
            events: EventLog::new(options.event_log_bytes, view.revision()),
            view: ArcSwap::from_pointee(view),
            metrics,
        });
        let applier = Applier::new(Arc::clone(&shared), state, cuts, start, options);
        Ok((Self { shared }, applier))
    }

    /// Superseded versions that readers have stepped over; a flush makes them go away.
    #[must_use]
    pub fn stale_steps(&self) -> u64 {
        self.shared.source().engine.stale_steps()
    }

    /// The newest published state.
    #[must_use]
    pub fn view(&self) -> Arc<View> {
        self.shared.view()
    }

    /// The newest events. They are published after the view that they led to.
    #[must_use]
    pub fn events(&self) -> &EventLog {
        &self.shared.events
    }

    /// The last log entry that has been applied and published.
    #[must_use]
    pub fn applied(&self) -> Option<LogPosition> {
        self.view().applied()
    }

    /// The last log entry whose effects a crash right now would leave: the log may be purged up
    /// to here, and no further.
    ///
    /// # Errors
    /// The store failed.
    pub fn persisted(&self) -> Result<Option<LogPosition>, Error> {
        Ok(self.persisted_state()?.applied)
    }

    /// What the consensus layer last stored about the members.
    ///
    /// # Errors
    /// The store failed.
    pub fn membership(&self) -> Result<Option<Bytes>, Error> {
        self.view().membership()
    }

    /// Makes everything applied so far durable. Blocks for as long as that takes.
    ///
    /// # Errors
    /// The store failed.
    pub fn flush(&self) -> Result<(), Error> {
        Ok(self.shared.source().engine.flush()?)
    }

    /// Copies the store into `dir`, which must not exist. The copy holds everything applied
    /// before the call, and maybe more: what it holds is read from inside it.
    ///
    /// # Errors
    /// The store failed, or `dir` cannot be made.
    pub fn checkpoint(&self, dir: &Path) -> Result<(), Error> {
        Ok(self.shared.source().engine.checkpoint(dir)?)
    }

    /// How much room the store takes.
    ///
    /// # Errors
    /// The store failed.
    pub fn sizes(&self) -> Result<Sizes, Error> {
        Ok(self.shared.source().engine.sizes()?)
    }

    /// What the store did since it was opened.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    /// Removes what compaction has made unreadable, as far as it may be: nobody can observe it,
    /// and members may differ in it. To be called now and then, after compactions and until
    /// [`PhysicalProgress::done`] is what was wanted, from a thread of the caller's; it works for
    /// as long as it takes to rewrite the table of deletions, and flushes first if the compaction
    /// is not durable yet. May be stopped at any moment by a crash.
    ///
    /// # Errors
    /// The store failed.
    pub fn physical_compaction_step(&self) -> Result<PhysicalProgress, Error> {
        self.shared.source().remove(self.view().compacted())
    }

    fn persisted_state(&self) -> Result<State, Error> {
        self.shared.source().persisted_state()
    }
}

impl Source {
    fn remove(&self, wanted: Revision) -> Result<PhysicalProgress, Error> {
        let mut physical = self.physical.lock();
        // A crash must not come back to a compacted revision that still reads what is removed.
        if self.persisted_state()?.compacted < wanted {
            self.engine.flush()?;
        }
        let durable = self.persisted_state()?.compacted;
        let readable = self.pins.oldest().map_or(durable, |oldest| oldest.min(durable));
        self.remove_below(&mut physical, readable)?;
        Ok(PhysicalProgress { done: physical.removed_to, wanted })
    }

    fn remove_below(&self, physical: &mut Physical, readable: Revision) -> Result<(), Error> {
        let engine = &self.engine;
        let cuts = read_cuts(engine.persisted_meta(meta::COMPACTION)?)?;
        if let Some(below) = cuts.below(readable).filter(|below| *below > physical.cut_below) {
            engine.cut_log_below(below)?;
            physical.cut_below = below;
        }
        if readable > physical.removed_to {
            engine.set_deleted_floor(readable);
            engine.sweep_deleted()?;
            physical.removed_to = readable;
        }
        Ok(())
    }

    fn persisted_state(&self) -> Result<State, Error> {
        read_state(self.engine.persisted_meta(meta::STATE)?)
    }
}

impl Shared {
    pub(crate) fn view(&self) -> Arc<View> {
        self.view.load_full()
    }

    /// Shows a view, and then what led to it: whoever sees events can read what they led to.
    pub(crate) fn publish(&self, view: Arc<View>, events: Vec<Event>) {
        let revision = view.revision();
        self.view.store(view);
        self.events.append(events, revision);
    }

    pub(crate) fn source(&self) -> Arc<Source> {
        self.source.load_full()
    }

    /// Shows another source's data from now on.
    pub(crate) fn replace(&self, source: Source, view: View) {
        // A step of removal that is under way keeps to the source it began with. One that begins
        // between the two lines finds nothing it might remove too early: the new source's pins
        // are held by the view that is about to be shown.
        self.source.store(Arc::new(source));
        let revision = view.revision();
        self.view.store(Arc::new(view));
        self.events.restart(revision);
    }

    pub(crate) fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }
}

/// A new store is marked with the version of its schema, an old one must have this code's.
fn check_schema(engine: &dyn Engine) -> Result<(), Error> {
    let known = meta::SCHEMA_VERSION;
    let mut found = None;
    engine.get_with(Table::Meta, meta::SCHEMA, &mut |bytes| found = bytes.first().copied())?;
    match found {
        Some(found) if found == known => Ok(()),
        Some(found) => Err(Error::Schema { found, known }),
        None => {
            let mut batch = WriteBatch::default();
            batch.put(Table::Meta, meta::SCHEMA, &[known]);
            engine.write(&batch)?;
            // Empty as it is, it is this code's from now on.
            Ok(engine.flush()?)
        }
    }
}

fn read_state(record: Option<Bytes>) -> Result<State, Error> {
    let Some(record) = record else { return Ok(State::EMPTY) };
    State::decode(&record).map_err(corrupt(Table::Meta, meta::STATE))
}

fn read_cuts(record: Option<Bytes>) -> Result<Cuts, Error> {
    let Some(record) = record else { return Ok(Cuts::default()) };
    let pending =
        meta::decode_compaction(&record).map_err(corrupt(Table::Meta, meta::COMPACTION))?;
    Ok(Cuts::new(pending))
}
