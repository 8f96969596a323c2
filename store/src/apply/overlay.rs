//! What the batch in the making has changed so far, readable as if it were written already.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;

use crate::engine::{Blocks, Bounds, Cursor, Direction, Error, Savepoint, Snapshot, WriteBatch};
use crate::schema::{Table, current, deleted, log};
use crate::types::{KeyMeta, SubRevision};

/// See the module. Table `current` and the keyed tables in `meta` are kept apart and written once
/// per key when the batch is done.
#[derive(Debug, Default)]
pub(super) struct Overlay {
    pub(super) batch: WriteBatch,
    current: BTreeMap<Bytes, Pending>,
    /// Places written and their index in the batch, ascending.
    log: Vec<(SubRevision, usize)>,
    deleted: BTreeMap<Vec<u8>, usize>,
    /// Rows of the keyed tables in `meta`; without a value if they are to be deleted.
    meta: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    /// How to take back what was done since the last savepoint.
    undo: Vec<Undo>,
}

/// A key that the batch changes.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    /// Whether it was alive before the batch.
    pub(super) was_alive: bool,
    /// What it is now.
    pub(super) now: Option<Living>,
}

/// A version of a key with its value at hand.
#[derive(Clone, Debug)]
pub(super) struct Living {
    pub(super) meta: KeyMeta,
    pub(super) value: Bytes,
}

#[derive(Debug)]
enum Undo {
    Current(Bytes, Option<Pending>),
    Deleted(Vec<u8>),
    Meta(Vec<u8>, Option<Option<Vec<u8>>>),
}

/// A moment inside the batch to go back to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    batch: Savepoint,
    log: usize,
}

impl Overlay {
    pub(super) fn get(&self, key: &[u8]) -> Option<&Pending> {
        self.current.get(key)
    }

    /// The keys changed, in order.
    pub(super) fn changed(&self) -> impl Iterator<Item = (&Bytes, &Pending)> {
        self.current.iter()
    }

    /// The keys changed within an interval.
    pub(super) fn changed_within(
        &self,
        bounds: Bounds<'_>,
    ) -> impl Iterator<Item = (&Bytes, &Pending)> {
        let upper = bounds.upper.map_or(Bound::Unbounded, Bound::Excluded);
        self.current.range::<[u8], _>((Bound::Included(bounds.lower), upper))
    }

    /// Adds a version or a deletion, which comes after all others in the log, and what the key is
    /// from now on. `was_alive` says what the key was just before.
    pub(super) fn record(
        &mut self,
        record: &log::Record<'_>,
        key: &Bytes,
        was_alive: bool,
        now: Option<Living>,
    ) {
        let at = record.meta.at;
        assert!(self.log.last().is_none_or(|(last, _)| *last < at), "the log only grows");
        self.log.push((at, self.batch.len()));
        self.batch.put_with(Table::Log, &log::key(at), |out| log::encode(record, out));
        if record.deletion {
            let mut row = Vec::with_capacity(key.len() + 16);
            deleted::put_key(key, at, &mut row);
            let create = record.meta.create;
            let index = self.batch.len();
            self.batch.put_with(Table::Deleted, &row, |out| deleted::encode(at, create, out));
            self.undo.push(Undo::Deleted(row.clone()));
            self.deleted.insert(row, index);
        }
        let before = self.current.get(key).cloned();
        let was_alive = before.as_ref().map_or(was_alive, |before| before.was_alive);
        self.undo.push(Undo::Current(key.clone(), before));
        self.current.insert(key.clone(), Pending { was_alive, now });
    }

    /// What the batch has made of a row of `meta`, if it has touched it.
    pub(super) fn meta(&self, row: &[u8]) -> Option<Option<&[u8]>> {
        self.meta.get(row).map(Option::as_deref)
    }

    /// Writes a row of `meta`, or deletes it.
    pub(super) fn set_meta(&mut self, row: &[u8], value: Option<Vec<u8>>) {
        let before = self.meta.insert(row.to_vec(), value);
        self.undo.push(Undo::Meta(row.to_vec(), before));
    }

    /// Marks this moment; there is no going back to earlier ones.
    pub(super) fn mark(&mut self) -> Mark {
        self.undo.clear();
        Mark { batch: self.batch.savepoint(), log: self.log.len() }
    }

    /// Takes back everything since `mark`, which is the last one.
    pub(super) fn roll_back(&mut self, mark: Mark) {
        while let Some(undo) = self.undo.pop() {
            match undo {
                Undo::Current(key, Some(before)) => drop(self.current.insert(key, before)),
                Undo::Current(key, None) => drop(self.current.remove(&key)),
                Undo::Deleted(row) => drop(self.deleted.remove(&row)),
                Undo::Meta(row, Some(before)) => drop(self.meta.insert(row, before)),
                Undo::Meta(row, None) => drop(self.meta.remove(&row)),
            }
        }
        self.log.truncate(mark.log);
        self.batch.roll_back(mark.batch);
    }

    /// Adds what table `current` is to be after the batch.
    pub(super) fn write_current(&mut self) {
        for (key, Pending { was_alive, now }) in &self.current {
            match now {
                Some(Living { meta, value }) => {
                    self.batch
                        .put_with(Table::Current, key, |out| current::encode(meta, value, out));
                }
                None if *was_alive => self.batch.delete(Table::Current, key),
                None => {}
            }
        }
    }

    /// Adds what the keyed tables in `meta` are to be after the batch.
    pub(super) fn write_meta(&mut self) {
        for (row, value) in &self.meta {
            match value {
                Some(value) => self.batch.put(Table::Meta, row, value),
                None => self.batch.delete(Table::Meta, row),
            }
        }
    }

    /// Empty again, for the next batch.
    pub(super) fn clear(&mut self, bytes_kept: usize) {
        self.batch.clear(bytes_kept);
        self.current.clear();
        self.log.clear();
        self.log.shrink_to(bytes_kept / 64);
        self.deleted.clear();
        self.meta.clear();
        self.undo.clear();
        self.undo.shrink_to(bytes_kept / 64);
    }

    /// Both together.
    pub(super) fn over<'a>(&'a self, base: &'a dyn Snapshot) -> Overlaid<'a> {
        Overlaid { overlay: self, base }
    }

    /// The first row of a table within bounds that the batch has changed, in a direction; without
    /// a value if it was deleted.
    fn first(
        &self,
        table: Table,
        lower: Bound<&[u8]>,
        upper: Bound<&[u8]>,
        direction: Direction,
    ) -> Option<(Vec<u8>, Option<Vec<u8>>)> {
        if is_empty(lower, upper) {
            return None;
        }
        match table {
            Table::Current => {
                let (key, pending) =
                    end_of(self.current.range::<[u8], _>((lower, upper)), direction)?;
                Some((key.to_vec(), pending.now.as_ref().map(Living::encoded)))
            }
            Table::Deleted => {
                let (row, index) =
                    end_of(self.deleted.range::<[u8], _>((lower, upper)), direction)?;
                Some((row.clone(), self.batch.get(*index).value.map(<[u8]>::to_vec)))
            }
            Table::Meta => {
                let (row, value) = end_of(self.meta.range::<[u8], _>((lower, upper)), direction)?;
                Some((row.clone(), value.clone()))
            }
            Table::Log => unreachable!("no command walks the log"),
        }
    }
}

impl Living {
    fn encoded(&self) -> Vec<u8> {
        let mut record = Vec::with_capacity(self.value.len() + 32);
        current::encode(&self.meta, &self.value, &mut record);
        record
    }
}

/// A snapshot with the batch in the making over it.
#[derive(Debug)]
pub(super) struct Overlaid<'a> {
    overlay: &'a Overlay,
    base: &'a dyn Snapshot,
}

impl Snapshot for Overlaid<'_> {
    fn get_with(
        &self,
        table: Table,
        key: &[u8],
        read: &mut dyn FnMut(&[u8]),
    ) -> Result<bool, Error> {
        let overlay = self.overlay;
        let found = match table {
            Table::Current => overlay.current.get(key).map(|pending| {
                pending.now.as_ref().map(|living| read(&living.encoded())).is_some()
            }),
            Table::Log => log::decode_key(key).ok().and_then(|at| {
                let position = overlay.log.binary_search_by_key(&at, |(at, _)| *at).ok()?;
                overlay.batch.get(overlay.log[position].1).value.map(&mut *read).map(|()| true)
            }),
            Table::Deleted => overlay
                .deleted
                .get(key)
                .map(|index| overlay.batch.get(*index).value.map(&mut *read).is_some()),
            Table::Meta => self.overlay.meta(key).map(|value| value.map(&mut *read).is_some()),
        };
        found.map_or_else(|| self.base.get_with(table, key, read), Ok)
    }

    fn cursor<'a>(
        &'a self,
        table: Table,
        bounds: Bounds<'_>,
        direction: Direction,
        blocks: Blocks,
    ) -> Result<Box<dyn Cursor + 'a>, Error> {
        let mut cursor = Merged {
            overlay: self.overlay,
            base: self.base.cursor(table, bounds, direction, blocks)?,
            changed: None,
            on_base: false,
            table,
            lower: bounds.lower.to_vec(),
            upper: bounds.upper.map(<[u8]>::to_vec),
            direction,
        };
        cursor.find_changed(Bound::Included(bounds.lower), as_upper(bounds.upper));
        cursor.settle()?;
        Ok(Box::new(cursor))
    }
}

/// Walks the snapshot and the batch side by side; where both have a row the batch's counts.
#[derive(Debug)]
struct Merged<'a> {
    overlay: &'a Overlay,
    base: Box<dyn Cursor + 'a>,
    changed: Option<(Vec<u8>, Option<Vec<u8>>)>,
    /// The row stood on is the snapshot's.
    on_base: bool,
    table: Table,
    lower: Vec<u8>,
    upper: Option<Vec<u8>>,
    direction: Direction,
}

impl Merged<'_> {
    fn find_changed(&mut self, lower: Bound<&[u8]>, upper: Bound<&[u8]>) {
        self.changed = self.overlay.first(self.table, lower, upper, self.direction);
    }

    fn advance_changed(&mut self) {
        let Some((key, _)) = self.changed.take() else { return };
        let upper = self.upper.clone();
        let lower = std::mem::take(&mut self.lower);
        match self.direction {
            Direction::Forward => {
                self.find_changed(Bound::Excluded(&key), as_upper(upper.as_deref()));
            }
            Direction::Backward => {
                self.find_changed(Bound::Included(&lower), Bound::Excluded(&key));
            }
        }
        self.lower = lower;
    }

    /// Chooses which of the two to stand on, stepping over what the batch deleted.
    fn settle(&mut self) -> Result<(), Error> {
        loop {
            let (base, changed) = match (self.base.row(), &self.changed) {
                (_, None) => {
                    self.on_base = true;
                    return Ok(());
                }
                (None, Some((_, value))) => (false, Some(value.is_some())),
                (Some((base, _)), Some((changed, value))) => {
                    let order = match self.direction {
                        Direction::Forward => base.cmp(changed),
                        Direction::Backward => changed.as_slice().cmp(base),
                    };
                    if order.is_lt() {
                        self.on_base = true;
                        return Ok(());
                    }
                    (order.is_eq(), Some(value.is_some()))
                }
            };
            if base {
                self.base.advance()?;
            }
            if changed == Some(true) {
                self.on_base = false;
                return Ok(());
            }
            self.advance_changed();
        }
    }
}

impl Cursor for Merged<'_> {
    fn row(&self) -> Option<(&[u8], &[u8])> {
        if self.on_base {
            return self.base.row();
        }
        let (key, value) = self.changed.as_ref()?;
        Some((key, value.as_deref()?))
    }

    fn advance(&mut self) -> Result<(), Error> {
        if self.on_base {
            self.base.advance()?;
        } else {
            self.advance_changed();
        }
        self.settle()
    }

    fn stepped_over(&self) -> u64 {
        self.base.stepped_over()
    }

    fn seek(&mut self, key: &[u8]) -> Result<(), Error> {
        self.base.seek(key)?;
        let behind = |at: &[u8]| match self.direction {
            Direction::Forward => at < key,
            Direction::Backward => at > key,
        };
        if self.changed.as_ref().is_some_and(|(at, _)| behind(at)) {
            let (lower, upper) = (self.lower.clone(), self.upper.clone());
            match self.direction {
                Direction::Forward => {
                    self.find_changed(Bound::Included(key), as_upper(upper.as_deref()));
                }
                Direction::Backward => {
                    self.find_changed(Bound::Included(&lower), Bound::Included(key));
                }
            }
        }
        self.settle()
    }
}

fn as_upper(upper: Option<&[u8]>) -> Bound<&[u8]> {
    upper.map_or(Bound::Unbounded, Bound::Excluded)
}

fn end_of<T>(mut rows: impl DoubleEndedIterator<Item = T>, direction: Direction) -> Option<T> {
    match direction {
        Direction::Forward => rows.next(),
        Direction::Backward => rows.next_back(),
    }
}

/// `BTreeMap::range` panics where there is nothing to find.
fn is_empty(lower: Bound<&[u8]>, upper: Bound<&[u8]>) -> bool {
    match (lower, upper) {
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        (Bound::Included(lower), Bound::Included(upper)) => lower > upper,
        (Bound::Included(lower) | Bound::Excluded(lower), Bound::Excluded(upper))
        | (Bound::Excluded(lower), Bound::Included(upper)) => lower >= upper,
    }
}
