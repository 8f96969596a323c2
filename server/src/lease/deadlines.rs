//! When each lease ends, and what is to be done about it: values in, values out.
//!
//! Two heaps say which leases to look at next. An entry there is a hint: a renewal moves the
//! deadline and leaves the hint, which is put right when its time comes. So renewing costs one
//! look-up, whatever the number of leases.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use keelson_store::Lease;
use keelson_store::command::Remaining;
use keelson_store::types::{LeaseId, LogIndex};

use super::{TTL_MAX, TimeLeft};

/// Milliseconds since the machine's boot.
pub(super) type Millis = u64;

/// Leases that end within one second of a new leader at the most; where more would, the surplus
/// ends in the seconds after. About what a small machine revokes in a second beside its work.
const SPREAD_PER_SECOND: usize = 10_000;

/// Leases of less are not worth a checkpoint: a leader change takes about as long.
const CHECKPOINT_TTL_MIN: Millis = 10_000;

/// Less than this is not noted, and notes lie no closer together.
const CHECKPOINT_LEFT_MIN: Millis = 5_000;

/// A lease that is not renewed is noted at least this often; etcd's interval.
const CHECKPOINT_INTERVAL_MAX: Millis = 300_000;

/// Hints beyond twice the leases that are put up with before the heap is made anew.
const STALE_HINTS_MAX: usize = 1024;

/// What a look at a lease came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// There is no such lease.
    Gone,
    /// It lives, and has this left.
    Lives(TimeLeft),
    /// It cannot be said now: ask again.
    Again,
    /// As before, and its checkpoint must be taken back first.
    Clear(LogIndex),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Alive; what the store has noted of it.
    Alive(Noted),
    /// It has run out, and ends as soon as its revocation is applied. Whether one is under way.
    Expiring { proposed: bool },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Noted {
    /// Nothing: a new leader gives it all that was granted.
    Nothing,
    /// What is left is being noted.
    Writing,
    /// Less than all.
    Less,
    /// The note is being taken back.
    Clearing,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    deadline: Millis,
    /// Milliseconds.
    ttl: Millis,
    granted: LogIndex,
    state: State,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    leases: HashMap<LeaseId, Entry>,
    expiries: BinaryHeap<Reverse<(Millis, LeaseId)>>,
    checkpoints: BinaryHeap<Reverse<(Millis, LeaseId)>>,
}

impl Deadlines {
    /// Those of a leader that begins now: each lease has what was last noted of it, or all that was
    /// granted, and `extra` on top.
    pub(super) fn begin(leases: &[Lease], now: Millis, extra: Millis) -> Self {
        let mut all = Self::default();
        let mut due: Vec<(Millis, LeaseId)> = Vec::with_capacity(leases.len());
        for lease in leases {
            let ttl = millis(lease.ttl);
            let noted = if lease.remaining > 0 { Noted::Less } else { Noted::Nothing };
            let left = if noted == Noted::Less { millis(lease.remaining).min(ttl) } else { ttl };
            let state = State::Alive(noted);
            let entry = Entry { deadline: now + extra + left, ttl, granted: lease.granted, state };
            due.push((entry.deadline, lease.id));
            all.leases.insert(lease.id, entry);
            let next = if noted == Noted::Less { interval(left) } else { interval(ttl) };
            if ttl >= CHECKPOINT_TTL_MIN {
                all.checkpoints.push(Reverse((now + next, lease.id)));
            }
        }
        due.sort_unstable();
        for at in SPREAD_PER_SECOND..due.len() {
            due[at].0 = due[at].0.max(due[at - SPREAD_PER_SECOND].0 + 1000);
        }
        for (deadline, id) in &due {
            all.leases.get_mut(id).expect("it was just put there").deadline = *deadline;
        }
        all.expiries = due.into_iter().map(Reverse).collect();
        all
    }

    /// A lease was granted.
    pub(super) fn granted(&mut self, lease: &Lease, now: Millis) {
        let ttl = millis(lease.ttl);
        let (deadline, state) = (now + ttl, State::Alive(Noted::Nothing));
        self.leases.insert(lease.id, Entry { deadline, ttl, granted: lease.granted, state });
        self.expire_at(deadline, lease.id);
        if ttl >= CHECKPOINT_TTL_MIN {
            self.checkpoint_at(now + interval(ttl), lease.id);
        }
    }

    /// A lease is gone.
    pub(super) fn revoked(&mut self, id: LeaseId) {
        self.leases.remove(&id);
    }

    /// Gives a lease its whole TTL again, from now on.
    pub(super) fn renew(&mut self, id: LeaseId, now: Millis) -> Look {
        let Some(entry) = self.leases.get_mut(&id) else { return Look::Gone };
        if entry.deadline <= now {
            return Look::Again;
        }
        match entry.state {
            State::Alive(Noted::Nothing) => {
                entry.deadline = now + entry.ttl;
                Look::Lives(entry.left(now))
            }
            State::Alive(Noted::Less) => {
                entry.state = State::Alive(Noted::Clearing);
                Look::Clear(entry.granted)
            }
            State::Alive(Noted::Writing | Noted::Clearing) | State::Expiring { .. } => Look::Again,
        }
    }

    /// What is left of a lease. One that has run out has nothing, though its keys may be there for
    /// a moment.
    pub(super) fn time_left(&self, id: LeaseId, now: Millis) -> Look {
        match self.leases.get(&id) {
            Some(entry) if entry.deadline > now && matches!(entry.state, State::Alive(_)) => {
                Look::Lives(entry.left(now))
            }
            Some(_) | None => Look::Gone,
        }
    }

    /// When a lease ends.
    pub(super) fn deadline(&self, id: LeaseId) -> Option<Millis> {
        self.leases.get(&id).map(|entry| entry.deadline)
    }

    /// At most `max` leases that have run out and are to be revoked now: with their grants.
    pub(super) fn expired(&mut self, now: Millis, max: usize) -> Vec<(LeaseId, LogIndex)> {
        let mut due = Vec::new();
        while due.len() < max
            && let Some(Reverse((at, id))) = self.expiries.peek().copied()
            && at <= now
        {
            self.expiries.pop();
            let Some(entry) = self.leases.get_mut(&id) else { continue };
            if entry.deadline > now {
                let deadline = entry.deadline;
                self.expire_at(deadline, id);
            } else if entry.state != (State::Expiring { proposed: true }) {
                entry.state = State::Expiring { proposed: true };
                due.push((id, entry.granted));
            }
        }
        due
    }

    /// A revocation came to nothing, as far as one knows: it is to be proposed again at `at`. The
    /// lease stays run out.
    pub(super) fn not_revoked(&mut self, id: LeaseId, granted: LogIndex, at: Millis) {
        let proposed = State::Expiring { proposed: true };
        if let Some(entry) = self.found(id, granted).filter(|entry| entry.state == proposed) {
            entry.state = State::Expiring { proposed: false };
            entry.deadline = at;
            self.expire_at(at, id);
        }
    }

    /// At most `max` notes of what is left of leases that are to be written now.
    pub(super) fn due_checkpoints(&mut self, now: Millis, max: usize) -> Vec<Remaining> {
        let mut due = Vec::new();
        while due.len() < max
            && let Some(Reverse((at, id))) = self.checkpoints.peek().copied()
            && at <= now
        {
            self.checkpoints.pop();
            let Some(entry) = self.leases.get_mut(&id) else { continue };
            let State::Alive(noted) = entry.state else { continue };
            let left = entry.deadline.saturating_sub(now);
            let renewed = (entry.deadline.saturating_sub(entry.ttl)) + interval(entry.ttl);
            let next = match noted {
                Noted::Nothing if renewed > now => renewed,
                Noted::Writing | Noted::Clearing => now + CHECKPOINT_LEFT_MIN,
                // Looked at once more when it has been renewed or has run out.
                Noted::Nothing | Noted::Less if left < CHECKPOINT_LEFT_MIN => entry.deadline,
                Noted::Nothing | Noted::Less => {
                    entry.state = State::Alive(Noted::Writing);
                    let ttl = i64::try_from(left.div_ceil(1000)).unwrap_or(i64::MAX);
                    due.push(Remaining { id, granted: entry.granted, ttl });
                    now + interval(left)
                }
            };
            // Never at once, or this would not end.
            self.checkpoint_at(next.max(now + 1), id);
        }
        due
    }

    /// A note has been written, or maybe.
    pub(super) fn noted(&mut self, id: LeaseId, granted: LogIndex) {
        self.settle(id, granted, Noted::Writing, Noted::Less);
    }

    /// A note has been taken back for certain, or maybe not.
    pub(super) fn cleared(&mut self, id: LeaseId, granted: LogIndex, certain: bool) {
        let now = if certain { Noted::Nothing } else { Noted::Less };
        self.settle(id, granted, Noted::Clearing, now);
    }

    /// When there is something to do next, as far as the hints say.
    pub(super) fn next(&self) -> Option<Millis> {
        let first = |heap: &BinaryHeap<Reverse<(Millis, LeaseId)>>| heap.peek().map(|at| at.0.0);
        [first(&self.expiries), first(&self.checkpoints)].into_iter().flatten().min()
    }

    fn settle(&mut self, id: LeaseId, granted: LogIndex, from: Noted, to: Noted) {
        if let Some(entry) = self.found(id, granted)
            && entry.state == State::Alive(from)
        {
            entry.state = State::Alive(to);
        }
    }

    fn found(&mut self, id: LeaseId, granted: LogIndex) -> Option<&mut Entry> {
        self.leases.get_mut(&id).filter(|entry| entry.granted == granted)
    }

    fn expire_at(&mut self, at: Millis, id: LeaseId) {
        self.expiries.push(Reverse((at, id)));
        if self.expiries.len() > 2 * self.leases.len() + STALE_HINTS_MAX {
            let waits = |entry: &Entry| entry.state != (State::Expiring { proposed: true });
            let rows = self.leases.iter().filter(|(_, entry)| waits(entry));
            self.expiries = rows.map(|(id, entry)| Reverse((entry.deadline, *id))).collect();
        }
    }

    fn checkpoint_at(&mut self, at: Millis, id: LeaseId) {
        self.checkpoints.push(Reverse((at, id)));
        if self.checkpoints.len() > 2 * self.leases.len() + STALE_HINTS_MAX {
            // The first hint of each lease that is there.
            let mut seen = std::collections::HashSet::new();
            let hints = std::mem::take(&mut self.checkpoints).into_sorted_vec();
            let leases = &self.leases;
            let kept = hints.into_iter().rev();
            self.checkpoints = kept
                .filter(|Reverse((_, id))| leases.contains_key(id) && seen.insert(*id))
                .collect();
        }
    }
}

impl Entry {
    fn left(&self, now: Millis) -> TimeLeft {
        let seconds = |millis: Millis| i64::try_from(millis / 1000).unwrap_or(i64::MAX);
        TimeLeft {
            remaining: seconds(self.deadline.saturating_sub(now)),
            granted: seconds(self.ttl),
        }
    }
}

/// Seconds as the store has them, which may be anything.
fn millis(seconds: i64) -> Millis {
    Millis::try_from(seconds.clamp(1, TTL_MAX)).expect("clamped") * 1000
}

/// How long a lease with this much left goes without a note: half of it, so that a leader change
/// gives at most as much again as the lease has been dying for.
fn interval(left: Millis) -> Millis {
    (left / 2).clamp(CHECKPOINT_LEFT_MIN, CHECKPOINT_INTERVAL_MAX)
}

#[cfg(test)]
#[path = "deadlines_test.rs"]
mod tests;
