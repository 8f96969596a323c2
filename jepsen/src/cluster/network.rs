//! Where members live: namespaces joined by a bridge, or ports on loopback.
//!
//! With namespaces, each member has its own with one link to a bridge in a namespace of the
//! harness, and this process moves there too, so that clients reach every member whatever the
//! members do to each other. The addresses exist only inside.
//!
//! A member that must not reach another gets a neighbour entry for it with a hardware address that
//! nobody has: its packets leave and are dropped by the bridge, silently, as a broken link would,
//! while the other direction stays whole. It needs no firewall and no kernel module.

use std::collections::BTreeSet;
use std::fs::File;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail, ensure};
use clap::ValueEnum;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::leftovers;
use super::subject::Place;

/// What the user asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Namespaces where they are allowed, else loopback.
    Auto,
    /// Namespaces or nothing.
    Netns,
    /// Loopback: no partitions.
    Loopback,
}

/// Why loopback was taken.
pub type Reason = String;

/// Where members live.
#[derive(Debug)]
pub struct Network {
    /// Name of the run, the beginning of all namespaces; `None` on loopback.
    run: Option<String>,
    places: Vec<Place>,
    cut: BTreeSet<(usize, usize)>,
}

const CLIENT_PORT: u16 = 2379;
const PEER_PORT: u16 = 2380;
/// A hardware address that no link has.
const NOBODY: &str = "02:77:ff:ff:ff:ff";

impl Network {
    /// Makes the network for this many members. Call it on the main thread before any other thread
    /// of the process needs the network: those that are started later share its namespace.
    pub fn make(mode: Mode, run: &str, nodes: usize) -> anyhow::Result<(Self, Option<Reason>)> {
        ensure!((1..=9).contains(&nodes), "1 to 9 members, not {nodes}");
        match mode {
            Mode::Loopback => Ok((Self::loopback(nodes)?, Some("as asked for".to_owned()))),
            Mode::Netns => Ok((Self::namespaces(run, nodes)?, None)),
            Mode::Auto => match probe(run) {
                Ok(()) => Ok((Self::namespaces(run, nodes)?, None)),
                Err(e) => Ok((Self::loopback(nodes)?, Some(format!("{e:#}")))),
            },
        }
    }

    fn loopback(nodes: usize) -> anyhow::Result<Self> {
        // All are held until all are chosen, so that they differ.
        let held: Vec<TcpListener> = (0..nodes * 2)
            .map(|_| TcpListener::bind("127.0.0.1:0").context("find a free port"))
            .collect::<anyhow::Result<_>>()?;
        let at = |i: usize| -> anyhow::Result<String> { Ok(held[i].local_addr()?.to_string()) };
        let places = (0..nodes)
            .map(|i| Ok(Place { client: at(2 * i)?, peer: at(2 * i + 1)? }))
            .collect::<anyhow::Result<_>>()?;
        Ok(Self { run: None, places, cut: BTreeSet::new() })
    }

    fn namespaces(run: &str, nodes: usize) -> anyhow::Result<Self> {
        let place = |i: usize| Place {
            client: format!("{}:{CLIENT_PORT}", address(i)),
            peer: format!("{}:{PEER_PORT}", address(i)),
        };
        let places = (0..nodes).map(place).collect();
        let network = Self { run: Some(run.to_owned()), places, cut: BTreeSet::new() };
        let hub = format!("{run}-hub");
        make_namespace(&hub)?;
        ip(&hub, "link add br0 type bridge")?;
        ip(&hub, "addr add 10.77.0.254/24 dev br0")?;
        ip(&hub, "link set br0 up")?;
        for i in 0..nodes {
            network.make_member(&hub, i, nodes)?;
        }
        enter(&hub)?;
        Ok(network)
    }

    fn make_member(&self, hub: &str, index: usize, nodes: usize) -> anyhow::Result<()> {
        let own = self.namespace(index).expect("namespaces are in use");
        make_namespace(&own)?;
        let (mac, port) = (hardware(index), format!("v{}", index + 1));
        ip(hub, &format!("link add {port} type veth peer name eth0 address {mac} netns {own}"))?;
        ip(hub, &format!("link set {port} master br0 up"))?;
        ip(&own, &format!("addr add {}/24 dev eth0", address(index)))?;
        ip(&own, "link set eth0 up")?;
        for other in (0..nodes).filter(|other| *other != index) {
            ip(&own, &neighbour(other, &hardware(other)))?;
        }
        Ok(())
    }

    /// Where the members are reached.
    pub fn places(&self) -> &[Place] {
        &self.places
    }

    /// Whether links between members can be cut.
    pub fn can_partition(&self) -> bool {
        self.run.is_some()
    }

    /// The namespace of a member.
    pub fn namespace(&self, index: usize) -> Option<String> {
        self.run.as_ref().map(|run| format!("{run}-n{}", index + 1))
    }

    /// Makes exactly these directions (from, to) dead and all others alive.
    pub fn cut(&mut self, dead: &BTreeSet<(usize, usize)>) -> anyhow::Result<()> {
        let all: Vec<(usize, usize)> = self.cut.symmetric_difference(dead).copied().collect();
        for (from, to) in all {
            let Some(namespace) = self.namespace(from) else {
                bail!("links on loopback cannot be cut");
            };
            let goes_to = if dead.contains(&(from, to)) { NOBODY.into() } else { hardware(to) };
            ip(&namespace, &neighbour(to, &goes_to))?;
        }
        self.cut.clone_from(dead);
        Ok(())
    }
}

fn address(index: usize) -> String {
    format!("10.77.0.{}", index + 1)
}

fn hardware(index: usize) -> String {
    format!("02:77:00:00:00:{:02x}", index + 1)
}

fn neighbour(of: usize, hardware: &str) -> String {
    format!("neigh replace {} lladdr {hardware} dev eth0 nud permanent", address(of))
}

/// Whether namespaces can be made here.
fn probe(run: &str) -> anyhow::Result<()> {
    let name = format!("{run}-probe");
    make_namespace(&name).context("network namespaces are not allowed here")?;
    ip(&name, "link add br0 type bridge").context("bridges are not allowed here")?;
    run_ip(&["netns", "del", &name])
}

fn make_namespace(name: &str) -> anyhow::Result<()> {
    leftovers::add_namespace(name)?;
    run_ip(&["netns", "add", name])?;
    ip(name, "link set lo up")
}

/// Runs `ip` inside a namespace.
fn ip(namespace: &str, arguments: &str) -> anyhow::Result<()> {
    let mut all = vec!["-n", namespace];
    all.extend(arguments.split(' '));
    run_ip(&all)
}

fn run_ip(arguments: &[&str]) -> anyhow::Result<()> {
    let output =
        Command::new("ip").args(arguments).output().context("run ip (Debian package iproute2)")?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "ip {}: {}", arguments.join(" "), text.trim());
    Ok(())
}

/// Moves this thread, and those it starts later, into a namespace.
fn enter(name: &str) -> anyhow::Result<()> {
    let path = Path::new("/run/netns").join(name);
    let file = File::open(&path).with_context(|| format!("open {}", path.display()))?;
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
        .with_context(|| format!("enter namespace {name}"))
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::time::Duration;

    use super::*;

    #[test]
    fn loopback_gives_distinct_ports_and_no_partitions() {
        let mut network = Network::make(Mode::Loopback, "x", 5).unwrap().0;
        let ports: BTreeSet<&String> =
            network.places().iter().flat_map(|place| [&place.client, &place.peer]).collect();
        assert_eq!(ports.len(), 10);
        assert!(!network.can_partition());
        assert!(network.cut(&BTreeSet::new()).is_ok());
        let error = network.cut(&BTreeSet::from([(0, 1)])).unwrap_err();
        assert_eq!(error.to_string(), "links on loopback cannot be cut");
    }

    /// Removes the namespaces of a test, however it ends.
    struct Removed(String, usize);

    impl Drop for Removed {
        fn drop(&mut self) {
            let members = (1..=self.1).map(|i| format!("{}-n{i}", self.0));
            for name in members.chain([format!("{}-hub", self.0)]) {
                run_ip(&["netns", "del", &name]).ok();
            }
        }
    }

    /// A socket that lives in a namespace.
    fn socket(namespace: &str, port: u16) -> UdpSocket {
        let namespace = namespace.to_owned();
        let open = std::thread::spawn(move || {
            enter(&namespace).unwrap();
            UdpSocket::bind(("0.0.0.0", port)).unwrap()
        });
        let socket = open.join().unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        socket
    }

    #[test]
    fn cut_links_are_dead_in_the_directions_cut_and_heal() {
        let run = format!("kjtest-{}", std::process::id());
        // In a thread of its own, since it moves into the network's namespace.
        let made = std::thread::spawn({
            let run = run.clone();
            move || probe(&run).and_then(|()| Network::make(Mode::Netns, &run, 3))
        });
        let _removed = Removed(run.clone(), 3);
        // Without the right to make namespaces there is nothing to test.
        let Ok((mut network, _)) = made.join().unwrap() else { return };
        let sockets = [1, 2, 3].map(|i| socket(&format!("{run}-n{i}"), 5000));
        let reaches = |from: usize, to: usize| {
            sockets[from].send_to(b"x", (address(to).as_str(), 5000)).unwrap();
            let mut buffer = [0; 8];
            sockets[to].recv_from(&mut buffer).is_ok()
        };
        let links = || {
            let pairs = (0..3).flat_map(|from| (0..3).map(move |to| (from, to)));
            pairs.filter(|(from, to)| from != to && !reaches(*from, *to)).collect::<Vec<_>>()
        };
        assert_eq!(links(), []);
        network.cut(&BTreeSet::from([(0, 1), (2, 0)])).unwrap();
        assert_eq!(links(), [(0, 1), (2, 0)]);
        network.cut(&BTreeSet::from([(1, 2)])).unwrap();
        assert_eq!(links(), [(1, 2)]);
        network.cut(&BTreeSet::new()).unwrap();
        assert_eq!(links(), []);
    }
}
