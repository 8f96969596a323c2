//! The table of every setting: etcd's flags and Keelson's own few.
//!
//! This is the one place that says what is supported. To make a refused flag work, read it in
//! `read.rs` and change its row here.

mod aliases;
mod cluster;
mod listen;
mod partly;
mod security;
mod tuning;

use super::flag::{Flag, Kind, Section, Support};

/// Every setting, in the order of `--help`.
pub const SECTIONS: &[Section] = &[
    cluster::MEMBER,
    listen::CLIENTS,
    listen::PEERS,
    cluster::CLUSTERING,
    tuning::RAFT,
    tuning::LIMITS,
    tuning::STORAGE,
    tuning::COMPACTION,
    tuning::WATCH,
    security::AUTH,
    security::TLS,
    tuning::LOGGING,
    tuning::METRICS,
    tuning::CHECKS,
    cluster::DISCOVERY,
    tuning::KEELSON,
    aliases::OLDER_NAMES,
];

/// Every row.
pub(super) fn all() -> impl Iterator<Item = &'static Flag> {
    SECTIONS.iter().flat_map(|section| section.flags)
}

/// The row of that name (without dashes).
pub fn find(name: &str) -> Option<&'static Flag> {
    all().find(|flag| flag.name == name)
}

const BOOL: Kind = Kind::Bool;
const INT: Kind = Kind::Int;
const MILLIS: Kind = Kind::Millis;
const DURATION: Kind = Kind::Duration;
const TEXT: Kind = Kind::Text;
const LIST: Kind = Kind::List;
const URLS: Kind = Kind::Urls;

const fn uint(min: u64, max: u64) -> Kind {
    Kind::Uint { min, max }
}

const fn row(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    help: &'static str,
    support: Support,
) -> Flag {
    Flag { name, kind, default, help, support }
}

const fn used(name: &'static str, kind: Kind, default: &'static str, help: &'static str) -> Flag {
    row(name, kind, default, help, Support::Used)
}
