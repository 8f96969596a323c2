//! Processes and folders that must not outlive this program, however it ends.
//!
//! Dropping a child or a folder is the usual way; the registry serves Ctrl-C and SIGTERM. Only a
//! SIGKILL of this program leaves its children behind.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Child;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};
use tokio::signal::unix::{SignalKind, signal};

use crate::clock;

/// Time for a server to end by itself before it is killed.
const TERM_TIME: Duration = Duration::from_secs(5);
const POLL_TIME: Duration = Duration::from_millis(20);

#[derive(Debug)]
struct Registry {
    pids: BTreeSet<u32>,
    folders: BTreeSet<PathBuf>,
}

static REGISTRY: Mutex<Registry> =
    Mutex::new(Registry { pids: BTreeSet::new(), folders: BTreeSet::new() });

fn registry() -> MutexGuard<'static, Registry> {
    // What a thread that panicked left behind is still what must be cleaned up.
    REGISTRY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Cleans up and ends the program when it is interrupted. Call it once, first.
pub fn clean_up_on_signals() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut interrupt, mut terminate) = {
        let _guard = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
            });
            abandon();
        })
        .context("start the signal thread")?;
    Ok(())
}

#[expect(clippy::exit, reason = "an interrupted program ends, from whatever thread")]
fn abandon() -> ! {
    // The guard is held until the end, so that nobody starts another child meanwhile.
    let registry = registry();
    for &pid in &registry.pids {
        send(pid, Signal::TERM);
    }
    if !registry.pids.is_empty() {
        std::thread::sleep(Duration::from_millis(500));
    }
    for &pid in &registry.pids {
        send(pid, Signal::KILL);
    }
    for folder in &registry.folders {
        if let Err(e) = std::fs::remove_dir_all(folder) {
            crate::output::progress(format_args!("{} stays behind: {e}", folder.display()));
        }
    }
    std::process::exit(130)
}

fn send(pid: u32, with: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // It fails only when the process has ended already.
        kill_process(pid, with).ok();
    }
}

/// A child that ends with its owner.
#[derive(Debug)]
pub struct Guarded(Child);

impl Guarded {
    /// Starts a child and guards it. No signal comes between the two.
    pub fn spawn(command: &mut std::process::Command) -> anyhow::Result<Self> {
        let mut registry = registry();
        let child = command
            .spawn()
            .with_context(|| format!("start {}", command.get_program().display()))?;
        registry.pids.insert(child.id());
        Ok(Self(child))
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// The exit status, if the child has ended.
    pub fn ended(&mut self) -> Option<std::process::ExitStatus> {
        self.0.try_wait().ok().flatten()
    }

    /// Kills the child at once, as a crash would.
    pub fn kill(mut self) {
        self.reap(Duration::ZERO);
    }

    fn reap(&mut self, patience: Duration) {
        let begin = clock::now();
        while self.ended().is_none() && begin.elapsed() < patience {
            std::thread::sleep(POLL_TIME);
        }
        if self.ended().is_none() {
            self.0.kill().ok();
            self.0.wait().ok();
        }
        registry().pids.remove(&self.pid());
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        if self.ended().is_none() {
            send(self.pid(), Signal::TERM);
        }
        self.reap(TERM_TIME);
    }
}

/// A folder that goes with its owner.
#[derive(Debug)]
pub struct Folder(tempfile::TempDir);

impl Folder {
    /// Makes a new folder inside another.
    pub fn new(parent: &std::path::Path) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("keelson-bench-")
            .tempdir_in(parent)
            .with_context(|| format!("make a folder in {}", parent.display()))?;
        registry().folders.insert(folder.path().to_owned());
        Ok(Self(folder))
    }

    /// Where it is.
    pub fn path(&self) -> &std::path::Path {
        self.0.path()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        registry().folders.remove(self.0.path());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_dropped_child_is_gone() {
        let child = Guarded::spawn(Command::new("sleep").arg("600")).unwrap();
        let pid = child.pid();
        assert!(registry().pids.contains(&pid));
        assert!(std::path::Path::new(&format!("/proc/{pid}")).exists());
        drop(child);
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
        assert!(!registry().pids.contains(&pid));
    }

    #[test]
    fn a_dropped_folder_is_gone() {
        let folder = Folder::new(&std::env::temp_dir()).unwrap();
        let path = folder.path().to_owned();
        assert!(path.is_dir() && registry().folders.contains(&path));
        drop(folder);
        assert!(!path.exists() && !registry().folders.contains(&path));
    }
}
