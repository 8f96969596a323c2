//! What each side of a partition does, and that the sides come together without a storm of
//! elections: a cluster of three in namespaces, one member cut off in both directions or in one.
//!
//! Says so and does nothing where network namespaces are not allowed.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test's helpers")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use keelson_api::client::Client;
use keelson_api::etcdserverpb::{PutRequest, RangeRequest};
use keelson_jepsen::clock::Clock;
use keelson_jepsen::cluster::{Cluster, Kind, Mode, Network, Probe, Subject, leftovers, status};

const NODES: usize = 3;
/// A side that serves does so by then: an election, and connections made anew.
const SERVES_WITHIN: Duration = Duration::from_secs(20);
/// A side that cannot serve is given this long; requests of a cut off member fail by themselves.
const REFUSES_FOR: Duration = Duration::from_secs(3);
/// Terms may grow by so many while the sides come together. A storm is one every second.
const TERMS_AFTER_HEALING_MAX: u64 = 1;
/// Time after healing in which elections are counted: several election timeouts.
const WATCHED: Duration = Duration::from_secs(4);

/// Directions that die, given who is cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    Both,
    /// What it sends is lost.
    Mute,
    /// What is sent to it is lost.
    Deaf,
}

impl Cut {
    fn links(self, victim: usize) -> BTreeSet<(usize, usize)> {
        let others = (0..NODES).filter(move |node| *node != victim);
        let out = others.clone().map(|other| (victim, other));
        let back = others.map(|other| (other, victim));
        match self {
            Self::Both => out.chain(back).collect(),
            Self::Mute => out.collect(),
            Self::Deaf => back.collect(),
        }
    }
}

fn keelson() -> PathBuf {
    let beside = Path::new(env!("CARGO_BIN_EXE_keelson-jepsen")).with_file_name("keelson");
    std::env::var_os("KEELSON_BINARY").map_or(beside, PathBuf::from)
}

/// A cluster as clients see it.
struct Seen {
    clients: Vec<Client>,
    addresses: Vec<String>,
}

impl Seen {
    async fn of(cluster: &Cluster) -> Self {
        let addresses = cluster.endpoints().addresses.clone();
        let mut clients = Vec::new();
        for address in &addresses {
            clients.push(Client::connect(&[address]).await.unwrap());
        }
        Self { clients, addresses }
    }

    async fn put(&self, node: usize, key: &str, value: &str, within: Duration) -> bool {
        let (key, value) = (key.to_owned().into(), value.to_owned().into());
        let request = PutRequest { key, value, ..PutRequest::default() };
        let mut kv = self.clients[node].kv();
        matches!(tokio::time::timeout(within, kv.put(request)).await, Ok(Ok(_)))
    }

    /// The value of a key, if there is an answer.
    async fn get(&self, node: usize, key: &str, serializable: bool) -> Option<String> {
        let request =
            RangeRequest { key: key.to_owned().into(), serializable, ..RangeRequest::default() };
        let mut kv = self.clients[node].kv();
        let answer = tokio::time::timeout(REFUSES_FOR, kv.range(request)).await.ok()?.ok()?;
        let kvs = answer.into_inner().kvs;
        Some(
            kvs.first()
                .map_or_else(String::new, |kv| String::from_utf8(kv.value.to_vec()).unwrap()),
        )
    }

    /// Puts until it succeeds; bounded.
    async fn put_at_last(&self, node: usize, key: &str, value: &str) {
        let clock = Clock::start();
        while !self.put(node, key, value, REFUSES_FOR).await {
            assert!(clock.elapsed() < SERVES_WITHIN, "n{} takes no writes", node + 1);
        }
    }

    async fn look(&self) -> Vec<Probe> {
        let mut looks = Vec::new();
        for address in &self.addresses {
            looks.extend(status(address).await);
        }
        looks
    }

    /// Where the leader is and its term, once all agree; bounded.
    async fn agreed(&self) -> (usize, u64) {
        let clock = Clock::start();
        loop {
            let looks = self.look().await;
            let same = |a: &Probe, b: &Probe| (a.term, a.leader) == (b.term, b.leader);
            let all = looks.len() == NODES && looks.windows(2).all(|pair| same(&pair[0], &pair[1]));
            if let Some(at) = looks.iter().position(|probe| all && probe.leader == probe.member) {
                return (at, looks[at].term);
            }
            assert!(clock.elapsed() < SERVES_WITHIN, "no agreement: {looks:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn highest_term(&self) -> u64 {
        self.look().await.iter().map(|probe| probe.term).max().unwrap_or(0)
    }
}

/// Cuts one member off, looks at both sides, heals, and counts elections.
async fn scenario(cluster: &mut Cluster, seen: &Seen, cut: Cut, leads: bool) {
    let (leader, before) = seen.agreed().await;
    let victim = if leads { leader } else { (leader + 1) % NODES };
    let other = (0..NODES).find(|node| *node != leader && *node != victim).unwrap();
    let name = format!("{cut:?} of {}", if leads { "the leader" } else { "a follower" });
    seen.put_at_last(leader, &name, "before").await;
    for node in 0..NODES {
        assert_eq!(seen.get(node, &name, false).await.as_deref(), Some("before"), "{name}");
    }

    cluster.cut(&cut.links(victim)).unwrap();
    // The majority takes writes, with a new leader where the old one is on the other side.
    seen.put_at_last(other, &name, "after").await;
    // The minority acknowledges nothing (who is deaf alone may still be heard, so a key of its own),
    // and has no answer that must be fresh.
    let own = format!("{name}, minority");
    let (taken, fresh) =
        tokio::join!(seen.put(victim, &own, "x", REFUSES_FOR), seen.get(victim, &name, false));
    assert!(!taken, "{name}: took a write");
    assert_eq!(fresh, None, "{name}: answered a fresh read");
    let stale = seen.get(victim, &name, true).await;
    // Who is not heard may hear of the write all the same.
    let heard = cut == Cut::Mute && stale.as_deref() == Some("after");
    assert!(heard || stale.as_deref() == Some("before"), "{name}: serves {stale:?}");
    assert_eq!(seen.get(other, &name, false).await.as_deref(), Some("after"), "{name}");
    let during = seen.highest_term().await;

    cluster.cut(&BTreeSet::new()).unwrap();
    let (_, healed) = seen.agreed().await;
    seen.put_at_last(victim, &name, "healed").await;
    tokio::time::sleep(WATCHED).await;
    let (_, after) = seen.agreed().await;
    println!("{name}: term {before}, {during} while cut, {healed} when healed, {after} later");
    assert!(after - during <= TERMS_AFTER_HEALING_MAX, "{name}: terms {during} to {after}");
    // A follower that is cut off does not make the others vote.
    let elections = u64::from(leads);
    assert!(during - before <= elections + 1, "{name}: terms {before} to {during} while cut");
    for node in 0..NODES {
        assert_eq!(seen.get(node, &name, false).await.as_deref(), Some("healed"), "{name}");
    }
}

async fn all(network: Network, folder: &Path) {
    let subject = Subject {
        kind: Kind::Keelson,
        program: Subject::find(Kind::Keelson, Some(&keelson())).unwrap(),
        extra: Vec::new(),
        env: Vec::new(),
        heartbeat_ms: 100,
        election_ms: 1000,
    };
    let mut cluster = Cluster::new(&subject, network, folder).unwrap();
    cluster.start_all().unwrap();
    cluster.wait_until_served(Clock::start(), Duration::from_secs(60)).await.unwrap();
    let seen = Seen::of(&cluster).await;
    for cut in [Cut::Both, Cut::Mute, Cut::Deaf] {
        for leads in [true, false] {
            scenario(&mut cluster, &seen, cut, leads).await;
        }
    }
    assert_eq!(cluster.crashed(), Vec::<String>::new());
}

#[test]
fn a_minority_refuses_and_comes_back_quietly() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    // In a thread of its own, which moves into the network's namespace; those of the runtime follow.
    let test = std::thread::spawn(move || {
        let (_guard, run) = leftovers::begin().unwrap();
        match Network::make(Mode::Netns, &run, NODES) {
            Ok((network, _)) => {
                let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
                runtime.unwrap().block_on(all(network, &path));
            }
            Err(error) => println!("SKIPPED: links cannot be cut here: {error:#}"),
        }
    });
    if let Err(panic) = test.join() {
        std::panic::resume_unwind(panic);
    }
}
