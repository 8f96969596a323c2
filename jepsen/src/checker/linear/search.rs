//! The search for an order: Wing and Gong's, with Lowe's memory of what has been tried.
//!
//! Begins and ends of steps stand in one list by time. The search takes, from the front, a step
//! whose begin comes before the first end that is left, carries it out if it finds what it must,
//! and lifts it off the list; when it meets an end whose step is not taken, the last one taken was
//! wrong and is put back. A pair of (steps taken, state) that was reached once is never tried
//! again. Steps that need not happen have no end in the list.

use std::collections::HashSet;
use std::time::Duration;

use super::extract::{NEVER, Step};
use crate::clock::Clock;

/// What came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// There is an order.
    Ordered,
    /// There is none; the longest beginning of one.
    None(Vec<usize>),
    /// Nobody knows: time or memory ran out.
    GaveUp,
}

/// Moves between two looks at the clock, anywhere in the search.
const MOVES_PER_LOOK: u32 = 4096;

/// Words of memory of what has been tried: half a gigabyte. A history of 100,000 operations needs
/// a hundredth of it; one that needs more is beyond reach anyway.
const TRIED_WORDS_MAX: usize = 64 << 20;

/// Looks for an order of the steps from a state in which all variables are absent.
pub(super) fn search(
    steps: &[Step],
    variables: usize,
    clock: Clock,
    time_max: Duration,
) -> Outcome {
    Search::new(steps, variables).run(clock, time_max)
}

/// A place in the list of begins and ends; the list is linked by numbers, 0 is its head.
#[derive(Debug, Clone, Copy)]
struct Entry {
    step: usize,
    is_begin: bool,
    /// Of a begin: the entry of its end, 0 if it has none.
    end: usize,
    prev: usize,
    next: usize,
}

/// A step taken, with what it replaced.
#[derive(Debug)]
struct Taken {
    entry: usize,
    replaced: Vec<(usize, u32)>,
}

#[derive(Debug)]
struct Search<'a> {
    steps: &'a [Step],
    entries: Vec<Entry>,
    state: Vec<u32>,
    taken: Vec<Taken>,
    marks: Marks,
    tried: HashSet<Box<[u64]>>,
    tried_words: usize,
    ends_left: usize,
    longest: Vec<usize>,
}

impl<'a> Search<'a> {
    fn new(steps: &'a [Step], variables: usize) -> Self {
        let mut moments: Vec<(u64, bool, usize)> = Vec::new();
        for (index, step) in steps.iter().enumerate() {
            moments.push((step.begin, false, index));
            if step.end != NEVER {
                moments.push((step.end, true, index));
            }
        }
        // At the same moment begins come first: then the two may have overlapped.
        moments.sort_unstable();
        let head = Entry { step: 0, is_begin: false, end: 0, prev: 0, next: 0 };
        let mut entries = vec![head];
        let mut begin_of = vec![0; steps.len()];
        for (_, is_end, step) in &moments {
            let index = entries.len();
            entries.push(Entry {
                step: *step,
                is_begin: !is_end,
                end: 0,
                prev: index - 1,
                next: index + 1,
            });
            match is_end {
                true => entries[begin_of[*step]].end = index,
                false => begin_of[*step] = index,
            }
        }
        let last = entries.len() - 1;
        entries[last].next = 0;
        entries[0].next = if last == 0 { 0 } else { 1 };
        Self {
            steps,
            entries,
            state: vec![super::extract::ABSENT; variables],
            taken: Vec::new(),
            marks: Marks::new(steps),
            tried: HashSet::new(),
            tried_words: 0,
            ends_left: steps.iter().filter(|step| step.end != NEVER).count(),
            longest: Vec::new(),
        }
    }

    fn run(mut self, clock: Clock, time_max: Duration) -> Outcome {
        let mut moves = 0_u32;
        let mut at = self.entries[0].next;
        while self.ends_left > 0 {
            moves = moves.wrapping_add(1);
            let is_late = moves.is_multiple_of(MOVES_PER_LOOK) && clock.elapsed() > time_max;
            if is_late || self.tried_words > TRIED_WORDS_MAX {
                return Outcome::GaveUp;
            }
            let entry = self.entries[at];
            if at != 0 && entry.is_begin {
                at = if self.take(at) { self.entries[0].next } else { entry.next };
                continue;
            }
            if self.taken.len() >= self.longest.len() {
                self.longest = self.order();
            }
            match self.put_back() {
                Some(next) => at = next,
                None => return Outcome::None(self.longest),
            }
        }
        Outcome::Ordered
    }

    /// Takes a step if it can come now and leads to something new.
    fn take(&mut self, at: usize) -> bool {
        let index = self.entries[at].step;
        let step = &self.steps[index];
        if step.finds.iter().any(|(variable, value)| self.state[*variable] != *value) {
            return false;
        }
        if !self.marks.may_take(index) {
            return false;
        }
        let mut replaced = Vec::with_capacity(step.leaves.len());
        for (variable, value) in &step.leaves {
            replaced.push((*variable, std::mem::replace(&mut self.state[*variable], *value)));
        }
        self.marks.set(index);
        let key = self.marks.key(&self.state);
        self.tried_words += key.len();
        if !self.tried.insert(key) {
            self.marks.clear(index);
            self.restore(&replaced);
            return false;
        }
        self.lift(at);
        self.taken.push(Taken { entry: at, replaced });
        true
    }

    /// Undoes the last step taken; gives the entry after it.
    fn put_back(&mut self) -> Option<usize> {
        let Taken { entry, replaced } = self.taken.pop()?;
        self.restore(&replaced);
        self.marks.clear(self.entries[entry].step);
        self.unlift(entry);
        Some(self.entries[entry].next)
    }

    fn restore(&mut self, replaced: &[(usize, u32)]) {
        for (variable, value) in replaced.iter().rev() {
            self.state[*variable] = *value;
        }
    }

    fn lift(&mut self, begin: usize) {
        self.unlink(begin);
        let end = self.entries[begin].end;
        if end != 0 {
            self.unlink(end);
            self.ends_left -= 1;
        }
    }

    fn unlift(&mut self, begin: usize) {
        let end = self.entries[begin].end;
        if end != 0 {
            self.relink(end);
            self.ends_left += 1;
        }
        self.relink(begin);
    }

    fn unlink(&mut self, at: usize) {
        let Entry { prev, next, .. } = self.entries[at];
        self.entries[prev].next = next;
        if next != 0 {
            self.entries[next].prev = prev;
        }
    }

    fn relink(&mut self, at: usize) {
        let Entry { prev, next, .. } = self.entries[at];
        self.entries[prev].next = at;
        if next != 0 {
            self.entries[next].prev = at;
        }
    }

    fn order(&self) -> Vec<usize> {
        self.taken.iter().map(|taken| self.entries[taken.entry].step).collect()
    }
}

/// Which steps are taken: required ones by the time they begin, optional ones apart, so that a
/// step that never happens does not keep the front of the others open.
#[derive(Debug)]
struct Marks {
    /// Where a step's mark is: in the required or in the optional words.
    place: Vec<(bool, usize)>,
    required: Vec<u64>,
    optional: Vec<u64>,
    /// All required words before this one are full.
    low: usize,
    /// No required word from here on has a mark.
    high: usize,
    /// Of optional steps that are alike in all but their begin, the one that begins before; it
    /// must be taken first, which loses no order and tries each number of them once.
    twin: Vec<Option<usize>>,
}

impl Marks {
    fn new(steps: &[Step]) -> Self {
        let mut by_begin: Vec<usize> = (0..steps.len()).collect();
        by_begin.sort_by_key(|index| (steps[*index].begin, *index));
        let (mut required, mut optional) = (0, 0);
        let mut place = vec![(false, 0); steps.len()];
        let mut twin = vec![None; steps.len()];
        let mut last_alike = std::collections::HashMap::new();
        for index in by_begin {
            let step = &steps[index];
            if step.end == NEVER {
                place[index] = (false, optional);
                optional += 1;
                twin[index] = last_alike.insert((&step.finds, &step.leaves), index);
            } else {
                place[index] = (true, required);
                required += 1;
            }
        }
        Self {
            place,
            required: vec![0; required.div_ceil(64)],
            optional: vec![0; optional.div_ceil(64)],
            low: 0,
            high: 0,
            twin,
        }
    }

    fn is_set(&self, index: usize) -> bool {
        let (is_required, bit) = self.place[index];
        let words = if is_required { &self.required } else { &self.optional };
        words[bit / 64] >> (bit % 64) & 1 == 1
    }

    fn may_take(&self, index: usize) -> bool {
        self.twin[index].is_none_or(|twin| self.is_set(twin))
    }

    fn set(&mut self, index: usize) {
        let (is_required, bit) = self.place[index];
        if !is_required {
            self.optional[bit / 64] |= 1 << (bit % 64);
            return;
        }
        self.required[bit / 64] |= 1 << (bit % 64);
        self.high = self.high.max(bit / 64 + 1);
        while self.low < self.required.len() && self.required[self.low] == u64::MAX {
            self.low += 1;
        }
    }

    fn clear(&mut self, index: usize) {
        let (is_required, bit) = self.place[index];
        if !is_required {
            self.optional[bit / 64] &= !(1 << (bit % 64));
            return;
        }
        self.required[bit / 64] &= !(1 << (bit % 64));
        self.low = self.low.min(bit / 64);
        while self.high > 0 && self.required[self.high - 1] == 0 {
            self.high -= 1;
        }
    }

    /// The marks and a state as one exact key: the words between the full and the empty ones.
    fn key(&self, state: &[u32]) -> Box<[u64]> {
        let low = self.low.min(self.high);
        let window = &self.required[low..self.high];
        let mut key = Vec::with_capacity(2 + window.len() + self.optional.len() + state.len());
        key.push(u64::try_from(low).unwrap_or(u64::MAX));
        key.push(u64::try_from(window.len()).unwrap_or(u64::MAX));
        key.extend_from_slice(window);
        key.extend_from_slice(&self.optional);
        key.extend(state.iter().map(|value| u64::from(*value)));
        key.into_boxed_slice()
    }
}
