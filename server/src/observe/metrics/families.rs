//! Making and registering families. Names are constants of this crate, so errors are bugs.

use prometheus::core::Collector;
use prometheus::{
    Counter, Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, exponential_buckets,
};

const MADE: &str = "metric names, labels and buckets are constants that the tests make";

/// Exponential buckets: `start`, times `factor` for each further one, `count` in all.
#[derive(Debug, Clone, Copy)]
pub(super) struct Buckets {
    pub(super) start: f64,
    pub(super) factor: f64,
    pub(super) count: usize,
}

/// Doubling buckets, which all of etcd's are.
pub(super) const fn doubling(start: f64, count: usize) -> Buckets {
    Buckets { start, factor: 2.0, count }
}

#[derive(Debug)]
pub(super) struct Families<'a>(pub(super) &'a Registry);

impl Families<'_> {
    fn register<C: Collector + Clone + 'static>(&self, made: prometheus::Result<C>) -> C {
        let made = made.expect(MADE);
        self.0.register(Box::new(made.clone())).expect(MADE);
        made
    }

    pub(super) fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.register(IntCounter::new(name, help))
    }

    pub(super) fn seconds_counter(&self, name: &str, help: &str) -> Counter {
        self.register(Counter::new(name, help))
    }

    pub(super) fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.register(IntCounterVec::new(Opts::new(name, help), labels))
    }

    pub(super) fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.register(IntGauge::new(name, help))
    }

    pub(super) fn real_gauge(&self, name: &str, help: &str) -> Gauge {
        self.register(Gauge::new(name, help))
    }

    pub(super) fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.register(IntGaugeVec::new(Opts::new(name, help), labels))
    }

    pub(super) fn histogram(&self, name: &str, help: &str, buckets: Buckets) -> Histogram {
        self.register(Histogram::with_opts(histogram_opts(name, help, buckets)))
    }

    pub(super) fn histograms(
        &self,
        name: &str,
        help: &str,
        buckets: Buckets,
        labels: &[&str],
    ) -> HistogramVec {
        self.register(HistogramVec::new(histogram_opts(name, help, buckets), labels))
    }
}

fn histogram_opts(name: &str, help: &str, buckets: Buckets) -> HistogramOpts {
    let Buckets { start, factor, count } = buckets;
    let bounds = exponential_buckets(start, factor, count).expect(MADE);
    HistogramOpts::new(name, help).buckets(bounds)
}
