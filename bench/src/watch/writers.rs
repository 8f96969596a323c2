//! The writing side: puts whose values begin with the time they were sent.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::{Bytes, BytesMut};
use keelson_api::etcdserverpb::PutRequest;

use super::scan::STAMP_BYTES;
use super::stamp;
use crate::clock;
use crate::frame;
use crate::grpc::{self, Connection, Method};
use crate::random::Random;
use crate::report::{Report, Tally};
use crate::workload::KeySpace;

/// Clients that share a connection.
const CLIENTS_PER_CONN: usize = 10;
/// Puts of an open loop that may be under way; a server that is further behind does not keep up.
const UNDER_WAY_MAX: usize = 10_000;

/// Puts of random keys.
#[derive(Debug, Clone)]
pub(super) struct Writers {
    pub(super) space: KeySpace,
    /// By key: watchers that are to see a put.
    pub(super) interested: Rc<[u32]>,
    pub(super) clients: usize,
    /// Puts per second, sent at fixed times; none for as many as the clients can.
    pub(super) rate: Option<f64>,
    pub(super) time: Duration,
    pub(super) seed: u64,
}

/// What was written.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) report: Report,
    /// Events that must come of it.
    pub(super) due: u64,
}

struct Shared {
    writers: Writers,
    tally: RefCell<Tally>,
    due: RefCell<u64>,
    random: RefCell<Random>,
}

impl Writers {
    /// Writes until the time is over.
    pub(super) fn run(&self, address: SocketAddr) -> anyhow::Result<Written> {
        ensure!(self.space.val_size >= STAMP_BYTES, "--val-size must be at least {STAMP_BYTES}");
        grpc::block_on(self.write(address))?
    }

    async fn write(&self, address: SocketAddr) -> anyhow::Result<Written> {
        let mut connections = Vec::new();
        for _ in 0..self.clients.div_ceil(CLIENTS_PER_CONN) {
            connections.push(Connection::open(address).await.context("connect a writer")?);
        }
        let shared = Rc::new(Shared {
            writers: self.clone(),
            tally: RefCell::default(),
            due: RefCell::new(0),
            random: RefCell::new(Random::new(self.seed)),
        });
        let begin = clock::now();
        match self.rate {
            Some(rate) => open_loop(&shared, &connections, rate).await?,
            None => closed_loop(&shared, &connections).await?,
        }
        let report = shared.tally.borrow().report(begin.elapsed(), Duration::ZERO);
        ensure!(report.errors == 0, "puts failed: {:?}", report.error_texts);
        let due = *shared.due.borrow();
        Ok(Written { report, due })
    }
}

async fn closed_loop(shared: &Rc<Shared>, connections: &[Connection]) -> anyhow::Result<()> {
    let end = clock::now() + shared.writers.time;
    let clients: Vec<_> = (0..shared.writers.clients)
        .map(|client| {
            let mut connection = connections[client % connections.len()].clone();
            let shared = Rc::clone(shared);
            tokio::task::spawn_local(async move {
                while clock::now() < end && shared.put(&mut connection).await {}
            })
        })
        .collect();
    for client in clients {
        client.await.context("a writer")?;
    }
    Ok(())
}

async fn open_loop(
    shared: &Rc<Shared>,
    connections: &[Connection],
    rate: f64,
) -> anyhow::Result<()> {
    let (begin, mut puts) = (clock::now(), tokio::task::JoinSet::new());
    for (number, connection) in (0_u32..).zip(connections.iter().cycle()) {
        let due = clock::seconds(f64::from(number) / rate);
        if due >= shared.writers.time {
            break;
        }
        // Those that are answered make room.
        while puts.try_join_next().is_some() {}
        ensure!(puts.len() < UNDER_WAY_MAX, "{UNDER_WAY_MAX} puts wait for an answer");
        tokio::time::sleep_until((begin + due).into()).await;
        let (shared, mut connection) = (Rc::clone(shared), connection.clone());
        puts.spawn_local(async move { shared.put(&mut connection).await });
    }
    while let Some(put) = puts.join_next().await {
        put.context("a put")?;
    }
    Ok(())
}

impl Shared {
    /// Puts a random key; whether it was put.
    async fn put(&self, connection: &mut Connection) -> bool {
        let key = self.random.borrow_mut().below(self.writers.space.keys);
        let begin = clock::now();
        let frame = request(&self.writers.space, key, stamp::now());
        let answer = connection.call(Method::Put, frame).await;
        let mut tally = self.tally.borrow_mut();
        tally.latency(begin.elapsed());
        match answer {
            Ok(_) => {
                tally.completed += 1;
                let key = usize::try_from(key).ok();
                let interested = key.and_then(|key| self.writers.interested.get(key));
                *self.due.borrow_mut() += interested.map_or(0, |n| u64::from(*n));
                true
            }
            Err(error) => {
                tally.error(error.to_string());
                false
            }
        }
    }
}

fn request(space: &KeySpace, key: u64, stamp: u64) -> Bytes {
    let mut value = BytesMut::with_capacity(space.val_size.max(STAMP_BYTES));
    value.extend_from_slice(&stamp.to_le_bytes());
    value.resize(space.val_size.max(STAMP_BYTES), b'v');
    let value = value.freeze();
    frame::encode(&PutRequest { key: space.key(key), value, ..Default::default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;

    #[test]
    fn a_value_begins_with_the_time_and_has_its_size() {
        let space = KeySpace { keys: 5, key_size: 20, val_size: 30, prefix: "/watch/".to_owned() };
        let frame = request(&space, 4, 0x0102);
        let put = PutRequest::decode(&frame[frame::PREFIX_BYTES..]).unwrap();
        assert_eq!((put.key.as_ref(), put.value.len()), (&b"/watch/0000000000004"[..], 30));
        assert_eq!(&put.value[..10], b"\x02\x01\0\0\0\0\0\0vv");
    }
}
