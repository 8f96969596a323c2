//! Whether an operation fits into what is prepared, computed before it is accepted, so that an
//! accepted operation never has to be taken back for want of space.

use crate::format::{FRAME_HEADER_LEN, SECTOR, record_len};

/// When the disk is full, appends leave this share of a segment to votes, truncations and purges:
/// a full log must still be able to vote, and to purge itself out of being full.
const RESERVED_SHARE: u64 = 16;
/// The least that is left to them, for four frames, however short segments are.
const RESERVED_MIN: u64 = 4 * SECTOR as u64;

/// The space for frames that exists: the rest of the active segment, and whole spares.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    active: u64,
    spares: u64,
    /// Space for frames in a spare.
    capacity: u64,
}

impl Room {
    pub(crate) fn new(active: u64, spares: u64, capacity: u64) -> Self {
        Self { active, spares, capacity }
    }

    /// All of it, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.active + self.spares * self.capacity
    }

    /// What is left behind operations that take up to `bytes` on their way to the disk. If they
    /// don't fit into the active segment, they may all end up in the next one.
    #[must_use]
    pub(crate) fn behind(mut self, bytes: u64) -> Option<Self> {
        if bytes > self.active {
            self.spares = self.spares.checked_sub(1)?;
            self.active = self.capacity;
        }
        self.active = self.active.checked_sub(bytes)?;
        Some(self)
    }

    /// What is left behind a frame of its own with these records, cut at the ends of segments as
    /// the writer does. Sharing a frame with others only takes less.
    #[must_use]
    fn behind_records(mut self, payload_lens: impl Iterator<Item = usize>) -> Option<Self> {
        let mut frame = FRAME_HEADER_LEN as u64;
        for len in payload_lens.map(|len| record_len(len) as u64) {
            if on_disk(frame + len) > self.active {
                self.spares = self.spares.checked_sub(1)?;
                self.active = self.capacity;
                frame = FRAME_HEADER_LEN as u64;
            }
            frame += len;
        }
        self.active = self.active.checked_sub(on_disk(frame))?;
        Some(self)
    }

    /// True if these records fit, for an append together with what is reserved for others.
    pub(crate) fn fits(self, payload_lens: impl Iterator<Item = usize>, is_append: bool) -> bool {
        let share = (self.capacity / RESERVED_SHARE).max(RESERVED_MIN);
        let reserved = if is_append { share } else { 0 };
        self.behind_records(payload_lens).is_some_and(|left| left.bytes() >= reserved)
    }
}

fn on_disk(len: u64) -> u64 {
    len.next_multiple_of(SECTOR as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPACITY: u64 = 64 << 10;

    #[test]
    fn what_is_queued_may_need_the_next_segment() {
        let room = Room::new(1000, 1, CAPACITY);
        assert_eq!(room.behind(1000).unwrap().bytes(), CAPACITY);
        assert_eq!(room.behind(1001).unwrap().bytes(), CAPACITY - 1001);
        assert!(Room::new(1000, 0, CAPACITY).behind(1001).is_none());
        assert!(Room::new(1000, 5, CAPACITY).behind(CAPACITY + 1).is_none());
    }

    #[test]
    fn a_record_that_fits_no_rest_takes_a_spare() {
        let fits = |active, spares, lens: &[usize]| {
            Room::new(active, spares, CAPACITY).fits(lens.iter().copied(), false)
        };
        let largest = usize::try_from(CAPACITY).unwrap() - FRAME_HEADER_LEN - 32;
        assert!(fits(4096, 0, &[4000]));
        assert!(!fits(4096, 0, &[4001]));
        assert!(fits(4096, 1, &[4001]));
        assert!(fits(4096, 1, &[largest]));
        assert!(!fits(4096, 1, &[largest, 1]));
        assert!(!fits(4096, 1, &[largest, largest]));
        assert!(fits(4096, 2, &[largest, largest]));
    }

    #[test]
    fn appends_leave_the_last_room_to_others() {
        let room = Room::new(CAPACITY / 16 + 512, 0, CAPACITY);
        assert!(room.fits([100].into_iter(), true));
        assert!(!room.fits([2000].into_iter(), true));
        assert!(room.fits([2000].into_iter(), false));
    }
}
