//! The way of an ascending scan through table `current`, along the dead zones of its view.

use crate::engine::{Bounds, Cursor};
use crate::types::Revision;

use super::dead_zones::{self, Gap, REPORT_AFTER_DEAD, Reports, ZoneMap};

/// What is known to be dead in a view, and where to report more.
pub(crate) type Zones<'a> = Option<(&'a ZoneMap, &'a Reports)>;

/// See the module.
pub(super) struct Path<'a> {
    zones: Option<(dead_zones::Cursor<'a>, &'a Reports)>,
    revision: Revision,
    /// No live key lies between here and where the scan stands.
    pub(super) from: Vec<u8>,
    stepped_over: u64,
}

/// Where a scan goes from a row.
pub(super) enum Ahead {
    /// To the next one.
    Next,
    /// To [`Path::from`], for nothing lives before it.
    Jump,
    /// Nowhere: nothing lives any more.
    End,
}

impl<'a> Path<'a> {
    /// The path of a scan over `bounds`, or none if nothing lives there.
    pub(super) fn start(zones: Zones<'a>, revision: Revision, bounds: Bounds<'_>) -> Option<Self> {
        let mut from = bounds.lower;
        if let Some(zone) = zones.and_then(|(map, _)| map.find(from)) {
            from = zone.hi()?;
        }
        if bounds.upper.is_some_and(|upper| upper <= from) {
            return None;
        }
        let zones = zones.map(|(map, reports)| (map.cursor(from), reports));
        Some(Self { zones, revision, from: from.to_vec(), stepped_over: 0 })
    }

    /// Reports what the cursor stepped over to get where it stands, if that was much.
    pub(super) fn look_back(&mut self, cursor: &dyn Cursor, upper: Option<&[u8]>) {
        let Some((_, reports)) = &self.zones else { return };
        let all = cursor.stepped_over();
        let stepped_over = all.saturating_sub(self.stepped_over);
        self.stepped_over = all;
        if stepped_over > REPORT_AFTER_DEAD {
            let hi = cursor.row().map(|(key, _)| key).or(upper);
            let (lo, hi) = (self.from.clone(), hi.map(<[u8]>::to_vec));
            reports.report(Gap { revision: self.revision, lo, hi, stepped_over });
        }
    }

    /// Where to go from the live key `key`.
    pub(super) fn go_on(&mut self, key: &[u8]) -> Ahead {
        let Some((zones, _)) = &mut self.zones else { return Ahead::Next };
        self.from.clear();
        match zones.behind(key).map(|zone| zone.hi()) {
            None => {
                self.from.extend_from_slice(key);
                self.from.push(0);
                Ahead::Next
            }
            Some(Some(end)) => {
                self.from.extend_from_slice(end);
                Ahead::Jump
            }
            Some(None) => Ahead::End,
        }
    }
}
