//! The time at the beginning of a value: nanoseconds since this program first asked.

use std::sync::OnceLock;
use std::time::Instant;

use crate::clock;

static BEGIN: OnceLock<Instant> = OnceLock::new();

/// Nanoseconds now, above 0.
pub(super) fn now() -> u64 {
    clock::nanos(BEGIN.get_or_init(clock::now).elapsed()).max(1)
}
