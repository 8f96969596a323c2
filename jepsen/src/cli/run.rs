//! `run`: rounds of load, faults and checks.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, ensure};

use super::subject::MemberOptions;
use super::{Format, duration};
use crate::clock::{Clock, fresh_seed};
use crate::cluster::{Kind, Network, Subject, leftovers};
use crate::nemesis::Mix;
use crate::output::{progress, result};
use crate::report::RunReport;
use crate::run::{Settings, round};
use crate::workload::{Deadlines, Load, Workload};

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// What is under test
    #[arg(long, value_enum, default_value = "keelson")]
    subject: Kind,
    /// Its program [default: keelson beside this one, or etcd in $KEELSON_ETCD_DIR]
    #[arg(long)]
    binary: Option<PathBuf>,
    #[command(flatten)]
    members: MemberOptions,
    /// Faults; `keelson-jepsen mixes` explains them
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "all",
        hide_possible_values = true
    )]
    mix: Vec<Mix>,
    /// What clients do
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["register", "set", "append"])]
    workload: Vec<Workload>,
    /// Clients of each member
    #[arg(long, default_value_t = 5)]
    clients: usize,
    /// Requests per second of all clients together, if members answer quickly
    #[arg(long, default_value_t = 1000)]
    rate: u64,
    /// Longest wait for the answer to a read. Keep it shorter than pauses, so that a member that
    /// wakes up finds a fresh read
    #[arg(long, value_parser = duration, default_value = "1s")]
    read_timeout: Duration,
    /// Longest wait for the answer to a write
    #[arg(long, value_parser = duration, default_value = "3s")]
    write_timeout: Duration,
    /// Time of load and faults in a round; each round has a fresh cluster
    #[arg(long, value_parser = duration, default_value = "60s")]
    round: Duration,
    /// Rounds [default: 1, or as many as begin within --time-limit]
    #[arg(long)]
    rounds: Option<u64>,
    /// No round begins after this time
    #[arg(long, value_parser = duration)]
    time_limit: Option<Duration>,
    /// Where schedule and requests come from; round N has seed + N - 1 [default: a fresh one]
    #[arg(long)]
    seed: Option<u64>,
    /// Goes on after a round with an anomaly
    #[arg(long)]
    keep_going: bool,
    /// Keeps the files of clean rounds too
    #[arg(long)]
    keep: bool,
    /// Folder for histories, logs and data. Take one on a real disk: on tmpfs a sync costs nothing
    /// and proves nothing
    #[arg(long, default_value = "target/jepsen")]
    out: PathBuf,
    /// Longest time for the search for an order, in each round
    #[arg(long, value_parser = duration, default_value = "60s")]
    check_time: Duration,
    /// Form of the results
    #[arg(short = 'w', long, value_enum, default_value = "text")]
    write_out: Format,
}

impl Options {
    pub(super) fn run(self) -> anyhow::Result<bool> {
        ensure!(self.clients > 0 && self.rate > 0, "--clients and --rate must not be 0");
        ensure!(!self.workload.is_empty(), "--workload must name one");
        let subject = self.members.subject(self.subject, self.binary.as_ref())?;
        let (guard, run) = leftovers::begin()?;
        let nodes = self.members.nodes;
        let (network, reason) = Network::make(self.members.network, &run, nodes)?;
        let kinds = Mix::expand(&self.mix, nodes, network.can_partition())?;
        let settings = self.settings(subject, kinds)?;
        let report = RunReport {
            subject: self.subject.name().to_owned(),
            program: settings.subject.program.clone(),
            nodes,
            network: if network.can_partition() { "namespaces" } else { "loopback" }.to_owned(),
            mix: settings.mix.clone(),
            seed: settings.load.seed,
            seconds: 0.0,
            rounds: Vec::new(),
        };
        let (place, mix, seed) = (&report.network, &report.mix, report.seed);
        progress(format_args!("{nodes} members in {place}, mix {mix}, seed {seed}"));
        if let Some(reason) = reason {
            progress(format_args!("loopback: links cannot be cut ({reason})"));
        }
        // Threads started from here on share this thread's network namespace.
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let report = runtime.block_on(self.rounds(&settings, network, report))?;
        drop(guard);
        match self.write_out {
            Format::Text => result(&report),
            Format::Json => result(serde_json::to_string_pretty(&report)?),
        }
        Ok(report.is_clean())
    }

    /// What all rounds share.
    fn settings(&self, subject: Subject, kinds: Vec<Mix>) -> anyhow::Result<Settings> {
        std::fs::create_dir_all(&self.out)
            .with_context(|| format!("make {}", self.out.display()))?;
        let load = Load {
            clients_per_node: self.clients,
            rate: self.rate,
            workloads: self.workload.clone(),
            deadlines: Deadlines { read: self.read_timeout, write: self.write_timeout },
            seed: self.seed.unwrap_or_else(fresh_seed),
        };
        Ok(Settings {
            subject,
            kinds,
            mix: self.mix.iter().map(|mix| mix.name()).collect::<Vec<_>>().join(","),
            load,
            round: self.round,
            check_time_max: self.check_time,
            folder: self.out.canonicalize().context("find the folder for files")?,
            keep: self.keep,
        })
    }

    async fn rounds(
        &self,
        settings: &Settings,
        mut network: Network,
        mut report: RunReport,
    ) -> anyhow::Result<RunReport> {
        let clock = Clock::start();
        let rounds = self.rounds.unwrap_or(if self.time_limit.is_some() { u64::MAX } else { 1 });
        for number in 1..=rounds {
            if self.time_limit.is_some_and(|limit| clock.elapsed() >= limit) {
                break;
            }
            let so_far = clock.elapsed().as_secs();
            match self.time_limit {
                Some(limit) => {
                    progress(format_args!("round {number}, {so_far} s of {} s", limit.as_secs()));
                }
                None => progress(format_args!("round {number} of {rounds}")),
            }
            let (round, back) = round(settings, number, network).await?;
            network = back;
            match self.write_out {
                Format::Text => result(&round),
                Format::Json => progress(&round),
            }
            let is_clean = round.is_clean();
            report.rounds.push(round);
            if !is_clean && !self.keep_going {
                break;
            }
        }
        report.seconds = clock.elapsed().as_secs_f64();
        Ok(report)
    }
}
