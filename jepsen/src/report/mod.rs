//! What a run found, for people and for programs.

mod availability;
mod round;

pub use availability::{Availability, Gap, longest_gaps};
pub use round::{Counts, RoundReport, RunReport};
