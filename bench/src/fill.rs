//! Puts many keys quickly: transactions of many puts, several under way.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;

use crate::clock;
use crate::grpc::{self, Connection, Method};
use crate::output::progress;
use crate::workload::{KeySpace, Kind, Workload};

/// Puts of a transaction; etcd takes no more than 128 operations by default.
const BATCH_KEYS: u64 = 100;
/// Bytes of a transaction, well below etcd's 1.5 MiB for a request.
const BATCH_BYTES: usize = 512 * 1024;
/// Transactions under way.
const UNDER_WAY: usize = 16;
/// A fill that takes longer tells how far it is.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);

/// Puts all keys of a key space, each once, and gives the time it took.
pub fn fill(address: SocketAddr, space: &KeySpace) -> anyhow::Result<Duration> {
    let workload = Workload::new(Kind::Insert, space.clone(), 0)?;
    let begin = clock::now();
    grpc::block_on(fill_all(address, space, workload))??;
    Ok(begin.elapsed())
}

async fn fill_all(
    address: SocketAddr,
    space: &KeySpace,
    workload: Arc<Workload>,
) -> anyhow::Result<()> {
    let connection = Connection::open(address).await?;
    let per_key = u64::try_from((space.key_size + space.val_size).max(1))?;
    let batch = (u64::try_from(BATCH_BYTES)? / per_key).clamp(1, BATCH_KEYS);
    let (keys, next) = (space.keys, Rc::new(Cell::new(0)));
    let tasks: Vec<_> = (0..UNDER_WAY)
        .map(|_| {
            let (mut connection, next) = (connection.clone(), Rc::clone(&next));
            let workload = Arc::clone(&workload);
            tokio::task::spawn_local(async move {
                while next.get() < keys {
                    let first: u64 = next.get();
                    let last = keys.min(first + batch);
                    next.set(last);
                    let frame = workload.batch(first, last);
                    connection
                        .call(Method::Txn, frame)
                        .await
                        .with_context(|| format!("put keys {first} to {last}"))?;
                }
                anyhow::Ok(())
            })
        })
        .collect();
    let watcher = tokio::task::spawn_local(async move {
        loop {
            tokio::time::sleep(PROGRESS_EVERY).await;
            progress(format_args!("filled {} of {keys} keys", next.get()));
        }
    });
    for task in tasks {
        task.await.context("fill task")??;
    }
    watcher.abort();
    Ok(())
}
