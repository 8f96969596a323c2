//! The lessor's settings, and the clock it goes by.

use std::sync::Arc;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::clients::request_timeout;
use crate::config::Config;
use crate::lease::{LeaseIds, Lessor, LessorOptions};
use crate::rpc::LeaseRoom;

pub(super) fn lessor_options(config: &Config) -> LessorOptions {
    LessorOptions {
        clock: Arc::new(since_boot),
        election_timeout: config.raft.election_timeout,
        timeout: request_timeout(config),
    }
}

pub(super) fn room(config: &Config, lessor: Arc<Lessor>, chance: u64) -> LeaseRoom {
    let ids = Arc::new(LeaseIds::new(chance));
    LeaseRoom {
        lessor,
        ids,
        ttl_min: ttl_min(config),
        election_timeout: config.raft.election_timeout,
    }
}

/// The time since the machine's boot. A machine that is suspended, or a virtual one that is stopped
/// and goes on, lets leases run out all the same: their clients go by the time of the others.
fn since_boot() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    // It begins at zero and never goes back, so neither part is negative.
    Duration::try_from(now).unwrap_or(Duration::ZERO)
}

/// The least TTL in seconds: one and a half elections, by etcd's count in heartbeats.
fn ttl_min(config: &Config) -> i64 {
    let heartbeat = config.raft.heartbeat_interval.as_millis().max(1);
    let ticks = config.raft.election_timeout.as_millis() / heartbeat;
    let least = (3 * ticks / 2 * heartbeat).div_ceil(1000);
    i64::try_from(least).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel says it in another place, too: hundredths of seconds, suspension included.
    #[test]
    fn time_is_the_machines_since_its_boot() {
        let before = since_boot();
        let text = std::fs::read_to_string("/proc/uptime").unwrap();
        let uptime: f64 = text.split_whitespace().next().unwrap().parse().unwrap();
        let after = since_boot();
        assert!(before <= after);
        let hundredth = Duration::from_millis(10);
        let uptime = Duration::from_secs_f64(uptime);
        assert!((before..=after + hundredth).contains(&(uptime + hundredth)), "{uptime:?}");
    }

    #[test]
    fn the_least_ttl_is_etcds() {
        let least = |heartbeat: u64, election: u64| {
            let mut config = Config::default();
            config.raft.heartbeat_interval = Duration::from_millis(heartbeat);
            config.raft.election_timeout = Duration::from_millis(election);
            ttl_min(&config)
        };
        // Counted in whole heartbeats, by etcd's formula.
        assert_eq!([least(100, 1000), least(500, 5000), least(100, 650)], [2, 8, 1]);
        assert_eq!(least(300, 1000), 2, "three heartbeats fit, and half as many again are four");
    }
}
