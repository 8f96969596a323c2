//! What a member is told at start: etcd's flags, environment and YAML file, read into one `Config`.
//!
//! ```text
//! arguments ─┐
//! environment ├─▶ settings (name → text, where from) ─▶ values (checked by kind) ─▶ Config ─▶ validate
//! YAML file ─┘            one table of flags says what each name means and whether it is supported
//! ```
//!
//! Every flag of etcd is a row of `table`. A row is read into `Config`, or accepted without effect
//! and noted, or refused because the capability is not there yet; nothing is ignored in silence.
//! All mistakes are collected and shown together.

mod args;
mod cluster;
mod duration;
mod env;
mod file;
mod flag;
mod gates;
mod load;
mod member_config;
mod mistake;
mod read;
mod suites;
mod table;
mod transport_security;
mod url;
mod validate;
mod value;

pub use cluster::{ClusterMember, ClusterState};
pub use file::FILE_BYTES_MAX;
pub use flag::{Flag, Kind, Section, Support, env_name};
pub use load::{FileReader, Loaded, Sources, load};
pub use member_config::{
    AllowList, AutoCompaction, Client, Compaction, Config, Limits, LogFormat, LogLevel, LogOutput,
    Logging, Member, Metrics, Peer, Raft, Security, Storage, Watch,
};
pub use mistake::{Mistake, Rejected};
pub use suites::OFFERED as OFFERED_CIPHER_SUITES;
pub use table::{SECTIONS, find};
pub use transport_security::{TlsProtocol, TlsVersion, TransportSecurity};
pub use url::{Scheme, Url};
pub use value::Value;

#[cfg(test)]
mod tests;
