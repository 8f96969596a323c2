//! Did everything come back after the last fault, and was the history closed in order?

use super::verdict::{Findings, Verdict};
use crate::history::History;

/// Checks the end of a history.
pub fn check(history: &History) -> Verdict {
    let mut found = Findings::new("recovery");
    if let Some(what) = &history.unrecovered {
        found.add("no-recovery", what, [""; 0]);
    }
    let undecided = (!history.ended).then(|| "the history was cut off".to_owned());
    found.verdict(history.ops.len(), undecided)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_did_not_come_back_is_an_anomaly_and_a_cut_history_is_no_proof() {
        let good = History::of(Vec::new());
        assert!(check(&good).is_clean() && check(&good).undecided.is_none());
        let bad = History { unrecovered: Some("n2 is gone".into()), ..good.clone() };
        assert!(check(&bad).has("no-recovery"));
        assert!(check(&History { ended: false, ..good }).undecided.is_some());
    }
}
