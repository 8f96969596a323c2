//! What changed, revision by revision: the newest part in memory, all of it since the compacted
//! revision in table `log`.
//!
//! Whoever follows the store holds a position, the next revision it wants. As long as the memory
//! reaches back to it, [`EventLog::since`] hands out shared batches; behind that, [`View::events`]
//! reads slices of the table. Neither ever splits a revision, and neither waits for anybody.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::engine::{Blocks, Bounds, Direction};
use crate::error::{Error, ReadError, corrupt};
use crate::mvcc::view::View;
use crate::schema::log::{self, Prev, Record};
use crate::schema::{Table, current};
use crate::types::{KeyMeta, KeyValue, KeyValueRef, LeaseId, Revision, SubRevision};

/// One change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The key is gone.
    pub deletion: bool,
    /// The new version; of a deletion only key and mod revision.
    pub kv: KeyValue,
    before: Before,
}

/// The version that an event superseded.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Before {
    /// There was none.
    Nothing,
    /// Its record in table `log`.
    At(SubRevision),
    /// Itself.
    Kept(KeyValue),
}

/// Bytes that an event takes beside its key and values.
const EVENT_OVERHEAD_BYTES: usize = size_of::<Event>();

impl Event {
    /// An event of a change that is being applied; `prior` is what the key was, with its value if
    /// that is at hand.
    pub(crate) fn new(
        key: &Bytes,
        meta: KeyMeta,
        value: Option<&Bytes>,
        prior: Option<(KeyMeta, Option<&Bytes>)>,
    ) -> Self {
        let before = match prior {
            None => Before::Nothing,
            Some((meta, None)) => Before::At(meta.at),
            Some((meta, Some(value))) => Before::Kept(version(key.clone(), meta, value.clone())),
        };
        let kv = match value {
            Some(value) => version(key.clone(), meta, value.clone()),
            None => deleted(key.clone(), meta.at.main),
        };
        Self { deletion: value.is_none(), kv, before }
    }

    fn read(record: &Record<'_>) -> Result<Self, crate::schema::Malformed> {
        let key = Bytes::copy_from_slice(record.key);
        let before = match record.prev {
            Prev::None => Before::Nothing,
            Prev::Pointer(place) => Before::At(place),
            Prev::Embedded(old) => {
                let old = current::decode(old)?;
                Before::Kept(version(key.clone(), old.meta, Bytes::copy_from_slice(old.value)))
            }
        };
        let kv = if record.deletion {
            deleted(key, record.meta.at.main)
        } else {
            version(key, record.meta, Bytes::copy_from_slice(record.value))
        };
        Ok(Self { deletion: record.deletion, kv, before })
    }

    /// The revision that it belongs to.
    #[must_use]
    pub const fn revision(&self) -> Revision {
        self.kv.mod_revision
    }

    fn bytes(&self) -> usize {
        let kept = match &self.before {
            Before::Kept(kv) => kv.value.len(),
            Before::Nothing | Before::At(_) => 0,
        };
        self.kv.key.len() + self.kv.value.len() + kept + EVENT_OVERHEAD_BYTES
    }
}

fn version(key: Bytes, meta: KeyMeta, value: Bytes) -> KeyValue {
    let KeyMeta { at, create, version, lease, .. } = meta;
    KeyValue { key, create_revision: create, mod_revision: at.main, version, lease, value }
}

fn deleted(key: Bytes, revision: Revision) -> KeyValue {
    KeyValue {
        key,
        create_revision: Revision(0),
        mod_revision: revision,
        version: 0,
        lease: LeaseId::NONE,
        value: Bytes::new(),
    }
}

/// The events of consecutive revisions, in their order.
#[derive(Debug)]
pub struct Batch {
    events: Vec<Event>,
    bytes: usize,
}

impl Batch {
    fn new(events: Vec<Event>) -> Self {
        let bytes = events.iter().map(Event::bytes).sum();
        Self { events, bytes }
    }

    /// The events, at least one.
    #[must_use]
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    fn last(&self) -> Revision {
        self.events.last().expect("a batch has events").revision()
    }
}

/// What the memory has for a position.
#[derive(Debug)]
pub enum Since {
    /// These batches, which may begin before the position, and the revision that follows them.
    Batches(Vec<Arc<Batch>>, Revision),
    /// The memory does not reach back so far.
    Gone,
}

/// The newest events. One writes, any number read.
#[derive(Debug)]
pub struct EventLog {
    bytes_max: usize,
    state: Mutex<Recent>,
}

#[derive(Debug)]
struct Recent {
    batches: VecDeque<Arc<Batch>>,
    bytes: usize,
    /// The first revision that is wholly in memory.
    first: Revision,
    /// The first one that is still to come.
    next: Revision,
}

impl EventLog {
    /// An empty log after `revision` that keeps about `bytes_max`.
    pub(crate) fn new(bytes_max: usize, revision: Revision) -> Self {
        Self { bytes_max, state: Mutex::new(Recent::after(revision)) }
    }

    /// Forgets everything: the store has gone to `revision` without having applied what led there.
    pub(crate) fn restart(&self, revision: Revision) {
        *self.state.lock() = Recent::after(revision);
    }

    /// Adds what led to `revision`. One batch is kept whatever its size, as it is there anyway.
    pub(crate) fn append(&self, events: Vec<Event>, revision: Revision) {
        if events.is_empty() {
            return;
        }
        let batch = Arc::new(Batch::new(events));
        assert_eq!(batch.last(), revision, "a batch ends with the newest revision");
        let mut dropped = Vec::new();
        let mut state = self.state.lock();
        let first = batch.events.first().expect("not empty").revision();
        assert_eq!(first, state.next, "revisions follow each other without a gap");
        state.next = Revision(revision.0 + 1);
        state.bytes += batch.bytes;
        state.batches.push_back(batch);
        while state.bytes > self.bytes_max && state.batches.len() > 1 {
            let gone = state.batches.pop_front().expect("more than one");
            state.bytes -= gone.bytes;
            state.first = Revision(gone.last().0 + 1);
            dropped.push(gone);
        }
        drop(state);
    }

    /// What there is from `position` on.
    #[must_use]
    pub fn since(&self, position: Revision) -> Since {
        let state = self.state.lock();
        if position < state.first {
            return Since::Gone;
        }
        let from = state.batches.partition_point(|batch| batch.last() < position);
        Since::Batches(state.batches.range(from..).cloned().collect(), state.next)
    }
}

impl Recent {
    fn after(revision: Revision) -> Self {
        let next = Revision(revision.0 + 1);
        Self { batches: VecDeque::new(), bytes: 0, first: next, next }
    }
}

/// Events read from the table.
#[derive(Debug, PartialEq, Eq)]
pub struct Slice {
    /// Those that were wanted, in order.
    pub events: Vec<Event>,
    /// The revision that follows the slice.
    pub next: Revision,
}

impl View {
    /// Reads the events from `from` on whose keys are `wanted`, until some `bytes_max` have been
    /// looked at or the view's revision is reached. At least one revision is read whole.
    ///
    /// # Errors
    /// `from` lies below the compacted revision, or the store failed.
    pub fn events(
        &self,
        from: Revision,
        bytes_max: usize,
        wanted: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Result<Slice, ReadError> {
        if from < self.compacted() {
            return Err(ReadError::Compacted);
        }
        let mut slice = Slice { events: Vec::new(), next: Revision(self.revision().0 + 1) };
        let (mut reached, mut looked_at) = (from, 0);
        let lower = log::first_key_of(from);
        let bounds = Bounds { lower: &lower, upper: None };
        let mut cursor =
            self.snapshot().cursor(Table::Log, bounds, Direction::Forward, Blocks::Pass)?;
        while let Some((at_key, record)) = cursor.row() {
            let bad = || corrupt(Table::Log, at_key);
            let at = log::decode_key(at_key).map_err(bad())?;
            if at.main > reached && looked_at >= bytes_max {
                slice.next = at.main;
                break;
            }
            reached = at.main;
            looked_at += record.len();
            let record = log::decode(at, record).map_err(bad())?;
            if wanted(record.key) {
                slice.events.push(Event::read(&record).map_err(bad())?);
            }
            cursor.advance()?;
        }
        Ok(slice)
    }

    /// What an event's key was before the event's revision, unless the event created it, or that
    /// is compacted away as of this view.
    ///
    /// # Errors
    /// The store failed.
    pub fn before(&self, event: &Event) -> Result<Option<KeyValue>, Error> {
        let last = Revision(event.revision().0 - 1);
        let creates = !event.deletion && event.kv.create_revision > last;
        if last < self.compacted() || creates || event.before == Before::Nothing {
            return Ok(None);
        }
        let mut found = None;
        let mut keep = |row: KeyValueRef<'_>| found = Some(owned(&row));
        match &event.before {
            Before::Kept(kv) if kv.mod_revision <= last => return Ok(Some(kv.clone())),
            Before::At(place) if place.main <= last => {
                self.reader().at(*place, |record| {
                    keep(record.row());
                    Ok(())
                })?;
            }
            // A change before it in the same revision.
            Before::Nothing | Before::Kept(_) | Before::At(_) => {
                self.reader().version_at(&event.kv.key, last, &mut keep)?;
            }
        }
        Ok(found)
    }
}

fn owned(row: &KeyValueRef<'_>) -> KeyValue {
    KeyValue {
        key: Bytes::copy_from_slice(row.key),
        create_revision: row.create_revision,
        mod_revision: row.mod_revision,
        version: row.version,
        lease: row.lease,
        value: Bytes::copy_from_slice(row.value),
    }
}
