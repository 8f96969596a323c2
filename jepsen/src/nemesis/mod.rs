//! Faults: which kinds there are, a schedule drawn from a seed, and carrying it out.
//!
//! A [`Mix`] names a family of faults; a [`Plan`] is the schedule that a seed gives for a mix,
//! fixed before the round begins; [`Nemesis`] carries it out against a running cluster and records
//! what it did to whom.

mod mix;
mod plan;
mod run;

pub use mix::Mix;
pub use plan::{Cut, Deed, Plan, Setting, Step, Who};
pub use run::Nemesis;
