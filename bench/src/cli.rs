//! The command line.

use std::net::SocketAddr;

use anyhow::{Context, bail, ensure};
use clap::{Parser, Subcommand, ValueEnum};

use crate::clock;
use crate::fill::fill;
use crate::load::{self, Limit, Plan};
use crate::null::Null;
use crate::output::{progress, result};
use crate::report::Report;
use crate::workload::{KeySpace, Kind, Workload};
use crate::{children, large, paired, queue, watch};

const EXAMPLES: &str = "\
Examples:
  Put as quickly as 64 clients can, for 5 seconds, on a server that runs already:
    keelson-bench load --endpoints 127.0.0.1:2379 --workload put --clients 64 --seconds 5

  Latency of reads at a load that the server can bear: 5000 requests per second are due at fixed
  times, and latency counts from then, so that a stall shows:
    keelson-bench load --workload range --clients 200 --rate 5000 --seconds 10

  Keelson against etcd, both started here, five rounds, with the limit of the machine beside them:
    keelson-bench paired --keelson target/release/keelson --etcd /usr/bin/etcd --with-null \\
        --workloads put,range,mixed --clients 1,64,1000 --json paired.json

  The same with three members each, all clients on the leader:
    keelson-bench paired --keelson target/release/keelson --etcd /usr/bin/etcd --nodes 3 \\
        --workloads put,txn,range,range-serializable --target leader

  A node with a million keys: crash, restart, wide reads:
    keelson-bench large --keelson target/release/keelson --etcd /usr/bin/etcd

  Many watchers, watchers among many keys, watchers that are stuck or behind:
    keelson-bench watch --keelson target/release/keelson --etcd /usr/bin/etcd";

/// Measures Keelson, etcd, or whatever speaks etcd's API.
#[derive(Debug, Parser)]
#[command(name = "keelson-bench", version, after_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Send a load to a running server and report throughput and latency
    Load(LoadOptions),
    /// Run Keelson and etcd in turns and print their ratios
    Paired(paired::Options),
    /// Put many keys quickly
    Fill(FillOptions),
    /// Compare nodes with many keys: restart after a crash, wide reads, memory
    Large(large::Options),
    /// Compare look-ups at the head of a moving queue
    Queue(queue::Options),
    /// Compare what watching costs
    #[command(after_help = watch::HELP)]
    Watch(watch::Options),
    /// Serve answers without content: the limit of what can be measured
    Null(NullOptions),
}

/// Form of the results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

#[derive(Debug, clap::Args)]
struct LoadOptions {
    /// Servers, as host:port; connections are spread over them
    #[arg(long, value_delimiter = ',', default_value = "127.0.0.1:2379")]
    endpoints: Vec<String>,
    /// What to send
    #[arg(long, value_enum, default_value = "put")]
    workload: Kind,
    /// Clients; each has one request under way
    #[arg(long, default_value_t = 1)]
    clients: usize,
    /// Connections [default: one for every 10 clients]
    #[arg(long)]
    conns: Option<usize>,
    /// Threads of the generator
    #[arg(long, default_value_t = 1)]
    threads: usize,
    #[command(flatten)]
    space: KeySpace,
    /// Requests to measure
    #[arg(long, conflicts_with = "seconds")]
    total: Option<u64>,
    /// Seconds to measure [default: 10]
    #[arg(long)]
    seconds: Option<f64>,
    /// Seconds before measuring starts
    #[arg(long, default_value_t = 1.0)]
    warmup: f64,
    /// Requests per second, due at fixed times [default: as many as the clients can]
    #[arg(long)]
    rate: Option<f64>,
    /// Share of reads in `mixed`
    #[arg(long, default_value_t = 80)]
    read_percent: u64,
    /// Send reads without putting their keys first
    #[arg(long)]
    no_preload: bool,
    /// Start of the sequence of random keys
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Form of the results
    #[arg(short = 'w', long, value_enum, default_value = "text")]
    write_out: Format,
}

#[derive(Debug, clap::Args)]
struct FillOptions {
    /// Server, as host:port
    #[arg(long, default_value = "127.0.0.1:2379")]
    endpoint: String,
    #[command(flatten)]
    space: KeySpace,
}

#[derive(Debug, clap::Args)]
struct NullOptions {
    /// Where to listen
    #[arg(long, default_value = "127.0.0.1:2379")]
    listen: SocketAddr,
    /// Threads, each with its own share of the connections
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

impl Cli {
    /// Does what was asked for.
    pub fn run(self) -> anyhow::Result<()> {
        children::clean_up_on_signals()?;
        match self.command {
            Command::Load(options) => run_load(&options),
            Command::Paired(options) => paired::run(&options),
            Command::Fill(options) => run_fill(&options),
            Command::Large(options) => large::run(&options),
            Command::Queue(options) => queue::run(&options),
            Command::Watch(options) => watch::run(&options),
            Command::Null(options) => {
                let null = Null::start(options.listen, options.threads)?;
                progress(format_args!("null server on {}", null.address()));
                null.serve();
                Ok(())
            }
        }
    }
}

fn run_load(options: &LoadOptions) -> anyhow::Result<()> {
    let plan = plan(options)?;
    if options.workload.needs_keys() && !options.no_preload {
        progress(format_args!("putting {} keys", options.space.keys));
        let endpoint = plan.endpoints.first().context("no endpoint given")?;
        fill(*endpoint, &options.space)?;
    }
    let report = load::run(&plan)?;
    print(&report, options.write_out)?;
    if report.errors > 0 {
        bail!("{} requests failed", report.errors);
    }
    Ok(())
}

fn plan(options: &LoadOptions) -> anyhow::Result<Plan> {
    let limit = match (options.total, options.seconds) {
        (Some(total), _) => Limit::Total(total),
        (None, seconds) => Limit::For(clock::seconds(seconds.unwrap_or(10.0))),
    };
    Ok(Plan {
        endpoints: load::resolve(&options.endpoints)?,
        clients: options.clients,
        conns: options.conns.unwrap_or(options.clients.div_ceil(10)),
        threads: options.threads,
        workload: Workload::new(options.workload, options.space.clone(), options.read_percent)?,
        limit,
        warmup: clock::seconds(options.warmup),
        rate: options.rate,
        seed: options.seed,
    })
}

fn print(report: &Report, format: Format) -> anyhow::Result<()> {
    match format {
        Format::Text => result(report),
        Format::Json => result(serde_json::to_string_pretty(report)?),
    }
    Ok(())
}

fn run_fill(options: &FillOptions) -> anyhow::Result<()> {
    let addresses = load::resolve(std::slice::from_ref(&options.endpoint))?;
    ensure!(addresses.len() == 1, "one endpoint is one address");
    let time = fill(addresses[0], &options.space)?;
    let per_second = options.space.keys as f64 / time.as_secs_f64();
    let seconds = time.as_secs_f64();
    result(format_args!("{} keys in {seconds:.2} s: {per_second:.0}/s", options.space.keys));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn total_and_seconds_exclude_each_other() {
        let parse = |more: &[&str]| {
            let first = ["keelson-bench", "load"];
            Cli::try_parse_from(first.iter().chain(more))
        };
        assert!(parse(&["--total", "5"]).is_ok());
        assert!(parse(&["--total", "5", "--seconds", "1"]).is_err());
    }
}
