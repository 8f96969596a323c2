//! The counted index against a plain ordered set.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::ops::Bound;

use super::cut::separate;
use super::*;
use crate::testing::rng::Rng;

type Keys = BTreeSet<Vec<u8>>;

fn keys_in<'a>(
    keys: &'a Keys,
    lo: &[u8],
    hi: Option<&[u8]>,
) -> impl Iterator<Item = &'a Vec<u8>> + use<'a> {
    let hi = match hi {
        Some(hi) if hi <= lo => Bound::Excluded(lo.to_vec()),
        Some(hi) => Bound::Excluded(hi.to_vec()),
        None => Bound::Unbounded,
    };
    keys.range((Bound::Included(lo.to_vec()), hi))
}

/// Index and truth side by side.
#[derive(Default)]
struct Pair {
    index: CountedIndex,
    keys: Keys,
}

impl Pair {
    fn insert(&mut self, key: &[u8]) {
        if self.keys.insert(key.to_vec()) {
            self.index.insert(key);
        }
    }

    fn remove(&mut self, key: &[u8]) {
        if self.keys.remove(key) {
            self.index.remove(key);
        }
    }

    fn split(&mut self) {
        while let Some(bucket) = self.index.next_overfull() {
            let (lo, hi) = (bucket.lo.clone(), bucket.hi.clone());
            let mut cut = Cut::new(bucket);
            keys_in(&self.keys, &lo, hi.as_deref()).for_each(|key| cut.push(key));
            self.index.split(cut);
        }
    }

    fn check_tree(&self) {
        let mut bounds = Vec::new();
        check_node(&self.index.counts.root, &mut bounds);
        assert!(bounds[0].0.is_empty(), "the first bucket starts at nothing");
        for (at, (lo, count)) in bounds.iter().enumerate() {
            let hi = bounds.get(at + 1).map(|(hi, _)| hi.as_slice());
            assert!(hi.is_none_or(|hi| lo.as_slice() < hi), "buckets in order");
            assert_eq!(keys_in(&self.keys, lo, hi).count() as u64, *count, "bucket {lo:?}..{hi:?}");
        }
    }
}

/// Checks sums, sizes and depth; collects the buckets. Answers the depth.
fn check_node(node: &Node, buckets: &mut Vec<(Vec<u8>, u64)>) -> usize {
    assert!(node.len() <= FANOUT && node.len() == node.starts.ends.len());
    if node.children.is_empty() {
        buckets.extend((0..node.len()).map(|at| (node.starts.get(at).to_vec(), node.counts[at])));
        return 1;
    }
    assert_eq!(node.children.len(), node.len());
    let mut depths = BTreeSet::new();
    for (at, child) in node.children.iter().enumerate() {
        assert_eq!(child.total(), node.counts[at]);
        let first = buckets.len();
        depths.insert(check_node(child, buckets));
        assert_eq!(buckets[first].0, node.starts.get(at));
    }
    assert_eq!(depths.len(), 1, "all leaves at one depth");
    1 + depths.first().expect("a child")
}

fn check_count(counts: &Counts, keys: &Keys, lo: &[u8], hi: Option<&[u8]>) {
    let mut edges = 0;
    let counted: Result<u64, Infallible> = counts.count(lo, hi, &mut |lo, hi| {
        edges += 1;
        Ok(keys_in(keys, lo, hi).count() as u64)
    });
    assert_eq!(counted, Ok(keys_in(keys, lo, hi).count() as u64), "{lo:?}..{hi:?}");
    assert!(edges <= 2);
}

fn number_key(number: usize) -> Vec<u8> {
    format!("/queue/{number:010}").into_bytes()
}

fn random_key(rng: &mut Rng) -> Vec<u8> {
    match rng.below(4) {
        0 => number_key(rng.below(2000)),
        1 => vec![rng.byte(); rng.between(1, 3)],
        _ => (0..rng.between(1, 6)).map(|_| *rng.pick(&[0, 1, b'a', b'b', 0xff])).collect(),
    }
}

#[test]
fn agrees_with_a_set_under_random_changes() {
    for seed in 0..24 {
        let mut rng = Rng::new(seed);
        let mut pair = Pair::default();
        let mut views = Vec::new();
        for round in 0..60 {
            let growing = (round / 20) % 2 == 0;
            for _ in 0..rng.between(1, 600) {
                let key = random_key(&mut rng);
                if rng.chance(if growing { 9 } else { 2 }, 10) {
                    pair.insert(&key);
                } else {
                    pair.remove(&key);
                }
            }
            if rng.chance(9, 10) {
                pair.split();
            }
            pair.check_tree();
            if rng.chance(1, 6) {
                views.push((pair.index.view(), pair.keys.clone()));
            }
            for _ in 0..20 {
                let (lo, hi) = (random_key(&mut rng), random_key(&mut rng));
                let hi = rng.chance(5, 6).then_some(hi.as_slice());
                check_count(&pair.index.view(), &pair.keys, &lo, hi);
                check_count(&pair.index.view(), &pair.keys, &[], hi);
                if !views.is_empty() {
                    let (view, keys) = rng.pick(&views);
                    check_count(view, keys, &lo, hi);
                }
            }
        }
    }
}

#[test]
fn a_split_index_keeps_its_buckets_small() {
    let mut pair = Pair::default();
    let mut rng = Rng::new(7);
    for _ in 0..40_000 {
        pair.insert(&rng.number().to_be_bytes());
        if rng.chance(1, 50) {
            pair.split();
        }
    }
    pair.split();
    pair.check_tree();
    let mut buckets = Vec::new();
    check_node(&pair.index.counts.root, &mut buckets);
    assert!(buckets.iter().all(|(_, count)| *count <= BUCKET_KEYS_MAX));
    assert!(buckets.len() < 40_000 / 128, "{} buckets", buckets.len());
}

#[test]
fn keys_in_order_leave_full_buckets_behind() {
    for descending in [false, true] {
        let mut pair = Pair::default();
        for number in 0..50_000 {
            pair.insert(&number_key(if descending { 50_000 - number } else { number }));
            pair.split();
        }
        pair.check_tree();
        let buckets = pair.index.view().buckets();
        assert!(buckets < 50_000 / 200, "{buckets} buckets, descending {descending}");
    }
}

#[test]
fn a_queue_keeps_few_buckets() {
    let mut pair = Pair::default();
    for number in 0..60_000 {
        pair.insert(&number_key(number));
        if number >= 3000 {
            pair.remove(&number_key(number - 3000));
        }
        pair.split();
        assert!(pair.index.view().buckets() <= 3000 / 128 + 2);
    }
    pair.check_tree();
    for number in 57_000..60_000 {
        pair.remove(&number_key(number));
    }
    assert!(pair.index.is_empty());
    assert_eq!(pair.index.view().buckets(), 1);
}

#[test]
fn one_batch_may_fill_a_bucket_many_times_over() {
    let mut pair = Pair::default();
    for number in 0..100_000 {
        pair.insert(&number_key(number * 7919 % 100_000));
    }
    pair.split();
    pair.check_tree();
    let buckets = pair.index.view().buckets();
    assert!((100_000 / 256..=100_000 / 150).contains(&buckets), "{buckets} buckets");
}

#[test]
fn a_built_index_equals_a_grown_one_and_is_small() {
    for keys in [0, 1, 191, 192, 193, 192 * 48, 192 * 48 + 1, 500_000] {
        let mut builder = Builder::default();
        let mut pair = Pair::default();
        for number in 0..keys {
            builder.push(&number_key(number));
            pair.keys.insert(number_key(number));
        }
        pair.index = builder.finish();
        pair.check_tree();
        assert_eq!(pair.index.len(), keys as u64);
        let bytes = memory(&pair.index.counts.root);
        assert!(keys < 10_000 || bytes * 10 < keys * 4, "{bytes} bytes for {keys} keys");
        // It goes on living like any other.
        pair.remove(&number_key(0));
        pair.insert(&number_key(keys + 5));
        pair.split();
        pair.check_tree();
    }
}

fn memory(node: &Node) -> usize {
    let own = size_of::<Node>() + node.starts.bytes.capacity() + node.starts.ends.capacity() * 4;
    let lists = node.counts.capacity() * 8 + node.children.capacity() * 8;
    own + lists + node.children.iter().map(|child| memory(child)).sum::<usize>()
}

#[test]
fn errors_of_the_edge_come_back() {
    let mut pair = Pair::default();
    pair.insert(b"k");
    let counted = pair.index.view().count(b"a", Some(b"z"), &mut |_, _| Err("broken"));
    assert_eq!(counted, Err("broken"));
}

#[test]
fn separators_are_the_shortest_that_tell_apart() {
    assert_eq!(&*separate(b"/pods/abc", b"/pods/abx/1"), b"/pods/abx");
    assert_eq!(&*separate(b"a", b"ab"), b"ab");
    assert_eq!(&*separate(b"a", b"a\0b"), b"a\0");
}
