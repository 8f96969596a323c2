//! The sparse counted index: how many live keys an interval holds, without walking it.
//!
//! The key space is cut into *buckets* of at most about [`BUCKET_KEYS_MAX`] live keys. A bucket is
//! a separator (it holds the keys from there up to the next separator) and a count; keys
//! themselves are not kept. Counts of whole buckets come from the tree, the at most two buckets
//! that an interval cuts through are counted by whoever holds the data.
//!
//! ```text
//!   separators   ""        "b/17"       "b/9"        "m"
//!   counts          240        196          251         88      a count of [b/3, n) is
//!                    └─ edge [b/3, b/17) ─┘  └── 196+251 ──┘  └─ edge [m, n)
//! ```
//!
//! The buckets are the leaves of a B+tree with shared nodes: [`CountedIndex::view`] is one
//! reference count, and a change copies the nodes on its path that a view still holds. Separators
//! of a node lie in one shared buffer apart from the counts, because nearly every change moves
//! counts alone: copying a node then copies half a kilobyte and no separator.
//!
//! *Splitting* needs a key from the middle of a bucket, which this index does not know. So a
//! bucket that has grown too large is remembered, and the applier, once its batch is in the
//! engine, takes each [`Overfull`] from [`CountedIndex::next_overfull`], reads the bucket's keys
//! through a [`Cut`] and hands it to [`CountedIndex::split`]. That reads two keys per key created.
//! The cut is made in the middle, except that a bucket filled by keys that arrive in order is cut
//! near its end (or its start), so that the half that nobody will add to is left nearly full.
//! Until it is split a bucket that is too large is still exact, only slower at the edges.
//!
//! *Merging* needs no key: a bucket that has lost most of its keys is joined to a neighbour, so
//! that a queue, which eats its first bucket while it feeds its last, keeps few separators.
//! Separators are the shortest byte strings that tell two neighbouring keys apart.

use std::collections::BTreeMap;
use std::sync::Arc;

use node::{Child, FANOUT, Node, Starts, gather, remove, replace};

pub use cut::{Builder, Cut, Overfull};

mod cut;
mod node;

/// A bucket with more live keys than this asks to be split. It bounds what a count iterates: two
/// edges, 0.1 ms together.
pub const BUCKET_KEYS_MAX: u64 = 256;

/// A bucket with fewer keys than this is joined to a neighbour, if both together stay under
/// [`MERGED_KEYS_MAX`].
const BUCKET_KEYS_MIN: u64 = BUCKET_KEYS_MAX / 4;

/// Leaves a joined bucket room to grow before it has to be split again.
const MERGED_KEYS_MAX: u64 = BUCKET_KEYS_MAX * 3 / 4;

/// Counts the live keys from one key up to another, or to the end, by reading them.
pub type Edge<'a, E> = dyn FnMut(&[u8], Option<&[u8]>) -> Result<u64, E> + 'a;

/// The index as the applier owns it: changes go in here, readers hold [`Counts`].
#[derive(Clone, Debug)]
pub struct CountedIndex {
    counts: Counts,
    /// Buckets that asked to be split, by separator, with the key that made them too large. A
    /// bucket stands here at most once, so the buckets bound it.
    overfull: BTreeMap<Box<[u8]>, Box<[u8]>>,
}

/// The counts of one moment. Cloning is one reference count.
#[derive(Clone, Debug)]
pub struct Counts {
    root: Arc<Node>,
}

impl Default for CountedIndex {
    fn default() -> Self {
        Builder::default().finish()
    }
}

impl CountedIndex {
    /// What a published read view keeps.
    #[must_use]
    pub fn view(&self) -> Counts {
        self.counts.clone()
    }

    /// All live keys.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.counts.root.total()
    }

    /// Whether no key lives.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A key that was absent has come to life.
    pub fn insert(&mut self, key: &[u8]) {
        let mut node = &mut self.counts.root;
        loop {
            let Node { starts, counts, children } = Arc::make_mut(node);
            let at = starts.holding(key);
            counts[at] += 1;
            if children.is_empty() {
                if counts[at] == BUCKET_KEYS_MAX + 1 {
                    self.overfull.insert(starts.get(at).into(), key.into());
                }
                return;
            }
            node = &mut children[at];
        }
    }

    /// A live key has been deleted.
    pub fn remove(&mut self, key: &[u8]) {
        remove(&mut self.counts.root, key);
        while self.counts.root.children.len() == 1 {
            self.counts.root = self.counts.root.children[0].clone();
        }
    }

    /// A bucket that has grown too large since it was last asked for, or `None` when all are well.
    /// To be drained once per batch, with the batch readable.
    pub fn next_overfull(&mut self) -> Option<Overfull> {
        while let Some((lo, last_inserted)) = self.overfull.pop_first() {
            let place = self.counts.root.place(&lo, Starts::holding);
            // It may have shrunk, or have become part of another bucket, since it asked.
            if place.keys > BUCKET_KEYS_MAX {
                let (lo, hi, keys) = (place.lo.into(), place.hi.map(Box::from), place.keys);
                return Some(Overfull { lo, hi, keys, last_inserted });
            }
        }
        None
    }

    /// Splits a bucket whose keys have all been read. Nothing may have been inserted or removed
    /// since it was taken from [`next_overfull`](Self::next_overfull).
    pub fn split(&mut self, cut: Cut) {
        let lo = cut.bucket.lo.clone();
        let mut siblings = replace(&mut self.counts.root, &lo, cut.into_buckets());
        while !siblings.is_empty() {
            let root = self.counts.root.clone();
            let first = Child { start: Box::default(), count: root.total(), node: Some(root) };
            siblings.insert(0, first);
            let mut nodes = gather(siblings, FANOUT);
            let first = nodes.remove(0);
            self.counts.root = first.node.expect("gather makes nodes");
            siblings = nodes;
        }
    }
}

impl Counts {
    /// How many live keys lie in `lo..hi`, or from `lo` on when there is no `hi`. `edge` counts
    /// the keys of an interval by reading them, in the data of the same moment; it is asked for
    /// two parts of buckets at most.
    ///
    /// # Errors
    /// Those of `edge`.
    pub fn count<E>(&self, lo: &[u8], hi: Option<&[u8]>, edge: &mut Edge<'_, E>) -> Result<u64, E> {
        if hi.is_some_and(|hi| hi <= lo) {
            return Ok(0);
        }
        let first = self.root.place(lo, Starts::holding);
        let last = hi.map(|hi| self.root.place(hi, Starts::below));
        if let Some(last) = &last
            && last.lo == first.lo
        {
            return first.part(lo, hi, edge);
        }
        let head = first.part(lo, first.hi, edge)?;
        let Some(last) = last else {
            return Ok(self.root.total() - first.before - first.keys + head);
        };
        let tail = last.part(last.lo, hi, edge)?;
        Ok(last.before - first.before - first.keys + head + tail)
    }

    /// How many live keys the buckets hold that `lo..hi` touches: never fewer than lie in it, and
    /// nothing is read.
    #[must_use]
    pub fn at_most(&self, lo: &[u8], hi: Option<&[u8]>) -> u64 {
        if hi.is_some_and(|hi| hi <= lo) {
            return 0;
        }
        let first = self.root.place(lo, Starts::holding);
        match hi.map(|hi| self.root.place(hi, Starts::below)) {
            None => self.root.total() - first.before,
            Some(last) => last.before + last.keys - first.before,
        }
    }

    /// How many buckets there are.
    #[must_use]
    pub fn buckets(&self) -> usize {
        self.root.buckets()
    }
}

#[cfg(test)]
#[path = "counted_index_test.rs"]
mod tests;
