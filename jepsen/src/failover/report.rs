//! Figures of lost leaders.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::load::{End, Sample};

/// One lost leader.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Round {
    /// `keelson` or `etcd`.
    pub subject: String,
    /// Who led, from 1.
    pub leader: usize,
    /// Longest time between two acknowledged writes that ends after the leader went.
    pub without_writes_ms: f64,
    /// Writes that were due from a second before the leader went on and were not acknowledged.
    pub failed: usize,
    /// Of those, the ones that got no answer at all: whether they took effect is unknown.
    pub unanswered: usize,
    /// Writes acknowledged in all.
    pub ok: usize,
    /// Longest time from due to acknowledged.
    pub latency_max_ms: f64,
}

impl Round {
    /// From all requests of a round and the time from the moment at which the leader went to the
    /// end of the load.
    pub fn of(subject: &str, leader: usize, (from, until): (u64, u64), samples: &[Sample]) -> Self {
        let mut done: Vec<u64> = samples.iter().filter(|s| is_ok(s)).map(|s| s.done).collect();
        // If nothing is acknowledged any more, that has been so until the end of the load. Requests
        // that wait for a hanging member beyond it say nothing about the others.
        done.push(until);
        done.sort_unstable();
        let gaps = done.windows(2).filter(|pair| pair[1] >= from && pair[0] <= until);
        let gap = gaps.map(|pair| pair[1].saturating_sub(pair[0])).max().unwrap_or(0);
        let second = 1_000_000_000;
        let late = || samples.iter().filter(|s| s.due + second >= from);
        let latency =
            samples.iter().filter(|s| is_ok(s)).map(|s| s.done.saturating_sub(s.due)).max();
        Self {
            subject: subject.to_owned(),
            leader: leader + 1,
            without_writes_ms: millis(gap),
            failed: late().filter(|s| s.end != End::Acknowledged).count(),
            unanswered: late().filter(|s| s.end == End::Unanswered).count(),
            ok: samples.iter().filter(|s| is_ok(s)).count(),
            latency_max_ms: millis(latency.unwrap_or(0)),
        }
    }
}

fn is_ok(sample: &Sample) -> bool {
    sample.end == End::Acknowledged
}

fn millis(nanos: u64) -> f64 {
    // Microseconds are as fine as it gets, and fit a float's exact integers for all real times.
    u32::try_from(nanos / 1000).map_or(f64::INFINITY, f64::from) / 1000.0
}

/// Some figures in order.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Distribution {
    /// The smallest.
    pub min: f64,
    /// The middle one.
    pub p50: f64,
    /// Nine of ten are no larger.
    pub p90: f64,
    /// The largest.
    pub max: f64,
}

impl Distribution {
    /// Of some figures, at least one.
    pub fn of(figures: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut figures: Vec<f64> = figures.into_iter().collect();
        figures.sort_by(f64::total_cmp);
        let at = |percent: usize| {
            let place = (figures.len() * percent).div_ceil(100).max(1) - 1;
            figures.get(place).copied()
        };
        Some(Self { min: at(0)?, p50: at(50)?, p90: at(90)?, max: at(100)? })
    }
}

impl fmt::Display for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { min, p50, p90, max } = self;
        write!(f, "min {min:.0}  p50 {p50:.0}  p90 {p90:.0}  max {max:.0}")
    }
}

/// All lost leaders.
#[derive(Debug, Clone, Serialize)]
pub struct FailoverReport {
    /// How the leaders went.
    pub method: String,
    /// Writes per second.
    pub rate: u64,
    /// Number of members.
    pub nodes: usize,
    /// The rounds, in order.
    pub rounds: Vec<Round>,
    /// Milliseconds without writes, by subject.
    pub without_writes_ms: BTreeMap<String, Distribution>,
    /// Failed writes, by subject.
    pub failed: BTreeMap<String, Distribution>,
    /// Writes without any answer, by subject.
    pub unanswered: BTreeMap<String, Distribution>,
}

impl FailoverReport {
    /// Of these rounds.
    pub fn of(method: &str, rate: u64, nodes: usize, rounds: Vec<Round>) -> Self {
        let by_subject = |figure: &dyn Fn(&Round) -> f64| {
            let mut figures: BTreeMap<String, Vec<f64>> = BTreeMap::new();
            for round in &rounds {
                figures.entry(round.subject.clone()).or_default().push(figure(round));
            }
            let distributions = figures
                .into_iter()
                .filter_map(|(subject, figures)| Some((subject, Distribution::of(figures)?)));
            distributions.collect()
        };
        let count = |count: usize| u32::try_from(count).map_or(f64::INFINITY, f64::from);
        Self {
            method: method.to_owned(),
            rate,
            nodes,
            without_writes_ms: by_subject(&|round| round.without_writes_ms),
            failed: by_subject(&|round| count(round.failed)),
            unanswered: by_subject(&|round| count(round.unanswered)),
            rounds,
        }
    }
}

impl fmt::Display for FailoverReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "leader lost by {} at {} writes/s, {} members",
            self.method, self.rate, self.nodes
        )?;
        for (subject, gaps) in &self.without_writes_ms {
            let rounds = self.rounds.iter().filter(|round| round.subject == *subject).count();
            write!(f, "\n{subject:<8} {rounds} rounds  without writes, ms: {gaps}")?;
            if let Some(failed) = self.failed.get(subject) {
                write!(f, "\n{:<8}           failed writes:      {failed}", "")?;
            }
            if let Some(unanswered) = self.unanswered.get(subject) {
                write!(f, "\n{:<8}           of them unanswered: {unanswered}", "")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gap_counts_from_the_last_write_before_to_the_first_after() {
        let ms = 1_000_000;
        let sample = |due: u64, done: u64, end| Sample { due: due * ms, done: done * ms, end };
        let samples = [
            sample(0, 400, End::Acknowledged),
            sample(1000, 1010, End::Acknowledged),
            sample(1100, 1500, End::Refused),
            sample(1100, 6100, End::Unanswered),
            sample(1200, 2600, End::Acknowledged),
            sample(2700, 2710, End::Acknowledged),
        ];
        let round = Round::of("x", 0, (1050 * ms, 3000 * ms), &samples);
        assert_eq!(round.without_writes_ms, 1590.0);
        assert_eq!((round.failed, round.unanswered, round.ok, round.leader), (2, 1, 4, 1));
        assert_eq!(round.latency_max_ms, 1400.0);
    }

    #[test]
    fn writes_that_never_come_back_count_to_the_end() {
        let sample = |at: u64, end| Sample { due: at, done: at, end };
        let samples = [sample(1_000_000, End::Acknowledged), sample(20_000_000, End::Unanswered)];
        let round = Round::of("x", 0, (2_000_000, 9_000_000), &samples);
        assert_eq!(round.without_writes_ms, 8.0);
    }

    #[test]
    fn distributions_take_ranks() {
        let d = Distribution::of((1..=10).map(f64::from)).unwrap();
        assert_eq!(d, Distribution { min: 1.0, p50: 5.0, p90: 9.0, max: 10.0 });
        assert_eq!(Distribution::of([]), None);
    }
}
