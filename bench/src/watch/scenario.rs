//! The scenarios: who watches what, what is written, which figures are of interest.

use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;

use super::figures::Figures;
use super::turn::{Turn, turn};
use super::watchers::{Plan, Watched, Watchers};
use super::writers::Writers;
use super::{Options, stamp};
use crate::clock;
use crate::load::{self, Limit};
use crate::proc;
use crate::server::{Server, Spec};
use crate::workload::{KeySpace, Kind, Workload, prefix_end};

/// Keys with a common prefix that a watcher of `spread` watches: those that differ in the last two
/// digits.
pub(super) const PREFIX_KEYS: u64 = 100;
const PREFIX_DIGITS: usize = 2;
/// Of so many watchers of `spread` one watches a prefix.
const PREFIX_EVERY: usize = 10;

/// Clients that make the history of `catch-up`.
const HISTORY_CLIENTS: usize = 500;
/// Keys that its puts are of.
const HISTORY_KEYS: u64 = 10_000;
/// Longest time for a watcher to catch up.
const CATCH_UP_TIME_MAX: Duration = Duration::from_secs(120);
const MIB: f64 = 1024.0 * 1024.0;

/// What is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Scenario {
    /// Many watchers of one key
    OneKey,
    /// Watchers of few among many keys
    Spread,
    /// Streams that nobody reads
    Stuck,
    /// A watcher that starts in the past
    CatchUp,
}

impl Scenario {
    pub(super) fn title(self, options: &Options) -> String {
        let Options { watchers, watchers_per_stream, spread_watchers, .. } = options;
        match self {
            Self::OneKey => format!("one-key, {watchers} watchers, {watchers_per_stream} a stream"),
            Self::Spread => format!("spread, {spread_watchers} watchers, {} keys", options.keys),
            Self::Stuck => {
                format!("stuck, {} of {}", options.stuck, options.stuck + options.healthy)
            }
            Self::CatchUp => format!("catch-up, {} revisions", options.history),
        }
    }

    /// The figures of a server.
    pub(super) fn measure(
        self,
        options: &Options,
        spec: &Spec,
        folder: &Path,
        round: usize,
    ) -> anyhow::Result<Figures> {
        match self {
            Self::OneKey => one_key(options, spec, folder),
            Self::Spread => spread(options, spec, folder, round),
            Self::Stuck => stuck(options, spec, folder, round),
            Self::CatchUp => catch_up(options, spec, folder),
        }
    }
}

fn space(options: &Options, keys: u64) -> KeySpace {
    KeySpace { keys, key_size: 32, val_size: options.val_size, prefix: "/watch/".to_owned() }
}

fn writers(options: &Options, space: KeySpace, interested: Rc<[u32]>, seed: usize) -> Writers {
    Writers {
        space,
        interested,
        clients: options.clients,
        rate: None,
        time: clock::seconds(options.seconds),
        seed: u64::try_from(seed).unwrap_or(0),
    }
}

fn everything(space: &KeySpace) -> Watched {
    let key = Bytes::copy_from_slice(space.prefix.as_bytes());
    Watched { key, end: space.end(), from: 0 }
}

fn one_key(options: &Options, spec: &Spec, folder: &Path) -> anyhow::Result<Figures> {
    let space = space(options, 1);
    let watched = Watched { key: space.key(0), end: Bytes::new(), from: 0 };
    let plan = Plan {
        watched: vec![watched; options.watchers],
        per_stream: options.watchers_per_stream,
        conns: options.conns,
        ..Plan::default()
    };
    let interested = Rc::new([u32::try_from(options.watchers)?]);
    let writers = Writers { rate: Some(options.rate), ..writers(options, space, interested, 0) };
    let turn = turn(spec, folder, plan, &writers, clock::seconds(options.warmup))?;
    let mut figures = Figures::default();
    figures.put("events/s", turn.throughput());
    figures.put("events per server CPU second", 1e6 / turn.per_event(turn.cpu));
    figures.put("server CPU us/event", turn.per_event(turn.cpu));
    put_lag(&mut figures, ["lag p50 ms", "lag p99 ms", "lag max ms"], &turn);
    figures.put("puts/s", turn.puts.throughput);
    figures.put("put p50 us", turn.puts.p50_us);
    figures.put("put p99 us", turn.puts.p99_us);
    figures.put("peak RSS MiB", turn.rss_peak_mib);
    figures.put("generator CPU us/event", turn.per_event(turn.own_cpu));
    figures.put("missing events", turn.missing as f64);
    Ok(figures)
}

fn put_lag(figures: &mut Figures, names: [&'static str; 3], turn: &Turn) {
    for (name, quantile) in names.into_iter().zip([0.5, 0.99, 1.0]) {
        figures.put(name, turn.lag_ms(quantile));
    }
}

/// Runs two turns, in an order that flips from round to round; gives the plain one first.
fn two_turns(
    round: usize,
    plain: impl Fn() -> anyhow::Result<Turn>,
    with: impl Fn() -> anyhow::Result<Turn>,
) -> anyhow::Result<(Turn, Turn)> {
    if round.is_multiple_of(2) {
        let plain = plain()?;
        return Ok((plain, with()?));
    }
    let with = with()?;
    Ok((plain()?, with))
}

/// The watchers of `spread`, and by key how many are interested.
fn spread_watchers(watchers: usize, space: &KeySpace) -> anyhow::Result<(Vec<Watched>, Rc<[u32]>)> {
    let mut interested = vec![0; usize::try_from(space.keys)?];
    let mut watched = Vec::with_capacity(watchers);
    for number in 0..watchers {
        // Evenly over the keys.
        let first = number * interested.len() / watchers;
        let (first, keys) = match number % PREFIX_EVERY {
            0 => (first - first % usize::try_from(PREFIX_KEYS)?, usize::try_from(PREFIX_KEYS)?),
            _ => (first, 1),
        };
        let mut key = space.key(u64::try_from(first)?);
        let mut end = Bytes::new();
        if keys > 1 {
            key.truncate(key.len() - PREFIX_DIGITS);
            end = prefix_end(&key);
        }
        watched.push(Watched { key, end, from: 0 });
        interested.iter_mut().skip(first).take(keys).for_each(|n| *n += 1);
    }
    Ok((watched, interested.into()))
}

fn spread(options: &Options, spec: &Spec, folder: &Path, round: usize) -> anyhow::Result<Figures> {
    let space = space(options, options.keys);
    let (watched, interested) = spread_watchers(options.spread_watchers, &space)?;
    let plan = Plan {
        watched,
        per_stream: options.watchers_per_stream,
        conns: options.conns,
        ..Plan::default()
    };
    let warmup = clock::seconds(options.warmup);
    let unwatched = writers(options, space.clone(), Rc::new([]), round);
    let watched = writers(options, space, interested, round);
    let (plain, with) = two_turns(
        round,
        || turn(spec, folder, Plan::default(), &unwatched, warmup),
        || turn(spec, folder, plan.clone(), &watched, warmup),
    )?;
    let mut figures = Figures::default();
    figures.put("puts/s without watchers", plain.puts.throughput);
    figures.put("puts/s with", with.puts.throughput);
    figures.put("put p99 us without", plain.puts.p99_us);
    figures.put("put p99 us with", with.puts.p99_us);
    figures.put("server CPU us/put without", plain.cpu_per_put());
    figures.put("server CPU us/put with", with.cpu_per_put());
    figures.put("events/s", with.throughput());
    put_lag(&mut figures, ["lag p50 ms", "lag p99 ms", "lag max ms"], &with);
    figures.put("peak RSS MiB without", plain.rss_peak_mib);
    figures.put("peak RSS MiB with", with.rss_peak_mib);
    figures.put("missing events", with.missing as f64);
    Ok(figures)
}

fn stuck(options: &Options, spec: &Spec, folder: &Path, round: usize) -> anyhow::Result<Figures> {
    let space = space(options, options.keys);
    let all = everything(&space);
    let healthy = Plan {
        watched: vec![all.clone(); options.healthy],
        per_stream: 1,
        conns: options.healthy,
        ..Plan::default()
    };
    let both = Plan { stuck: vec![all; options.stuck], ..healthy.clone() };
    let interested = vec![u32::try_from(options.healthy)?; usize::try_from(options.keys)?];
    let writers = writers(options, space, interested.into(), round);
    let warmup = clock::seconds(options.warmup);
    let (plain, with) = two_turns(
        round,
        || turn(spec, folder, healthy.clone(), &writers, warmup),
        || turn(spec, folder, both.clone(), &writers, warmup),
    )?;
    let mut figures = Figures::default();
    figures.put("puts/s without stuck ones", plain.puts.throughput);
    figures.put("puts/s with", with.puts.throughput);
    figures.put("put p99 us without", plain.puts.p99_us);
    figures.put("put p99 us with", with.puts.p99_us);
    figures.put("put p99 with/without", with.puts.p99_us / plain.puts.p99_us);
    figures.put("healthy events/s without", plain.throughput());
    figures.put("healthy events/s with", with.throughput());
    let names = ["lag p50 ms without", "lag p99 ms without", "lag max ms without"];
    put_lag(&mut figures, names, &plain);
    put_lag(&mut figures, ["lag p50 ms with", "lag p99 ms with", "lag max ms with"], &with);
    figures.put("server CPU us/put without", plain.cpu_per_put());
    figures.put("server CPU us/put with", with.cpu_per_put());
    figures.put("peak RSS MiB without", plain.rss_peak_mib);
    figures.put("peak RSS MiB with", with.rss_peak_mib);
    figures.put("missing events", (plain.missing + with.missing) as f64);
    Ok(figures)
}

fn catch_up(options: &Options, spec: &Spec, folder: &Path) -> anyhow::Result<Figures> {
    let space = space(options, HISTORY_KEYS);
    let server = Server::start(spec, folder)?;
    make_history(&server, &space, options.history)?;
    server.settle()?;

    let rss = proc::rss(server.pid())?;
    proc::reset_rss_peak(server.pid());
    let (before, begin) = (server.usage()?, stamp::now());
    // The store's first revision is 1, so the first put has 2.
    let watched = vec![Watched { from: 2, ..everything(&space) }];
    let plan = Plan { watched, per_stream: 1, conns: 1, ..Plan::default() };
    let watchers = Watchers::open(server.address(), plan)?;
    let events = watchers.wait_for(options.history, CATCH_UP_TIME_MAX)?;
    let seconds = Duration::from_nanos(watchers.last_ns().saturating_sub(begin)).as_secs_f64();
    server.settle()?;
    let cpu = server.usage()?.cpu.saturating_sub(before.cpu);
    let peak = proc::rss_peak(server.pid())?;
    let mut figures = Figures::default();
    figures.put("events/s", events as f64 / seconds);
    figures.put("server CPU us/event", cpu.as_secs_f64() * 1e6 / events as f64);
    figures.put("RSS before MiB", rss as f64 / MIB);
    figures.put("peak RSS over before MiB", peak.saturating_sub(rss) as f64 / MIB);
    figures.put("missing events", (options.history - events) as f64);
    Ok(figures)
}

/// Puts so often, each a revision of its own.
fn make_history(server: &Server, space: &KeySpace, puts: u64) -> anyhow::Result<()> {
    let plan = load::Plan {
        endpoints: vec![server.address()],
        clients: HISTORY_CLIENTS,
        conns: HISTORY_CLIENTS.div_ceil(10),
        threads: 1,
        workload: Workload::new(Kind::Put, space.clone(), 0)?,
        limit: Limit::Total(puts),
        warmup: Duration::ZERO,
        rate: None,
        seed: 1,
    };
    let report = load::run(&plan).context("make a history")?;
    ensure!(report.errors == 0, "puts failed: {:?}", report.error_texts);
    ensure!(report.answered == puts, "{} of {puts} puts were made", report.answered);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interest_is_what_the_ranges_say() {
        let space =
            KeySpace { keys: 1000, key_size: 20, val_size: 8, prefix: "/watch/".to_owned() };
        let (watched, interested) = spread_watchers(30, &space).unwrap();
        assert_eq!((watched.len(), interested.len()), (30, 1000));
        assert_eq!(watched.iter().filter(|w| !w.end.is_empty()).count(), 3);
        for (number, &n) in (0..).zip(interested.iter()) {
            let key = space.key(number);
            let matches = |w: &&Watched| match w.end.is_empty() {
                true => w.key == key,
                false => w.key <= key && key < w.end,
            };
            let count = watched.iter().filter(matches).count();
            assert_eq!(count, usize::try_from(n).unwrap(), "{key:?}");
        }
        assert!(interested.iter().any(|n| *n > 0) && interested.contains(&0));
    }
}
