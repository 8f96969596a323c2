//! The snapshot of a read view, whose cursors over table `current` do not walk over the dead: they
//! jump along the dead zones of the view, and report what they had to step over all the same.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::engine::{Blocks, Bounds, Cursor, Direction, Error, Snapshot};
use crate::schema::Table;
use crate::types::Revision;

use super::dead_zones::{self, Gap, REPORT_AFTER_DEAD, Reports, ZoneMap};

/// See the module. The zones are those of the state that the snapshot shows.
#[derive(Debug)]
pub(crate) struct Living {
    snapshot: Arc<dyn Snapshot>,
    revision: Revision,
    zones: Mutex<ZoneMap>,
    reports: Reports,
}

impl Living {
    /// `revision` is that of the state the snapshot shows.
    pub(crate) fn new(
        snapshot: Arc<dyn Snapshot>,
        revision: Revision,
        zones: ZoneMap,
        reports: Reports,
    ) -> Self {
        Self { snapshot, revision, zones: Mutex::new(zones), reports }
    }

    /// A reference count: the zones known now.
    fn zones(&self) -> ZoneMap {
        self.zones.lock().clone()
    }

    /// Takes in that nothing lives from `lo` to `hi`, after stepping over as many dead.
    fn found_dead(&self, lo: Vec<u8>, hi: Option<Vec<u8>>, stepped_over: u64) {
        let gap = Gap { revision: self.revision, lo, hi, stepped_over };
        self.zones.lock().seen(&gap);
        self.reports.report(gap);
    }

    fn ascending<'a>(&'a self, bounds: Bounds<'_>, blocks: Blocks) -> Result<Ascending<'a>, Error> {
        let upper = bounds.upper.map(<[u8]>::to_vec);
        let zones = self.zones();
        let mut walk = Ascending {
            living: self,
            cursor: None,
            zones: zones.cursor(bounds.lower),
            from: bounds.lower.to_vec(),
            upper,
            stepped_over: 0,
        };
        if let Some(zone) = zones.find(bounds.lower) {
            let Some(end) = zone.hi() else { return Ok(walk) };
            walk.from.clear();
            walk.from.extend_from_slice(end);
        }
        if bounds.upper.is_none_or(|upper| walk.from.as_slice() < upper) {
            let bounds = Bounds { lower: &walk.from, ..bounds };
            let forward = Direction::Forward;
            walk.cursor = Some(self.snapshot.cursor(Table::Current, bounds, forward, blocks)?);
            walk.look_back();
        }
        Ok(walk)
    }

    fn descending<'a>(
        &'a self,
        bounds: Bounds<'_>,
        blocks: Blocks,
    ) -> Result<Descending<'a>, Error> {
        let zones = self.zones();
        let to = zones.before(bounds.upper).map(dead_zones::Zone::lo).or(bounds.upper);
        let mut walk = Descending {
            living: self,
            cursor: None,
            zones: zones.clone(),
            lower: bounds.lower.to_vec(),
            to: to.map(<[u8]>::to_vec),
            stepped_over: 0,
        };
        if to.is_none_or(|to| bounds.lower < to) {
            let bounds = Bounds { upper: to, ..bounds };
            let backward = Direction::Backward;
            walk.cursor = Some(self.snapshot.cursor(Table::Current, bounds, backward, blocks)?);
            walk.look_back();
        }
        Ok(walk)
    }
}

impl Snapshot for Living {
    fn get_with(
        &self,
        table: Table,
        key: &[u8],
        read: &mut dyn FnMut(&[u8]),
    ) -> Result<bool, Error> {
        self.snapshot.get_with(table, key, read)
    }

    fn cursor<'a>(
        &'a self,
        table: Table,
        bounds: Bounds<'_>,
        direction: Direction,
        blocks: Blocks,
    ) -> Result<Box<dyn Cursor + 'a>, Error> {
        match (table, direction) {
            (Table::Current, Direction::Forward) => Ok(Box::new(self.ascending(bounds, blocks)?)),
            (Table::Current, Direction::Backward) => Ok(Box::new(self.descending(bounds, blocks)?)),
            _ => self.snapshot.cursor(table, bounds, direction, blocks),
        }
    }
}

/// An ascending cursor along the zones.
#[derive(Debug)]
struct Ascending<'a> {
    living: &'a Living,
    /// `None` when nothing lives within the bounds.
    cursor: Option<Box<dyn Cursor + 'a>>,
    zones: dead_zones::Cursor,
    /// No live key lies between here and where the cursor stands.
    from: Vec<u8>,
    upper: Option<Vec<u8>>,
    stepped_over: u64,
}

impl Ascending<'_> {
    /// Reports what the cursor stepped over to get where it stands, if that was much.
    fn look_back(&mut self) {
        let Some(cursor) = &self.cursor else { return };
        let stepped_over = steps(&**cursor, &mut self.stepped_over);
        if stepped_over > REPORT_AFTER_DEAD {
            let hi = cursor.row().map(|(key, _)| key.to_vec()).or_else(|| self.upper.clone());
            self.living.found_dead(self.from.clone(), hi, stepped_over);
        }
    }
}

impl Cursor for Ascending<'_> {
    fn row(&self) -> Option<(&[u8], &[u8])> {
        self.cursor.as_ref()?.row()
    }

    fn advance(&mut self) -> Result<(), Error> {
        let Some(cursor) = &mut self.cursor else { return Ok(()) };
        let Some((key, _)) = cursor.row() else { return Ok(()) };
        self.from.clear();
        match self.zones.behind(key).map(dead_zones::Zone::hi) {
            None => {
                self.from.extend_from_slice(key);
                self.from.push(0);
                cursor.advance()?;
            }
            Some(Some(end)) => {
                self.from.extend_from_slice(end);
                cursor.seek(&self.from)?;
            }
            Some(None) => {
                self.cursor = None;
            }
        }
        self.look_back();
        Ok(())
    }

    fn stepped_over(&self) -> u64 {
        self.cursor.as_ref().map_or(0, |cursor| cursor.stepped_over())
    }

    fn seek(&mut self, key: &[u8]) -> Result<(), Error> {
        let Some(cursor) = &mut self.cursor else { return Ok(()) };
        cursor.seek(key)?;
        if self.from.as_slice() < key {
            self.from.clear();
            self.from.extend_from_slice(key);
        }
        self.look_back();
        Ok(())
    }
}

/// A descending cursor along the zones.
#[derive(Debug)]
struct Descending<'a> {
    living: &'a Living,
    /// `None` when nothing lives within the bounds.
    cursor: Option<Box<dyn Cursor + 'a>>,
    zones: ZoneMap,
    lower: Vec<u8>,
    /// No live key lies between where the cursor stands and here; `None` is the end of the table.
    to: Option<Vec<u8>>,
    stepped_over: u64,
}

impl Descending<'_> {
    fn look_back(&mut self) {
        let Some(cursor) = &self.cursor else { return };
        let stepped_over = steps(&**cursor, &mut self.stepped_over);
        if stepped_over > REPORT_AFTER_DEAD {
            let lo = match cursor.row() {
                Some((key, _)) => dead_zones::successor(key),
                None => self.lower.clone(),
            };
            self.living.found_dead(lo, self.to.clone(), stepped_over);
        }
    }
}

impl Cursor for Descending<'_> {
    fn row(&self) -> Option<(&[u8], &[u8])> {
        self.cursor.as_ref()?.row()
    }

    fn advance(&mut self) -> Result<(), Error> {
        let Some(cursor) = &mut self.cursor else { return Ok(()) };
        let Some((key, _)) = cursor.row() else { return Ok(()) };
        let to = self.to.get_or_insert_default();
        to.clear();
        match self.zones.before(Some(key)) {
            None => {
                to.extend_from_slice(key);
                cursor.advance()?;
            }
            // The zone's first key is dead itself, so the cursor lands before it.
            Some(zone) => {
                to.extend_from_slice(zone.lo());
                cursor.seek(to)?;
            }
        }
        self.look_back();
        Ok(())
    }

    fn stepped_over(&self) -> u64 {
        self.cursor.as_ref().map_or(0, |cursor| cursor.stepped_over())
    }

    fn seek(&mut self, key: &[u8]) -> Result<(), Error> {
        let Some(cursor) = &mut self.cursor else { return Ok(()) };
        cursor.seek(key)?;
        let next = dead_zones::successor(key);
        if self.to.as_ref().is_none_or(|to| next < *to) {
            self.to = Some(next);
        }
        self.look_back();
        Ok(())
    }
}

/// Dead rows stepped over since the last call.
fn steps(cursor: &dyn Cursor, before: &mut u64) -> u64 {
    let all = cursor.stepped_over();
    all.saturating_sub(std::mem::replace(before, all))
}

#[cfg(test)]
#[path = "living_test.rs"]
mod tests;
