//! Far pointers: a skip list through a key's versions, so that a read at an old revision of a key
//! with a million versions takes tens of steps instead of a million.

use crate::types::{Revision, SubRevision};

use super::bytes::{Malformed, Reader, put_place};

/// Each level skips this many times more versions than the one below.
const STEP: i64 = 16;
/// 16^5 = a million versions per top-level step; beyond that a walk grows by one step a million.
pub(crate) const LEVELS: usize = 5;

/// For a version `v` of a key: where the last version *below* `v` divisible by 16, by 256, … was
/// written. Levels are filled from the bottom without gaps, and each points at or further back
/// than the one below it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Far {
    len: u8,
    at: [SubRevision; LEVELS],
}

impl Far {
    /// No pointers: a young generation, or one whose older versions are compacted away.
    pub const NONE: Self = Self { len: 0, at: [SubRevision { main: Revision(0), sub: 0 }; LEVELS] };

    /// The pointers, nearest first.
    #[must_use]
    pub fn targets(&self) -> &[SubRevision] {
        &self.at[..usize::from(self.len)]
    }

    /// The pointers of the version that follows version `version`, written at `at`, whose own
    /// pointers are `self`. What lies at or below `compacted` is forgotten: nobody may read it.
    #[must_use]
    pub(crate) fn next(&self, version: i64, at: SubRevision, compacted: Revision) -> Self {
        let mut next = *self;
        let mut stride = STEP;
        for level in 0..LEVELS {
            if version % stride != 0 {
                break;
            }
            next.at[level] = at;
            next.len = next.len.max(u8::try_from(level + 1).expect("few levels"));
            stride *= STEP;
        }
        while next.targets().last().is_some_and(|last| last.main <= compacted) {
            next.len -= 1;
            next.at[usize::from(next.len)] = SubRevision::default();
        }
        next
    }

    /// The furthest jump that still lands above `revision`.
    #[must_use]
    pub(crate) fn furthest_above(&self, revision: Revision) -> Option<SubRevision> {
        self.targets().iter().rev().find(|target| target.main > revision).copied()
    }

    /// Whether the log record of a version carries its pointers. The others are reached through
    /// `prev` in fewer than sixteen steps.
    pub(crate) const fn kept_in_log(version: i64) -> bool {
        version % STEP == 0
    }

    pub(crate) fn encode(&self, from: Revision, out: &mut Vec<u8>) {
        out.push(self.len);
        for target in self.targets() {
            put_place(out, from, *target);
        }
    }

    pub(crate) fn decode(reader: &mut Reader<'_>, from: Revision) -> Result<Self, Malformed> {
        let len = reader.byte("far pointer count")?;
        let mut far = Self { len, ..Self::NONE };
        let targets = far.at.get_mut(..usize::from(len)).ok_or(Malformed("far pointer count"))?;
        for target in targets {
            *target = reader.place(from, "far pointer")?;
        }
        Ok(far)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(main: i64) -> SubRevision {
        SubRevision { main: Revision(main), sub: 0 }
    }

    /// Versions 1, 2, 3, … written at revisions 2, 3, 4, …
    fn after(versions: i64, compacted: i64) -> Far {
        (1..=versions).fold(Far::NONE, |far, v| far.next(v, at(v + 1), Revision(compacted)))
    }

    #[test]
    fn points_to_the_last_multiples_below() {
        assert_eq!(after(15, 0), Far::NONE);
        assert_eq!(after(16, 0).targets(), [at(17)]);
        assert_eq!(after(300, 0).targets(), [at(289), at(257)]);
        assert_eq!(after(256, 0).targets(), [at(257), at(257)]);
        assert_eq!(after(5000, 0).targets(), [at(4993), at(4865), at(4097)]);
    }

    #[test]
    fn forgets_what_is_compacted() {
        assert_eq!(after(5000, 4097).targets(), [at(4993), at(4865)]);
        assert_eq!(after(5000, 4096).targets(), [at(4993), at(4865), at(4097)]);
        assert_eq!(after(5000, 4993), Far::NONE);
    }

    #[test]
    fn jumps_as_far_as_allowed() {
        let far = after(5000, 0);
        assert_eq!(far.furthest_above(Revision(4096)), Some(at(4097)));
        assert_eq!(far.furthest_above(Revision(4097)), Some(at(4865)));
        assert_eq!(far.furthest_above(Revision(4993)), None);
    }

    #[test]
    fn round_trips_and_rejects_every_prefix() {
        let far = after(5000, 0);
        let mut out = Vec::new();
        far.encode(Revision(6000), &mut out);
        assert_eq!(Far::decode(&mut Reader::new(&out), Revision(6000)), Ok(far));
        for cut in 0..out.len() {
            assert!(Far::decode(&mut Reader::new(&out[..cut]), Revision(6000)).is_err());
        }
        assert!(Far::decode(&mut Reader::new(&[6]), Revision(6000)).is_err());
    }
}
