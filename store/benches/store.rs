//! What the store's operations cost. Each figure is per operation in batches of 64, as the proposer
//! makes them under load; flush and compaction run beside it on their own threads.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::hint::black_box;
use std::path::Path;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use keelson_store::command::codec;
use keelson_store::command::{Command, KeyRange, Put, Range};
use keelson_store::engine::RocksOptions;
use keelson_store::types::{LogIndex, LogPosition, Revision, Term};
use keelson_store::{Applier, LogEntry, Options, Payload, Store};

const BATCH: u64 = 64;
const VALUE: &[u8] = &[b'v'; 256];

struct Bench {
    store: Store,
    applier: Applier,
    index: u64,
    chance: u64,
}

impl Bench {
    fn open(dir: &Path) -> Self {
        let (store, applier) =
            Store::open_dir(dir, &RocksOptions::default(), Options::default()).unwrap();
        Self { store, applier, index: 0, chance: 1 }
    }

    fn with_keys(dir: &Path, keys: u64) -> Self {
        let mut bench = Self::open(dir);
        for first in (0..keys).step_by(1000) {
            bench.put((first..first + 1000).map(key));
        }
        bench.store.flush().unwrap();
        bench
    }

    fn put(&mut self, keys: impl Iterator<Item = Bytes>) {
        let put =
            |key| Command::Put(Put { key, value: Bytes::from_static(VALUE), ..Put::default() });
        let commands: Vec<_> = keys.map(put).collect();
        self.index += 1;
        let position = LogPosition { term: Term(1), index: LogIndex(self.index) };
        let payload = Payload::Commands(codec::encode(&commands));
        let entry = LogEntry { position, payload, wanted: true };
        black_box(self.applier.apply(&[entry]).unwrap());
    }

    /// A number below `n`, by chance but the same in every run.
    fn below(&mut self, n: u64) -> u64 {
        self.chance = self.chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.chance >> 33) % n
    }

    fn get(&self, key: &[u8]) -> bool {
        black_box(self.store.view().get(key).unwrap()).is_some()
    }

    fn range(&self, range: &Range) -> i64 {
        let mut bytes = 0;
        let mut sink = |row: keelson_store::types::KeyValueRef<'_>| {
            bytes += row.value.len();
            std::ops::ControlFlow::Continue(())
        };
        let count = self.store.view().range(range, &mut sink).unwrap().count;
        black_box(bytes);
        count
    }
}

/// 48 bytes, in the order of the numbers.
fn key(n: u64) -> Bytes {
    format!("/registry/pods/namespace-{:04}/pod-{n:018}", n % 7).into()
}

fn ordered_key(n: u64) -> Bytes {
    format!("/registry/leases/kube-node-lease/node-{n:010}").into()
}

fn writes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("apply");
    group.throughput(Throughput::Elements(BATCH));

    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::open(dir.path());
    let mut next = 0;
    group.bench_function("put new", |b| {
        b.iter(|| {
            bench.put((next..next + BATCH).map(|n| key(n.wrapping_mul(0x9e37_79b9) % (1 << 40))));
            next += BATCH;
        });
    });

    for (name, keys) in [("1k hot", 1_000), ("100k", 100_000), ("1M", 1_000_000)] {
        let dir = tempfile::tempdir().unwrap();
        let mut bench = Bench::with_keys(dir.path(), keys);
        group.bench_function(format!("overwrite over {name}"), |b| {
            b.iter(|| {
                let chosen: Vec<_> = (0..BATCH).map(|_| key(bench.below(keys))).collect();
                bench.put(chosen.into_iter());
            });
        });
    }
    group.finish();
}

fn reads(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let keys = 500_000;
    let mut bench = Bench::open(dir.path());
    for first in (0..keys).step_by(1000) {
        bench.put((first..first + 1000).map(ordered_key));
    }
    let old = bench.store.view().revision();
    for _ in 0..2_000 {
        let chosen: Vec<_> = (0..BATCH).map(|_| ordered_key(bench.below(keys))).collect();
        bench.put(chosen.into_iter());
    }
    bench.store.flush().unwrap();

    let mut group = criterion.benchmark_group("read");
    group.bench_function("get hot", |b| {
        let hot = ordered_key(7);
        b.iter(|| assert!(bench.get(&hot)));
    });
    group.bench_function("get cold", |b| {
        b.iter(|| {
            let key = ordered_key(bench.below(keys));
            assert!(bench.get(&key));
        });
    });
    group.bench_function("get at an old revision", |b| {
        b.iter(|| {
            let key = ordered_key(bench.below(keys));
            let range = KeyRange { key, end: Bytes::new() };
            let revision = Revision(old.0 + 1_000);
            assert_eq!(bench.range(&Range { range, revision, ..Range::default() }), 1);
        });
    });
    group.bench_function("range of 1000", |b| {
        b.iter(|| {
            let first = bench.below(keys - 1000);
            let range = KeyRange { key: ordered_key(first), end: ordered_key(first + 1000) };
            assert_eq!(bench.range(&Range { range, ..Range::default() }), 1000);
        });
    });
    group.bench_function("range of 1000 at an old revision", |b| {
        b.iter(|| {
            let first = bench.below(keys - 1000);
            let range = KeyRange { key: ordered_key(first), end: ordered_key(first + 1000) };
            assert_eq!(bench.range(&Range { range, revision: old, ..Range::default() }), 1000);
        });
    });
    group.bench_function("count of everything but the edges", |b| {
        let range = KeyRange { key: ordered_key(100), end: ordered_key(keys - 100) };
        let range = Range { range, count_only: true, ..Range::default() };
        let all = i64::try_from(keys).unwrap() - 200;
        b.iter(|| assert_eq!(bench.range(&range), all));
    });
    group.bench_function("first of everything", |b| {
        let zero = Bytes::from_static(b"\0");
        let range = KeyRange { key: zero.clone(), end: zero };
        let range = Range { range, limit: 1, ..Range::default() };
        b.iter(|| assert!(bench.range(&range) > 0));
    });
    group.finish();
}

criterion_group!(benches, writes, reads);
criterion_main!(benches);
