//! Turns of those that want a handshake, so that neither one source nor all together can have more
//! under way than this member can bear.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Handshakes under way at once on one listener. One takes some tens of kilobytes.
pub(super) const UNDER_WAY_MAX: usize = 512;

/// The same for one source address: eight of those that never speak hold up nobody else.
pub(super) const UNDER_WAY_PER_SOURCE_MAX: usize = 64;

/// Connections that wait for their turn or have it. A cluster's worth of clients may come back at
/// once; what is beyond is closed.
const WAITING_MAX: usize = 16_384;

/// Those with a turn, and those before.
#[derive(Debug)]
pub(super) struct Queue {
    turns: Semaphore,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    count: usize,
    sources: HashMap<IpAddr, Source>,
}

#[derive(Debug)]
struct Source {
    turns: Arc<Semaphore>,
    count: usize,
}

/// A place in the queue.
#[derive(Debug)]
pub(super) struct Place<'a> {
    queue: &'a Queue,
    source: IpAddr,
    turns: Arc<Semaphore>,
}

/// Leave to go on. It ends when it is dropped.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    _of_source: SemaphorePermit<'a>,
    _of_all: SemaphorePermit<'a>,
}

impl Queue {
    pub(super) fn new() -> Self {
        Self { turns: Semaphore::new(UNDER_WAY_MAX), waiting: Mutex::default() }
    }

    /// A place, unless too many wait already.
    pub(super) fn join(&self, from: IpAddr) -> Option<Place<'_>> {
        let source = source(from);
        let mut waiting = self.waiting.lock();
        if waiting.count >= WAITING_MAX {
            return None;
        }
        waiting.count += 1;
        let entry = waiting.sources.entry(source).or_insert_with(|| Source {
            turns: Arc::new(Semaphore::new(UNDER_WAY_PER_SOURCE_MAX)),
            count: 0,
        });
        entry.count += 1;
        Some(Place { queue: self, source, turns: Arc::clone(&entry.turns) })
    }
}

impl Place<'_> {
    /// Waits for the turn.
    pub(super) async fn turn(&self) -> Turn<'_> {
        const OPEN: &str = "the semaphores of a queue are never closed";
        let of_source = self.turns.acquire().await.expect(OPEN);
        let of_all = self.queue.turns.acquire().await.expect(OPEN);
        Turn { _of_source: of_source, _of_all: of_all }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut waiting = self.queue.waiting.lock();
        waiting.count -= 1;
        let source = waiting.sources.get_mut(&self.source).expect("it has this place");
        source.count -= 1;
        if source.count == 0 {
            waiting.sources.remove(&self.source);
        }
    }
}

/// A network of the size that one customer gets counts as one source.
fn source(from: IpAddr) -> IpAddr {
    match from.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn one_source_cannot_take_all_turns() {
        let queue = Queue::new();
        let greedy = IpAddr::from([10, 0, 0, 1]);
        let places: Vec<_> =
            (0..=UNDER_WAY_PER_SOURCE_MAX).map(|_| queue.join(greedy).unwrap()).collect();
        let (last, first) = places.split_last().unwrap();
        let mut turns: Vec<_> =
            first.iter().map(|place| place.turn().now_or_never().unwrap()).collect();
        assert!(last.turn().now_or_never().is_none(), "the source has its share");
        let other = queue.join(IpAddr::from([10, 0, 0, 2])).unwrap();
        assert!(other.turn().now_or_never().is_some(), "another one is not concerned");
        turns.pop();
        assert!(last.turn().now_or_never().is_some(), "a turn is free again");
    }

    #[test]
    fn all_together_have_a_bound_and_nothing_is_kept_of_those_that_left() {
        let queue = Queue::new();
        let address = |n: usize| IpAddr::from(u32::try_from(n).unwrap().to_be_bytes());
        let places: Vec<_> = (0..=UNDER_WAY_MAX).map(|n| queue.join(address(n)).unwrap()).collect();
        let (last, first) = places.split_last().unwrap();
        let turns: Vec<_> =
            first.iter().map(|place| place.turn().now_or_never().unwrap()).collect();
        assert!(last.turn().now_or_never().is_none());
        drop(turns);
        assert!(last.turn().now_or_never().is_some());
        drop(places);
        assert!(queue.waiting.lock().sources.is_empty());
        let full: Vec<_> = (0..WAITING_MAX).map(|n| queue.join(address(n)).unwrap()).collect();
        assert!(queue.join(address(0)).is_none());
        drop(full);
        assert!(queue.join(address(0)).is_some());
    }

    #[test]
    fn a_network_is_one_source() {
        let of = |text: &str| source(text.parse().unwrap()).to_string();
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(of("::ffff:10.1.2.3"), "10.1.2.3");
    }
}
