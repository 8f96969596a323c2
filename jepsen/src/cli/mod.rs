//! The command line.

mod check;
mod defects;
mod failover;
mod run;
mod schedule;
mod subject;

use clap::{Parser, Subcommand, ValueEnum};

use crate::cluster::leftovers;
use crate::nemesis::Mix;
use crate::output::result;

const EXAMPLES: &str = "\
Examples:
  Three members of ours, one round of a minute with everything that can go wrong:
    keelson-jepsen run --subject keelson --binary target/debug/keelson --nodes 3 --mix all

  Real etcd (its folder in $KEELSON_ETCD_DIR) under the same, for an hour, to prove the harness:
    keelson-jepsen run --subject etcd --nodes 3 --mix kill,partition --time-limit 1h

  The round that found something, once more: same schedule, same requests:
    keelson-jepsen run --subject keelson --nodes 3 --mix all --seed 421 --rounds 1 --keep

  What that schedule is, without running it:
    keelson-jepsen schedule --mix all --nodes 3 --seed 421

  A kept history, judged again:
    keelson-jepsen check target/jepsen/round-0001/history.jsonl

  How long writes stop when the leader dies at 2,000 writes a second, ours and etcd in turns:
    keelson-jepsen failover --subject keelson,etcd --rate 2000 --rounds 10

  Is the harness able to find anything? Broken programs, each to be caught within ten minutes:
    jepsen/defects.sh

A run needs root for network namespaces (partitions). Without it members live on loopback, and the
mixes that cut links are refused. Exit code: 0 clean, 1 an anomaly was found (of `defects`: one was not), 2 could not run.";

/// Finds out whether a store keeps its promises while its members are killed, paused and cut off.
///
/// It starts a cluster of real processes, lets clients read and write through every member,
/// records what each was told, does harm by a schedule drawn from a seed, heals everything, reads
/// all once more, and checks whether one correct store could have given all those answers.
#[derive(Debug, Parser)]
#[command(name = "keelson-jepsen", version, after_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a cluster, load it, harm it, and check what it said
    Run(run::Options),
    /// Check histories that were kept
    Check(check::Options),
    /// Measure how long writes stop when the leader goes
    Failover(failover::Options),
    /// Hunt planted defects: a program that is broken on purpose must be found out
    Defects(defects::Options),
    /// Print the faults that a seed stands for
    Schedule(schedule::Options),
    /// List the mixes of faults
    Mixes,
    /// Remove members, namespaces and folders that dead runs left; runs that live are not touched
    Clean,
}

/// Form of the results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

impl Cli {
    /// Does what is asked; false if an anomaly was found.
    pub fn run(self) -> anyhow::Result<bool> {
        match self.command {
            Command::Run(options) => options.run(),
            Command::Check(options) => options.run(),
            Command::Failover(options) => options.run(),
            Command::Defects(options) => options.run(),
            Command::Schedule(options) => options.run(),
            Command::Mixes => {
                for mix in Mix::value_variants() {
                    let value = mix.to_possible_value();
                    let help = value.and_then(|v| v.get_help().map(ToString::to_string));
                    result(format_args!("{:<18} {}", mix.name(), help.unwrap_or_default()));
                }
                Ok(true)
            }
            Command::Clean => {
                let cleaned = leftovers::clean()?;
                result(format_args!("removed what {} dead runs left", cleaned.len()));
                cleaned.iter().for_each(result);
                Ok(true)
            }
        }
    }
}

/// A length of time: `90s`, `5m`, `1h`, or seconds without a unit.
fn duration(text: &str) -> Result<std::time::Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.parse().map_err(|_| format!("{text:?} is not like 90s, 5m or 1h"))?;
    let millis = match &text[digits.len()..] {
        "ms" => 1,
        "" | "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        unit => return Err(format!("there is no unit {unit:?}, but ms, s, m, h")),
    };
    let millis = number.checked_mul(millis).ok_or_else(|| format!("{text} is too long"))?;
    Ok(std::time::Duration::from_millis(millis))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("90"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(duration("1h"), Ok(Duration::from_secs(3600)));
        for bad in ["", "h", "1d", "-1s", "99999999999999999999h", "18446744073709551615h"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
