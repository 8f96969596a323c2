//! What the log does when the disk or the power fails, checked against a model of what it
//! promised.

#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::wildcard_enum_match_arm,
    reason = "a test that can't go on may stop at once, and its numbers are small"
)]

mod damage;
mod harness;
mod power;
mod random;
mod space;
mod versions;
