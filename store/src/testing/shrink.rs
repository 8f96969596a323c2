//! Makes a failing sequence small enough to read.

use crate::command::{Command, Op, Txn};

/// The smallest sequence found that still fails: steps are left out, in large pieces first, and
/// then made simpler by `simpler`, as long as `fails` stays true; it is asked `runs_max` times at
/// most, so that a failing test ends within its minute.
pub fn minimise<T: Clone>(
    mut steps: Vec<T>,
    runs_max: usize,
    simpler: impl Fn(&T) -> Vec<T>,
    mut fails: impl FnMut(&[T]) -> bool,
) -> Vec<T> {
    let mut runs = 0;
    let mut fails = |steps: &[T]| {
        runs += 1;
        runs <= runs_max && fails(steps)
    };
    let mut piece = steps.len().div_ceil(2).max(1);
    loop {
        let before = steps.len();
        leave_out(&mut steps, piece, &mut fails);
        if piece == 1 && steps.len() == before {
            break;
        }
        piece = piece.div_ceil(2).min(steps.len()).max(1);
    }
    for at in 0..steps.len() {
        while let Some(smaller) = simplify(&steps, at, &simpler, &mut fails) {
            steps = smaller;
        }
    }
    steps
}

/// Leaves out every piece of this size that the failure does not need.
fn leave_out<T: Clone>(steps: &mut Vec<T>, piece: usize, fails: &mut impl FnMut(&[T]) -> bool) {
    let mut start = 0;
    while start < steps.len() {
        let mut fewer = steps.clone();
        fewer.drain(start..(start + piece).min(steps.len()));
        if fails(&fewer) {
            *steps = fewer;
        } else {
            start += piece;
        }
    }
}

fn simplify<T: Clone>(
    steps: &[T],
    at: usize,
    simpler: &impl Fn(&T) -> Vec<T>,
    fails: &mut impl FnMut(&[T]) -> bool,
) -> Option<Vec<T>> {
    simpler(&steps[at]).into_iter().find_map(|step| {
        let mut changed = steps.to_vec();
        changed[at] = step;
        fails(&changed).then_some(changed)
    })
}

/// The commands that are one cut smaller than this one.
#[must_use]
pub fn simpler_commands(command: &Command) -> Vec<Command> {
    match command {
        Command::Txn(txn) => simpler_txns(txn).into_iter().map(Command::Txn).collect(),
        Command::Put(_)
        | Command::DeleteRange(_)
        | Command::Compact(_)
        | Command::LeaseGrant(_)
        | Command::LeaseRevoke(_)
        | Command::LeaseCheckpoint(_) => Vec::new(),
    }
}

fn simpler_txns(txn: &Txn) -> Vec<Txn> {
    let mut simpler = Vec::new();
    for at in 0..txn.compare.len() {
        let mut fewer = txn.clone();
        fewer.compare.remove(at);
        simpler.push(fewer);
    }
    for list in simpler_lists(&txn.success) {
        simpler.push(Txn { success: list, ..txn.clone() });
    }
    for list in simpler_lists(&txn.failure) {
        simpler.push(Txn { failure: list, ..txn.clone() });
    }
    simpler
}

fn simpler_lists(list: &[Op]) -> Vec<Vec<Op>> {
    let mut simpler = Vec::new();
    for (at, op) in list.iter().enumerate() {
        let mut fewer = list.to_vec();
        fewer.remove(at);
        simpler.push(fewer);
        if let Op::Txn(nested) = op {
            for nested in simpler_txns(nested) {
                let mut changed = list.to_vec();
                changed[at] = Op::Txn(nested);
                simpler.push(changed);
            }
        }
    }
    simpler
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_two_steps_that_matter() {
        let steps: Vec<u32> = (0..1000).collect();
        let fails = |steps: &[u32]| steps.contains(&17) && steps.iter().any(|step| *step >= 900);
        let halves = |step: &u32| if *step > 900 { vec![900] } else { Vec::new() };
        assert_eq!(minimise(steps, 4000, halves, fails), [17, 900]);
    }
}
