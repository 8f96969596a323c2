//! One server's turn in figures, and the turns of a cell.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::report::Report;
use crate::server::Usage;
use crate::workload::Kind;

const MIB: f64 = 1024.0 * 1024.0;

/// Figures of a turn.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Sample {
    pub(super) report: Report,
    /// CPU of the server per request, with all it did until it rested.
    pub(super) server_cpu_us: f64,
    /// Largest resident memory.
    pub(super) rss_peak_mib: f64,
    /// Whether the peak is that of this turn; else it is that since the server's start.
    pub(super) rss_peak_is_fresh: bool,
    /// Bytes written to disk per request.
    pub(super) written_bytes: f64,
}

impl Sample {
    pub(super) fn new(
        report: Report,
        before: Usage,
        after: Usage,
        rss_peak: u64,
        rss_peak_is_fresh: bool,
    ) -> Self {
        let answered = if report.answered == 0 { f64::NAN } else { report.answered as f64 };
        let cpu: Duration = after.cpu.saturating_sub(before.cpu);
        Self {
            report,
            server_cpu_us: cpu.as_secs_f64() * 1e6 / answered,
            rss_peak_mib: rss_peak as f64 / MIB,
            rss_peak_is_fresh,
            written_bytes: after.written.saturating_sub(before.written) as f64 / answered,
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
pub(super) const METRICS: [Metric; 8] = [
    Metric { name: "requests/s", of: |s| s.report.throughput },
    Metric { name: "p50 us", of: |s| s.report.p50_us },
    Metric { name: "p99 us", of: |s| s.report.p99_us },
    Metric { name: "p99.9 us", of: |s| s.report.p999_us },
    Metric { name: "server CPU us/op", of: |s| s.server_cpu_us },
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
