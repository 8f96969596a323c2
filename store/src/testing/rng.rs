//! A small seeded source of chance (SplitMix64): the same seed gives the same run on every
//! machine and in every later version, so that a failing seed stays worth keeping.

use bytes::Bytes;

/// A stream of numbers fixed by its seed.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// A stream of its own for every seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is not zero. The bias of the remainder is of no matter here.
    pub fn below(&mut self, bound: usize) -> usize {
        assert!(bound > 0, "a choice needs something to choose from");
        let bound = u64::try_from(bound).expect("usize is at most 64 bits wide");
        usize::try_from(self.number() % bound).expect("below a usize")
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: usize, high: usize) -> usize {
        assert!(low <= high, "an empty choice");
        low + self.below(high - low + 1)
    }

    /// Any byte.
    pub fn byte(&mut self) -> u8 {
        self.number().to_le_bytes()[0]
    }

    /// True `of` times out of `outof`.
    pub fn chance(&mut self, of: usize, outof: usize) -> bool {
        self.below(outof) < of
    }

    /// One of the items.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }

    /// One of the byte strings.
    pub fn bytes_of(&mut self, items: &[&'static [u8]]) -> Bytes {
        let chosen: &'static [u8] = items[self.below(items.len())];
        Bytes::from_static(chosen)
    }
}
