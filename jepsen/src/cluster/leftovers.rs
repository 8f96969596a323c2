//! What a run makes outside its own process, and its removal.
//!
//! Each run keeps a small file of its members, namespaces and folders. A run removes its own at
//! the end, after an error and after Ctrl-C; [`clean`] removes those of runs whose process is gone
//! (a SIGKILL of the harness leaves everything behind) and touches nothing else.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use tokio::signal::unix::{SignalKind, signal};

use crate::output::progress;

/// A process that cannot be confused with a later one of the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Process {
    pid: u32,
    /// Start time in clock ticks since boot.
    started: u64,
}

impl Process {
    /// The process that has this number now.
    fn now(pid: u32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        Some(Self { pid, started: parse_started(&stat)? })
    }

    fn is_alive(self) -> bool {
        Self::now(self.pid) == Some(self)
    }
}

/// The 22nd field of `/proc/PID/stat`; the second one is a name in brackets that may hold blanks.
fn parse_started(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// All that one run made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    owner: Option<Process>,
    processes: BTreeSet<Process>,
    namespaces: BTreeSet<String>,
    folders: BTreeSet<PathBuf>,
}

#[derive(Debug)]
struct Registry {
    path: Option<PathBuf>,
    record: Record,
}

static REGISTRY: Mutex<Registry> = Mutex::new(Registry {
    path: None,
    record: Record {
        owner: None,
        processes: BTreeSet::new(),
        namespaces: BTreeSet::new(),
        folders: BTreeSet::new(),
    },
});

fn registry() -> MutexGuard<'static, Registry> {
    // What a thread that panicked left behind is still what must be cleaned up.
    REGISTRY.lock().unwrap_or_else(PoisonError::into_inner)
}

fn records_folder() -> PathBuf {
    std::env::temp_dir().join("keelson-jepsen-runs")
}

/// Removes what the run made when it goes.
#[derive(Debug)]
pub struct Guard(());

impl Drop for Guard {
    fn drop(&mut self) {
        let mut registry = registry();
        remove(&registry.record);
        registry.record = Record::default();
        if let Some(path) = registry.path.take() {
            std::fs::remove_file(path).ok();
        }
    }
}

/// Opens the record of this run; Ctrl-C and SIGTERM clean up from here on. The name of the run is
/// unique among those that live.
pub fn begin() -> anyhow::Result<(Guard, String)> {
    let owner = Process::now(std::process::id()).context("read the start time of this process")?;
    let name = format!("kj-{}-{}", owner.pid, owner.started);
    let folder = records_folder();
    std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    {
        let mut registry = registry();
        ensure!(registry.path.is_none(), "this process has a run already");
        registry.path = Some(folder.join(format!("{name}.json")));
        registry.record.owner = Some(owner);
        registry.save()?;
    }
    clean_up_on_signals()?;
    Ok((Guard(()), name))
}

impl Registry {
    fn save(&self) -> anyhow::Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        let text = serde_json::to_string(&self.record).context("encode the record of the run")?;
        std::fs::write(path, text).with_context(|| format!("write {}", path.display()))
    }
}

/// A namespace is about to be made.
pub fn add_namespace(name: &str) -> anyhow::Result<()> {
    let mut registry = registry();
    registry.record.namespaces.insert(name.to_owned());
    registry.save()
}

/// A folder is about to be made that goes with the run.
pub fn add_folder(path: &Path) -> anyhow::Result<()> {
    let mut registry = registry();
    registry.record.folders.insert(path.to_owned());
    registry.save()
}

/// A folder has been removed, or is to stay.
pub fn forget_folder(path: &Path) {
    let mut registry = registry();
    registry.record.folders.remove(path);
    registry.save().ok();
}

/// Starts a member and notes it; no signal comes between the two.
pub fn spawn(command: &mut Command) -> anyhow::Result<std::process::Child> {
    let mut registry = registry();
    let child = command
        .spawn()
        .with_context(|| format!("start {}", command.get_program().to_string_lossy()))?;
    if let Some(process) = Process::now(child.id()) {
        registry.record.processes.insert(process);
    }
    registry.save()?;
    Ok(child)
}

/// A member has ended.
pub fn ended(pid: u32) {
    let mut registry = registry();
    registry.record.processes.retain(|process| process.pid != pid);
    registry.save().ok();
}

/// Sends a signal; false if there is no such process.
pub fn send(pid: u32, with: Signal) -> bool {
    i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .is_some_and(|pid| kill_process(pid, with).is_ok())
}

/// Removes what dead runs left; gives their names.
pub fn clean() -> anyhow::Result<Vec<String>> {
    let mut cleaned = Vec::new();
    let Ok(entries) = std::fs::read_dir(records_folder()) else { return Ok(cleaned) };
    for entry in entries {
        let path = entry.context("list the records of runs")?.path();
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        // A record that was cut off in writing names nothing that could be removed safely.
        let Ok(record) = serde_json::from_str::<Record>(&text) else { continue };
        if record.owner.is_some_and(Process::is_alive) {
            continue;
        }
        remove(&record);
        std::fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
        cleaned.push(path.file_stem().unwrap_or_default().to_string_lossy().into_owned());
    }
    Ok(cleaned)
}

fn remove(record: &Record) {
    for process in record.processes.iter().filter(|process| process.is_alive()) {
        send(process.pid, Signal::KILL);
    }
    for namespace in &record.namespaces {
        remove_namespace(namespace);
    }
    for folder in record.folders.iter().filter(|folder| folder.exists()) {
        if let Err(e) = remove_folder(folder) {
            progress(format_args!("{} stays behind: {e}", folder.display()));
        }
    }
}

/// A member that was killed a moment ago may still be creating files.
fn remove_folder(folder: &Path) -> std::io::Result<()> {
    for _ in 0..20 {
        if std::fs::remove_dir_all(folder).is_ok() {
            return Ok(());
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    std::fs::remove_dir_all(folder)
}

/// Ends what runs in the namespace, then removes it with its links.
fn remove_namespace(name: &str) {
    if !Path::new("/run/netns").join(name).exists() {
        return;
    }
    if let Ok(output) = Command::new("ip").args(["netns", "pids", name]).output() {
        let own = std::process::id();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        // This process itself lives in the namespace that it made for clients.
        for pid in text.lines().filter_map(|line| line.trim().parse().ok()).filter(|p| *p != own) {
            send(pid, Signal::KILL);
        }
    }
    match Command::new("ip").args(["netns", "del", name]).output() {
        Ok(output) if output.status.success() => {}
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            progress(format_args!("namespace {name} stays behind: {}", text.trim()));
        }
        Err(e) => progress(format_args!("namespace {name} stays behind: {e}")),
    }
}

fn clean_up_on_signals() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut interrupt, mut terminate) = {
        let _entered = runtime.enter();
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
    // The lock is held until the end, so that nobody starts another member meanwhile.
    let registry = registry();
    progress("interrupted: removing members, namespaces and folders of this run");
    remove(&registry.record);
    if let Some(path) = &registry.path {
        std::fs::remove_file(path).ok();
    }
    std::process::exit(130)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_time_is_found_behind_any_name() {
        let tail = (3..=30).map(|n| n.to_string()).collect::<Vec<_>>().join(" ");
        assert_eq!(parse_started(&format!("1 (a b) c) {tail}")), Some(22));
        assert_eq!(parse_started("1 (a) S 1"), None);
    }

    #[test]
    fn removal_ends_processes_of_the_record_and_no_recycled_number() {
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        let process = Process::now(child.id()).unwrap();
        let recycled = Process { started: process.started + 1, ..process };
        remove(&Record { processes: BTreeSet::from([recycled]), ..Record::default() });
        assert!(child.try_wait().unwrap().is_none(), "another process of that number was killed");
        let folder = tempfile::tempdir().unwrap().keep();
        remove(&Record {
            processes: BTreeSet::from([process]),
            folders: BTreeSet::from([folder.clone()]),
            ..Record::default()
        });
        child.wait().unwrap();
        assert!(!process.is_alive());
        assert!(!folder.exists());
    }
}
