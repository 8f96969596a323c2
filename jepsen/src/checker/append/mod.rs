//! The list checker: transactions that read lists and append to them form a graph of who depends
//! on whom, and a store that is as strict as it says has no cycle in it.
//!
//! Lists only grow and elements are unique, so every read of a list tells the whole order of its
//! writers ([`graph`]). That gives the dependencies: ww (appended after), wr (read what was
//! appended), rw (read before it was appended), and real time (began after the other ended). What
//! kind of edges a cycle needs gives its name ([`cycles`]), in Adya's words:
//!
//! | name | cycle of |
//! |---|---|
//! | G0 | ww |
//! | G1c | ww and wr |
//! | G-single | those and exactly one rw |
//! | G2 | those and several rw |
//!
//! with `-realtime` behind it if real time is part of the cycle. Without a cycle: G1a (read what a
//! failed transaction appended), G1b (read half of what one appended), lost, duplicated and
//! reordered elements.

mod cycles;
mod graph;

use super::verdict::{Findings, Verdict};
use crate::history::History;

/// Checks a history.
pub fn check(history: &History) -> Verdict {
    let mut found = Findings::new("append");
    let txns = graph::txns(history);
    let edges = graph::edges(&txns, history, &mut found);
    cycles::find(&edges, &txns, &mut found);
    found.verdict(txns.len(), None)
}

#[cfg(test)]
mod tests;
