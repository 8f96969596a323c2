//! The metadata cache against a plain map that it must never contradict.

use std::collections::BTreeMap;

use super::*;
use crate::testing::rng::Rng;

type Cache = MetaCache<u64>;

fn check(cache: &Cache) {
    let live = cache.slots.iter().filter(|slot| slot.value.is_some());
    let bytes: usize = live.clone().map(|slot| slot.key.len() + Cache::ENTRY_BYTES).sum();
    assert_eq!(cache.bytes(), bytes);
    assert_eq!(cache.len(), live.clone().count());
    assert!(bytes <= cache.bytes_max, "{bytes} bytes");
    for slot in live {
        assert!(cache.find(&slot.key, slot.hash).is_some(), "a slot that cannot be found");
    }
    assert_eq!(cache.table.iter().filter(|slot| **slot != EMPTY).count(), cache.len());
}

#[test]
fn never_contradicts_a_map() {
    for seed in 0..30 {
        let mut rng = Rng::new(seed);
        let mut cache = Cache::new(rng.between(1, 200) * (Cache::ENTRY_BYTES + 8));
        let mut truth = BTreeMap::new();
        for step in 0..5000 {
            let key = format!("{:0width$}", rng.below(400), width = rng.between(1, 3));
            let key = key.as_bytes();
            match rng.below(10) {
                0 => {
                    truth.remove(key);
                    cache.remove(key);
                    assert!(cache.get(key).is_none());
                }
                1..=5 => {
                    truth.insert(key.to_vec(), step);
                    cache.put(key, step);
                }
                _ => {
                    let known = cache.get(key).copied();
                    assert!(known.is_none() || known == truth.get(key).copied(), "{known:?}");
                }
            }
            if step % 97 == 0 {
                check(&cache);
            }
        }
        check(&cache);
        cache.clear();
        check(&cache);
        assert!(cache.is_empty());
    }
}

#[test]
fn holds_all_that_fits_and_counts_hits() {
    let mut cache = Cache::new(64 * (Cache::ENTRY_BYTES + 8) * 10);
    for number in 0..600_u64 {
        cache.put(&number.to_be_bytes(), number);
    }
    for number in 0..600_u64 {
        assert_eq!(cache.get(&number.to_be_bytes()), Some(&number));
    }
    assert_eq!(cache.get(b"other"), None);
    assert_eq!((cache.hits(), cache.misses()), (600, 1));
}

#[test]
fn keeps_the_keys_in_use_through_a_scan() {
    let capacity = 1000;
    let mut cache = Cache::new(capacity * (Cache::ENTRY_BYTES + 8));
    let hot = |number: u64| (number % 100).to_be_bytes();
    for number in 0..100_u64 {
        cache.put(&hot(number), number);
        cache.get(&hot(number));
    }
    for number in 0..20_000_u64 {
        cache.put(&(1000 + number).to_be_bytes(), number);
        assert!(cache.get(&hot(number)).is_some(), "hot key {} lost", number % 100);
    }
    check(&cache);
    assert!(cache.len() >= capacity - 1);
}

#[test]
fn a_large_key_or_no_room_is_not_cached() {
    let mut cache = Cache::new(10_000);
    cache.put(&[b'k'; 400], 1);
    assert!(cache.is_empty());
    let mut off = Cache::new(0);
    off.put(b"k", 1);
    assert!(off.get(b"k").is_none());
}

#[test]
fn crowding_keys_are_dropped_and_nothing_else_suffers() {
    let mut cache = Cache::new(1 << 24);
    // Keys whose hashes share their low ten bits all want one place of the table.
    let crowd: Vec<[u8; 8]> = (0..u64::MAX)
        .map(u64::to_be_bytes)
        .filter(|key| xxh3_64(key).trailing_zeros() >= 10)
        .take(200)
        .collect();
    for key in &crowd {
        cache.put(key, 1);
    }
    check(&cache);
    assert!(cache.len() < 200);
    for number in 0..3000_u64 {
        cache.put(format!("other{number}").as_bytes(), number);
    }
    check(&cache);
    let found = (0..3000_u64).filter(|n| cache.get(format!("other{n}").as_bytes()).is_some());
    assert!(found.count() > 2900);
}
