//! What a run of the generator found out.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::clock::nanos;

/// Longest latency told apart from longer ones.
const LATENCY_NS_MAX: u64 = 120_000_000_000;

/// Most kinds of error kept apart; the rest is counted together.
const ERROR_KINDS_MAX: usize = 16;

/// Latencies and errors of one thread, then of all.
#[derive(Debug, Clone)]
pub struct Tally {
    latency_ns: Histogram<u64>,
    /// Requests that succeeded inside the measured window.
    pub completed: u64,
    /// Requests that succeeded at all, in the warm-up too: what the server worked for.
    pub answered: u64,
    /// Bytes of answers.
    pub answer_bytes: u64,
    errors: BTreeMap<String, u64>,
}

impl Default for Tally {
    fn default() -> Self {
        let latency_ns = Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3)
            .expect("the bounds are constants that fit each other");
        Self { latency_ns, completed: 0, answered: 0, answer_bytes: 0, errors: BTreeMap::new() }
    }
}

impl Tally {
    /// Takes a latency down.
    pub fn latency(&mut self, latency: Duration) {
        self.latency_ns.saturating_record(nanos(latency));
    }

    /// Takes an error down.
    pub fn error(&mut self, text: String) {
        self.errors_of(text, 1);
    }

    /// All errors.
    pub fn error_count(&self) -> u64 {
        self.errors.values().sum()
    }

    /// Adds what another thread found.
    pub fn merge(&mut self, other: &Self) {
        self.latency_ns.add(&other.latency_ns).expect("all histograms have the same bounds");
        self.completed += other.completed;
        self.answered += other.answered;
        self.answer_bytes += other.answer_bytes;
        for (text, &n) in &other.errors {
            self.errors_of(text.clone(), n);
        }
    }

    fn errors_of(&mut self, text: String, n: u64) {
        let known = self.errors.contains_key(&text) || self.errors.len() < ERROR_KINDS_MAX;
        let key = if known { text } else { "other errors".to_owned() };
        *self.errors.entry(key).or_default() += n;
    }

    fn quantile_us(&self, q: f64) -> f64 {
        micros(self.latency_ns.value_at_quantile(q))
    }

    /// The figures of a run whose measured part took so long.
    pub fn report(&self, elapsed: Duration, client_cpu: Duration) -> Report {
        let seconds = elapsed.as_secs_f64();
        let per_request =
            |total: f64| if self.completed == 0 { 0.0 } else { total / self.completed as f64 };
        Report {
            completed: self.completed,
            answered: self.answered,
            seconds,
            throughput: if seconds > 0.0 { self.completed as f64 / seconds } else { 0.0 },
            mean_us: self.latency_ns.mean() / 1000.0,
            p50_us: self.quantile_us(0.5),
            p90_us: self.quantile_us(0.9),
            p99_us: self.quantile_us(0.99),
            p999_us: self.quantile_us(0.999),
            max_us: micros(self.latency_ns.max()),
            answer_bytes: self.answer_bytes,
            client_cpu_us: per_request(client_cpu.as_secs_f64() * 1e6),
            errors: self.error_count(),
            error_texts: self.errors.clone(),
        }
    }
}

fn micros(nanos: u64) -> f64 {
    nanos as f64 / 1000.0
}

/// Figures of a run.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// Requests that succeeded inside the measured part.
    pub completed: u64,
    /// Requests that succeeded at all, in the warm-up too.
    pub answered: u64,
    /// Length of the measured part.
    pub seconds: f64,
    /// Requests per second.
    pub throughput: f64,
    /// Mean latency.
    pub mean_us: f64,
    /// Half of the requests took no longer.
    pub p50_us: f64,
    /// 90 % took no longer.
    pub p90_us: f64,
    /// 99 % took no longer.
    pub p99_us: f64,
    /// 99.9 % took no longer.
    pub p999_us: f64,
    /// The longest.
    pub max_us: f64,
    /// Bytes of all answers.
    pub answer_bytes: u64,
    /// CPU that the generator itself spent per request, warm-up excluded.
    pub client_cpu_us: f64,
    /// Requests that failed.
    pub errors: u64,
    /// They, by text.
    pub error_texts: BTreeMap<String, u64>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} requests in {:.2} s: {:.0}/s, {} errors, {:.2} us of generator CPU a request",
            self.completed, self.seconds, self.throughput, self.errors, self.client_cpu_us
        )?;
        write!(
            f,
            "latency us: mean {:.0}, p50 {:.0}, p90 {:.0}, p99 {:.0}, p99.9 {:.0}, max {:.0}",
            self.mean_us, self.p50_us, self.p90_us, self.p99_us, self.p999_us, self.max_us
        )?;
        for (text, n) in &self.error_texts {
            write!(f, "\nerror x {n}: {text}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(latencies_us: impl Iterator<Item = u64>) -> Tally {
        let mut tally = Tally::default();
        for us in latencies_us {
            tally.latency(Duration::from_micros(us));
            tally.completed += 1;
        }
        tally
    }

    fn near(got: f64, want: f64) -> bool {
        (got - want).abs() <= want * 0.001 + 0.01
    }

    #[test]
    fn merged_tallies_have_the_quantiles_of_all() {
        let mut all = tally(1..=500);
        all.merge(&tally(501..=1000));
        let report = all.report(Duration::from_secs(2), Duration::from_millis(4));
        assert_eq!((report.completed, report.throughput), (1000, 500.0));
        assert!(near(report.p50_us, 500.0), "{}", report.p50_us);
        assert!(near(report.p99_us, 990.0), "{}", report.p99_us);
        assert!(near(report.p999_us, 999.0), "{}", report.p999_us);
        assert!(near(report.max_us, 1000.0), "{}", report.max_us);
        assert!(near(report.client_cpu_us, 4.0), "{}", report.client_cpu_us);
    }

    #[test]
    fn merged_errors_add_up_by_text() {
        let mut a = tally(1..=1);
        a.error("x".to_owned());
        let mut b = tally(1..=1);
        b.error("x".to_owned());
        b.error("x".to_owned());
        b.error("y".to_owned());
        a.merge(&b);
        let report = a.report(Duration::from_secs(1), Duration::ZERO);
        assert_eq!((report.errors, report.error_texts["x"], report.error_texts["y"]), (4, 3, 1));
        assert!(report.to_string().contains("error x 3: x"));
    }

    #[test]
    fn kinds_of_error_are_bounded() {
        let mut tally = Tally::default();
        (0..1000).for_each(|i| tally.error(format!("error {i}")));
        assert_eq!(tally.error_count(), 1000);
        assert_eq!(tally.errors.len(), ERROR_KINDS_MAX + 1);
    }

    #[test]
    fn an_empty_run_has_no_infinities() {
        let report = Tally::default().report(Duration::ZERO, Duration::from_secs(1));
        assert_eq!((report.throughput, report.client_cpu_us), (0.0, 0.0));
    }
}
