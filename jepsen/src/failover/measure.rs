//! One measurement: a fresh cluster, a load, the leader gone.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};

use super::load::Load;
use super::method::Method;
use super::report::Round;
use crate::clock::Clock;
use crate::cluster::{Cluster, Network, Subject};

const START_TIME_MAX: Duration = Duration::from_secs(60);
/// Load before the leader goes.
const WARM_UP: Duration = Duration::from_secs(2);
/// Load after writes have begun to flow again, so that a second stop shows too.
const AFTERMATH: Duration = Duration::from_secs(3);
/// Longest wait for writes to flow again.
const RECOVERY_TIME_MAX: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);

/// What is measured.
#[derive(Debug)]
pub struct Settings {
    /// How the leader goes.
    pub method: Method,
    /// Writes per second.
    pub rate: u64,
    /// Where clusters keep their data while they run.
    pub folder: PathBuf,
}

/// One round; the network goes in and comes out.
pub async fn measure(
    settings: &Settings,
    subject: &Subject,
    network: Network,
) -> anyhow::Result<(Round, Network)> {
    let folder = settings.folder.join("failover");
    std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    let clock = Clock::start();
    let mut cluster = Cluster::new(subject, network, &folder)?;
    cluster.start_all()?;
    cluster.wait_until_served(clock, START_TIME_MAX).await.context("the cluster does not start")?;
    let round = lose_leader(settings, subject, &mut cluster, clock).await;
    cluster.cut(&std::collections::BTreeSet::new())?;
    let network = cluster.stop();
    remove(&folder)?;
    Ok((round?, network))
}

async fn lose_leader(
    settings: &Settings,
    subject: &Subject,
    cluster: &mut Cluster,
    clock: Clock,
) -> anyhow::Result<Round> {
    let load = Load::start(&cluster.endpoints(), clock, settings.rate).await;
    tokio::time::sleep(WARM_UP).await;
    let Some(leader) = cluster.leader().await else { bail!("nobody leads after {WARM_UP:?}") };
    let from = clock.nanos();
    settings.method.apply(cluster, leader).await?;
    let until = clock.elapsed() + RECOVERY_TIME_MAX;
    // The writes that were under way when the leader went may still be acknowledged; a second
    // election timeout later they are not.
    let settled = clock.elapsed() + Duration::from_millis(2 * subject.election_ms) + AFTERMATH;
    while clock.elapsed() < settled || !flows(&load, clock) {
        if clock.elapsed() > until {
            break;
        }
        tokio::time::sleep(POLL).await;
    }
    let end = clock.nanos();
    let samples = load.stop().await;
    Ok(Round::of(subject.kind.name(), leader, (from, end), &samples))
}

/// Whether a write was acknowledged a moment ago.
fn flows(load: &Load, clock: Clock) -> bool {
    let second = 1_000_000_000;
    load.last_ok().is_some_and(|at| clock.nanos().saturating_sub(at) < second)
}

fn remove(folder: &Path) -> anyhow::Result<()> {
    std::fs::remove_dir_all(folder).with_context(|| format!("remove {}", folder.display()))
}
