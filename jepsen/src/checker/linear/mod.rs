//! The black box: is there an order of the operations, each within its time, that explains all
//! values? Revisions are ignored, so a store that lies about them is caught here.
//!
//! [`mod@extract`] turns operations into steps on variables (keys): what a step must find and what it
//! leaves. Keys that no transaction joins are independent, so each group of joined keys is a
//! search of its own; groups run in parallel. [`mod@search`] looks for the order; when there is none,
//! [`shrink`] cuts the group down to the few steps that contradict each other and [`explain`]
//! prints them.
//!
//! Left out: serializable reads, which may be old, reads of the past, and intervals, which would
//! join all keys (the set checker looks at those).

mod explain;
mod extract;
mod search;
mod shrink;

use std::num::NonZero;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::verdict::{ANOMALIES_PER_KIND_MAX, Findings, Verdict};
use crate::clock::Clock;
use crate::history::History;
use extract::{Contradiction, Group, extract};
use search::{Outcome, search};

/// Of the time for all, what a group that has no order may take to be cut down.
const SHRINK_TIME_MAX: Duration = Duration::from_secs(10);

/// Checks a history, no longer than this.
pub fn check(history: &History, time_max: Duration) -> Verdict {
    let mut found = Findings::new("linear");
    let clock = Clock::start();
    let (groups, contradictions) = extract(history);
    for Contradiction { place, text } in contradictions {
        found.add("self-contradiction", text, [&history.ops[place]]);
    }
    let examined = groups.iter().map(|group| group.steps.len()).sum();
    let outcomes = search_all(&groups, clock, time_max);
    let mut undecided = Vec::new();
    let mut shown = 0;
    for (group, outcome) in groups.iter().zip(outcomes) {
        match outcome {
            Outcome::Ordered => {}
            Outcome::GaveUp => undecided.push(group.keys.join("+")),
            // Those beyond are counted but not shown, and cutting down takes time.
            Outcome::None(_) if shown == ANOMALIES_PER_KIND_MAX => {
                found.add("not-linearizable", group.keys.join(", "), [""; 0]);
            }
            Outcome::None(_) => {
                shown += 1;
                let small = shrink::shrink(group, Clock::start(), SHRINK_TIME_MAX);
                let (text, evidence) = explain::explain(&small, history);
                found.add("not-linearizable", text, evidence);
            }
        }
    }
    let undecided = (!undecided.is_empty())
        .then(|| format!("no answer within {time_max:?} for {}", undecided.join(", ")));
    found.verdict(examined, undecided)
}

/// Searches all groups, as many at a time as there are processors.
fn search_all(groups: &[Group], clock: Clock, time_max: Duration) -> Vec<Outcome> {
    let outcomes: Vec<Mutex<Outcome>> =
        groups.iter().map(|_| Mutex::new(Outcome::GaveUp)).collect();
    let next = std::sync::atomic::AtomicUsize::new(0);
    let workers = std::thread::available_parallelism().map_or(1, NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..workers.min(groups.len()) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    let Some(group) = groups.get(index) else { break };
                    let outcome = search(&group.steps, group.keys.len(), clock, time_max);
                    *outcomes[index].lock().unwrap_or_else(PoisonError::into_inner) = outcome;
                }
            });
        }
    });
    outcomes
        .into_iter()
        .map(|outcome| outcome.into_inner().unwrap_or_else(PoisonError::into_inner))
        .collect()
}

#[cfg(test)]
mod tests;
