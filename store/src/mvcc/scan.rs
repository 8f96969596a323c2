//! Walking the rows of an interval in key order, at the newest revision or at an older one.

use std::cmp::Ordering;
use std::ops::ControlFlow;

use crate::engine::{Bounds, Cursor, Direction};
use crate::error::{Error, corrupt};
use crate::schema::{Table, current, deleted};
use crate::types::{KeyMeta, KeyValueRef, Revision, SubRevision};

use super::interval::Interval;
use super::old::chain_start;
use super::reader::Reader;

/// Told of each row; breaks to see no more.
pub(super) type Visit<'a> = &'a mut dyn FnMut(KeyValueRef<'_>) -> ControlFlow<()>;

impl<'a> Reader<'a> {
    /// Shows the versions alive at `revision`, which is one that can be read, in key order.
    pub(super) fn scan(
        &self,
        interval: &Interval,
        revision: Revision,
        direction: Direction,
        visit: Visit<'_>,
    ) -> Result<(), Error> {
        if interval.is_empty() {
            return Ok(());
        }
        let newest = revision >= self.revision;
        let Some(key) = interval.single() else {
            return match newest {
                true => self.scan_newest(interval.bounds(), direction, visit),
                false => self.scan_old(interval, revision, direction, visit),
            };
        };
        let mut read = |row: KeyValueRef<'_>| _ = visit(row);
        match newest {
            true => self.newest(key, &mut read)?,
            false => self.version_at(key, revision, &mut read)?,
        };
        Ok(())
    }

    /// Shows the living versions within bounds.
    pub(super) fn scan_newest(
        &self,
        bounds: Bounds<'_>,
        direction: Direction,
        visit: Visit<'_>,
    ) -> Result<(), Error> {
        let mut cursor = self.snapshot.cursor(Table::Current, bounds, direction, self.blocks)?;
        while let Some((key, record)) = cursor.row() {
            let version = current::decode(record).map_err(corrupt(Table::Current, key))?;
            if visit(version.row(key)).is_break() {
                return Ok(());
            }
            cursor.advance()?;
        }
        Ok(())
    }

    fn scan_old(
        &self,
        interval: &Interval,
        revision: Revision,
        direction: Direction,
        visit: Visit<'_>,
    ) -> Result<(), Error> {
        let mut living =
            self.snapshot.cursor(Table::Current, interval.bounds(), direction, self.blocks)?;
        let mut ended = Generations::open(self, interval, revision, direction)?;
        loop {
            let order = match (living.row(), ended.key()) {
                (None, None) => return Ok(()),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some((key, _)), Some(ended)) => match direction {
                    Direction::Forward => key.cmp(ended),
                    Direction::Backward => ended.cmp(key),
                },
            };
            let mut flow = ControlFlow::Continue(());
            let mut read = |row: KeyValueRef<'_>| flow = visit(row);
            if order.is_le() {
                self.living_at(living.row(), revision, &mut read)?;
            }
            if order.is_ge() {
                // Of one key either a generation that has ended or the living one was alive.
                if let (Some(key), Some(deletion)) = (ended.key(), ended.alive) {
                    self.walk(key, deletion, revision, &mut read)?;
                }
            }
            if flow.is_break() {
                return Ok(());
            }
            if order.is_le() {
                living.advance()?;
            }
            if order.is_ge() {
                ended.advance()?;
            }
        }
    }

    /// Shows the version of a living key that was alive at `revision`, if the key was.
    fn living_at(
        &self,
        row: Option<(&[u8], &[u8])>,
        revision: Revision,
        read: &mut dyn FnMut(KeyValueRef<'_>),
    ) -> Result<(), Error> {
        let Some((key, record)) = row else { return Ok(()) };
        let version = current::decode(record).map_err(corrupt(Table::Current, key))?;
        let KeyMeta { at, create, .. } = version.meta;
        if at.main <= revision {
            read(version.row(key));
        } else if create <= revision {
            self.walk(key, chain_start(&version.meta, revision), revision, read)?;
        }
        Ok(())
    }

    /// How many keys were alive at `revision`. At the newest one nothing is walked; at others
    /// each key's dates are looked at, and no value.
    pub(super) fn count(&self, interval: &Interval, revision: Revision) -> Result<u64, Error> {
        if interval.is_empty() {
            return Ok(0);
        }
        if revision >= self.revision {
            return self.counts.live_count(interval);
        }
        let mut count = 0;
        let (bounds, forward) = (interval.bounds(), Direction::Forward);
        let mut living = self.snapshot.cursor(Table::Current, bounds, forward, self.blocks)?;
        while let Some((key, record)) = living.row() {
            let version = current::decode(record).map_err(corrupt(Table::Current, key))?;
            count += u64::from(version.meta.create <= revision);
            living.advance()?;
        }
        let mut ended = Generations::open(self, interval, revision, Direction::Forward)?;
        while ended.key().is_some() {
            count += u64::from(ended.alive.is_some());
            ended.advance()?;
        }
        Ok(count)
    }
}

/// The keys of an interval that have generations which ended, one key at a time.
struct Generations<'a> {
    cursor: Box<dyn Cursor + 'a>,
    revision: Revision,
    key: Option<Vec<u8>>,
    /// The deletion that ended the key's generation that was alive at `revision`.
    alive: Option<SubRevision>,
}

impl<'a> Generations<'a> {
    fn open(
        reader: &Reader<'a>,
        interval: &Interval,
        revision: Revision,
        direction: Direction,
    ) -> Result<Self, Error> {
        let lower = deleted::lower_bound(interval.lower());
        let upper = interval.upper().map(deleted::lower_bound);
        let bounds = Bounds { lower: &lower, upper: upper.as_deref() };
        let cursor = reader.snapshot.cursor(Table::Deleted, bounds, direction, reader.blocks)?;
        let mut generations = Self { cursor, revision, key: None, alive: None };
        generations.advance()?;
        Ok(generations)
    }

    fn key(&self) -> Option<&[u8]> {
        self.key.as_deref()
    }

    /// Goes through all deletions of the next key.
    fn advance(&mut self) -> Result<(), Error> {
        self.alive = None;
        let mut key = self.key.take().unwrap_or_default();
        let Some((first, _)) = self.cursor.row() else { return Ok(()) };
        deleted::decode_key(first, &mut key).map_err(corrupt(Table::Deleted, first))?;
        let prefix = deleted::lower_bound(&key);
        while let Some((row, record)) =
            self.cursor.row().filter(|(row, _)| row.starts_with(&prefix))
        {
            let generation = || {
                let at = deleted::decode_place(row)?;
                Ok((at, deleted::decode(at, record)?))
            };
            let (at, create) = generation().map_err(corrupt(Table::Deleted, row))?;
            if create <= self.revision && self.revision < at.main {
                self.alive = Some(at);
            }
            self.cursor.advance()?;
        }
        self.key = Some(key);
        Ok(())
    }
}
