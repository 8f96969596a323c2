//! `defects`: a program that is broken on purpose must be found out.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::ValueEnum;
use serde::Serialize;

use super::subject::MemberOptions;
use super::{Format, duration};
use crate::clock::{Clock, fresh_seed};
use crate::cluster::{Kind, Network, Subject, leftovers};
use crate::nemesis::Mix;
use crate::output::{progress, result};
use crate::report::RoundReport;
use crate::run::{Settings, round};
use crate::workload::{Deadlines, Load, Workload};

/// What switches a defect on. A program without planted defects does not know the word.
const VARIABLE: &str = "KEELSON_DEFECT";

/// A promise that a program built with `planted-defects` can be told to break.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Defect {
    /// A write is answered while it is still in the process's memory
    AnswerBeforeSync,
    /// A leader answers reads without asking whether it still leads
    UnconfirmedRead,
    /// A vote is promised and not kept over a restart
    ForgottenVote,
}

impl Defect {
    fn name(self) -> &'static str {
        match self {
            Self::AnswerBeforeSync => "answer-before-sync",
            Self::UnconfirmedRead => "unconfirmed-read",
            Self::ForgottenVote => "forgotten-vote",
        }
    }

    /// The faults that bring it to light.
    fn mixes(self) -> &'static [Mix] {
        match self {
            Self::AnswerBeforeSync => &[Mix::KillAll],
            Self::UnconfirmedRead => &[Mix::PauseLeader, Mix::IsolateLeader],
            Self::ForgottenVote => &[Mix::KillAll, Mix::KillElection],
        }
    }
}

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// A program built with --features planted-defects [default: keelson beside this one]
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Which ones
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["answer-before-sync", "unconfirmed-read", "forgotten-vote"])]
    defect: Vec<Defect>,
    /// Time within which each must be caught
    #[arg(long, value_parser = duration, default_value = "10m")]
    within: Duration,
    /// Time of load and faults in a round
    #[arg(long, value_parser = duration, default_value = "20s")]
    round: Duration,
    #[command(flatten)]
    members: MemberOptions,
    /// Where schedules and requests come from [default: a fresh one]
    #[arg(long)]
    seed: Option<u64>,
    /// Folder for histories, logs and data; take one on a real disk
    #[arg(long, default_value = "target/jepsen-defects")]
    out: PathBuf,
    /// Form of the results
    #[arg(short = 'w', long, value_enum, default_value = "text")]
    write_out: Format,
}

/// How it went with one of them.
#[derive(Debug, Serialize)]
struct Hunt {
    defect: &'static str,
    mixes: Vec<&'static str>,
    seed: u64,
    /// Time until the checkers had spoken, or until the time was over.
    seconds: f64,
    rounds: u64,
    /// The round that shows it.
    caught: Option<RoundReport>,
}

impl Options {
    pub(super) fn run(self) -> anyhow::Result<bool> {
        let subject = self.members.subject(Kind::Keelson, self.binary.as_ref())?;
        check_planted(&subject)?;
        let (guard, run) = leftovers::begin()?;
        let (mut network, reason) = Network::make(self.members.network, &run, self.members.nodes)?;
        if let Some(reason) = reason {
            progress(format_args!("loopback: links cannot be cut ({reason})"));
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let mut hunts = Vec::new();
        for defect in &self.defect {
            let settings = self.settings(*defect, &subject, network.can_partition())?;
            let (hunt, back) = runtime.block_on(self.hunt(*defect, &settings, network))?;
            network = back;
            if self.write_out == Format::Text {
                result(&hunt);
            }
            hunts.push(hunt);
        }
        drop(guard);
        if self.write_out == Format::Json {
            result(serde_json::to_string_pretty(&hunts)?);
        }
        Ok(hunts.iter().all(|hunt| hunt.caught.is_some()))
    }

    fn settings(
        &self,
        defect: Defect,
        subject: &Subject,
        can_partition: bool,
    ) -> anyhow::Result<Settings> {
        let mut subject = subject.clone();
        subject.env.push((VARIABLE.to_owned(), defect.name().to_owned()));
        let folder = self.out.join(defect.name());
        std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        // Without partitions there is still a way to find each.
        let possible = |mix: &&Mix| mix.check(self.members.nodes, can_partition).is_ok();
        let kinds: Vec<Mix> = defect.mixes().iter().filter(possible).copied().collect();
        ensure!(!kinds.is_empty(), "{} needs --nodes 3", defect.name());
        Ok(Settings {
            subject,
            mix: kinds.iter().map(|mix| mix.name()).collect::<Vec<_>>().join(","),
            kinds,
            load: Load {
                clients_per_node: 5,
                rate: 1000,
                workloads: vec![Workload::Register, Workload::Set, Workload::Append],
                deadlines: Deadlines {
                    read: Duration::from_secs(1),
                    write: Duration::from_secs(3),
                },
                seed: self.seed.unwrap_or_else(fresh_seed),
            },
            round: self.round,
            check_time_max: Duration::from_secs(60),
            folder: folder.canonicalize().context("find the folder for files")?,
            keep: false,
        })
    }

    /// Rounds until one is not clean, or the time is over.
    async fn hunt(
        &self,
        defect: Defect,
        settings: &Settings,
        mut network: Network,
    ) -> anyhow::Result<(Hunt, Network)> {
        let clock = Clock::start();
        let mut hunt = Hunt {
            defect: defect.name(),
            mixes: settings.kinds.iter().map(|mix| mix.name()).collect(),
            seed: settings.load.seed,
            seconds: 0.0,
            rounds: 0,
            caught: None,
        };
        progress(format_args!("{}: mix {}, seed {}", hunt.defect, settings.mix, hunt.seed));
        while hunt.caught.is_none() && clock.elapsed() < self.within {
            hunt.rounds += 1;
            let (report, back) = round(settings, hunt.rounds, network).await?;
            network = back;
            progress(format_args!("{}: round {} is over", hunt.defect, hunt.rounds));
            hunt.caught = (!report.is_clean()).then_some(report);
        }
        hunt.seconds = clock.elapsed().as_secs_f64();
        Ok((hunt, network))
    }
}

/// A program without planted defects would be hunted in vain.
fn check_planted(subject: &Subject) -> anyhow::Result<()> {
    let program = &subject.program;
    let bytes = std::fs::read(program).with_context(|| format!("read {}", program.display()))?;
    ensure!(
        has_defects(&bytes),
        "{} has no planted defects: cargo build -p keelson-server --features planted-defects, into \
         a --target-dir of its own",
        program.display()
    );
    Ok(())
}

fn has_defects(program: &[u8]) -> bool {
    program.windows(VARIABLE.len()).any(|window| window == VARIABLE.as_bytes())
}

impl fmt::Display for Hunt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { defect, rounds, seconds, .. } = self;
        match &self.caught {
            Some(round) => {
                writeln!(f, "{defect}: CAUGHT after {seconds:.0} s, in round {rounds}")?;
                write!(f, "{round}")
            }
            None => writeln!(f, "{defect}: NOT CAUGHT in {seconds:.0} s, {rounds} rounds"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_command_line() {
        for defect in Defect::value_variants() {
            assert_eq!(defect.to_possible_value().unwrap().get_name(), defect.name());
        }
    }

    #[test]
    fn a_program_that_knows_the_variable_has_defects() {
        assert!(has_defects(b"xxKEELSON_DEFECTxx") && !has_defects(b"KEELSON_DEFEC"));
    }
}
