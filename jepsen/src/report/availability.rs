//! Time without acknowledged writes, over a whole round and around each fault.

use serde::Serialize;

use crate::history::{Fault, History};

/// A stretch without acknowledged writes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Gap {
    /// When it began, in seconds after the start of the run.
    pub from: f64,
    /// How long it was, in seconds.
    pub seconds: f64,
}

/// The longest stretch that touches the time of one fault.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Availability {
    /// What was done.
    pub fault: String,
    /// To whom.
    pub detail: String,
    /// The stretch.
    pub gap: Gap,
}

/// The longest stretch of a history, and the longest around each fault.
pub fn longest_gaps(history: &History) -> (Option<Gap>, Vec<Availability>) {
    let mut writes: Vec<u64> =
        history.ops.iter().filter(|op| op.changed()).map(|op| op.completed).collect();
    writes.sort_unstable();
    let longest = longest(&writes, 0, u64::MAX);
    let begins = history.faults.iter().filter(|(_, fault)| fault.begins);
    let around = begins.filter_map(|(at, fault)| {
        let until = end_of(&history.faults, fault, *at);
        let gap = self::longest(&writes, *at, until)?;
        Some(Availability { fault: fault.kind.clone(), detail: fault.detail.clone(), gap })
    });
    (longest, around.collect())
}

fn end_of(faults: &[(u64, Fault)], begun: &Fault, at: u64) -> u64 {
    let end = faults.iter().find(|(t, f)| *t >= at && !f.begins && f.step == begun.step);
    end.map_or(u64::MAX, |(t, _)| *t)
}

/// The longest stretch between two writes that overlaps this time.
fn longest(writes: &[u64], from: u64, until: u64) -> Option<Gap> {
    let pairs = writes.windows(2).filter(|pair| pair[1] >= from && pair[0] <= until);
    let longest = pairs.max_by_key(|pair| pair[1] - pair[0])?;
    Some(Gap { from: seconds(longest[0]), seconds: seconds(longest[1] - longest[0]) })
}

fn seconds(nanos: u64) -> f64 {
    std::time::Duration::from_nanos(nanos).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gap_of_a_fault_reaches_beyond_its_begin_and_end() {
        let second = 1_000_000_000;
        let writes: Vec<u64> = [1, 2, 3, 7, 8, 10].map(|s| s * second).to_vec();
        let gap = |from: u64, until: u64| longest(&writes, from * second, until * second).unwrap();
        assert_eq!(gap(0, 100), Gap { from: 3.0, seconds: 4.0 });
        assert_eq!(gap(4, 5), Gap { from: 3.0, seconds: 4.0 });
        assert_eq!(gap(9, 9), Gap { from: 8.0, seconds: 2.0 });
        assert_eq!(longest(&[5], 0, 9), None);
    }
}
