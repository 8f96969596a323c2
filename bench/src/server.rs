//! Servers under test: how each is started, asked whether it is ready, watched and ended.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use serde::Serialize;

use crate::children::{Folder, Guarded};
use crate::clock;
use crate::proc;

/// Longest wait for a server to be ready; a node with a million keys needs seconds.
const READY_TIME_MAX: Duration = Duration::from_secs(120);
const READY_POLL: Duration = Duration::from_millis(5);

/// Longest wait for the work that a run left behind, such as compactions.
const SETTLE_TIME_MAX: Duration = Duration::from_secs(15);
const SETTLE_WINDOW: Duration = Duration::from_millis(250);
/// A server that uses less CPU in a window has settled; one tick of /proc is 10 ms.
const SETTLE_CPU: Duration = Duration::from_millis(10);

/// A program to measure.
#[derive(Debug, Clone)]
pub struct Spec {
    /// Name in tables.
    pub name: String,
    /// The program.
    pub program: PathBuf,
    /// Whether it is the null server, which keeps nothing and takes other flags.
    pub is_null: bool,
    /// Flags besides the usual ones.
    pub extra: Vec<String>,
}

impl Spec {
    /// A server that takes etcd's flags.
    pub fn etcd_like(name: &str, program: &Path) -> Self {
        let (name, program) = (name.to_owned(), program.to_owned());
        Self { name, program, is_null: false, extra: Vec::new() }
    }

    /// The null server: this program itself.
    pub fn null(threads: usize) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("find the path of this program")?;
        let extra = vec![format!("--threads={threads}")];
        Ok(Self { name: "null".to_owned(), program, is_null: true, extra })
    }

    fn arguments(&self, seat: &Seat, cluster: &str, data: &Path) -> Vec<String> {
        let Seat { name, client, peer } = seat;
        let mut arguments = if self.is_null {
            vec!["null".to_owned(), format!("--listen={client}")]
        } else {
            vec![
                format!("--name={name}"),
                format!("--data-dir={}", data.display()),
                format!("--listen-client-urls=http://{client}"),
                format!("--advertise-client-urls=http://{client}"),
                format!("--listen-peer-urls=http://{peer}"),
                format!("--initial-advertise-peer-urls=http://{peer}"),
                format!("--initial-cluster={cluster}"),
                "--snapshot-count=10000".to_owned(),
                "--log-level=error".to_owned(),
            ]
        };
        arguments.extend(self.extra.iter().cloned());
        arguments
    }
}

/// A member's place in its cluster.
#[derive(Debug, Clone)]
struct Seat {
    name: String,
    client: SocketAddr,
    peer: SocketAddr,
}

/// What `--initial-cluster` says of all members.
fn initial_cluster(seats: &[Seat]) -> String {
    let member = |seat: &Seat| format!("{}=http://{}", seat.name, seat.peer);
    seats.iter().map(member).collect::<Vec<_>>().join(",")
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    spec: Spec,
    seat: Seat,
    cluster: String,
    child: Guarded,
    folder: Folder,
}

/// Resources used so far.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Usage {
    /// CPU time.
    pub cpu: Duration,
    /// Bytes written to disk.
    pub written: u64,
}

impl Server {
    /// Starts a server with a fresh data folder below `parent` and waits until it is ready.
    pub fn start(spec: &Spec, parent: &Path) -> anyhow::Result<Self> {
        let mut members = Self::start_members(spec, parent, 1)?;
        members.pop().context("a cluster of one has a member")
    }

    /// Starts a cluster of so many members, each with a fresh data folder below `parent`, and
    /// waits until all are ready.
    pub fn start_members(spec: &Spec, parent: &Path, members: usize) -> anyhow::Result<Vec<Self>> {
        let seats = seats(&spec.name, members)?;
        let cluster = initial_cluster(&seats);
        let start = |seat| {
            let folder = Folder::new(parent)?;
            let child = spawn(spec, &seat, &cluster, folder.path())?;
            Ok(Self { spec: spec.clone(), seat, cluster: cluster.clone(), child, folder })
        };
        let started: anyhow::Result<Vec<Self>> = seats.into_iter().map(start).collect();
        let mut members = started?;
        for member in &mut members {
            member.wait_until_ready()?;
        }
        Ok(members)
    }

    /// Kills the server, starts it again on its data, and gives the time until it is ready.
    pub fn crash_and_restart(self) -> anyhow::Result<(Self, Duration)> {
        let Self { spec, seat, cluster, child, folder } = self;
        child.kill();
        let begin = clock::now();
        let child = spawn(&spec, &seat, &cluster, folder.path())?;
        let mut server = Self { spec, seat, cluster, child, folder };
        server.wait_until_ready()?;
        Ok((server, begin.elapsed()))
    }

    /// Name in tables.
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// Where clients connect to.
    pub fn address(&self) -> SocketAddr {
        self.seat.client
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// Resources used so far.
    pub fn usage(&self) -> anyhow::Result<Usage> {
        Ok(Usage { cpu: proc::cpu(self.pid())?, written: proc::written(self.pid())? })
    }

    /// Waits until the server does nothing any more, so that what one run left to do is neither
    /// missing from its own figures nor counted in the next one's.
    pub fn settle(&self) -> anyhow::Result<()> {
        settle(&[self])
    }

    fn wait_until_ready(&mut self) -> anyhow::Result<()> {
        let begin = clock::now();
        while begin.elapsed() < READY_TIME_MAX {
            if let Some(status) = self.child.ended() {
                bail!("{} ended with {status}:\n{}", self.seat.name, self.log_tail());
            }
            let ready = match self.spec.is_null {
                true => TcpStream::connect(self.address()).is_ok(),
                false => is_healthy(self.address()).unwrap_or(false),
            };
            if ready {
                return Ok(());
            }
            std::thread::sleep(READY_POLL);
        }
        bail!("{} is not ready after {READY_TIME_MAX:?}:\n{}", self.seat.name, self.log_tail())
    }

    fn log_tail(&self) -> String {
        let log = std::fs::read(self.folder.path().join("log")).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(10)..].join("\n")
    }
}

/// Waits until servers do nothing any more, or little: members of a cluster never rest wholly.
pub fn settle(servers: &[&Server]) -> anyhow::Result<()> {
    let mut cpu: Vec<Duration> = vec![Duration::MAX; servers.len()];
    let begin = clock::now();
    loop {
        let mut rest = true;
        for (server, before) in servers.iter().zip(&mut cpu) {
            let now = proc::cpu(server.pid())?;
            let used = now.checked_sub(*before);
            rest &= used.is_some_and(|used| used <= SETTLE_CPU);
            *before = now;
        }
        if rest || begin.elapsed() >= SETTLE_TIME_MAX {
            return Ok(());
        }
        std::thread::sleep(SETTLE_WINDOW);
    }
}

fn spawn(spec: &Spec, seat: &Seat, cluster: &str, folder: &Path) -> anyhow::Result<Guarded> {
    let log = File::options().create(true).append(true).open(folder.join("log"))?;
    let mut command = Command::new(&spec.program);
    command
        .args(spec.arguments(seat, cluster, &folder.join("data")))
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    Guarded::spawn(&mut command)
}

/// Names and addresses for so many members. All addresses are held until the last one is found, so
/// that no two are the same.
fn seats(name: &str, members: usize) -> anyhow::Result<Vec<Seat>> {
    let mut held = Vec::new();
    let mut free = || -> anyhow::Result<SocketAddr> {
        let listener = TcpListener::bind("127.0.0.1:0").context("find a free port")?;
        let address = listener.local_addr()?;
        // Somebody else may take it before the server does; then the server ends, and that is
        // reported.
        held.push(listener);
        Ok(address)
    };
    let name = |i| if members == 1 { name.to_owned() } else { format!("{name}-{i}") };
    (1..=members).map(|i| Ok(Seat { name: name(i), client: free()?, peer: free()? })).collect()
}

/// Asks `/health`.
fn is_healthy(address: SocketAddr) -> anyhow::Result<bool> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(64 * 1024).read_to_end(&mut answer)?;
    Ok(says_healthy(&String::from_utf8_lossy(&answer)))
}

fn says_healthy(answer: &str) -> bool {
    answer.lines().next().is_some_and(|line| line.contains(" 200"))
        && answer.replace(' ', "").contains("\"health\":\"true\"")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn healthy_means_status_200_and_true() {
        let ok =
            "HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{\"health\":\"true\",\"reason\":\"\"}";
        assert!(says_healthy(ok));
        assert!(!says_healthy(&ok.replace("true", "false")));
        assert!(!says_healthy(&ok.replace("200 OK", "503 Service Unavailable")));
        assert!(!says_healthy(""));
    }

    #[test]
    fn every_server_of_the_same_kind_gets_the_same_flags() {
        let data = Path::new("/data");
        let address = "127.0.0.1:1".parse().unwrap();
        let flags = |name: &str| {
            let spec = Spec::etcd_like(name, Path::new(name));
            let seats: Vec<_> = ["a", "b"]
                .map(|i| Seat { name: format!("{name}-{i}"), client: address, peer: address })
                .into();
            let arguments = spec.arguments(&seats[1], &initial_cluster(&seats), data);
            arguments.join(" ").replace(name, "X")
        };
        assert_eq!(flags("keelson"), flags("another"));
        let cluster = "--initial-cluster=X-a=http://127.0.0.1:1,X-b=http://127.0.0.1:1 ";
        assert!(flags("keelson").starts_with("--name=X-b "), "{}", flags("keelson"));
        assert!(flags("keelson").contains(cluster), "{}", flags("keelson"));
    }

    #[test]
    fn members_have_names_and_addresses_of_their_own() {
        let seats = seats("x", 3).unwrap();
        let names: Vec<_> = seats.iter().map(|seat| seat.name.as_str()).collect();
        assert_eq!(names, ["x-1", "x-2", "x-3"]);
        let addresses: BTreeSet<_> =
            seats.iter().flat_map(|seat| [seat.client, seat.peer]).collect();
        assert_eq!(addresses.len(), 6);
        assert_eq!(super::seats("x", 1).unwrap()[0].name, "x");
    }

    #[test]
    fn a_program_that_ends_at_once_is_reported() {
        let spec = Spec::etcd_like("false", Path::new("false"));
        let error = Server::start(&spec, &std::env::temp_dir()).unwrap_err();
        assert!(error.to_string().contains("false ended with"), "{error}");
    }
}
