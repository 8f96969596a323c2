//! Rules that hold between settings, and bounds that a kind alone cannot say.

use std::collections::BTreeSet;
use std::time::Duration;

use super::member_config::{Client, Config, LogOutput, Member, Peer, Raft};
use super::mistake::Mistake;
use super::read::Settings;
use super::transport_security;
use super::url::{Scheme, Url};

/// An election must outlast this many heartbeats, so that one lost packet does not start it.
const HEARTBEATS_PER_ELECTION: u32 = 5;
/// Longer than this, the loss of a leader is not noticed in any useful time.
const ELECTION_TIMEOUT_MAX: Duration = Duration::from_millis(50_000);
/// A log file holds at least this many of the largest requests, so that rotation is the rare case.
const REQUESTS_PER_SEGMENT: u64 = 2;

impl Config {
    /// Every mistake in these settings at once; empty if they can be used.
    pub fn validate(&self) -> Vec<Mistake> {
        config(self)
    }
}

pub(super) fn config(config: &Config) -> Vec<Mistake> {
    let mut found = Vec::new();
    member(&config.member, &config.peer, &mut found);
    client(&config.client, &mut found);
    peer(&config.peer, &mut found);
    listen_urls("--listen-metrics-urls", &config.metrics.listen_urls, &mut found);
    ports_apart(config, &mut found);
    transport_security::validate(config, &mut found);
    raft(&config.raft, &mut found);
    storage(config, &mut found);
    if config.watch.progress_notify_interval.is_zero() {
        found.push(Mistake::new("--watch-progress-notify-interval", "must be more than zero"));
    }
    if config.logging.outputs.is_empty() {
        found.push(Mistake::new("--log-outputs", "must name at least one output"));
    }
    if config.logging.outputs.iter().any(is_bad_path) {
        found.push(Mistake::new("--log-outputs", "a path must not contain a zero byte"));
    }
    found
}

/// Rules about what was given and what was left out, which the `Config` no longer shows.
pub(super) fn given_together(settings: &Settings) -> Vec<Mistake> {
    let mut found = Vec::new();
    if settings.is_set("listen-client-urls") && !settings.is_set("advertise-client-urls") {
        found.push(Mistake::new(
            settings.setting("listen-client-urls"),
            "needs --advertise-client-urls too, so that clients are told how to reach it",
        ));
    }
    found
}

fn is_bad_path(output: &LogOutput) -> bool {
    match output {
        LogOutput::File(path) => path.as_os_str().as_encoded_bytes().contains(&0),
        LogOutput::Stderr | LogOutput::Stdout => false,
    }
}

fn member(member: &Member, peer: &Peer, found: &mut Vec<Mistake>) {
    let name = &member.name;
    if name.is_empty() {
        found.push(Mistake::new("--name", "must not be empty"));
    }
    if name.contains(['=', ',', '\0']) {
        found.push(Mistake::new("--name", "must not contain '=', ',' or a zero byte"));
    }
    let own = member.initial_cluster.iter().find(|entry| entry.name == *name);
    let setting = "--initial-cluster";
    match own {
        None => found.push(Mistake::new(setting, format!("does not name this member, {name:?}"))),
        Some(entry) if sorted(&entry.peer_urls) != sorted(&peer.advertise_urls) => {
            let text = format!(
                "gives {} for {name:?}, but --initial-advertise-peer-urls gives {}",
                joined(&entry.peer_urls),
                joined(&peer.advertise_urls)
            );
            found.push(Mistake::new(setting, text));
        }
        Some(_) => {}
    }
    let mut taken = BTreeSet::new();
    for url in member.initial_cluster.iter().flat_map(|entry| sorted(&entry.peer_urls)) {
        if !taken.insert(url) {
            found.push(Mistake::new(setting, format!("{url} is given to two members")));
        }
    }
}

fn sorted(urls: &[Url]) -> BTreeSet<&Url> {
    urls.iter().collect()
}

fn joined(urls: &[Url]) -> String {
    urls.iter().map(Url::to_string).collect::<Vec<_>>().join(",")
}

fn client(client: &Client, found: &mut Vec<Mistake>) {
    listen_urls("--listen-client-urls", &client.listen_urls, found);
    listen_urls("--listen-client-http-urls", &client.listen_http_urls, found);
    at_least_one("--listen-client-urls", &client.listen_urls, found);
    at_least_one("--advertise-client-urls", &client.advertise_urls, found);
    if client.max_concurrent_streams == 0 {
        found.push(Mistake::new("--max-concurrent-streams", "must be more than zero"));
    }
}

fn peer(peer: &Peer, found: &mut Vec<Mistake>) {
    listen_urls("--listen-peer-urls", &peer.listen_urls, found);
    at_least_one("--listen-peer-urls", &peer.listen_urls, found);
    at_least_one("--initial-advertise-peer-urls", &peer.advertise_urls, found);
}

fn at_least_one(setting: &str, urls: &[Url], found: &mut Vec<Mistake>) {
    if urls.is_empty() {
        found.push(Mistake::new(setting, "must name at least one URL"));
    }
}

/// A name would have to be resolved, and what it resolves to may change under a running member.
fn listen_urls(setting: &str, urls: &[Url], found: &mut Vec<Mistake>) {
    for url in urls {
        let is_socket_file = matches!(url.scheme, Scheme::Unix | Scheme::Unixs);
        if !is_socket_file && url.bind_address().is_none() {
            let text = format!("{url}: the host must be an IP address or localhost");
            found.push(Mistake::new(setting, text));
        }
    }
}

/// No two listeners may want the same address.
fn ports_apart(config: &Config, found: &mut Vec<Mistake>) {
    let mut taken = Vec::new();
    for (setting, urls) in [
        ("--listen-client-urls", &config.client.listen_urls),
        ("--listen-client-http-urls", &config.client.listen_http_urls),
        ("--listen-peer-urls", &config.peer.listen_urls),
        ("--listen-metrics-urls", &config.metrics.listen_urls),
    ] {
        for address in urls.iter().filter_map(Url::bind_address).filter(|a| a.port() != 0) {
            if taken.contains(&address) {
                let text = format!("{address} is listened on twice");
                found.push(Mistake::new(setting, text));
            }
            taken.push(address);
        }
    }
}

fn raft(raft: &Raft, found: &mut Vec<Mistake>) {
    let (beat, election) = (raft.heartbeat_interval, raft.election_timeout);
    if beat.is_zero() {
        found.push(Mistake::new("--heartbeat-interval", "must be more than zero"));
    }
    if election < beat.saturating_mul(HEARTBEATS_PER_ELECTION) || election.is_zero() {
        let text = format!(
            "must be at least {HEARTBEATS_PER_ELECTION} times --heartbeat-interval; got {}ms and {}ms",
            election.as_millis(),
            beat.as_millis()
        );
        found.push(Mistake::new("--election-timeout", text));
    }
    if election > ELECTION_TIMEOUT_MAX {
        let (max, got) = (ELECTION_TIMEOUT_MAX.as_millis(), election.as_millis());
        let text = format!("must be at most {max}ms; got {got}ms");
        found.push(Mistake::new("--election-timeout", text));
    }
}

fn storage(config: &Config, found: &mut Vec<Mistake>) {
    let request = u64::try_from(config.limits.max_request_bytes).unwrap_or(u64::MAX);
    let needed = request.saturating_mul(REQUESTS_PER_SEGMENT);
    if config.storage.wal_segment_bytes < needed {
        let text = format!(
            "must be at least {REQUESTS_PER_SEGMENT} times --max-request-bytes, {needed}; got {}",
            config.storage.wal_segment_bytes
        );
        found.push(Mistake::new("--keelson-wal-segment-bytes", text));
    }
}
