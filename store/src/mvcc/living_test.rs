//! A walk along dead zones sees what a walk over everything sees, and takes fewer steps.

use std::cell::Cell;
use std::collections::BTreeSet;

use super::super::dead_zones::DeadZones;
use super::*;
use crate::testing::rng::Rng;

/// Keys that live, among keys that are stepped over and counted.
#[derive(Debug)]
struct Rows {
    all: BTreeSet<Vec<u8>>,
    live: BTreeSet<Vec<u8>>,
}

thread_local! {
    static STEPPED: Cell<u64> = const { Cell::new(0) };
}

impl Snapshot for Rows {
    fn get_with(&self, _: Table, _: &[u8], _: &mut dyn FnMut(&[u8])) -> Result<bool, Error> {
        unreachable!("cursors only")
    }

    fn cursor<'a>(
        &'a self,
        _: Table,
        bounds: Bounds<'_>,
        direction: Direction,
        _: Blocks,
    ) -> Result<Box<dyn Cursor + 'a>, Error> {
        let upper = bounds.upper.map(<[u8]>::to_vec);
        assert!(upper.as_ref().is_none_or(|upper| bounds.lower <= upper.as_slice()));
        let inside = |key: &&Vec<u8>| upper.as_ref().is_none_or(|upper| *key < upper);
        let mut keys: Vec<_> =
            self.all.range(bounds.lower.to_vec()..).take_while(inside).cloned().collect();
        if direction == Direction::Backward {
            keys.reverse();
        }
        let mut walk = Walk { rows: self, keys, at: 0, direction, stepped: 0 };
        walk.settle();
        Ok(Box::new(walk))
    }
}

#[derive(Debug)]
struct Walk<'a> {
    rows: &'a Rows,
    keys: Vec<Vec<u8>>,
    at: usize,
    direction: Direction,
    stepped: u64,
}

impl Walk<'_> {
    fn settle(&mut self) {
        while self.keys.get(self.at).is_some_and(|key| !self.rows.live.contains(key)) {
            self.at += 1;
            self.stepped += 1;
            STEPPED.set(STEPPED.get() + 1);
        }
    }
}

impl Cursor for Walk<'_> {
    fn row(&self) -> Option<(&[u8], &[u8])> {
        self.keys.get(self.at).map(|key| (key.as_slice(), &[][..]))
    }

    fn advance(&mut self) -> Result<(), Error> {
        self.at += 1;
        self.settle();
        Ok(())
    }

    fn stepped_over(&self) -> u64 {
        self.stepped
    }

    fn seek(&mut self, to: &[u8]) -> Result<(), Error> {
        let short = |key: &Vec<u8>| match self.direction {
            Direction::Forward => key.as_slice() < to,
            Direction::Backward => key.as_slice() > to,
        };
        self.at = self.at.max(self.keys.partition_point(short));
        self.settle();
        Ok(())
    }
}

fn key(number: usize) -> Vec<u8> {
    format!("{number:04}").into_bytes()
}

/// Two thousand keys of which stretches have died, with the zones that readers reported so far.
struct World {
    rows: Arc<Rows>,
    zones: DeadZones,
}

impl World {
    fn new(rng: &mut Rng) -> Self {
        let all: BTreeSet<_> = (0..2000).map(key).collect();
        let mut live = all.clone();
        for _ in 0..4 {
            let (start, len) = (rng.below(2000), rng.between(80, 400));
            (start..start + len).for_each(|number| _ = live.remove(&key(number)));
        }
        Self { rows: Arc::new(Rows { all, live }), zones: DeadZones::new(Revision(1)) }
    }

    fn living(&self) -> Living {
        let snapshot: Arc<dyn Snapshot> = Arc::clone(&self.rows) as _;
        Living::new(snapshot, Revision(1), self.zones.map(), self.zones.reports())
    }

    /// What a walk sees, and how many dead rows it stepped over.
    fn walk(
        snapshot: &dyn Snapshot,
        bounds: Bounds<'_>,
        direction: Direction,
    ) -> (Vec<Vec<u8>>, u64) {
        let before = STEPPED.get();
        let mut seen = Vec::new();
        let mut cursor = snapshot.cursor(Table::Current, bounds, direction, Blocks::Keep).unwrap();
        while let Some((key, _)) = cursor.row() {
            seen.push(key.to_vec());
            cursor.advance().unwrap();
        }
        (seen, STEPPED.get() - before)
    }
}

#[test]
fn every_walk_sees_what_lives_and_the_next_one_jumps() {
    for seed in 0..60 {
        let mut rng = Rng::new(seed);
        let mut world = World::new(&mut rng);
        for direction in [Direction::Forward, Direction::Backward] {
            for _ in 0..12 {
                let (lower, end) = (key(rng.below(2100)), key(rng.below(2100)));
                let upper = rng.chance(2, 3).then_some(end.as_slice());
                if upper.is_some_and(|upper| upper < lower.as_slice()) {
                    continue;
                }
                let bounds = Bounds { lower: &lower, upper };
                let (expected, _) = World::walk(&*world.rows, bounds, direction);
                let living = world.living();
                for _ in 0..2 {
                    let (seen, _) = World::walk(&living, bounds, direction);
                    assert_eq!(seen, expected, "seed {seed}, {direction:?}, {bounds:?}");
                }
                let (_, stepped) = World::walk(&living, bounds, direction);
                assert!(stepped <= 8 * REPORT_AFTER_DEAD, "{stepped} dead stepped over again");
                world.zones.absorb();
                let (again, stepped) = World::walk(&world.living(), bounds, direction);
                assert_eq!(again, expected, "seed {seed}, {direction:?}, {bounds:?}");
                // Stretches too short to be reported may still lie between the living.
                assert!(stepped <= 8 * REPORT_AFTER_DEAD, "{stepped} dead stepped over again");
            }
        }
    }
}
