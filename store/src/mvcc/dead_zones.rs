//! Dead zones: intervals of the table of current versions that are known to hold no live key, so
//! that a scan need not step over the deleted ones that still lie there.
//!
//! # What a zone claims
//!
//! A zone speaks of *one state of the table*, and the map of zones belongs to that state: every
//! published read view carries the [`ZoneMap`] that was true of its own data, and a reader uses no
//! other. So no zone has a revision of its own and none is ever compared with a view's. (One map
//! shared by all views would need that, and would fail the case it is for: a queue extends its
//! zone with every batch, and a reader one batch behind could not use it.) Publishing a map costs
//! one reference count; the first change after that copies a list of at most [`ZONES_MAX`]
//! pointers.
//!
//! Because a zone is about the rows of the table and not about history, a range at an older
//! revision may jump over it as well where it walks that table.
//!
//! # Why a zone never hides a live key
//!
//! The applier alone changes its map, in the order in which it changes the table: it holds the
//! claim for the state after the last change. *By induction over these changes:*
//! * [`created`](DeadZones::created) takes the key out of any zone. Nothing else comes to life.
//! * [`deleted`](DeadZones::deleted) adds a key that was just deleted to a zone that it touches:
//!   both are dead at this state, and so is their union.
//! * [`absorb`](DeadZones::absorb) adds what readers saw. A gap was seen in a view of revision R:
//!   at R no key of it was alive. A key of it that lives now was created after R, so the gap
//!   without all keys created after R is dead now. The applier keeps the keys it created lately
//!   with their revisions; if it has forgotten one created after R, it throws the report away.
//!
//! A reader that found a gap adds it to the map of its own view at once ([`ZoneMap::seen`]), which
//! is about the state in which it saw the gap; so a store that nobody writes to gets quick as well.
//!
//! A batch that is not published yet is no special case: its deletes extend the applier's map, and
//! no reader has that map before it has the batch's data, for both are published in one view. A
//! report that comes in late, from a view that is long gone, is judged by its R alone. A reader
//! that holds on to an old view holds on to that view's map. Views show whole batches, so no view
//! has half of a revision, and R splits the creations cleanly. When the data is replaced (a
//! snapshot from another member) a new `DeadZones` takes the place of this one, with a new
//! [`Reports`]: what readers of the old data still report goes nowhere.
//!
//! # Bounds
//!
//! Zones, their bytes, the remembered creations and the waiting reports are all bounded. A zone
//! weighs as many dead keys as it is known to hide; when there are too many, the lightest go and
//! all others lose half their weight, so that those which compaction has emptied go in time. Losing
//! a zone costs one slow scan, which reports it again.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use crate::types::Revision;

/// A scan that steps over more dead keys than this in a row reports the gap. Below it a zone would
/// save less than looking it up costs everybody else.
pub const REPORT_AFTER_DEAD: u64 = 64;

/// Most zones at a time: what the first change after a publication copies.
pub const ZONES_MAX: usize = 256;

/// Most bytes of keys in all zones.
const ZONE_BYTES_MAX: usize = 256 << 10;

/// A zone bounded by a longer key is not kept.
const ZONE_KEY_BYTES_MAX: usize = 4 << 10;

/// A zone that hides fewer dead keys is not worth its place.
const WEIGHT_MIN: u64 = REPORT_AFTER_DEAD / 2;

/// Creations remembered: how long after its view was current a report is still of use. At 30,000
/// creations a second it is a quarter of a second, twice what the slowest measured scan took.
const CREATIONS_MAX: usize = 8192;

/// Bytes of remembered keys.
const CREATION_BYTES_MAX: usize = 512 << 10;

/// Reports that wait for the applier; it takes them with every batch.
const REPORTS_MAX: usize = 64;

/// The applier's side: the zones of its latest state, and what it needs to judge reports.
#[derive(Debug)]
pub struct DeadZones {
    map: ZoneMap,
    reports: Reports,
    creations: Creations,
}

/// The zones of one state of the table, ascending, none touching another. Cloning is one
/// reference count.
#[derive(Clone, Debug, Default)]
pub struct ZoneMap {
    zones: Arc<Vec<Arc<Zone>>>,
}

/// An interval without a live key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    lo: Vec<u8>,
    /// `None` is the end of the table.
    hi: Option<Vec<u8>>,
    weight: u64,
}

/// Where readers put the gaps they found.
#[derive(Clone, Debug, Default)]
pub struct Reports {
    waiting: Arc<Mutex<Vec<Gap>>>,
}

/// What a scan saw: no live key from `lo` up to `hi`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The revision of the view it was seen in.
    pub revision: Revision,
    /// Where the scan was sure that none was left behind: where it began, or right after the last
    /// live key.
    pub lo: Vec<u8>,
    /// The next live key, or how far the scan got; `None` when it got to the end of the table.
    pub hi: Option<Vec<u8>>,
    /// Dead keys it stepped over there.
    pub stepped_over: u64,
}

/// Walks along the zones beside a scan in ascending order.
#[derive(Clone, Debug)]
pub struct Cursor {
    map: ZoneMap,
    at: usize,
}

/// The keys that came to life of late, oldest first.
#[derive(Debug)]
struct Creations {
    recent: VecDeque<(Revision, Box<[u8]>)>,
    bytes: usize,
    /// Creations up to here may have been forgotten.
    forgotten: Revision,
}

impl DeadZones {
    /// No zones yet, for a table whose last change was at `revision`.
    #[must_use]
    pub fn new(revision: Revision) -> Self {
        let creations = Creations { recent: VecDeque::new(), bytes: 0, forgotten: revision };
        Self { map: ZoneMap::default(), reports: Reports::default(), creations }
    }

    /// The zones of the state reached so far, to publish with it.
    #[must_use]
    pub fn map(&self) -> ZoneMap {
        self.map.clone()
    }

    /// Where the readers of this table report to.
    #[must_use]
    pub fn reports(&self) -> Reports {
        self.reports.clone()
    }

    /// A key that was absent has come to life at `revision`.
    pub fn created(&mut self, revision: Revision, key: &[u8]) {
        self.creations.push(revision, key);
        let at = self.map.first_ending_after(key);
        if !self.map.zones.get(at).is_some_and(|zone| zone.holds(key)) {
            return;
        }
        let zones = Arc::make_mut(&mut self.map.zones);
        let zone = Arc::unwrap_or_clone(zones.remove(at));
        // How many of its dead lie on either side is not known.
        let weight = zone.weight / 2;
        let left = Zone { lo: zone.lo, hi: Some(key.to_vec()), weight };
        let right = Zone { lo: successor(key), hi: zone.hi, weight };
        for part in [right, left] {
            if part.is_worth_keeping() {
                zones.insert(at, Arc::new(part));
            }
        }
        self.map.make_room();
    }

    /// A live key has been deleted.
    pub fn deleted(&mut self, key: &[u8]) {
        let at = self.map.first_ending_from(key);
        // Nearly always nothing touches the key, and nothing is to be done.
        let touched = self.map.zones.get(at).is_some_and(|zone| zone.starts_by_successor(key));
        if touched {
            let grown = Zone { lo: key.to_vec(), hi: Some(successor(key)), weight: 1 };
            self.map.add(grown, u64::saturating_add);
        }
    }

    /// Takes in what readers have reported. Call it between commands.
    pub fn absorb(&mut self) {
        for gap in self.reports.take() {
            if let Some(born) = self.creations.since(gap.revision, &gap) {
                self.absorb_gap(gap, &born);
            }
        }
    }

    /// Adds a gap without the keys that were born in it since it was seen.
    fn absorb_gap(&mut self, gap: Gap, born: &[Box<[u8]>]) {
        let parts = u64::try_from(born.len()).map_or(u64::MAX, |born| born.saturating_add(1));
        let weight = gap.stepped_over / parts;
        let mut lo = gap.lo;
        for key in born {
            let part = Zone { lo, hi: Some(key.to_vec()), weight };
            lo = successor(key);
            self.map.add(part, u64::max);
        }
        self.map.add(Zone { lo, hi: gap.hi, weight }, u64::max);
    }
}

impl ZoneMap {
    /// Takes in what a scan of this very state saw.
    pub fn seen(&mut self, gap: &Gap) {
        let dead = Zone { lo: gap.lo.clone(), hi: gap.hi.clone(), weight: gap.stepped_over };
        self.add(dead, u64::max);
    }

    /// Adds a dead interval, joined with all zones that it touches.
    fn add(&mut self, mut dead: Zone, weigh: fn(u64, u64) -> u64) {
        if dead.is_empty() {
            return;
        }
        let first = self.first_ending_from(&dead.lo);
        let touching = self.zones[first..]
            .iter()
            .take_while(|zone| dead.hi.as_ref().is_none_or(|hi| zone.lo <= *hi))
            .count();
        let zones = Arc::make_mut(&mut self.zones);
        let mut weight = 0_u64;
        for zone in zones.drain(first..first + touching) {
            weight = weight.saturating_add(zone.weight);
            dead.cover(&zone);
        }
        dead.weight = weigh(weight, dead.weight);
        if dead.is_worth_keeping() {
            zones.insert(first, Arc::new(dead));
        }
        self.make_room();
    }

    /// Evicts the lightest zones when there are too many or they take too many bytes.
    fn make_room(&mut self) {
        let bytes = |zones: &[Arc<Zone>]| zones.iter().map(|zone| zone.bytes()).sum::<usize>();
        if self.zones.len() <= ZONES_MAX && bytes(&self.zones) <= ZONE_BYTES_MAX {
            return;
        }
        let zones = Arc::make_mut(&mut self.zones);
        let mut weights: Vec<u64> = zones.iter().map(|zone| zone.weight).collect();
        weights.sort_unstable();
        let limit = weights[weights.len() / 8];
        zones.retain(|zone| zone.weight > limit);
        while bytes(zones) > ZONE_BYTES_MAX {
            let largest = (0..zones.len()).max_by_key(|at| zones[*at].bytes());
            zones.remove(largest.expect("no zone takes no bytes"));
        }
        for zone in zones {
            Arc::make_mut(zone).weight /= 2;
        }
    }

    /// The zone that `key` lies in: a scan that would go to `key` may go to its end at once.
    #[must_use]
    pub fn find(&self, key: &[u8]) -> Option<&Zone> {
        self.zones.get(self.first_ending_after(key)).map(|zone| &**zone).filter(|z| z.holds(key))
    }

    /// The zone that reaches up to `key`, or to the end of the table: a descending scan that stands
    /// on `key` may go to its beginning at once.
    #[must_use]
    pub fn before(&self, key: Option<&[u8]>) -> Option<&Zone> {
        match key {
            None => self.zones.last().filter(|zone| zone.hi.is_none()),
            Some(key) => self.zones.get(self.first_ending_from(key)).filter(|z| *z.lo < *key),
        }
        .map(|zone| &**zone)
    }

    /// A cursor for a scan that begins at `lo`.
    #[must_use]
    pub fn cursor(&self, lo: &[u8]) -> Cursor {
        Cursor { map: self.clone(), at: self.first_ending_after(lo) }
    }

    /// All zones, ascending.
    pub fn iter(&self) -> impl Iterator<Item = &Zone> {
        self.zones.iter().map(|zone| &**zone)
    }

    fn first_ending_after(&self, key: &[u8]) -> usize {
        self.zones.partition_point(|zone| zone.hi.as_ref().is_some_and(|hi| hi.as_slice() <= key))
    }

    fn first_ending_from(&self, key: &[u8]) -> usize {
        self.zones.partition_point(|zone| zone.hi.as_ref().is_some_and(|hi| hi.as_slice() < key))
    }
}

impl Cursor {
    /// The zone that begins no later than right behind `last`, the live key the scan stands on: the
    /// scan may seek to the zone's end instead of stepping on. One comparison when there is none.
    pub fn behind(&mut self, last: &[u8]) -> Option<&Zone> {
        let ahead = |zone: &Zone| zone.hi.as_ref().is_none_or(|hi| hi.as_slice() > last);
        while self.map.zones.get(self.at).is_some_and(|zone| !ahead(zone)) {
            self.at += 1;
        }
        self.map.zones.get(self.at).map(|zone| &**zone).filter(|z| z.starts_by_successor(last))
    }
}

impl Zone {
    /// Its first key.
    #[must_use]
    pub fn lo(&self) -> &[u8] {
        &self.lo
    }

    /// The first key behind it, `None` when it reaches to the end of the table.
    #[must_use]
    pub fn hi(&self) -> Option<&[u8]> {
        self.hi.as_deref()
    }

    fn holds(&self, key: &[u8]) -> bool {
        self.lo.as_slice() <= key && self.hi.as_ref().is_none_or(|hi| key < hi.as_slice())
    }

    /// Whether it starts at the key that follows `key`, or before.
    fn starts_by_successor(&self, key: &[u8]) -> bool {
        self.lo.as_slice() <= key || (self.lo.len() == key.len() + 1 && self.lo == successor(key))
    }

    fn is_empty(&self) -> bool {
        self.hi.as_ref().is_some_and(|hi| *hi <= self.lo)
    }

    fn is_worth_keeping(&self) -> bool {
        let longest = self.lo.len().max(self.hi.as_ref().map_or(0, Vec::len));
        !self.is_empty() && self.weight >= WEIGHT_MIN && longest <= ZONE_KEY_BYTES_MAX
    }

    fn bytes(&self) -> usize {
        size_of::<Self>() + self.lo.len() + self.hi.as_ref().map_or(0, Vec::len)
    }

    /// Grows to cover another zone that it touches.
    fn cover(&mut self, other: &Self) {
        if other.lo < self.lo {
            self.lo.clone_from(&other.lo);
        }
        match (&mut self.hi, &other.hi) {
            (Some(own), Some(hi)) if *own < *hi => own.clone_from(hi),
            (own, None) => *own = None,
            _ => {}
        }
    }
}

impl Reports {
    /// Hands a gap to the applier. A report too many is dropped: the next scan makes it again.
    pub fn report(&self, gap: Gap) {
        let longest = gap.lo.len().max(gap.hi.as_ref().map_or(0, Vec::len));
        let empty = gap.hi.as_ref().is_some_and(|hi| *hi <= gap.lo);
        if empty || longest > ZONE_KEY_BYTES_MAX {
            return;
        }
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() < REPORTS_MAX {
            waiting.push(gap);
        }
    }

    fn take(&self) -> Vec<Gap> {
        std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Creations {
    fn push(&mut self, revision: Revision, key: &[u8]) {
        self.bytes += key.len();
        self.recent.push_back((revision, key.into()));
        while self.recent.len() > CREATIONS_MAX || self.bytes > CREATION_BYTES_MAX {
            let (revision, key) = self.recent.pop_front().expect("more than none");
            self.bytes -= key.len();
            self.forgotten = revision;
        }
    }

    /// The keys created in the gap after `revision`, in order; `None` if that is not known.
    fn since(&self, revision: Revision, gap: &Gap) -> Option<Vec<Box<[u8]>>> {
        if revision < self.forgotten {
            return None;
        }
        let first = self.recent.partition_point(|(created, _)| *created <= revision);
        let inside = |key: &[u8]| {
            gap.lo.as_slice() <= key && gap.hi.as_ref().is_none_or(|hi| key < hi.as_slice())
        };
        let recent = self.recent.range(first..);
        let mut born: Vec<_> =
            recent.filter(|(_, key)| inside(key)).map(|(_, key)| key.clone()).collect();
        born.sort_unstable();
        born.dedup();
        Some(born)
    }
}

/// The key right behind `key`.
pub(super) fn successor(key: &[u8]) -> Vec<u8> {
    let mut next = Vec::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.push(0);
    next
}

#[cfg(test)]
#[path = "dead_zones_test.rs"]
mod tests;
