//! One server's turn in figures, and the turns of a cell.

use std::fmt;

use serde::Serialize;

use crate::report::Report;
use crate::server::Usage;
use crate::workload::Kind;

const MIB: f64 = 1024.0 * 1024.0;

/// What the members of a server used in a turn.
#[derive(Debug, Clone)]
pub(super) struct Used {
    pub(super) before: Vec<Usage>,
    pub(super) after: Vec<Usage>,
    /// The member that led when the turn began.
    pub(super) leader: usize,
    /// Of all members together.
    pub(super) rss_peak: u64,
    pub(super) rss_peak_is_fresh: bool,
}

/// Figures of a turn.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Sample {
    pub(super) report: Report,
    /// CPU of all members per request, with all they did until they rested.
    pub(super) server_cpu_us: f64,
    /// The leader's part of it.
    pub(super) leader_cpu_us: f64,
    /// Largest resident memory, the members' peaks added up.
    pub(super) rss_peak_mib: f64,
    /// Whether the peak is that of this turn; else it is that since the server's start.
    pub(super) rss_peak_is_fresh: bool,
    /// Bytes written to disk per request, by all members.
    pub(super) written_bytes: f64,
}

impl Sample {
    pub(super) fn new(report: Report, used: &Used) -> Self {
        let answered = if report.answered == 0 { f64::NAN } else { report.answered as f64 };
        let members: Vec<(f64, u64)> = used
            .before
            .iter()
            .zip(&used.after)
            .map(|(before, after)| {
                let cpu = after.cpu.saturating_sub(before.cpu);
                (cpu.as_secs_f64() * 1e6, after.written.saturating_sub(before.written))
            })
            .collect();
        let written: u64 = members.iter().map(|(_, written)| written).sum();
        Self {
            report,
            server_cpu_us: members.iter().map(|(cpu, _)| cpu).sum::<f64>() / answered,
            leader_cpu_us: members.get(used.leader).map_or(0.0, |(cpu, _)| cpu / answered),
            rss_peak_mib: used.rss_peak as f64 / MIB,
            rss_peak_is_fresh: used.rss_peak_is_fresh,
            written_bytes: written as f64 / answered,
        }
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.0}/s, p99 {:.0} us, server {:.1} us and generator {:.1} us of CPU a request",
            self.report.throughput,
            self.report.p99_us,
            self.server_cpu_us,
            self.report.client_cpu_us
        )?;
        match self.report.errors {
            0 => Ok(()),
            n => write!(f, ", {n} ERRORS {:?}", self.report.error_texts),
        }
    }
}

/// A figure of a sample that is compared.
pub(super) struct Metric {
    pub(super) name: &'static str,
    pub(super) of: fn(&Sample) -> f64,
}

/// All of them. Only of the first a larger figure is a better one.
pub(super) const METRICS: [Metric; 9] = [
    Metric { name: "requests/s", of: |s| s.report.throughput },
    Metric { name: "p50 us", of: |s| s.report.p50_us },
    Metric { name: "p99 us", of: |s| s.report.p99_us },
    Metric { name: "p99.9 us", of: |s| s.report.p999_us },
    Metric { name: "server CPU us/op", of: |s| s.server_cpu_us },
    Metric { name: "leader CPU us/op", of: |s| s.leader_cpu_us },
    Metric { name: "peak RSS MiB", of: |s| s.rss_peak_mib },
    Metric { name: "disk bytes/op", of: |s| s.written_bytes },
    Metric { name: "generator CPU us/op", of: |s| s.report.client_cpu_us },
];

/// A workload with a number of clients.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Cell {
    pub(super) kind: Kind,
    pub(super) clients: usize,
    /// Samples by round, then by server.
    pub(super) rounds: Vec<Vec<Sample>>,
}

impl Cell {
    pub(super) fn new(kind: Kind, clients: usize) -> Self {
        Self { kind, clients, rounds: Vec::new() }
    }

    pub(super) fn title(&self, what: &str) -> String {
        format!("{}, {} clients, {what}", self.kind.name(), self.clients)
    }

    /// A figure of a server in all rounds.
    pub(super) fn series(&self, server: usize, metric: &Metric) -> Vec<f64> {
        self.rounds.iter().map(|samples| (metric.of)(&samples[server])).collect()
    }

    /// Failed requests of a server in all rounds.
    pub(super) fn errors(&self, server: usize) -> u64 {
        self.rounds.iter().map(|samples| samples[server].report.errors).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_members_used_is_added_up_and_shared_among_requests() {
        let usage = |ms, written| Usage { cpu: Duration::from_millis(ms), written };
        let used = Used {
            before: vec![usage(0, 100), usage(10, 0), usage(0, 0)],
            after: vec![usage(20, 600), usage(70, 1000), usage(20, 500)],
            leader: 1,
            rss_peak: 3 << 20,
            rss_peak_is_fresh: true,
        };
        let report = Report { answered: 1000, ..Report::default() };
        let sample = Sample::new(report, &used);
        assert_eq!((sample.server_cpu_us, sample.leader_cpu_us), (100.0, 60.0));
        assert_eq!((sample.written_bytes, sample.rss_peak_mib), (2.0, 3.0));
    }

    #[test]
    fn a_turn_without_answers_has_no_figures_per_request() {
        let used = Used {
            before: vec![Usage::default()],
            after: vec![Usage::default()],
            leader: 0,
            rss_peak: 0,
            rss_peak_is_fresh: true,
        };
        assert!(Sample::new(Report::default(), &used).server_cpu_us.is_nan());
    }
}
