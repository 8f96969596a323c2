//! Members as processes, three or five: what one is told all know, what was acknowledged stays whoever dies,
//! and nobody is told what is not true.
//!
//! `KEELSON_CLUSTER_ROUNDS` sets the number of kills of single members and of the whole cluster (a
//! night's run: 50 and more), `KEELSON_KILL_SEED` another course.

#![allow(clippy::unwrap_used, reason = "a test may panic and tell")]

mod common;

#[allow(dead_code, reason = "another test file uses the rest")]
#[path = "durability/checker.rs"]
mod checker;
#[path = "durability/history.rs"]
mod history;
#[allow(dead_code, reason = "another test file uses the rest")]
#[path = "durability/load.rs"]
mod load;

#[path = "cluster/ctl.rs"]
mod ctl;
#[path = "cluster/five.rs"]
mod five;
#[path = "cluster/force_new.rs"]
mod force_new;
#[path = "cluster/identity.rs"]
mod identity;
#[path = "cluster/kill.rs"]
mod kill;
#[path = "cluster/leadership.rs"]
mod leadership;
#[path = "cluster/lease.rs"]
mod lease;
#[path = "cluster/membership.rs"]
mod membership;
#[path = "cluster/pause.rs"]
mod pause;
#[path = "cluster/quorum.rs"]
mod quorum;
#[path = "cluster/resize.rs"]
mod resize;
#[path = "cluster/serving.rs"]
mod serving;
#[path = "cluster/snapshot.rs"]
mod snapshot;
#[path = "cluster/versions.rs"]
mod versions;

use tokio::sync::{Mutex, MutexGuard};

/// A cluster needs most of a small machine: one at a time.
static ALONE: Mutex<()> = Mutex::const_new(());

async fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().await
}
