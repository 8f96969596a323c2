//! Cuts a group without an order down to the few steps that contradict each other.
//!
//! Only changes are made that keep every order an order, so what remains proves as much as the
//! whole did:
//! * everything after a moment is dropped, and what was under way then need not happen;
//! * a step is dropped together with all finds of what it left;
//! * a find is dropped.

use std::collections::HashSet;
use std::time::Duration;

use super::extract::{Cell, Group, NEVER, Step};
use super::search::{Outcome, search};
use crate::clock::Clock;

/// A group that has no order, as small as time allows.
pub(super) fn shrink(group: &Group, clock: Clock, time_max: Duration) -> Group {
    let shrinker = Shrinker { variables: group.keys.len(), clock, time_max };
    let steps = shrinker.earliest(&group.steps);
    let steps = shrinker.drop_steps(steps);
    let steps = shrinker.drop_finds(steps);
    Group { keys: group.keys.clone(), steps }
}

#[derive(Debug)]
struct Shrinker {
    variables: usize,
    clock: Clock,
    time_max: Duration,
}

impl Shrinker {
    /// Whether the steps certainly have no order.
    fn fails(&self, steps: &[Step]) -> bool {
        let outcome = search(steps, self.variables, self.clock, self.time_max);
        matches!(outcome, Outcome::None(_))
    }

    fn has_time(&self) -> bool {
        self.clock.elapsed() < self.time_max
    }

    /// The shortest beginning that has no order: the more of a history, the fewer orders, so the
    /// moment can be found by halving.
    fn earliest(&self, steps: &[Step]) -> Vec<Step> {
        let mut ends: Vec<u64> = steps.iter().map(|s| s.end).filter(|end| *end != NEVER).collect();
        ends.sort_unstable();
        let (mut low, mut high) = (0, ends.len().saturating_sub(1));
        while low < high && self.has_time() {
            let middle = usize::midpoint(low, high);
            if self.fails(&until(steps, ends[middle])) { high = middle } else { low = middle + 1 }
        }
        match ends.get(high) {
            Some(end) => until(steps, *end),
            None => steps.to_vec(),
        }
    }

    /// Drops steps, many at a time while that works, then one by one.
    fn drop_steps(&self, mut steps: Vec<Step>) -> Vec<Step> {
        let mut chunk = (steps.len() / 2).max(1);
        loop {
            let mut from = 0;
            let mut dropped = false;
            while from < steps.len() && self.has_time() {
                let smaller = without(&steps, from, chunk);
                if self.fails(&smaller) {
                    steps = smaller;
                    dropped = true;
                } else {
                    from += chunk;
                }
            }
            if !self.has_time() || (chunk == 1 && !dropped) {
                return steps;
            }
            chunk = (chunk / 2).max(1);
        }
    }

    fn drop_finds(&self, mut steps: Vec<Step>) -> Vec<Step> {
        for index in 0..steps.len() {
            let mut find = 0;
            while find < steps[index].finds.len() && self.has_time() {
                let mut smaller = steps.clone();
                smaller[index].finds.remove(find);
                if self.fails(&smaller) { steps = smaller } else { find += 1 }
            }
        }
        steps
    }
}

/// What had begun by a moment; what had not ended need not happen.
fn until(steps: &[Step], moment: u64) -> Vec<Step> {
    let begun = steps.iter().filter(|step| step.begin <= moment);
    let cut = begun.cloned().map(|mut step| {
        if step.end > moment {
            step.end = NEVER;
        }
        step
    });
    cut.filter(|step| step.end != NEVER || !step.leaves.is_empty()).collect()
}

/// The steps but for some, and but for all finds of what those left.
fn without(steps: &[Step], from: usize, count: usize) -> Vec<Step> {
    let to = (from + count).min(steps.len());
    let left: HashSet<Cell> = steps[from..to].iter().flat_map(|s| s.leaves.clone()).collect();
    let rest = steps[..from].iter().chain(&steps[to..]).cloned();
    let weakened = rest.map(|mut step| {
        step.finds.retain(|cell| !left.contains(cell));
        step
    });
    weakened.filter(|step| !step.finds.is_empty() || !step.leaves.is_empty()).collect()
}
