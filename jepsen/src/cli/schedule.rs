//! `schedule`: what a seed stands for.

use std::time::Duration;

use super::duration;
use crate::nemesis::{Mix, Plan, Setting};
use crate::output::result;

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// Faults, as in `run`
    #[arg(long, value_enum, value_delimiter = ',', default_value = "all")]
    mix: Vec<Mix>,
    /// Number of members
    #[arg(long, default_value_t = 3)]
    nodes: usize,
    /// Where the schedule comes from
    #[arg(long)]
    seed: u64,
    /// Length of a round
    #[arg(long, value_parser = duration, default_value = "60s")]
    round: Duration,
    /// Milliseconds without a heartbeat until a member stands for election
    #[arg(long, default_value_t = 1000)]
    election_timeout: u64,
    /// For members on loopback: without faults that cut links
    #[arg(long)]
    loopback: bool,
}

impl Options {
    pub(super) fn run(&self) -> anyhow::Result<bool> {
        let kinds = Mix::expand(&self.mix, self.nodes, !self.loopback)?;
        let election = Duration::from_millis(self.election_timeout);
        let setting = Setting { nodes: self.nodes, length: self.round, election };
        Plan::draw(self.seed, &kinds, setting).steps.iter().for_each(result);
        Ok(true)
    }
}
