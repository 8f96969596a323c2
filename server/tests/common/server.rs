//! A server process: its folder, its ports, its life and its death.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use keelson_api::client::Client;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::ports::free_port;
use super::wait::{START_BOUND, poll};

/// The log line of a server that serves.
const READY: &str = "ready to serve client requests";

/// How much of a log a failure shows.
const TAIL_BYTES: usize = 4000;

/// Whose server it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Keelson,
    Etcd,
}

impl Kind {
    /// The server under test.
    pub fn subject() -> Self {
        match std::env::var("KEELSON_TEST_SUBJECT").as_deref() {
            Err(_) | Ok("keelson") => Self::Keelson,
            Ok("etcd") => Self::Etcd,
            Ok(other) => panic!("KEELSON_TEST_SUBJECT is keelson or etcd, not {other:?}"),
        }
    }

    pub fn program(self) -> PathBuf {
        match self {
            Self::Keelson => PathBuf::from(env!("CARGO_BIN_EXE_keelson")),
            Self::Etcd => etcd_program("etcd"),
        }
    }
}

/// A program of the etcd release that is compared with.
pub fn etcd_program(name: &str) -> PathBuf {
    let folder = std::env::var_os("KEELSON_ETCD_DIR")
        .expect("KEELSON_ETCD_DIR is not set; run the tests through .ci/setup");
    PathBuf::from(folder).join(name)
}

/// A process that ended, or did not get ready, instead of serving.
#[derive(Debug)]
pub struct Refused {
    /// `None` if it had to be killed.
    pub status: Option<ExitStatus>,
    /// All it wrote.
    pub log: String,
}

/// A server with a folder of its own, which goes when this value goes.
#[derive(Debug)]
pub struct Server {
    pub kind: Kind,
    folder: TempDir,
    pub data_dir: PathBuf,
    pub client_port: u16,
    pub peer_port: u16,
    /// `http` or `https`, for clients and for peers.
    pub schemes: (&'static str, &'static str),
    pub flags: Vec<String>,
    pub name: String,
    /// `--initial-cluster`, if it is not this server alone.
    pub cluster: Option<String>,
    child: Option<Child>,
    starts: u32,
}

impl Server {
    /// Ports and a folder, but no process yet.
    pub fn prepare(kind: Kind, flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            kind,
            data_dir: folder.path().join("data"),
            folder,
            client_port: free_port(),
            peer_port: free_port(),
            schemes: ("http", "http"),
            flags: flags.iter().map(ToString::to_string).collect(),
            name: "default".to_owned(),
            cluster: None,
            child: None,
            starts: 0,
        }
    }

    pub fn start(kind: Kind) -> Self {
        Self::start_with(kind, &[])
    }

    pub fn start_with(kind: Kind, flags: &[&str]) -> Self {
        let mut server = Self::prepare(kind, flags);
        server.launch();
        server
    }

    /// Real etcd to compare with, without the cost of its syncs.
    pub fn etcd() -> Self {
        Self::start_with(Kind::Etcd, &["--unsafe-no-fsync"])
    }

    /// Starts the process and waits until it serves.
    pub fn launch(&mut self) {
        self.spawn();
        self.wait_ready();
    }

    /// The same for a start that may be refused.
    pub fn try_launch(&mut self) -> Result<(), Refused> {
        self.spawn();
        self.ready()
    }

    /// Waits until the process serves.
    pub fn wait_ready(&mut self) {
        if let Err(refused) = self.ready() {
            panic!("{:?} does not serve: {:?}\n{}", self.kind, refused.status, tail(&refused.log));
        }
    }

    fn ready(&mut self) -> Result<(), Refused> {
        let end = poll(START_BOUND, || {
            if self.log().contains(READY) {
                return Some(Ok(()));
            }
            let status = self.child.as_mut()?.try_wait().unwrap()?;
            Some(Err(status))
        });
        match end {
            Some(Ok(())) => Ok(()),
            Some(Err(status)) => {
                self.child = None;
                Err(Refused { status: Some(status), log: self.log() })
            }
            None => {
                self.kill();
                Err(Refused { status: None, log: self.log() })
            }
        }
    }

    /// Starts the process and does not wait.
    pub fn spawn(&mut self) {
        assert!(self.child.is_none(), "it is running already");
        self.starts += 1;
        let log = File::create(self.log_path()).unwrap();
        let child = Command::new(self.kind.program())
            .args(self.args())
            .env_clear()
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|e| panic!("starting {}: {e}", self.kind.program().display()));
        self.child = Some(child);
    }

    fn args(&self) -> Vec<String> {
        let client = self.client_url();
        let peer = self.peer_url();
        let alone = || format!("{}={peer}", self.name);
        let mut args = vec![
            format!("--name={}", self.name),
            format!("--data-dir={}", self.data_dir.display()),
            format!("--listen-client-urls={client}"),
            format!("--advertise-client-urls={client}"),
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
            format!("--initial-cluster={}", self.cluster.clone().unwrap_or_else(alone)),
        ];
        args.extend(self.flags.iter().cloned());
        args
    }

    pub fn endpoint(&self) -> String {
        format!("127.0.0.1:{}", self.client_port)
    }

    pub fn peer_endpoint(&self) -> String {
        format!("127.0.0.1:{}", self.peer_port)
    }

    pub fn client_url(&self) -> String {
        format!("{}://{}", self.schemes.0, self.endpoint())
    }

    pub fn peer_url(&self) -> String {
        format!("{}://{}", self.schemes.1, self.peer_endpoint())
    }

    /// A new connection.
    pub async fn client(&self) -> Client {
        match Client::connect(&[self.endpoint()]).await {
            Ok(client) => client,
            Err(error) => panic!("{error:?}\n{}", tail(&self.log())),
        }
    }

    /// `kill -9`, and the wait for the end that follows.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// SIGTERM; `None` if the process is still there after the bound. It is killed then.
    pub fn terminate(&mut self, bound: Duration) -> Option<ExitStatus> {
        let mut child = self.child.take().expect("it is not running");
        kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
        let status = poll(bound, || child.try_wait().unwrap());
        if status.is_none() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        status
    }

    /// The running process's id.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("it is not running").id()
    }

    /// Sends a signal and does not wait.
    pub fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("it is not running");
        kill_process(Pid::from_child(child), signal).unwrap();
    }

    /// Waits for the process to end by itself.
    pub fn wait_end(&mut self, bound: Duration) -> Option<ExitStatus> {
        let child = self.child.as_mut().expect("it is not running");
        let status = poll(bound, || child.try_wait().unwrap())?;
        self.child = None;
        Some(status)
    }

    /// Waits for a text in the log.
    pub fn wait_log(&self, text: &str) {
        let found = poll(START_BOUND, || self.log().contains(text).then_some(()));
        assert!(found.is_some(), "{text:?} is not in the log:\n{}", self.log_tail());
    }

    /// Whether the process is there.
    pub fn alive(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| child.try_wait().unwrap().is_none())
    }

    /// What the running or last process wrote.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.log_path()).unwrap_or_default()).into_owned()
    }

    pub fn log_tail(&self) -> String {
        tail(&self.log()).to_owned()
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join(format!("log.{}", self.starts))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().ok();
            child.wait().ok();
        }
        if std::thread::panicking() {
            eprintln!("end of {:?}'s log:\n{}", self.kind, tail(&self.log()));
        }
    }
}

fn tail(log: &str) -> &str {
    let mut from = log.len().saturating_sub(TAIL_BYTES);
    while !log.is_char_boundary(from) {
        from += 1;
    }
    &log[from..]
}
