//! A queue: keys are taken at the head and added at the tail, so that the head lies behind a field
//! of deleted keys. Finding it again and again is the hard part.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::{Bytes, BytesMut};
use keelson_api::etcdserverpb::request_op::Request as Op;
use keelson_api::etcdserverpb::{
    DeleteRangeRequest, PutRequest, RangeRequest, RangeResponse, RequestOp, TxnRequest,
};
use prost::Message;

use crate::clock;
use crate::fill::fill;
use crate::frame;
use crate::grpc::{self, Connection, Method};
use crate::output::{progress, result};
use crate::paired::Programs;
use crate::ratio::{short, table};
use crate::report::{Report, Tally};
use crate::server::Server;
use crate::workload::KeySpace;

/// Deletions of a transaction.
const BATCH_KEYS: u64 = 100;
/// Look-ups before the queue starts to move.
const STILL_LOOKUPS: usize = 100;

/// What to do.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    #[command(flatten)]
    pub programs: Programs,
    /// Keys that were ever added before the measurement
    #[arg(long, default_value_t = 500_000)]
    pub keys: u64,
    /// Keys of those that were taken again
    #[arg(long, default_value_t = 300_000)]
    pub deleted: u64,
    /// Bytes of a value
    #[arg(long, default_value_t = 256)]
    pub val_size: usize,
    /// Seconds during which the queue moves
    #[arg(long, default_value_t = 10.0)]
    pub seconds: f64,
}

/// Figures of a server.
struct Figures {
    still: Report,
    moving: Report,
    cpu_us: f64,
}

/// A figure of a row.
type Figure = fn(&Figures) -> f64;

/// Measures one server after the other and prints them side by side.
pub fn run(options: &Options) -> anyhow::Result<()> {
    ensure!(options.deleted < options.keys, "--deleted must be below --keys");
    let folder = options.programs.folder()?;
    let mut all = Vec::new();
    for spec in &options.programs.specs()? {
        progress(format_args!("{}: filling {} keys", spec.name, options.keys));
        let server = Server::start(spec, folder.path())?;
        let figures =
            measure(&server, options).with_context(|| format!("measure {}", spec.name))?;
        all.push((spec.name.clone(), figures));
    }
    result(side_by_side(&all));
    Ok(())
}

fn measure(server: &Server, options: &Options) -> anyhow::Result<Figures> {
    let space = KeySpace {
        keys: options.keys,
        key_size: 32,
        val_size: options.val_size,
        prefix: "/queue/".to_owned(),
    };
    space.validate()?;
    fill(server.address(), &space)?;
    progress(format_args!("{}: taking {} keys", server.name(), options.deleted));
    grpc::block_on(take_head(server.address(), &space, options.deleted))??;
    server.settle()?;

    progress(format_args!("{}: looking the head up", server.name()));
    let still = grpc::block_on(look_up(server.address(), &space, options.deleted))??;
    let before = server.usage()?;
    let time = clock::seconds(options.seconds);
    let moving = grpc::block_on(roll(server.address(), &space, options.deleted, time))??;
    let cpu = server.usage()?.cpu.saturating_sub(before.cpu);
    let cpu_us = cpu.as_secs_f64() * 1e6 / moving.completed as f64;
    Ok(Figures { still, moving, cpu_us })
}

async fn take_head(address: SocketAddr, space: &KeySpace, deleted: u64) -> anyhow::Result<()> {
    let mut connection = Connection::open(address).await?;
    let delete = |i| {
        let deletion = DeleteRangeRequest { key: space.key(i), ..Default::default() };
        RequestOp { request: Some(Op::RequestDeleteRange(deletion)) }
    };
    let mut first = 0;
    while first < deleted {
        let last = deleted.min(first + BATCH_KEYS);
        let txn = TxnRequest { success: (first..last).map(delete).collect(), ..Default::default() };
        connection.call(Method::Txn, frame::encode(&txn)).await.context("delete keys")?;
        first = last;
    }
    Ok(())
}

/// First key of the queue.
struct Head {
    connection: Connection,
    request: Bytes,
}

impl Head {
    async fn open(address: SocketAddr, space: &KeySpace) -> anyhow::Result<Self> {
        let request = frame::encode(&RangeRequest {
            key: Bytes::copy_from_slice(space.prefix.as_bytes()),
            range_end: space.end(),
            limit: 1,
            ..Default::default()
        });
        Ok(Self { connection: Connection::open(address).await?, request })
    }

    /// Looks the head up and takes the latency down.
    async fn find(&mut self, tally: &mut Tally) -> anyhow::Result<Bytes> {
        let mut answer = BytesMut::new();
        let begin = clock::now();
        let see = |chunk: &Bytes| answer.extend_from_slice(chunk);
        self.connection.call_with(Method::Range, self.request.clone(), see).await?;
        tally.latency(begin.elapsed());
        tally.completed += 1;
        let message = answer.freeze().split_off(frame::PREFIX_BYTES);
        let response = RangeResponse::decode(message).context("decode the head")?;
        Ok(response.kvs.into_iter().next().context("the queue is empty")?.key)
    }
}

async fn look_up(address: SocketAddr, space: &KeySpace, deleted: u64) -> anyhow::Result<Report> {
    let mut head = Head::open(address, space).await?;
    let mut tally = Tally::default();
    let begin = clock::now();
    for _ in 0..STILL_LOOKUPS {
        let key = head.find(&mut tally).await?;
        ensure!(key == space.key(deleted), "the head is {key:?}");
    }
    Ok(tally.report(begin.elapsed(), Duration::ZERO))
}

/// Takes the head and adds a tail until the time is over; each head must be the one after the last.
async fn roll(
    address: SocketAddr,
    space: &KeySpace,
    deleted: u64,
    time: Duration,
) -> anyhow::Result<Report> {
    let mut head = Head::open(address, space).await?;
    let mut connection = Connection::open(address).await?;
    let value = Bytes::from(vec![b'v'; space.val_size]);
    let mut tally = Tally::default();
    let begin = clock::now();
    let mut moved = 0;
    while begin.elapsed() < time {
        let key = head.find(&mut tally).await?;
        ensure!(key == space.key(deleted + moved), "head {moved} is {key:?}");
        let take = DeleteRangeRequest { key, ..Default::default() };
        connection.call(Method::DeleteRange, frame::encode(&take)).await?;
        let (key, value) = (space.key(space.keys + moved), value.clone());
        let add = PutRequest { key, value, ..Default::default() };
        connection.call(Method::Put, frame::encode(&add)).await?;
        moved += 1;
    }
    Ok(tally.report(begin.elapsed(), Duration::ZERO))
}

fn side_by_side(all: &[(String, Figures)]) -> String {
    let rows: [(&str, Figure); 7] = [
        ("head look-up, queue at rest: p50 us", |f| f.still.p50_us),
        ("p99 us", |f| f.still.p99_us),
        ("head look-up, queue moving: p50 us", |f| f.moving.p50_us),
        ("p99 us", |f| f.moving.p99_us),
        ("max us", |f| f.moving.max_us),
        ("look-up + take + add per s", |f| f.moving.throughput),
        ("server CPU us for the three", |f| f.cpu_us),
    ];
    let mut head = vec![String::new()];
    head.extend(all.iter().map(|(name, _)| name.clone()));
    let mut lines = vec![head];
    for (name, of) in rows {
        let mut line = vec![name.to_owned()];
        line.extend(all.iter().map(|(_, f)| short(of(f))));
        lines.push(line);
    }
    table(&lines)
}
