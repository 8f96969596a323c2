//! One member: a process with a data folder and a log.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};

use anyhow::Context;
use rustix::process::Signal;

use super::leftovers;

/// A member, running or not.
#[derive(Debug)]
pub struct Node {
    /// The program, its flags and its environment; in a namespace, behind `ip netns exec`, which
    /// becomes the program and so keeps the process id.
    command: Vec<String>,
    env: Vec<(String, String)>,
    log: PathBuf,
    child: Option<Child>,
    paused: bool,
}

impl Node {
    /// A member that does not run yet.
    pub fn new(
        namespace: Option<String>,
        program: String,
        arguments: Vec<String>,
        env: Vec<(String, String)>,
        log: PathBuf,
    ) -> Self {
        let mut command = match namespace {
            Some(name) => ["ip", "netns", "exec", &name].map(str::to_owned).to_vec(),
            None => Vec::new(),
        };
        command.push(program);
        command.extend(arguments);
        Self { command, env, log, child: None, paused: false }
    }

    /// Starts it on the data it has.
    pub fn start(&mut self) -> anyhow::Result<()> {
        assert!(self.child.is_none(), "the member runs already");
        let log = File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .with_context(|| format!("open {}", self.log.display()))?;
        let mut command = Command::new(&self.command[0]);
        command
            .args(&self.command[1..])
            .envs(self.env.iter().cloned())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        self.child = Some(leftovers::spawn(&mut command)?);
        self.paused = false;
        Ok(())
    }

    /// Whether it has been started and nobody has ended it; it may have crashed.
    pub fn is_started(&self) -> bool {
        self.child.is_some()
    }

    /// Whether it is stopped by SIGSTOP.
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// The status it ended with by itself, if it did.
    pub fn crashed(&mut self) -> Option<ExitStatus> {
        self.child.as_mut()?.try_wait().ok().flatten()
    }

    /// Ends it at once: SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Both fail only if it has ended already.
            child.kill().ok();
            child.wait().ok();
            leftovers::ended(child.id());
        }
        self.paused = false;
    }

    /// Asks it to end: SIGTERM. It is reaped by [`Self::kill`].
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// SIGSTOP.
    pub fn pause(&mut self) {
        self.paused = self.signal(Signal::STOP);
    }

    /// SIGCONT.
    pub fn resume(&mut self) {
        self.signal(Signal::CONT);
        self.paused = false;
    }

    fn signal(&self, with: Signal) -> bool {
        self.child.as_ref().is_some_and(|child| leftovers::send(child.id(), with))
    }

    /// The last lines of its log.
    pub fn log_tail(&self) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log[log.len().saturating_sub(4000)..]).into_owned();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(8)..].join("\n")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(folder: &std::path::Path, program: &str, arguments: &[&str]) -> Node {
        let arguments = arguments.iter().map(|a| (*a).to_owned()).collect();
        Node::new(None, program.to_owned(), arguments, Vec::new(), folder.join("log"))
    }

    /// The state letter of `/proc/PID/stat`, once it is this one; bounded.
    fn reaches(node: &Node, wanted: &str) -> bool {
        let pid = node.child.as_ref().unwrap().id();
        (0..100).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(20));
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim().starts_with(wanted))
        })
    }

    #[test]
    fn a_member_is_paused_resumed_and_killed() {
        let folder = tempfile::tempdir().unwrap();
        let mut node = node(folder.path(), "sleep", &["600"]);
        node.start().unwrap();
        node.pause();
        assert!(node.is_paused() && reaches(&node, "T"));
        node.resume();
        assert!(!node.is_paused() && reaches(&node, "S"));
        assert!(node.crashed().is_none());
        let pid = node.child.as_ref().unwrap().id();
        node.kill();
        assert!(!node.is_started());
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    }

    #[test]
    fn a_member_that_ends_by_itself_has_crashed_and_its_log_tells() {
        let folder = tempfile::tempdir().unwrap();
        let mut node = node(folder.path(), "sh", &["-c", "echo no more >&2; exit 7"]);
        node.start().unwrap();
        let crashed = (0..100).find_map(|_| {
            std::thread::sleep(std::time::Duration::from_millis(20));
            node.crashed()
        });
        assert_eq!(crashed.unwrap().code(), Some(7));
        assert_eq!(node.log_tail(), "no more");
    }
}
