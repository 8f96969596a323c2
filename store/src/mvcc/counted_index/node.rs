//! The nodes of the counted index: one kind for leaves and for what stands above them.

use std::sync::Arc;

use super::{BUCKET_KEYS_MIN, Edge, MERGED_KEYS_MAX};

/// Entries of a tree node: a path copy of three levels then costs about a microsecond, and three
/// levels reach 50 million keys.
pub(super) const FANOUT: usize = 64;

/// A node with fewer entries is joined to a neighbour when both fit into one.
pub(super) const FANOUT_MIN: usize = FANOUT / 4;

/// Entries of nodes made in bulk.
pub(super) const FANOUT_BUILT: usize = FANOUT * 3 / 4;

/// Leaf when it has no children: each entry is then a bucket.
#[derive(Clone, Debug, Default)]
pub(super) struct Node {
    pub(super) starts: Arc<Starts>,
    pub(super) counts: Vec<u64>,
    pub(super) children: Vec<Arc<Node>>,
}

/// The separators of a node, one behind the other.
#[derive(Clone, Debug, Default)]
pub(super) struct Starts {
    pub(super) bytes: Vec<u8>,
    pub(super) ends: Vec<u32>,
}

/// An entry on its way into a node.
#[derive(Debug)]
pub(super) struct Child {
    pub(super) start: Box<[u8]>,
    pub(super) count: u64,
    pub(super) node: Option<Arc<Node>>,
}

/// Where a bucket stands: its bounds, its keys, and the keys in all buckets before it.
#[derive(Debug)]
pub(super) struct Place<'a> {
    pub(super) lo: &'a [u8],
    pub(super) hi: Option<&'a [u8]>,
    pub(super) keys: u64,
    pub(super) before: u64,
}

impl Place<'_> {
    /// The keys of this bucket from `lo` up to `hi`, both within it; without reading when that is
    /// all of it or it holds none.
    pub(super) fn part<E>(
        &self,
        lo: &[u8],
        hi: Option<&[u8]>,
        edge: &mut Edge<'_, E>,
    ) -> Result<u64, E> {
        if self.keys == 0 || (lo == self.lo && hi == self.hi) {
            return Ok(self.keys);
        }
        let part = edge(lo, hi)?;
        assert!(part <= self.keys, "counted {part} keys in part of a bucket of {}", self.keys);
        Ok(part)
    }
}

impl Node {
    pub(super) fn len(&self) -> usize {
        self.counts.len()
    }

    pub(super) fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    pub(super) fn buckets(&self) -> usize {
        if self.children.is_empty() {
            return self.len();
        }
        self.children.iter().map(|child| child.buckets()).sum()
    }

    /// The bucket that `find` chooses for `key` at every level.
    pub(super) fn place(&self, key: &[u8], find: fn(&Starts, &[u8]) -> usize) -> Place<'_> {
        let (mut node, mut before, mut hi) = (self, 0, None);
        loop {
            let at = find(&node.starts, key);
            before += node.counts[..at].iter().sum::<u64>();
            if at + 1 < node.len() {
                hi = Some(node.starts.get(at + 1));
            }
            match node.children.get(at) {
                Some(child) => node = child,
                None => {
                    return Place { lo: node.starts.get(at), hi, keys: node.counts[at], before };
                }
            }
        }
    }

    /// Joins entry `at + 1` of a leaf into entry `at`.
    fn merge_buckets(&mut self, at: usize) {
        self.counts[at] += self.counts.remove(at + 1);
        Arc::make_mut(&mut self.starts).splice(at + 1, 1, &[]);
    }

    /// Joins two small neighbouring buckets of a leaf, if `at` and the next are such.
    fn merge_small(&mut self, at: usize) -> bool {
        let (Some(&left), Some(&right)) = (self.counts.get(at), self.counts.get(at + 1)) else {
            return false;
        };
        let small = left.min(right);
        let fits = small < BUCKET_KEYS_MIN && left + right <= MERGED_KEYS_MAX;
        if fits || small == 0 {
            self.merge_buckets(at);
            return true;
        }
        false
    }

    /// Joins child `at + 1` into child `at`, if both fit into one node.
    fn merge_children(&mut self, at: usize) -> bool {
        let (Some(left), Some(right)) = (self.children.get(at), self.children.get(at + 1)) else {
            return false;
        };
        if left.len() + right.len() > FANOUT {
            return false;
        }
        let right = self.children.remove(at + 1);
        let left = Arc::make_mut(&mut self.children[at]);
        let seam = left.len();
        let starts = Arc::make_mut(&mut left.starts);
        for index in 0..right.len() {
            starts.push(right.starts.get(index));
        }
        left.counts.extend_from_slice(&right.counts);
        left.children.extend_from_slice(&right.children);
        if left.children.is_empty() {
            left.merge_small(seam - 1);
        }
        self.merge_buckets(at);
        true
    }
}

/// Takes a key out of the tree below `node`, and joins what has become small on the way back.
pub(super) fn remove(node: &mut Arc<Node>, key: &[u8]) {
    let node = Arc::make_mut(node);
    let at = node.starts.holding(key);
    assert!(node.counts[at] > 0, "a key is removed from a bucket that holds none");
    node.counts[at] -= 1;
    if let Some(child) = node.children.get_mut(at) {
        remove(child, key);
        if child.len() < FANOUT_MIN && !node.merge_children(at) && at > 0 {
            node.merge_children(at - 1);
        }
    } else if node.counts[at] < BUCKET_KEYS_MIN && !node.merge_small(at) && at > 0 {
        node.merge_small(at - 1);
    }
}

/// Puts `buckets` in the place of the bucket that starts at `lo`. Answers the nodes to stand
/// beside `node`, if it had to be cut as well.
pub(super) fn replace(node: &mut Arc<Node>, lo: &[u8], buckets: Vec<Child>) -> Vec<Child> {
    let node = Arc::make_mut(node);
    let at = node.starts.holding(lo);
    if let Some(child) = node.children.get_mut(at) {
        let siblings = replace(child, lo, buckets);
        node.counts[at] = child.total();
        node.splice(at + 1, 0, siblings);
    } else {
        assert_eq!(node.starts.get(at), lo, "a bucket is split that is no longer there");
        node.splice(at, 1, buckets);
    }
    node.cut()
}

impl Node {
    /// Replaces `removed` entries from `at` on.
    fn splice(&mut self, at: usize, removed: usize, entries: Vec<Child>) {
        if entries.is_empty() {
            return;
        }
        Arc::make_mut(&mut self.starts).splice(at, removed, &entries);
        self.counts.splice(at..at + removed, entries.iter().map(|entry| entry.count));
        let nodes: Vec<_> = entries.into_iter().filter_map(|entry| entry.node).collect();
        if !nodes.is_empty() {
            self.children.splice(at..at + removed, nodes);
        }
    }

    /// Cuts a node that has too many entries; it keeps the first part, the others are answered.
    fn cut(&mut self) -> Vec<Child> {
        if self.len() <= FANOUT {
            return Vec::new();
        }
        let entries = (0..self.len())
            .map(|at| Child {
                start: self.starts.get(at).into(),
                count: self.counts[at],
                node: self.children.get(at).cloned(),
            })
            .collect();
        let mut nodes = gather(entries, FANOUT);
        let first = nodes.remove(0).node.expect("gather makes nodes");
        *self = Arc::unwrap_or_clone(first);
        nodes
    }
}

/// Makes nodes of about equal size, none with more than `fanout` entries.
pub(super) fn gather(entries: Vec<Child>, fanout: usize) -> Vec<Child> {
    let (all, parts) = (entries.len(), entries.len().div_ceil(fanout));
    let mut entries = entries.into_iter();
    (0..parts)
        .map(|part| {
            let size = all * (part + 1) / parts - all * part / parts;
            let mut node = Node::default();
            node.splice(0, 0, entries.by_ref().take(size).collect());
            let (start, count) = (Box::from(node.starts.get(0)), node.total());
            Child { start, count, node: Some(Arc::new(node)) }
        })
        .collect()
}

impl Starts {
    pub(super) fn get(&self, at: usize) -> &[u8] {
        let end = |at: usize| usize::try_from(self.ends[at]).expect("usize has 32 bits or more");
        let start = if at == 0 { 0 } else { end(at - 1) };
        &self.bytes[start..end(at)]
    }

    pub(super) fn push(&mut self, start: &[u8]) {
        self.bytes.extend_from_slice(start);
        let end = u32::try_from(self.bytes.len()).expect("a node's separators stay below 4 GiB");
        self.ends.push(end);
    }

    /// The last entry that starts at or below `key`.
    pub(super) fn holding(&self, key: &[u8]) -> usize {
        self.last_where(|start| start <= key)
    }

    /// The last entry that starts below `key`, the first one if none does.
    pub(super) fn below(&self, key: &[u8]) -> usize {
        self.last_where(|start| start < key)
    }

    fn last_where(&self, before: impl Fn(&[u8]) -> bool) -> usize {
        // The first entry's start is where this node starts: it was compared on the way here.
        let (mut low, mut high) = (1, self.ends.len());
        while low < high {
            let middle = low.midpoint(high);
            if before(self.get(middle)) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low - 1
    }

    fn splice(&mut self, at: usize, removed: usize, entries: &[Child]) {
        let old = std::mem::take(self);
        for index in 0..at {
            self.push(old.get(index));
        }
        for entry in entries {
            self.push(&entry.start);
        }
        for index in at + removed..old.ends.len() {
            self.push(old.get(index));
        }
    }
}
