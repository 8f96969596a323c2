//! Append and sync on the file system below the temporary folder: one append outstanding, 16, 256.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::mpsc::channel;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use keelson_wal::disk::RealDisk;
use keelson_wal::{Entry, EntryId, LogIndex, Options, Term, Wal};

const PAYLOAD: &[u8] = &[7; 256];
/// Appends per iteration, so that the pipeline is full most of the time.
const BATCH: u64 = 1024;
/// Entries kept; the rest is purged so that segments are recycled.
const KEPT: u64 = 10_000;

fn append(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("append_sync_256_bytes");
    group.sample_size(20);
    for outstanding in [1_u64, 16, 256] {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let (wal, _) =
            Wal::open(Arc::new(RealDisk), dir.path(), Options::default()).expect("the log opens");
        let mut next = 1;
        let count = if outstanding == 1 { 16 } else { BATCH };
        group.throughput(Throughput::Elements(count));
        group.bench_function(BenchmarkId::from_parameter(outstanding), |bencher| {
            bencher.iter(|| {
                run(&wal, &mut next, count, outstanding);
                if next > KEPT {
                    let upto = EntryId { term: Term(1), index: LogIndex(next - KEPT) };
                    wal.purge(upto, Box::new(|_| ())).expect("the log purges");
                }
            });
        });
    }
    group.finish();
}

/// Appends `count` entries, never with more than `outstanding` unacknowledged.
fn run(wal: &Wal, next: &mut u64, count: u64, outstanding: u64) {
    let (sender, acks) = channel();
    let mut waiting = 0;
    for _ in 0..count {
        if waiting == outstanding {
            acks.recv().expect("every append is acknowledged");
            waiting -= 1;
        }
        let sender = sender.clone();
        let done = Box::new(move |result: Result<(), keelson_wal::Error>| {
            result.expect("the disk works");
            sender.send(()).expect("the bench waits");
        });
        let id = EntryId::new(1, *next);
        let payload = black_box(Bytes::from_static(PAYLOAD));
        wal.append(vec![Entry { id, payload }], done).expect("the log takes it");
        *next += 1;
        waiting += 1;
    }
    for _ in 0..waiting {
        acks.recv().expect("every append is acknowledged");
    }
}

criterion_group!(benches, append);
criterion_main!(benches);
