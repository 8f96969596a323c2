//! What watching costs: watchers and writers against one server after the other.
//!
//! ```text
//!  writers (a thread) ─ puts, each with the time it was sent ─▶ server ─ events ─▶ watchers (a thread)
//!         └─ how many events must come of it ─▶ the turn ◀─ how many came, when, how late ─┘
//! ```
//! A turn starts its server afresh, opens the watchers, lets the writers write, waits until every
//! event that is due has come, and takes what the server spent until it rests again. Lag is from the
//! sending of a put to the arrival of its event, so it has the put's own latency in it; an event
//! comes before or after the put's answer as the server likes.

mod figures;
mod scan;
mod scenario;
mod stamp;
mod turn;
mod watchers;
mod writers;

use std::path::PathBuf;

use anyhow::{Context, ensure};

use crate::output::{progress, result};
use crate::paired::Programs;

use figures::Rounds;
use scenario::Scenario;

pub const HELP: &str = "\
Scenarios:
  one-key   --watchers on one key, --watchers-per-stream on each stream, the streams on --conns
            connections; --rate puts of the key per second. One put is as many events as there are
            watchers, so rate times watchers is what is asked of the server; when it is more than
            it can do, lag grows and the events are counted until the last one has come.
  spread    --spread-watchers over --keys keys, nine of ten on a single key and the others on a
            hundred keys with a common prefix; --clients put random keys as fast as they can.
            Once with the watchers and once without them, each on a server of its own.
  stuck     --healthy watchers of everything, and --stuck streams whose clients take nothing from
            their sockets once their watchers are there; writers as in spread. Once with the
            stuck ones and once without them, each on a server of its own.
  catch-up  One watcher from revision 2 on, after --history puts.

Lag is from the sending of a put to the arrival of its event. CPU is the server's user and system
time, until it rests; in one-key that includes the puts, which are few. Every event that is due must
come: those that have not come 30 seconds after the last put are shown as missing.

Examples:
  All scenarios, Keelson against etcd, three rounds in turns:
    keelson-bench watch --keelson target/release/keelson --etcd /usr/bin/etcd

  10,000 streams of one watcher each instead of 100 of a hundred:
    keelson-bench watch --keelson target/release/keelson --etcd /usr/bin/etcd \\
        --scenarios one-key --watchers-per-stream 1 --rate 20";

/// What to compare, and how.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    #[command(flatten)]
    pub programs: Programs,
    /// What to run, in this order
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "one-key,spread,stuck,catch-up"
    )]
    scenarios: Vec<Scenario>,
    /// Times that everything is repeated
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds that are written for
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// Seconds that are written for before that, not measured
    #[arg(long, default_value_t = 0.5)]
    warmup: f64,
    /// Watchers of the key of `one-key`
    #[arg(long, default_value_t = 10_000)]
    watchers: usize,
    /// Watchers that share a stream
    #[arg(long, default_value_t = 100)]
    watchers_per_stream: usize,
    /// Connections that watchers share
    #[arg(long, default_value_t = 100)]
    conns: usize,
    /// Puts per second of `one-key`
    #[arg(long, default_value_t = 100.0)]
    rate: f64,
    /// Clients that write as fast as they can in `spread` and `stuck`
    #[arg(long, default_value_t = 64)]
    clients: usize,
    /// Keys of `spread` and `stuck`
    #[arg(long, default_value_t = 100_000)]
    keys: u64,
    /// Watchers of `spread`
    #[arg(long, default_value_t = 1000)]
    spread_watchers: usize,
    /// Streams of `stuck` that are never read
    #[arg(long, default_value_t = 200)]
    stuck: usize,
    /// Watchers of `stuck` that are read
    #[arg(long, default_value_t = 10)]
    healthy: usize,
    /// Revisions of `catch-up`
    #[arg(long, default_value_t = 500_000)]
    history: u64,
    /// Bytes of a value
    #[arg(long, default_value_t = 64)]
    val_size: usize,
    /// Also write everything, each round included, to this file
    #[arg(long)]
    json: Option<PathBuf>,
}

impl Options {
    fn validate(&self) -> anyhow::Result<()> {
        let counts = [
            ("--rounds", self.rounds),
            ("--watchers", self.watchers),
            ("--watchers-per-stream", self.watchers_per_stream),
            ("--conns", self.conns),
            ("--clients", self.clients),
            ("--healthy", self.healthy),
        ];
        for (name, count) in counts {
            ensure!(count > 0, "{name} must be at least 1");
        }
        ensure!(self.rate.is_finite() && self.rate > 0.0, "--rate must be above 0");
        ensure!(
            self.val_size >= scan::STAMP_BYTES,
            "--val-size must be at least {}, for the time",
            scan::STAMP_BYTES
        );
        ensure!(
            self.keys >= scenario::PREFIX_KEYS && self.history > 0,
            "--keys must be at least {} and --history at least 1",
            scenario::PREFIX_KEYS
        );
        Ok(())
    }
}

/// Runs all rounds and prints the tables.
pub fn run(options: &Options) -> anyhow::Result<()> {
    options.validate()?;
    let specs = options.programs.specs()?;
    let folder = options.programs.folder()?;
    let servers: Vec<String> = specs.iter().map(|spec| spec.name.clone()).collect();
    let mut all: Vec<Rounds> = options
        .scenarios
        .iter()
        .map(|scenario| Rounds {
            title: scenario.title(options),
            servers: servers.clone(),
            figures: Vec::new(),
        })
        .collect();
    for round in 0..options.rounds {
        for (scenario, rounds) in options.scenarios.iter().zip(&mut all) {
            let mut order: Vec<usize> = (0..specs.len()).collect();
            if round % 2 == 1 {
                order.reverse();
            }
            let mut figures = vec![figures::Figures::default(); specs.len()];
            for i in order {
                let spec = &specs[i];
                progress(format_args!("round {}: {}, {}", round + 1, rounds.title, spec.name));
                figures[i] = scenario
                    .measure(options, spec, folder.path(), round)
                    .with_context(|| format!("{}, {}", rounds.title, spec.name))?;
            }
            rounds.figures.push(figures);
        }
    }
    all.iter().for_each(|rounds| result(rounds.text()));
    if let Some(path) = &options.json {
        let json: Vec<_> = all.iter().map(Rounds::json).collect();
        std::fs::write(path, serde_json::to_string_pretty(&json)?)
            .with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}
