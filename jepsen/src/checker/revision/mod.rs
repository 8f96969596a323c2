//! The revision checker: rebuilds the store's log from what answers say, replays it, and compares
//! every answer with the one that a single correct store gives.
//!
//! 1. [`log`]: every answered change has its revision from the answer's header; each is given once.
//!    A write of unknown outcome is found by its unique value, wherever that value is seen, and has
//!    then the revision of that sight; once, or never.
//! 2. [`replay`]: all revisions in order through the model. Each answer at its revision must be
//!    the model's, down to version numbers; serializable ones too.
//! 3. [`order`]: what was asked after something was answered has no lower revision, and a higher
//!    one if it changed something. Serializable answers of one life of a member never go back.
//! 4. All members have the same hash at the same revision.

mod log;
mod order;
mod replay;

use std::collections::BTreeMap;

use super::verdict::{Findings, Verdict};
use crate::history::{Hash, History};
use log::Log;

/// Checks a history.
pub fn check(history: &History) -> Verdict {
    let mut found = Findings::new("revision");
    let mut log = Log::build(history, &mut found);
    let bounds = order::check(history, &log, &mut found);
    let undecided = replay::check(history, &mut log, &bounds, &mut found);
    check_hashes(&history.hashes, &mut found);
    found.verdict(history.ops.len(), undecided)
}

/// Revisions that no answer accounts for: writes of unknown outcome, or something that is wrong.
pub fn unowned_revisions(history: &History) -> Vec<i64> {
    let log = Log::build(history, &mut Findings::new("revision"));
    (2..=log.newest).filter(|revision| !log.owners.contains_key(revision)).collect()
}

fn check_hashes(hashes: &[Hash], found: &mut Findings) {
    let mut by_revision: BTreeMap<i64, Vec<&Hash>> = BTreeMap::new();
    for hash in hashes {
        by_revision.entry(hash.revision).or_default().push(hash);
    }
    for (revision, hashes) in by_revision {
        let same = hashes
            .windows(2)
            .all(|pair| (pair[0].hash, pair[0].compacted) == (pair[1].hash, pair[1].compacted));
        if !same {
            let evidence = hashes.iter().map(|h| {
                format!("n{}: hash {:08x}, compacted {}", h.node + 1, h.hash, h.compacted)
            });
            let text = format!("members differ in their hash at revision {revision}");
            found.add("members-differ", text, evidence);
        }
    }
}

#[cfg(test)]
mod tests;
