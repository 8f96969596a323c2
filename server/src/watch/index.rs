//! Which watchers a key concerns: points by hash, ranges by a tree of intervals, so that a change
//! costs its matches and the logarithm of all ranges, not all watchers.

use std::collections::HashMap;

use bytes::Bytes;

use super::watcher::Keys;

/// Watchers by what they watch; a watcher is a number.
#[derive(Debug, Default)]
pub(super) struct Index {
    points: HashMap<Bytes, Vec<usize>>,
    ranges: Option<Box<Node>>,
    /// Draws priorities.
    drawn: u64,
    len: usize,
}

type Start = Bytes;
/// `None` lies behind every key.
type End = Option<Bytes>;

/// A treap by start and end, which knows the furthest end below each node.
#[derive(Debug)]
struct Node {
    start: Start,
    end: End,
    watchers: Vec<usize>,
    priority: u64,
    furthest: End,
    left: Option<Box<Node>>,
    right: Option<Box<Node>>,
}

impl Index {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn insert(&mut self, keys: &Keys, watcher: usize) {
        self.len += 1;
        match keys {
            Keys::One(key) => self.points.entry(key.clone()).or_default().push(watcher),
            Keys::From(start, end) => {
                self.drawn = scrambled(self.drawn + 1);
                let root = self.ranges.take();
                self.ranges = Some(insert(root, start, end, watcher, self.drawn));
            }
        }
    }

    /// Takes out a watcher that is in it.
    pub(super) fn remove(&mut self, keys: &Keys, watcher: usize) {
        self.len -= 1;
        match keys {
            Keys::One(key) => {
                let here = self.points.get_mut(key).expect("it is there");
                if take_out(here, watcher) {
                    self.points.remove(key);
                }
            }
            Keys::From(start, end) => {
                self.ranges = remove(self.ranges.take(), start, end, watcher);
            }
        }
    }

    /// Hands every watcher that the key concerns to `found`.
    pub(super) fn each(&self, key: &[u8], found: &mut impl FnMut(usize)) {
        if let Some(here) = self.points.get(key) {
            here.iter().for_each(|watcher| found(*watcher));
        }
        stab(self.ranges.as_deref(), key, found);
    }

    /// Whether the key concerns any watcher.
    pub(super) fn any(&self, key: &[u8]) -> bool {
        let mut any = false;
        self.each(key, &mut |_| any = true);
        any
    }
}

/// Takes a watcher out of a list, and says whether that was the last.
fn take_out(watchers: &mut Vec<usize>, watcher: usize) -> bool {
    let at = watchers.iter().position(|other| *other == watcher).expect("it is there");
    watchers.swap_remove(at);
    watchers.is_empty()
}

/// Spreads numbers that follow each other (splitmix64); the shape of the tree is nobody's business.
fn scrambled(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

fn further<'a>(one: &'a End, other: &'a End) -> &'a End {
    match (one, other) {
        (Some(a), Some(b)) if a < b => other,
        (Some(_), None) => other,
        (Some(_) | None, _) => one,
    }
}

impl Node {
    fn place(&self) -> (&Start, bool, &End) {
        (&self.start, self.end.is_none(), &self.end)
    }

    fn update(&mut self) {
        let mut furthest = &self.end;
        for child in [&self.left, &self.right].into_iter().flatten() {
            furthest = further(furthest, &child.furthest);
        }
        self.furthest = furthest.clone();
    }
}

fn insert(
    node: Option<Box<Node>>,
    start: &Start,
    end: &End,
    watcher: usize,
    priority: u64,
) -> Box<Node> {
    let Some(mut node) = node else {
        let (start, end) = (start.clone(), end.clone());
        let furthest = end.clone();
        let watchers = vec![watcher];
        return Box::new(Node {
            start,
            end,
            watchers,
            priority,
            furthest,
            left: None,
            right: None,
        });
    };
    match (start, end.is_none(), end).cmp(&node.place()) {
        std::cmp::Ordering::Equal => node.watchers.push(watcher),
        std::cmp::Ordering::Less => {
            let child = insert(node.left.take(), start, end, watcher, priority);
            let rises = child.priority > node.priority;
            node.left = Some(child);
            if rises {
                return turn_right(node);
            }
        }
        std::cmp::Ordering::Greater => {
            let child = insert(node.right.take(), start, end, watcher, priority);
            let rises = child.priority > node.priority;
            node.right = Some(child);
            if rises {
                return turn_left(node);
            }
        }
    }
    node.update();
    node
}

fn turn_right(mut node: Box<Node>) -> Box<Node> {
    let mut up = node.left.take().expect("the left child rises");
    node.left = up.right.take();
    node.update();
    up.right = Some(node);
    up.update();
    up
}

fn turn_left(mut node: Box<Node>) -> Box<Node> {
    let mut up = node.right.take().expect("the right child rises");
    node.right = up.left.take();
    node.update();
    up.left = Some(node);
    up.update();
    up
}

fn remove(node: Option<Box<Node>>, start: &Start, end: &End, watcher: usize) -> Option<Box<Node>> {
    let mut node = node.expect("it is there");
    match (start, end.is_none(), end).cmp(&node.place()) {
        std::cmp::Ordering::Equal => {
            if take_out(&mut node.watchers, watcher) {
                return join(node.left.take(), node.right.take());
            }
        }
        std::cmp::Ordering::Less => node.left = remove(node.left.take(), start, end, watcher),
        std::cmp::Ordering::Greater => node.right = remove(node.right.take(), start, end, watcher),
    }
    node.update();
    Some(node)
}

/// One tree of two, all of the first before all of the second.
fn join(left: Option<Box<Node>>, right: Option<Box<Node>>) -> Option<Box<Node>> {
    match (left, right) {
        (None, one) | (one, None) => one,
        (Some(mut left), Some(mut right)) => {
            let mut up = if left.priority > right.priority {
                left.right = join(left.right.take(), Some(right));
                left
            } else {
                right.left = join(Some(left), right.left.take());
                right
            };
            up.update();
            Some(up)
        }
    }
}

fn stab(node: Option<&Node>, key: &[u8], found: &mut impl FnMut(usize)) {
    let Some(node) = node else { return };
    if node.furthest.as_ref().is_some_and(|furthest| furthest <= key) {
        return;
    }
    stab(node.left.as_deref(), key, found);
    if &node.start[..] > key {
        return;
    }
    if node.end.as_ref().is_none_or(|end| key < &end[..]) {
        node.watchers.iter().for_each(|watcher| found(*watcher));
    }
    stab(node.right.as_deref(), key, found);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn matches(keys: &Keys, key: &[u8]) -> bool {
        match keys {
            Keys::One(one) => one == key,
            Keys::From(start, end) => start <= key && end.as_ref().is_none_or(|end| key < &end[..]),
        }
    }

    fn depth(node: Option<&Node>) -> usize {
        node.map_or(0, |n| 1 + depth(n.left.as_deref()).max(depth(n.right.as_deref())))
    }

    /// Against a list, with few keys, so that ranges nest, touch and repeat.
    #[test]
    fn it_finds_what_a_list_would() {
        let mut draw = 7;
        let mut next = |below: u64| {
            draw = scrambled(draw);
            draw % below
        };
        let key = |n: u64| Bytes::from(format!("{n:02}"));
        let (mut index, mut list) = (Index::default(), BTreeMap::new());
        for watcher in 0..3_000 {
            if next(3) == 0 && !list.is_empty() {
                let nth = usize::try_from(next(list.len() as u64)).unwrap();
                let gone = *list.keys().nth(nth).unwrap();
                let keys = list.remove(&gone).unwrap();
                index.remove(&keys, gone);
            } else {
                let (a, b) = (next(30), next(30));
                let keys = match next(4) {
                    0 => Keys::One(key(a)),
                    1 => Keys::From(key(a), None),
                    _ => Keys::From(key(a.min(b)), Some(key(a.max(b) + 1))),
                };
                index.insert(&keys, watcher);
                list.insert(watcher, keys);
            }
            assert_eq!(index.len(), list.len());
            let asked = key(next(32));
            let mut found = Vec::new();
            index.each(&asked, &mut |watcher| found.push(watcher));
            found.sort_unstable();
            let expected: Vec<_> =
                list.iter().filter(|(_, keys)| matches(keys, &asked)).map(|(n, _)| *n).collect();
            assert_eq!(found, expected, "{asked:?}");
            assert_eq!(index.any(&asked), !expected.is_empty());
        }
    }

    #[test]
    fn ascending_ranges_make_no_list_of_it() {
        let mut index = Index::default();
        for n in 0..10_000_usize {
            let (start, end) = (format!("{n:06}"), format!("{:06}", n + 1));
            index.insert(&Keys::From(start.into(), Some(end.into())), n);
        }
        assert!(depth(index.ranges.as_deref()) < 60, "{}", depth(index.ranges.as_deref()));
        let mut found = Vec::new();
        index.each(b"005000x", &mut |watcher| found.push(watcher));
        assert_eq!(found, [5_000]);
    }
}
