//! One turn: a fresh server, watchers, writers, and what it came to.

use std::path::Path;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::stamp;
use super::watchers::{self, Watchers};
use super::writers::Writers;
use crate::proc;
use crate::report::Report;
use crate::server::{Server, Spec};

/// How long events may still come after the last put.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(30);
const MIB: f64 = 1024.0 * 1024.0;

/// Figures of a turn.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) puts: Report,
    /// Events that came, and that should have.
    pub(super) events: u64,
    pub(super) missing: u64,
    /// From the first put to the last event.
    pub(super) seconds: f64,
    pub(super) lag_ns: Histogram<u64>,
    /// What the server used until it rested.
    pub(super) cpu: Duration,
    /// Its largest memory meanwhile.
    pub(super) rss_peak_mib: f64,
    /// What this program used until the last event.
    pub(super) own_cpu: Duration,
}

impl Turn {
    /// Events per second.
    pub(super) fn throughput(&self) -> f64 {
        self.events as f64 / self.seconds
    }

    /// A quantile of the lags, in milliseconds.
    pub(super) fn lag_ms(&self, quantile: f64) -> f64 {
        self.lag_ns.value_at_quantile(quantile) as f64 / 1e6
    }

    /// Microseconds of something for each event.
    pub(super) fn per_event(&self, time: Duration) -> f64 {
        time.as_secs_f64() * 1e6 / self.events as f64
    }

    /// Microseconds of the server's CPU for each put.
    pub(super) fn cpu_per_put(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.puts.completed as f64
    }
}

/// Starts a server and measures it.
pub(super) fn turn(
    spec: &Spec,
    folder: &Path,
    plan: watchers::Plan,
    writers: &Writers,
    warmup: Duration,
) -> anyhow::Result<Turn> {
    let server = Server::start(spec, folder)?;
    let watchers = Watchers::open(server.address(), plan)?;
    let mut due = Writers { time: warmup, ..writers.clone() }.run(server.address())?.due;
    watchers.wait_for(due, DRAIN_TIME_MAX)?;
    server.settle()?;

    let events_before = watchers.events();
    watchers.take_lag();
    proc::reset_rss_peak(server.pid());
    let (before, own_before, begin) = (server.usage()?, proc::own_cpu()?, stamp::now());
    let written = writers.run(server.address())?;
    due += written.due;
    let events = watchers.wait_for(due, DRAIN_TIME_MAX)?;
    let last = watchers.last_ns().max(begin + 1);
    let own_cpu = proc::own_cpu()?.saturating_sub(own_before);
    server.settle()?;
    Ok(Turn {
        puts: written.report,
        events: events - events_before,
        missing: due - events,
        seconds: Duration::from_nanos(last - begin).as_secs_f64(),
        lag_ns: watchers.take_lag(),
        cpu: server.usage()?.cpu.saturating_sub(before.cpu),
        rss_peak_mib: proc::rss_peak(server.pid())? as f64 / MIB,
        own_cpu,
    })
}
