//! A node with many keys: how quickly it is back after a crash, and what wide reads cost.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use keelson_api::etcdserverpb::RangeRequest;
use serde::Serialize;

use crate::clock;
use crate::fill::fill;
use crate::frame::{self, Scan};
use crate::grpc::{self, Connection, Error, Method};
use crate::output::{progress, result};
use crate::paired::Programs;
use crate::proc;
use crate::ratio::{Spread, short, table};
use crate::server::{Server, Spec};
use crate::workload::KeySpace;

/// How often the quick reads are repeated.
const COUNTS: usize = 20;
const LOOKUPS: usize = 200;
/// gRPC's code for a call that the server does not have.
const UNIMPLEMENTED: u32 = 12;
const MIB: f64 = 1024.0 * 1024.0;

/// What to do.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    #[command(flatten)]
    pub programs: Programs,
    /// Number of keys
    #[arg(long, default_value_t = 1_000_000)]
    pub keys: u64,
    /// Bytes of a key
    #[arg(long, default_value_t = 32)]
    pub key_size: usize,
    /// Bytes of a value
    #[arg(long, default_value_t = 256)]
    pub val_size: usize,
    /// Also write the figures to this file
    #[arg(long)]
    pub json: Option<PathBuf>,
}

/// Figures of a server; those it has no answer for are absent.
#[derive(Debug, Clone, Default, Serialize)]
struct Figures {
    rows: Vec<(&'static str, Option<f64>)>,
}

impl Figures {
    fn put(&mut self, name: &'static str, figure: f64) {
        self.rows.push((name, Some(figure)));
    }
}

/// Measures one server after the other and prints them side by side.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let space = KeySpace {
        keys: options.keys,
        key_size: options.key_size,
        val_size: options.val_size,
        prefix: "/large/".to_owned(),
    };
    space.validate()?;
    let folder = options.programs.folder()?;
    let specs = options.programs.specs()?;
    let mut all = Vec::new();
    for spec in &specs {
        let figures = measure(spec, folder.path(), &space)
            .with_context(|| format!("measure {}", spec.name))?;
        all.push((spec.name.clone(), figures));
    }
    result(side_by_side(&all));
    if let Some(path) = &options.json {
        let json: serde_json::Map<String, serde_json::Value> = all
            .iter()
            .map(|(name, figures)| {
                let rows = figures.rows.iter().map(|&(k, v)| (k.to_owned(), serde_json::json!(v)));
                (name.clone(), serde_json::Value::Object(rows.collect()))
            })
            .collect();
        std::fs::write(path, serde_json::to_string_pretty(&json)?)
            .with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

fn measure(spec: &Spec, folder: &std::path::Path, space: &KeySpace) -> anyhow::Result<Figures> {
    let mut figures = Figures::default();
    progress(format_args!("{}: filling {} keys", spec.name, space.keys));
    let server = Server::start(spec, folder)?;
    let time = fill(server.address(), space)?;
    server.settle()?;
    figures.put("filled keys/s", space.keys as f64 / time.as_secs_f64());
    figures.put("fill CPU us/key", per(server.usage()?.cpu, space.keys));
    figures.put("RSS after fill MiB", mib(proc::rss(server.pid())?));
    figures.put("written by fill MiB", mib(server.usage()?.written));

    progress(format_args!("{}: killing and restarting", spec.name));
    let (server, ready) = server.crash_and_restart()?;
    figures.put("ready after kill -9 s", ready.as_secs_f64());
    let first = clock::now();
    let page = reads(server.address(), &lookup(space), Method::Range, 1)?;
    figures.put("first read after that ms", first.elapsed().as_secs_f64() * 1e3);
    ensure!(page.last.kvs == 1, "the first key is gone after the restart");
    server.settle()?;
    figures.put("RSS after restart MiB", mib(proc::rss(server.pid())?));

    progress(format_args!("{}: reading", spec.name));
    let counts = reads(server.address(), &count(space), Method::Range, COUNTS)?;
    ensure!(counts.last.count == space.keys, "{} keys after the restart", counts.last.count);
    figures.put("count-only p50 ms", counts.median_ms);
    let lookups = reads(server.address(), &lookup(space), Method::Range, LOOKUPS)?;
    figures.put("limit-1 p50 ms", lookups.median_ms);
    stream_figures(&server, space, &mut figures)?;
    let unary = wide(&server, space, Method::Range)?;
    figures.put("unary range of all s", unary.time.as_secs_f64());
    figures.put("its peak RSS over before MiB", mib(unary.rss_more));
    figures.put("its CPU us/key", per(unary.cpu, space.keys));
    Ok(figures)
}

/// The stream comes first: a unary range leaves its memory behind.
fn stream_figures(server: &Server, space: &KeySpace, to: &mut Figures) -> anyhow::Result<()> {
    let names = [
        "RangeStream of all s",
        "stream's peak RSS over before MiB",
        "stream's CPU us/key",
        "stream's pieces",
    ];
    let stream = match wide(server, space, Method::RangeStream) {
        Ok(stream) => stream,
        Err(e) if is_unimplemented(&e) => {
            to.rows.extend(names.map(|n| (n, None)));
            return Ok(());
        }
        Err(e) => return Err(e),
    };
    to.put(names[0], stream.time.as_secs_f64());
    to.put(names[1], mib(stream.rss_more));
    to.put(names[2], per(stream.cpu, space.keys));
    to.put(names[3], stream.messages as f64);
    Ok(())
}

fn is_unimplemented(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(Error::Status { code: UNIMPLEMENTED, .. }))
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / MIB
}

fn per(cpu: Duration, keys: u64) -> f64 {
    cpu.as_secs_f64() * 1e6 / keys as f64
}

fn all(space: &KeySpace) -> RangeRequest {
    let key = Bytes::copy_from_slice(space.prefix.as_bytes());
    RangeRequest { key, range_end: space.end(), ..Default::default() }
}

fn count(space: &KeySpace) -> RangeRequest {
    RangeRequest { count_only: true, ..all(space) }
}

fn lookup(space: &KeySpace) -> RangeRequest {
    RangeRequest { limit: 1, ..all(space) }
}

struct Reads {
    median_ms: f64,
    last: Scan,
}

/// Makes a call again and again.
fn reads(
    address: SocketAddr,
    request: &RangeRequest,
    method: Method,
    times: usize,
) -> anyhow::Result<Reads> {
    let frame = frame::encode(request);
    grpc::block_on(async {
        let mut connection = Connection::open(address).await?;
        let (mut times_ms, mut last) = (Vec::new(), Scan::default());
        for _ in 0..times {
            let begin = clock::now();
            last = connection.call(method, frame.clone()).await?;
            times_ms.push(begin.elapsed().as_secs_f64() * 1e3);
        }
        let spread = Spread::of(times_ms).context("no call was made")?;
        Ok(Reads { median_ms: spread.median, last })
    })?
}

struct Wide {
    time: Duration,
    cpu: Duration,
    rss_more: u64,
    messages: u64,
}

/// Reads all keys at once.
fn wide(server: &Server, space: &KeySpace, method: Method) -> anyhow::Result<Wide> {
    proc::reset_rss_peak(server.pid());
    let (rss, before) = (proc::rss(server.pid())?, server.usage()?);
    let begin = clock::now();
    let read = reads(server.address(), &all(space), method, 1)?;
    let time = begin.elapsed();
    ensure!(read.last.kvs == space.keys, "{} of {} keys came", read.last.kvs, space.keys);
    Ok(Wide {
        time,
        cpu: server.usage()?.cpu.saturating_sub(before.cpu),
        rss_more: proc::rss_peak(server.pid())?.saturating_sub(rss),
        messages: read.last.messages,
    })
}

fn side_by_side(all: &[(String, Figures)]) -> String {
    let Some((_, first)) = all.first() else { return String::new() };
    let base = all.iter().position(|(name, _)| name == "etcd").unwrap_or(0);
    let mut head = vec![String::new()];
    head.extend(all.iter().map(|(name, _)| name.clone()));
    let others = |i: &usize| *i != base;
    head.extend((0..all.len()).filter(others).map(|i| format!("{}/{}", all[i].0, all[base].0)));
    let mut rows = vec![head];
    for (row, (name, _)) in first.rows.iter().enumerate() {
        let figure = |i: usize| all[i].1.rows[row].1;
        let shown = |f: Option<f64>| f.map_or_else(|| "-".to_owned(), short);
        let mut cells = vec![(*name).to_owned()];
        cells.extend((0..all.len()).map(|i| shown(figure(i))));
        let ratio = |i| Some(figure(i)? / figure(base)?).filter(|r| r.is_finite());
        cells.extend((0..all.len()).filter(others).map(|i| shown(ratio(i))));
        rows.push(cells);
    }
    table(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_stand_side_by_side() {
        let ours = Figures { rows: vec![("a", Some(1.0)), ("b", Some(5.0))] };
        let theirs = Figures { rows: vec![("a", Some(4.0)), ("b", None)] };
        let text = side_by_side(&[("keelson".to_owned(), ours), ("etcd".to_owned(), theirs)]);
        let lines: Vec<Vec<&str>> = text.lines().map(|l| l.split_whitespace().collect()).collect();
        assert_eq!(lines[0], ["keelson", "etcd", "keelson/etcd"]);
        assert_eq!(lines[1], ["a", "1.00", "4.00", "0.25"]);
        assert_eq!(lines[2], ["b", "5.00", "-", "-"]);
    }

    #[test]
    fn a_server_without_streams_is_told_from_one_that_fails() {
        let status = |code| anyhow::Error::new(Error::Status { code, message: String::new() });
        assert!(is_unimplemented(&status(12)));
        assert!(!is_unimplemented(&status(14)));
        assert!(!is_unimplemented(&anyhow::anyhow!("grpc status 12")));
    }
}
