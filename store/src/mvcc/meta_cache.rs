//! The metadata cache: what the applier must know of a key to write its next version, so that an
//! overwrite of a warm key reads nothing from the engine.
//!
//! One thread owns it. It is bounded in bytes, allocates nothing but one box per key that comes
//! in, and evicts by CLOCK: the hand passes over the slots, spares each that was used since its
//! last round, and takes the first that was not. The hasher is fixed, so that two runs of one log
//! keep and evict the same keys.
//!
//! A fixed hasher invites keys made to collide, so a key may stand at most [`PROBES_MAX`] places
//! from its own: where there is no room for it, it is not cached. That costs a read of the engine
//! and never an answer, which is all that a cache may cost.

use xxhash_rust::xxh3::xxh3_64;

/// How far from its own place in the table a key may stand.
const PROBES_MAX: usize = 64;

/// A key longer than this share of the capacity is not cached.
const KEY_SHARE: usize = 64;

/// Marks a place of the table that holds no slot.
const EMPTY: u32 = u32::MAX;

/// What the allocator adds to a key, on average.
const ALLOCATION_BYTES: usize = 16;

/// A bounded map from a key to what is known of it.
#[derive(Debug)]
pub struct MetaCache<V> {
    slots: Vec<Slot<V>>,
    free: Vec<u32>,
    /// Slots by hash, linear probing; a power of two, at most half full.
    table: Vec<u32>,
    hand: usize,
    bytes: usize,
    bytes_max: usize,
    hits: u64,
    misses: u64,
}

#[derive(Debug)]
struct Slot<V> {
    key: Box<[u8]>,
    hash: u64,
    used: bool,
    /// `None` while the slot is free.
    value: Option<V>,
}

impl<V> MetaCache<V> {
    /// What one entry costs beside the bytes of its key: its slot, its places in a table that is
    /// between a quarter and half full, and what the allocator adds.
    pub const ENTRY_BYTES: usize = size_of::<Slot<V>>() + 4 * size_of::<u32>() + ALLOCATION_BYTES;

    /// A cache that holds at most `bytes_max` bytes; 0 turns it off.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            table: vec![EMPTY; 64],
            hand: 0,
            bytes: 0,
            bytes_max,
            hits: 0,
            misses: 0,
        }
    }

    /// What is known of a key. A hit keeps the entry from the next eviction.
    pub fn get(&mut self, key: &[u8]) -> Option<&V> {
        let found = self.find(key, xxh3_64(key));
        if found.is_some() {
            self.hits += 1;
        } else {
            self.misses += 1;
        }
        let slot = &mut self.slots[index(self.table[found?])];
        slot.used = true;
        slot.value.as_ref()
    }

    /// Learns what holds of a key from now on. It may be forgotten at any time.
    pub fn put(&mut self, key: &[u8], value: V) {
        let hash = xxh3_64(key);
        if let Some(place) = self.find(key, hash) {
            let slot = &mut self.slots[index(self.table[place])];
            slot.used = true;
            slot.value = Some(value);
            return;
        }
        let cost = key.len() + Self::ENTRY_BYTES;
        if cost > self.bytes_max || key.len() > self.bytes_max / KEY_SHARE {
            return;
        }
        while self.bytes + cost > self.bytes_max {
            self.evict();
        }
        if (self.len() + 1) * 2 > self.table.len() {
            self.grow();
        }
        let Some(place) = self.vacancy(hash) else { return };
        self.bytes += cost;
        let slot = Slot { key: key.into(), hash, used: false, value: Some(value) };
        self.table[place] = if let Some(free) = self.free.pop() {
            self.slots[index(free)] = slot;
            free
        } else {
            self.slots.push(slot);
            u32::try_from(self.slots.len() - 1).expect("the table doubles within u32")
        };
    }

    /// Forgets a key. Answers whether it was known.
    pub fn remove(&mut self, key: &[u8]) -> bool {
        let Some(place) = self.find(key, xxh3_64(key)) else { return false };
        self.take_out(place);
        true
    }

    /// Forgets everything, for a store whose data was replaced.
    pub fn clear(&mut self) {
        *self = Self { hits: self.hits, misses: self.misses, ..Self::new(self.bytes_max) };
    }

    /// Keys known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Whether nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes used, as counted against the bound.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Look-ups that found their key.
    #[must_use]
    pub fn hits(&self) -> u64 {
        self.hits
    }

    /// Look-ups that did not.
    #[must_use]
    pub fn misses(&self) -> u64 {
        self.misses
    }

    fn home(&self, hash: u64) -> usize {
        // The table is far smaller than 2^32, so the low half of the hash is enough.
        index(u32::try_from(hash & 0xffff_ffff).expect("32 bits")) & (self.table.len() - 1)
    }

    /// The table's place that holds `key`.
    fn find(&self, key: &[u8], hash: u64) -> Option<usize> {
        let mut place = self.home(hash);
        for _ in 0..PROBES_MAX {
            let slot = match self.table[place] {
                EMPTY => return None,
                slot => &self.slots[index(slot)],
            };
            if slot.hash == hash && *slot.key == *key {
                return Some(place);
            }
            place = (place + 1) & (self.table.len() - 1);
        }
        None
    }

    /// The first empty place within reach of `hash`.
    fn vacancy(&self, hash: u64) -> Option<usize> {
        let mask = self.table.len() - 1;
        let home = self.home(hash);
        (0..PROBES_MAX).map(|step| (home + step) & mask).find(|place| self.table[*place] == EMPTY)
    }

    fn evict(&mut self) {
        loop {
            self.hand = if self.hand + 1 < self.slots.len() { self.hand + 1 } else { 0 };
            let slot = &mut self.slots[self.hand];
            if slot.value.is_none() {
                continue;
            }
            if slot.used {
                slot.used = false;
                continue;
            }
            let hash = slot.hash;
            let place = self.place_of(self.hand, hash);
            self.take_out(place);
            return;
        }
    }

    /// Where in the table a slot stands.
    fn place_of(&self, slot: usize, hash: u64) -> usize {
        let mask = self.table.len() - 1;
        let home = self.home(hash);
        (0..PROBES_MAX)
            .map(|step| (home + step) & mask)
            .find(|place| self.table[*place] != EMPTY && index(self.table[*place]) == slot)
            .expect("a slot in use stands within reach of its hash")
    }

    /// Frees the slot at a place, and moves up those behind it that would no longer be found.
    fn take_out(&mut self, mut place: usize) {
        let freed = self.table[place];
        let slot = &mut self.slots[index(freed)];
        self.bytes -= slot.key.len() + Self::ENTRY_BYTES;
        slot.key = Box::default();
        slot.value = None;
        self.free.push(freed);
        let mask = self.table.len() - 1;
        let mut next = (place + 1) & mask;
        while self.table[next] != EMPTY {
            let home = self.home(self.slots[index(self.table[next])].hash);
            // It may move up when its home is not between the gap and where it stands.
            if (next.wrapping_sub(home) & mask) >= (next.wrapping_sub(place) & mask) {
                self.table[place] = self.table[next];
                place = next;
            }
            next = (next + 1) & mask;
        }
        self.table[place] = EMPTY;
    }

    /// Doubles the table.
    fn grow(&mut self) {
        self.table = vec![EMPTY; self.table.len() * 2];
        let mask = self.table.len() - 1;
        for slot in 0..self.slots.len() {
            if self.slots[slot].value.is_none() {
                continue;
            }
            let home = self.home(self.slots[slot].hash);
            // Keys that crowd one place keep crowding it in a larger table: the last of them are
            // forgotten rather than put out of reach.
            match (0..PROBES_MAX)
                .map(|step| (home + step) & mask)
                .find(|place| self.table[*place] == EMPTY)
            {
                Some(place) => {
                    self.table[place] = u32::try_from(slot).expect("slots are numbered by u32");
                }
                None => self.forget_slot(slot),
            }
        }
    }

    /// Frees a slot that stands nowhere in the table.
    fn forget_slot(&mut self, slot: usize) {
        let freed = &mut self.slots[slot];
        self.bytes -= freed.key.len() + Self::ENTRY_BYTES;
        freed.key = Box::default();
        freed.value = None;
        self.free.push(u32::try_from(slot).expect("slots are numbered by u32"));
    }
}

fn index(slot: u32) -> usize {
    usize::try_from(slot).expect("usize has 32 bits or more")
}

#[cfg(test)]
#[path = "meta_cache_test.rs"]
mod tests;
