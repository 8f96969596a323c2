//! Making buckets: one that is too large is cut, and an index is built from all keys.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::node::{Child, FANOUT_BUILT, Node, Starts, gather};
use super::{BUCKET_KEYS_MAX, CountedIndex, Counts};

/// How full buckets are when many are made at once.
const BUILT_KEYS: u64 = BUCKET_KEYS_MAX * 3 / 4;

/// A bucket that holds too many keys, to be read and cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overfull {
    /// First key that the bucket may hold.
    pub lo: Box<[u8]>,
    /// The first key beyond it; `None` for the last bucket.
    pub hi: Option<Box<[u8]>>,
    pub(super) keys: u64,
    pub(super) last_inserted: Box<[u8]>,
}

/// Reads the keys of an [`Overfull`] bucket in order and chooses where to cut it.
#[derive(Debug)]
pub struct Cut {
    pub(super) bucket: Overfull,
    /// How many keys stand before each possible cut, ascending, with the separators found so far.
    places: Vec<(u64, Box<[u8]>)>,
    found: usize,
    previous: Vec<u8>,
    keys: u64,
    /// Keys in front of the one that was inserted last.
    rank: u64,
}

/// Makes an index from all live keys in order.
#[derive(Debug, Default)]
pub struct Builder {
    starts: Starts,
    counts: Vec<u64>,
    nodes: Vec<Child>,
    previous: Vec<u8>,
}

impl Cut {
    /// Begins to read a bucket.
    #[must_use]
    pub fn new(bucket: Overfull) -> Self {
        let keys = bucket.keys;
        let places: Vec<u64> = if keys <= 2 * BUCKET_KEYS_MAX {
            vec![keys / 8, keys / 2, keys - keys / 8]
        } else {
            let parts = keys.div_ceil(BUILT_KEYS);
            (1..parts).map(|part| keys * part / parts).collect()
        };
        let places = places.into_iter().map(|before| (before, Box::default())).collect();
        Self { bucket, places, found: 0, previous: Vec::new(), keys: 0, rank: 0 }
    }

    /// The next live key of the bucket, in order, none left out.
    pub fn push(&mut self, key: &[u8]) {
        if let Some((before, separator)) = self.places.get_mut(self.found)
            && *before == self.keys
        {
            *separator = separate(&self.previous, key);
            self.found += 1;
        }
        assert!(self.keys == 0 || self.previous.as_slice() < key, "keys out of order");
        self.rank += u64::from(key < &self.bucket.last_inserted[..]);
        self.keys += 1;
        self.previous.clear();
        self.previous.extend_from_slice(key);
    }

    /// The buckets to put in the place of the one that was read.
    pub(super) fn into_buckets(mut self) -> Vec<Child> {
        let keys = self.bucket.keys;
        assert_eq!(self.keys, keys, "the index and the data disagree on a bucket's keys");
        assert_eq!(self.found, self.places.len(), "a place to cut was never reached");
        if keys <= 2 * BUCKET_KEYS_MAX {
            let chosen = match self.rank {
                rank if rank < keys / 8 => 0,
                rank if rank >= keys - keys / 8 => 2,
                _ => 1,
            };
            self.places = vec![self.places.swap_remove(chosen)];
        }
        let mut buckets = Vec::with_capacity(self.places.len() + 1);
        let (mut start, mut before) = (self.bucket.lo, 0);
        for (place, separator) in self.places.into_iter().chain([(keys, Box::default())]) {
            buckets.push(Child { start, count: place - before, node: None });
            (start, before) = (separator, place);
        }
        buckets
    }
}

impl Builder {
    /// The next live key, in order.
    pub fn push(&mut self, key: &[u8]) {
        match self.counts.last_mut() {
            None => {
                self.starts.push(&[]);
                self.counts.push(1);
            }
            Some(&mut BUILT_KEYS) => {
                if self.counts.len() == FANOUT_BUILT {
                    self.close_leaf();
                }
                // Separators inside the tree; only the very first bucket starts at nothing.
                self.starts.push(&separate(&self.previous, key));
                self.counts.push(1);
            }
            Some(count) => *count += 1,
        }
        self.previous.clear();
        self.previous.extend_from_slice(key);
    }

    /// The index of all keys pushed.
    #[must_use]
    pub fn finish(mut self) -> CountedIndex {
        if self.counts.is_empty() && self.nodes.is_empty() {
            self.starts.push(&[]);
            self.counts.push(0);
        }
        self.close_leaf();
        let mut nodes = self.nodes;
        while nodes.len() > 1 {
            nodes = gather(nodes, FANOUT_BUILT);
        }
        let root = nodes.pop().and_then(|child| child.node).expect("there is always one leaf");
        CountedIndex { counts: Counts { root }, overfull: BTreeMap::new() }
    }

    fn close_leaf(&mut self) {
        let starts = std::mem::take(&mut self.starts);
        let counts = std::mem::take(&mut self.counts);
        let start = Box::from(starts.get(0));
        let count = counts.iter().sum();
        let node = Node { starts: Arc::new(starts), counts, children: Vec::new() };
        self.nodes.push(Child { start, count, node: Some(Arc::new(node)) });
    }
}

/// The shortest string above `left` and not above `right`.
pub(super) fn separate(left: &[u8], right: &[u8]) -> Box<[u8]> {
    assert!(left < right, "keys out of order");
    let common = left.iter().zip(right).take_while(|(left, right)| left == right).count();
    right[..=common].into()
}
