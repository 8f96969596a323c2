//! The applier: takes committed entries, writes them as one batch, publishes what came of it.

use std::sync::Arc;

use crate::command::codec;
use crate::engine::{Blocks, Bounds, Direction, Engine, Snapshot};
use crate::error::Error;
use crate::lease::LeaseChange;
use crate::metrics::Metrics;
use crate::mvcc::compaction::{Cuts, Pin};
use crate::mvcc::counted_index::{Builder, CountedIndex, Cut};
use crate::mvcc::dead_zones::DeadZones;
use crate::mvcc::meta_cache::MetaCache;
use crate::mvcc::view::View;
use crate::options::Options;
use crate::response::Outcome;
use crate::schema::Table;
use crate::schema::meta::{self, State};
use crate::store::{Opened, Shared};
use crate::types::{LogPosition, Revision};

use super::known_leases::KnownLeases;
use super::machine::Machine;
use super::overlay::{Overlay, Pending};
use super::{LogEntry, Payload};

/// The store's only writer. Belongs to one thread.
#[derive(Debug)]
pub struct Applier {
    shared: Arc<Shared>,
    machine: Machine,
    counts: CountedIndex,
    zones: DeadZones,
    pin: Arc<Pin>,
    options: Options,
    /// An error came up half-way; what is in memory is not to be used any more.
    stopped: bool,
}

impl Applier {
    pub(crate) fn new(
        shared: Arc<Shared>,
        state: State,
        cuts: Cuts,
        start: Start,
        options: Options,
    ) -> Self {
        let base = shared.view();
        let machine = Machine {
            engine: Arc::clone(&shared.source().engine),
            metrics: Arc::clone(shared.metrics()),
            state,
            cuts,
            overlay: Overlay::default(),
            cache: MetaCache::new(options.meta_cache_bytes),
            base,
            events: Vec::new(),
            changes: 0,
            wanted: false,
            position: LogPosition::default(),
            leases: KnownLeases::default(),
            lease_changes: Vec::new(),
        };
        let pin = Arc::clone(machine.base.pin());
        Self {
            shared,
            machine,
            counts: start.counts,
            zones: start.zones,
            pin,
            options,
            stopped: false,
        }
    }

    /// Applies entries, in log order, as one batch: after this all of them are visible at once,
    /// and a crash keeps all of them or none. Those that were applied before are skipped.
    ///
    /// Answers one list for each entry: an outcome per command if the entry carries commands, is
    /// new, and its outcomes are wanted; otherwise nothing.
    ///
    /// # Errors
    /// The node must stop: an entry cannot be read, or the engine failed. Nothing of the call was
    /// published, and every later call fails too.
    pub fn apply(&mut self, entries: &[LogEntry]) -> Result<Vec<Vec<Outcome>>, Error> {
        if self.stopped {
            return Err(Error::Stopped);
        }
        // Taken back when all went well.
        self.stopped = true;
        self.machine.lease_changes.clear();
        let outcomes = entries.iter().map(|entry| self.entry(entry)).collect::<Result<_, _>>()?;
        if self.machine.state.applied != self.machine.base.applied() {
            self.write()?;
            self.publish()?;
        }
        self.stopped = false;
        Ok(outcomes)
    }

    /// Puts the state that `engine` holds in the place of this one, as after the installation of a
    /// snapshot: views that are held go on reading the former state, new ones read this. It must
    /// be flushed already, because what went into it is not in this member's log.
    ///
    /// # Errors
    /// It cannot be read, or is older than what has been applied; then nothing has changed.
    pub fn replace(&mut self, engine: Arc<dyn Engine>) -> Result<(), Error> {
        let Opened { source, state, cuts, start, view } =
            Opened::read(engine, self.shared.metrics())?;
        let applied = |state: &State| state.applied.map(|at| at.index);
        if applied(&state) < applied(&self.machine.state) {
            return Err(Error::Older { applied: self.machine.state.applied, held: state.applied });
        }
        self.shared.replace(source, view);
        *self = Self::new(Arc::clone(&self.shared), state, cuts, start, self.options);
        Ok(())
    }

    /// The last entry applied.
    #[must_use]
    pub fn applied(&self) -> Option<LogPosition> {
        self.machine.base.applied()
    }

    /// What the last call of [`apply`](Self::apply) did to leases, in order. What
    /// [`replace`](Self::replace) brings is not in it: then all are to be looked at anew.
    #[must_use]
    pub fn lease_changes(&self) -> &[LeaseChange] {
        &self.machine.lease_changes
    }

    fn entry(&mut self, entry: &LogEntry) -> Result<Vec<Outcome>, Error> {
        let LogEntry { position, payload, wanted } = entry;
        let machine = &mut self.machine;
        if machine.state.applied.is_some_and(|applied| position.index <= applied.index) {
            return Ok(Vec::new());
        }
        machine.wanted = *wanted;
        machine.position = *position;
        let mut outcomes = Vec::new();
        match payload {
            Payload::Blank => {}
            Payload::Membership(bytes) => {
                machine.overlay.batch.put(Table::Meta, meta::MEMBERSHIP, bytes);
            }
            Payload::Commands(bytes) => {
                let commands = codec::decode(bytes)
                    .map_err(|source| Error::Entry { position: *position, source })?;
                for command in &commands {
                    let outcome = machine.execute(command)?;
                    if *wanted {
                        outcomes.push(outcome);
                    }
                }
            }
        }
        machine.state.applied = Some(*position);
        machine.metrics.entries.add(1);
        Ok(outcomes)
    }

    /// Writes everything, and in the same batch how far it goes.
    fn write(&mut self) -> Result<(), Error> {
        let machine = &mut self.machine;
        machine.overlay.write_current();
        machine.overlay.write_meta();
        let batch = &mut machine.overlay.batch;
        if machine.state.compacted != machine.base.compacted() {
            let pending = machine.cuts.pending();
            batch.put_with(Table::Meta, meta::COMPACTION, |out| {
                meta::encode_compaction(pending, out);
            });
        }
        let state = machine.state;
        batch.put_with(Table::Meta, meta::STATE, |out| state.encode(out));
        machine.engine.write(batch)?;
        machine.metrics.batches.add(1);
        machine.metrics.written_bytes.add(batch.bytes() as u64);
        Ok(())
    }

    /// Brings what is in memory up to what was written, and shows both to readers as one.
    fn publish(&mut self) -> Result<(), Error> {
        self.remember();
        let machine = &mut self.machine;
        machine.overlay.clear(self.options.batch_bytes_kept);
        let snapshot = machine.engine.snapshot();
        split_overfull(&mut self.counts, &*snapshot)?;
        if machine.state.compacted != machine.base.compacted() {
            self.pin = self.shared.source().pin(machine.state.compacted);
        }
        let view = Arc::new(View::new(
            machine.state,
            snapshot,
            self.counts.view(),
            (self.zones.map(), self.zones.reports()),
            Arc::clone(&machine.metrics),
            Arc::clone(&self.pin),
        ));
        machine.base = Arc::clone(&view);
        self.shared.publish(view, std::mem::take(&mut machine.events));
        Ok(())
    }

    fn remember(&mut self) {
        let Self { machine, counts, zones, .. } = self;
        let mut born: Vec<(Revision, &[u8])> = Vec::new();
        for (key, Pending { was_alive, now }) in machine.overlay.changed() {
            match now {
                Some(living) => {
                    machine.cache.put(key, living.meta);
                    if !was_alive {
                        counts.insert(key);
                        born.push((living.meta.create, key));
                    }
                }
                None => {
                    machine.cache.remove(key);
                    if *was_alive {
                        counts.remove(key);
                        zones.deleted(key);
                    }
                }
            }
        }
        born.sort_unstable();
        for (revision, key) in born {
            zones.created(revision, key);
        }
        zones.absorb();
        let Metrics { meta_cache_hits, meta_cache_misses, .. } = &*machine.metrics;
        meta_cache_hits.set(machine.cache.hits());
        meta_cache_misses.set(machine.cache.misses());
    }
}

/// What a store keeps in memory about its keys, made when it is opened.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) counts: CountedIndex,
    pub(crate) zones: DeadZones,
}

impl Start {
    /// Reads every living key once: 0.25 s for a million.
    pub(crate) fn read(snapshot: &dyn Snapshot, revision: Revision) -> Result<Self, Error> {
        let mut counts = Builder::default();
        let everything = Bounds { lower: &[], upper: None };
        let mut cursor =
            snapshot.cursor(Table::Current, everything, Direction::Forward, Blocks::Pass)?;
        while let Some((key, _)) = cursor.row() {
            counts.push(key);
            cursor.advance()?;
        }
        Ok(Self { counts: counts.finish(), zones: DeadZones::new(revision) })
    }
}

/// Cuts the counted index's overgrown buckets, reading their keys.
fn split_overfull(counts: &mut CountedIndex, snapshot: &dyn Snapshot) -> Result<(), Error> {
    while let Some(bucket) = counts.next_overfull() {
        let (lo, hi) = (bucket.lo.clone(), bucket.hi.clone());
        let bounds = Bounds { lower: &lo, upper: hi.as_deref() };
        let mut cut = Cut::new(bucket);
        let mut cursor =
            snapshot.cursor(Table::Current, bounds, Direction::Forward, Blocks::Keep)?;
        while let Some((key, _)) = cursor.row() {
            cut.push(key);
            cursor.advance()?;
        }
        counts.split(cut);
    }
    Ok(())
}
