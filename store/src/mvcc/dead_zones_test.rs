//! Dead zones against a brute-force set, with views, reports, creations and deletions interleaved
//! at random.

use std::collections::{BTreeSet, VecDeque};

use super::*;
use crate::testing::rng::Rng;

type Keys = BTreeSet<Vec<u8>>;

/// What a reader holds.
#[derive(Clone)]
struct View {
    revision: Revision,
    keys: Keys,
    map: ZoneMap,
}

impl View {
    /// What a scan from `lo` finds: the next live key.
    fn next_live(&self, lo: &[u8]) -> Option<&Vec<u8>> {
        self.keys.range(lo.to_vec()..).next()
    }

    fn gap_from(&self, lo: &[u8], stepped_over: u64) -> Gap {
        let hi = self.next_live(lo).cloned();
        Gap { revision: self.revision, lo: lo.to_vec(), hi, stepped_over }
    }

    fn check(&self) {
        let mut last: Option<&Zone> = None;
        for zone in self.map.iter() {
            assert!(!zone.is_empty());
            let hidden = self.next_live(zone.lo()).filter(|key| zone.holds(key));
            assert!(hidden.is_none(), "{zone:?} hides {hidden:?} at {:?}", self.revision);
            if let Some(last) = last {
                assert!(last.hi().is_some_and(|hi| hi < zone.lo()), "{last:?} touches {zone:?}");
            }
            last = Some(zone);
        }
        assert!(self.map.zones.len() <= ZONES_MAX);
    }

    /// A scan that uses the zones finds what a scan without them finds.
    fn check_scan(&self, lo: &[u8]) {
        let mut found = Vec::new();
        let mut cursor = self.map.cursor(lo);
        let mut at = self.map.find(lo).map_or(Some(lo), Zone::hi).map(<[u8]>::to_vec);
        while let Some(key) = at.and_then(|at| self.next_live(&at)) {
            found.push(key.clone());
            at = match cursor.behind(key) {
                Some(zone) => zone.hi().map(<[u8]>::to_vec),
                None => Some(successor(key)),
            };
        }
        let all: Vec<_> = self.keys.range(lo.to_vec()..).cloned().collect();
        assert_eq!(found, all);
    }
}

struct Applier {
    revision: i64,
    keys: Keys,
    zones: DeadZones,
    views: VecDeque<View>,
}

impl Applier {
    fn new() -> Self {
        let zones = DeadZones::new(Revision(1));
        let mut applier = Self { revision: 1, keys: Keys::new(), zones, views: VecDeque::new() };
        applier.publish();
        applier
    }

    fn create(&mut self, key: &[u8]) {
        self.revision += 1;
        if self.keys.insert(key.to_vec()) {
            self.zones.created(Revision(self.revision), key);
        }
    }

    fn delete(&mut self, key: &[u8]) {
        if self.keys.remove(key) {
            self.revision += 1;
            self.zones.deleted(key);
        }
    }

    fn delete_all(&mut self, lo: &[u8], hi: Option<&[u8]>) {
        let inside =
            |key: &Vec<u8>| key.as_slice() >= lo && hi.is_none_or(|hi| key.as_slice() < hi);
        let dead: Vec<_> = self.keys.iter().filter(|key| inside(key)).cloned().collect();
        self.revision += 1;
        for key in dead {
            self.keys.remove(&key);
            self.zones.deleted(&key);
        }
    }

    fn publish(&mut self) {
        let (revision, keys) = (Revision(self.revision), self.keys.clone());
        self.views.push_back(View { revision, keys, map: self.zones.map() });
        if self.views.len() > 6 {
            self.views.pop_front();
        }
    }

    fn latest(&self) -> &View {
        self.views.back().expect("one is published at the start")
    }
}

fn random_key(rng: &mut Rng) -> Vec<u8> {
    (0..rng.between(1, 4)).map(|_| *rng.pick(&[0, b'a', b'b', b'c', 0xff])).collect()
}

#[test]
fn no_view_has_a_zone_that_hides_a_live_key() {
    for seed in 0..200 {
        let mut rng = Rng::new(seed);
        let mut applier = Applier::new();
        let reports = applier.zones.reports();
        for _ in 0..600 {
            let key = random_key(&mut rng);
            match rng.below(16) {
                0..=3 => applier.create(&key),
                4..=8 => applier.delete(&key),
                9 => {
                    let hi = random_key(&mut rng);
                    applier.delete_all(&key, rng.chance(9, 10).then_some(&hi));
                }
                10..=12 => {
                    let view = &applier.views[rng.below(applier.views.len())];
                    reports.report(view.gap_from(&key, 40 + rng.number() % 400));
                }
                13 => applier.zones.absorb(),
                _ => {
                    applier.publish();
                    applier.latest().check();
                    applier.latest().check_scan(&key);
                }
            }
        }
        applier.views.iter().for_each(View::check);
    }
}

#[test]
fn a_late_report_leaves_out_what_was_born_since() {
    let mut applier = Applier::new();
    let reports = applier.zones.reports();
    let gap = applier.latest().gap_from(b"a", 1000);
    applier.create(b"m");
    applier.create(b"q");
    applier.delete(b"q");
    reports.report(gap);
    applier.zones.absorb();
    applier.publish();
    applier.latest().check();
    let map = &applier.latest().map;
    assert!(map.find(b"b").is_some() && map.find(b"n").is_some() && map.find(b"m").is_none());
    assert_eq!(map.find(b"n").and_then(Zone::hi), Some(&b"q"[..]), "conservative about q");
}

#[test]
fn a_report_from_before_what_is_remembered_is_thrown_away() {
    let mut applier = Applier::new();
    let reports = applier.zones.reports();
    // It ends before the creations that push the first one out of memory.
    let gap = Gap { hi: Some(b"n".to_vec()), ..applier.latest().gap_from(b"a", 1000) };
    applier.create(b"m");
    for number in 0..CREATIONS_MAX {
        applier.create(format!("z{number}").as_bytes());
    }
    assert_eq!(applier.zones.creations.recent.len(), CREATIONS_MAX);
    reports.report(gap);
    applier.zones.absorb();
    applier.publish();
    assert_eq!(applier.latest().map.iter().count(), 0);
    reports.report(applier.latest().gap_from(b"a", 1000));
    applier.zones.absorb();
    applier.publish();
    assert_eq!(applier.latest().map.find(b"b").and_then(Zone::hi), Some(&b"m"[..]));
}

#[test]
fn a_published_map_does_not_see_the_batch_in_the_making() {
    let mut applier = Applier::new();
    applier.create(b"m");
    applier.publish();
    applier.zones.reports().report(applier.latest().gap_from(b"a", 1000));
    applier.zones.absorb();
    applier.publish();
    let before = applier.latest().clone();
    applier.delete(b"m");
    assert_eq!(before.map.find(b"b").and_then(Zone::hi), Some(&b"m"[..]));
    applier.publish();
    assert_eq!(applier.latest().map.find(b"b").and_then(Zone::hi), Some(&b"m\0"[..]));
    before.check();
}

#[test]
fn a_moving_queue_is_looked_up_without_stepping_over_its_dead() {
    let key = |number: usize| format!("q/{number:08}").into_bytes();
    let mut applier = Applier::new();
    let reports = applier.zones.reports();
    (0..500).for_each(|number| applier.create(&key(number)));
    applier.publish();
    let (mut head, mut dead_stepped_over) = (0, 0);
    for tail in 500..40_000 {
        // The reader finds the head, starting behind the zone, and reports what it learned.
        let view = applier.latest();
        let from = view.map.find(b"q/").map_or(&b"q/"[..], |zone| zone.hi().expect("bounded"));
        let live = view.next_live(from).expect("never empty").clone();
        assert_eq!(live, key(head));
        let first = (0..head).rev().take_while(|dead| key(*dead).as_slice() >= from).count();
        dead_stepped_over += first;
        if first > 64 || (view.map.find(b"q/").is_some() && from != live) {
            reports.report(view.gap_from(b"q/", first as u64));
        }
        // The batch that carries the deletion begins with the report.
        applier.zones.absorb();
        applier.delete(&key(head));
        applier.create(&key(tail));
        head += 1;
        applier.publish();
    }
    assert!(dead_stepped_over < 70 * 70, "{dead_stepped_over} dead keys stepped over");
    assert!(applier.latest().map.iter().count() <= 2);
}

#[test]
fn zones_stay_bounded_and_the_heavy_ones_stay() {
    let mut applier = Applier::new();
    let gap = |at: u32, weight| Gap {
        revision: Revision(1),
        lo: at.to_be_bytes().to_vec(),
        hi: Some([&at.to_be_bytes()[..], b"x"].concat()),
        stepped_over: weight,
    };
    let reports = applier.zones.reports();
    reports.report(gap(7, 1_000_000));
    for at in 1000..4000 {
        reports.report(gap(at, 200));
        applier.zones.absorb();
        assert!(applier.zones.map.zones.len() <= ZONES_MAX);
    }
    assert!(applier.zones.map().find(&7_u32.to_be_bytes()).is_some());
    for at in 0..200 {
        reports.report(gap(at, 200));
    }
    assert_eq!(reports.take().len(), REPORTS_MAX);
    for at in 5000..5200_u32 {
        let lo = [&at.to_be_bytes()[..], &[1; 3000]].concat();
        let hi = Some([&lo[..], b"x"].concat());
        reports.report(Gap { revision: Revision(1), lo, hi, stepped_over: 500 });
        applier.zones.absorb();
    }
    assert!(applier.zones.map().iter().map(Zone::bytes).sum::<usize>() <= ZONE_BYTES_MAX);
}
