//! A run: rounds of load and faults on fresh clusters, each checked when it is over.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;

use crate::checker::check_all;
use crate::clock::Clock;
use crate::cluster::{Cluster, Network, Subject, leftovers};
use crate::history::{self, Event, Recorder, Start, seconds};
use crate::nemesis::{Mix, Nemesis, Plan, Setting};
use crate::output::progress;
use crate::report::RoundReport;
use crate::workload::{Load, drive, last_words};

/// Longest wait for a fresh cluster to serve.
const START_TIME_MAX: Duration = Duration::from_secs(60);
/// Longest wait for everything to come back after the last fault.
const RECOVERY_TIME_MAX: Duration = Duration::from_secs(60);
/// Load before the first fault and after the last one.
const QUIET_TIME: Duration = Duration::from_secs(1);
const PROGRESS_EVERY: Duration = Duration::from_secs(5);

/// What every round of a run shares.
#[derive(Debug)]
pub struct Settings {
    /// What is under test.
    pub subject: Subject,
    /// Kinds of faults to draw from.
    pub kinds: Vec<Mix>,
    /// Their names, as asked for.
    pub mix: String,
    /// The load of the first round; its seed grows by one from round to round.
    pub load: Load,
    /// Time of load and faults in a round.
    pub round: Duration,
    /// Longest time for the black-box checker.
    pub check_time_max: Duration,
    /// Where rounds put their files.
    pub folder: PathBuf,
    /// Whether clean rounds keep theirs.
    pub keep: bool,
}

impl Settings {
    /// The schedule of a round with this seed.
    pub fn plan(&self, seed: u64, nodes: usize) -> Plan {
        let setting = Setting {
            nodes,
            length: self.round,
            election: Duration::from_millis(self.subject.election_ms),
        };
        Plan::draw(seed, &self.kinds, setting)
    }
}

/// Carries out one round. The network goes in and comes out, for the next one.
pub async fn round(
    settings: &Settings,
    number: u64,
    network: Network,
) -> anyhow::Result<(RoundReport, Network)> {
    let seed = settings.load.seed.wrapping_add(number - 1);
    let folder = settings.folder.join(format!("round-{number:04}"));
    std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    let nodes = network.places().len();
    let plan = settings.plan(seed, nodes);
    write_plan(&folder, &plan)?;

    let clock = Clock::start();
    let path = folder.join("history.jsonl");
    let recorder = Arc::new(Recorder::create(&path, clock)?);
    recorder.note(Event::Start(Start {
        subject: settings.subject.kind.name().to_owned(),
        nodes,
        seed,
        mix: settings.mix.clone(),
        round: number,
    }));
    let mut cluster = Cluster::new(&settings.subject, network, &folder)?;
    cluster.start_all()?;
    cluster.wait_until_served(clock, START_TIME_MAX).await.context("the cluster does not start")?;
    let unrecovered = harm(settings, seed, &plan, &mut cluster, &recorder, &path).await?;
    recorder.note(Event::End { unrecovered });
    recorder.finish()?;
    let network = cluster.stop();

    let history = history::read(&path)?;
    let time_max = settings.check_time_max;
    let verdicts = tokio::task::spawn_blocking(move || {
        let verdicts = check_all(&history, time_max);
        (history, verdicts)
    });
    let (history, verdicts) = verdicts.await.context("a checker panicked")?;
    let mut report = RoundReport::of(&history, verdicts, None);
    if !report.is_clean() {
        let path = folder.join("anomalies.txt");
        std::fs::write(&path, format!("{report:#}"))
            .with_context(|| format!("write {}", path.display()))?;
    }
    report.files = tidy(settings, &folder, report.is_clean() && report.is_decided(), nodes)?;
    Ok((report, network))
}

/// Load and faults, then the end of the round; gives what did not come back.
async fn harm(
    settings: &Settings,
    seed: u64,
    plan: &Plan,
    cluster: &mut Cluster,
    recorder: &Arc<Recorder>,
    path: &Path,
) -> anyhow::Result<Option<String>> {
    let clock = recorder.clock();
    let begin = clock.elapsed() + QUIET_TIME;
    let endpoints = cluster.endpoints();
    let load = Load { seed, ..settings.load.clone() };
    let until = begin + settings.round + QUIET_TIME;
    let clients = drive(&load, &endpoints, recorder, until);
    let faults = async {
        let mut nemesis = Nemesis::new(cluster, recorder);
        nemesis.run(plan, begin).await?;
        nemesis.heal()
    };
    let (clients, faults) = tokio::select! {
        both = async { tokio::join!(clients, faults) } => both,
        never = report_progress(recorder) => match never {},
    };
    clients?;
    faults?;
    let mut unrecovered = Vec::new();
    if let Err(e) = cluster.wait_until_served(clock, RECOVERY_TIME_MAX).await {
        unrecovered.push(format!("{e:#}"));
    } else {
        let so_far = || {
            recorder.finish()?;
            history::read(path)
        };
        if let Err(e) = last_words(&endpoints, recorder, RECOVERY_TIME_MAX, so_far).await {
            unrecovered.push(format!("{e:#}"));
        }
    }
    unrecovered.extend(cluster.crashed());
    Ok((!unrecovered.is_empty()).then(|| unrecovered.join("; ")))
}

async fn report_progress(recorder: &Recorder) -> std::convert::Infallible {
    loop {
        tokio::time::sleep(PROGRESS_EVERY).await;
        let (counts, last_write) = recorder.counts();
        let now = recorder.clock().nanos();
        let since = last_write.map_or(now, |at| now.saturating_sub(at));
        progress(format_args!(
            "  {} s: {} ok, {} failed, {} unknown; last write {} s ago",
            recorder.clock().elapsed().as_secs(),
            counts.ok,
            counts.fail,
            counts.unknown,
            seconds(since),
        ));
    }
}

fn write_plan(folder: &Path, plan: &Plan) -> anyhow::Result<()> {
    let text: String = plan.steps.iter().map(|step| format!("{step}\n")).collect();
    let path = folder.join("schedule.txt");
    std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))
}

/// Data folders go; of a round that proves something, history, schedule and logs stay.
fn tidy(
    settings: &Settings,
    folder: &Path,
    is_dull: bool,
    nodes: usize,
) -> anyhow::Result<Option<PathBuf>> {
    let remove = |path: PathBuf| {
        std::fs::remove_dir_all(&path).with_context(|| format!("remove {}", path.display()))
    };
    let is_kept = settings.keep || !is_dull;
    for node in 1..=nodes {
        let data = folder.join(format!("n{node}"));
        leftovers::forget_folder(&data);
        remove(data)?;
    }
    if !is_kept {
        remove(folder.to_owned())?;
    }
    Ok(is_kept.then(|| folder.to_owned()))
}
