//! Options that say what is under test and where it lives; shared by commands.

use std::path::PathBuf;

use crate::cluster::{Kind, Mode, Subject};

/// How members are started.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct MemberOptions {
    /// Number of members: 1, 3 or 5 (at most 9)
    #[arg(long, default_value_t = 3)]
    pub nodes: usize,
    /// Where members live
    #[arg(long, value_enum, default_value = "auto")]
    pub network: Mode,
    /// Milliseconds between heartbeats
    #[arg(long, default_value_t = 100)]
    pub heartbeat_interval: u64,
    /// Milliseconds without a heartbeat until a member stands for election
    #[arg(long, default_value_t = 1000)]
    pub election_timeout: u64,
    /// One more flag for every member, as --extra-arg=--flag=value; may be repeated
    #[arg(long, value_name = "FLAG", allow_hyphen_values = true)]
    pub extra_arg: Vec<String>,
    /// One more variable in every member's environment; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = variable)]
    pub env: Vec<(String, String)>,
}

impl MemberOptions {
    /// A program with these options.
    pub(super) fn subject(&self, kind: Kind, program: Option<&PathBuf>) -> anyhow::Result<Subject> {
        Ok(Subject {
            kind,
            program: Subject::find(kind, program.map(PathBuf::as_path))?,
            extra: self.extra_arg.clone(),
            env: self.env.clone(),
            heartbeat_ms: self.heartbeat_interval,
            election_ms: self.election_timeout,
        })
    }
}

fn variable(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or_else(|| format!("{text:?} is not KEY=VALUE"))?;
    Ok((key.to_owned(), value.to_owned()))
}
