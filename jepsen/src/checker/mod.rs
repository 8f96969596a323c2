//! Is a history possible for a store that keeps its promises?
//!
//! Four checkers look at the same history from different sides:
//!
//! * [`revision`]: everything etcd answers carries revisions, so the store's log is rebuilt from
//!   the answers and replayed; every answer must be exactly the one a single correct store gives.
//! * [`linear`]: a black box that ignores revisions and searches for an order of the operations
//!   that explains all values (Wing and Gong's search with Lowe's memory).
//! * [`set`]: nothing that was added is lost, doubled or made up.
//! * [`append`]: dependencies between transactions over lists form no forbidden cycle.
//!
//! They share no judgement, only [`Model`]'s idea of what one request does to one store.

pub mod append;
pub mod linear;
mod model;
pub mod recovery;
pub mod revision;
pub mod set;
#[cfg(test)]
mod simulate;
mod verdict;

pub use model::Model;
pub use revision::unowned_revisions;
pub use verdict::{Anomaly, Findings, Verdict};

use std::time::Duration;

use crate::history::History;

/// All checkers, one after the other.
pub fn check_all(history: &History, time_max: Duration) -> Vec<Verdict> {
    vec![
        revision::check(history),
        linear::check(history, time_max),
        set::check(history),
        append::check(history),
        recovery::check(history),
    ]
}
