//! Runs servers in turns on the same machine and gives their ratios.
//!
//! A round starts every server afresh on an empty folder, so that each round repeats the whole
//! history, and keeps it for all cells (workload x clients) of the round. In a cell the servers
//! take turns, in an order that flips from cell to cell and round to round. Before and after each
//! turn the server is given time to settle: what it does after the last answer counts as its own.
//! With several nodes a server is a cluster of them, and what it used is the sum.

mod sample;
mod summary;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, ensure};

use crate::children::Folder;
use crate::clock;
use crate::cluster::{Cluster, Target};
use crate::fill::fill;
use crate::load::{self, Limit, Plan};
use crate::output::{progress, result};
use crate::server::Spec;
use crate::workload::{KeySpace, Kind, Workload};

use sample::{Cell, Sample, Used};

/// What to compare, and how.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    #[command(flatten)]
    pub programs: Programs,
    /// Members of each server: more than one are a cluster on loopback, whose CPU, memory and
    /// bytes are added up
    #[arg(long, default_value_t = 1)]
    pub nodes: usize,
    /// Members that clients connect to, by connection
    #[arg(long, value_enum, default_value = "spread")]
    pub target: Target,
    /// Compare with a server that answers at once and keeps nothing as well
    #[arg(long)]
    pub with_null: bool,
    /// Times that everything is repeated
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
    /// Workloads, in this order
    #[arg(long, value_enum, value_delimiter = ',', default_value = "put,range,mixed")]
    pub workloads: Vec<Kind>,
    /// Numbers of clients; each has one request under way
    #[arg(long, value_delimiter = ',', default_value = "1,64,1000")]
    pub clients: Vec<usize>,
    /// Clients that share a connection
    #[arg(long, default_value_t = 10)]
    pub clients_per_conn: usize,
    /// Measured seconds of a turn
    #[arg(long, default_value_t = 3.0)]
    pub seconds: f64,
    /// Seconds before measuring starts
    #[arg(long, default_value_t = 1.0)]
    pub warmup: f64,
    /// Share of reads in `mixed`
    #[arg(long, default_value_t = 80)]
    pub read_percent: u64,
    /// Threads of the generator
    #[arg(long, default_value_t = 1)]
    pub threads: usize,
    #[command(flatten)]
    pub space: KeySpace,
    /// Also write everything, each round included, to this file
    #[arg(long)]
    pub json: Option<PathBuf>,
}

/// The servers to start.
#[derive(Debug, Clone, clap::Args)]
pub struct Programs {
    /// Keelson's program
    #[arg(long)]
    pub keelson: Option<PathBuf>,
    /// etcd's program; the others are compared with it
    #[arg(long)]
    pub etcd: Option<PathBuf>,
    /// Program of an older etcd
    #[arg(long)]
    pub etcd34: Option<PathBuf>,
    /// Folder to keep data in while it runs; must be on a real disk [default: the temporary folder]
    #[arg(long)]
    pub data: Option<PathBuf>,
}

impl Programs {
    /// The servers that were named, Keelson first.
    pub fn specs(&self) -> anyhow::Result<Vec<Spec>> {
        let named = [("keelson", &self.keelson), ("etcd", &self.etcd), ("etcd34", &self.etcd34)];
        let specs: Vec<Spec> = named
            .iter()
            .filter_map(|(name, path)| Some(Spec::etcd_like(name, path.as_deref()?)))
            .collect();
        ensure!(!specs.is_empty(), "name at least one of --keelson, --etcd, --etcd34");
        Ok(specs)
    }

    /// A folder for everything, gone afterwards.
    pub fn folder(&self) -> anyhow::Result<Folder> {
        Folder::new(&self.data.clone().unwrap_or_else(std::env::temp_dir))
    }
}

/// Runs all rounds and prints the tables.
pub fn run(options: &Options) -> anyhow::Result<()> {
    ensure!(options.rounds > 0, "--rounds must be at least 1");
    ensure!(options.nodes > 0, "--nodes must be at least 1");
    ensure!(options.clients_per_conn > 0, "--clients-per-conn must be at least 1");
    let mut specs = options.programs.specs()?;
    if options.with_null {
        specs.push(Spec::null(2)?);
    }
    let folder = options.programs.folder()?;
    let mut cells = cells(options);
    for round in 0..options.rounds {
        progress(format_args!("round {} of {}", round + 1, options.rounds));
        run_round(options, &specs, &folder, round, &mut cells)?;
    }
    let names: Vec<String> = specs.iter().map(|s| s.name.clone()).collect();
    for cell in &cells {
        result(summary::text(cell, &names));
    }
    if let Some(path) = &options.json {
        let json = serde_json::to_string_pretty(&summary::json(
            &cells,
            &names,
            options.nodes,
            options.target,
        ))?;
        std::fs::write(path, json).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

fn cells(options: &Options) -> Vec<Cell> {
    let by_clients = |&kind| options.clients.iter().map(move |&clients| Cell::new(kind, clients));
    options.workloads.iter().flat_map(by_clients).collect()
}

fn run_round(
    options: &Options,
    specs: &[Spec],
    folder: &Folder,
    round: usize,
    cells: &mut [Cell],
) -> anyhow::Result<()> {
    let servers: Vec<Cluster> = specs
        .iter()
        .map(|spec| Cluster::start(spec, folder.path(), options.nodes))
        .collect::<anyhow::Result<_>>()?;
    if options.workloads.iter().any(|w| w.needs_keys()) {
        for server in &servers {
            let (endpoints, _) = server.endpoints(Target::Leader)?;
            fill(endpoints[0], &options.space)
                .with_context(|| format!("fill {}", server.name()))?;
        }
    }
    for (number, cell) in cells.iter_mut().enumerate() {
        let workload = workload(options, cell.kind, number)?;
        let mut order: Vec<usize> = (0..servers.len()).collect();
        if (round + number) % 2 == 1 {
            order.reverse();
        }
        let mut samples: Vec<Option<Sample>> = vec![None; servers.len()];
        for i in order {
            let plan = plan(options, cell.clients, &workload, round);
            let sample = turn(&servers[i], options.target, plan).with_context(|| {
                format!(
                    "{} with {} clients on {}",
                    cell.kind.name(),
                    cell.clients,
                    servers[i].name()
                )
            })?;
            progress(format_args!("{}: {sample}", cell.title(servers[i].name())));
            samples[i] = Some(sample);
        }
        cell.rounds.push(samples.into_iter().flatten().collect());
    }
    Ok(())
}

/// Inserts go to a key space of their own, so that they neither meet keys that are there already
/// nor change what is counted.
fn workload(options: &Options, kind: Kind, cell: usize) -> anyhow::Result<Arc<Workload>> {
    let mut space = options.space.clone();
    if kind == Kind::Insert {
        space.prefix = format!("/new{cell}/");
    }
    Workload::new(kind, space, options.read_percent)
}

fn plan(options: &Options, clients: usize, workload: &Arc<Workload>, round: usize) -> Plan {
    Plan {
        // Who leads is looked up at the turn.
        endpoints: Vec::new(),
        clients,
        conns: clients.div_ceil(options.clients_per_conn),
        threads: options.threads,
        workload: Arc::clone(workload),
        limit: Limit::For(clock::seconds(options.seconds)),
        warmup: clock::seconds(options.warmup),
        rate: None,
        seed: u64::try_from(round).unwrap_or(0),
    }
}

/// One server's turn: the load, and what the server spent on it.
fn turn(server: &Cluster, target: Target, mut plan: Plan) -> anyhow::Result<Sample> {
    server.settle()?;
    let (endpoints, leader) = server.endpoints(target)?;
    plan.endpoints = endpoints;
    let rss_peak_is_fresh = server.reset_rss_peak();
    let before = server.usage()?;
    let report = load::run(&plan)?;
    server.settle()?;
    let after = server.usage()?;
    let used = Used { before, after, leader, rss_peak: server.rss_peak()?, rss_peak_is_fresh };
    Ok(Sample::new(report, &used))
}
