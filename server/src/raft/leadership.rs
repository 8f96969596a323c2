//! Who leads, as far as this member can honestly say.
//!
//! openraft names the last leader it heard of until there is a new one, and a leader that has lost
//! its quorum names itself. Clients are told what etcd would tell them: a follower that has not
//! heard from its leader for an election timeout knows none, and neither does a leader that no
//! quorum has answered for as long. Raft has such a leader go on with its heartbeats, as it may find
//! its quorum again; they say that it is without one, and whoever follows it knows no leader either.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use openraft::Instant as _;
use openraft::async_runtime::WatchReceiver;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, MissedTickBehavior};

use super::handle::Raft;
use super::types::MemberId;

/// Who leads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Leadership {
    /// The current term.
    pub term: u64,
    /// The leader, if this member knows of one that lives.
    pub leader: Option<MemberId>,
    /// How many leaders this member has followed or been since it started.
    pub changes: u64,
    /// When the last of them came.
    pub since: Option<Instant>,
}

/// Whom this member last heard as its leader, and when.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    last: Mutex<Option<Last>>,
    /// Somebody else than before.
    news: Notify,
    /// This member leads without a quorum, and says so in its heartbeats.
    forsaken: AtomicBool,
}

#[derive(Clone, Copy, Debug)]
struct Last {
    leader: MemberId,
    when: Instant,
    /// It said that it has no quorum.
    forsaken: bool,
}

impl Heard {
    /// The leader has just been heard and was followed.
    pub(crate) fn note(&self, leader: MemberId) {
        self.update(leader, None);
    }

    /// The same, by a heartbeat, which says whether the leader is without a quorum.
    pub(crate) fn note_heartbeat(&self, leader: MemberId, forsaken: bool) {
        self.update(leader, Some(forsaken));
    }

    fn update(&self, leader: MemberId, forsaken: Option<bool>) {
        let mut last = self.last.lock();
        let before = last.filter(|last| last.leader == leader).map(|last| last.forsaken);
        let now = forsaken.or(before).unwrap_or(false);
        *last = Some(Last { leader, when: Instant::now(), forsaken: now });
        if before != Some(now) {
            self.news.notify_one();
        }
    }

    fn within(&self, leader: MemberId, silence_max: Duration) -> bool {
        let last = *self.last.lock();
        last.is_some_and(|last| {
            last.leader == leader && !last.forsaken && last.when.elapsed() <= silence_max
        })
    }

    /// Whether this member leads without a quorum.
    pub(crate) fn is_forsaken(&self) -> bool {
        self.forsaken.load(Ordering::Relaxed)
    }
}

/// Keeps a [`Leadership`] up to date.
pub(crate) struct LeadershipWatch {
    pub(crate) raft: Raft,
    pub(crate) own: MemberId,
    pub(crate) heard: Arc<Heard>,
    pub(crate) silence_max: Duration,
    /// How often silence is looked for.
    pub(crate) interval: Duration,
}

impl LeadershipWatch {
    pub(crate) async fn run(self, leadership: watch::Sender<Leadership>) {
        let mut changes = self.raft.server_metrics();
        let mut tick = tokio::time::interval(self.interval);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut unanswered_since = None;
        loop {
            let (term, leader) = self.look();
            // Whoever has just been elected has not been answered yet.
            let unanswered = leader.is_none() && self.leads();
            let since = unanswered.then(|| unanswered_since.unwrap_or_else(Instant::now));
            unanswered_since = since;
            let forsaken = since.is_some_and(|since| since.elapsed() >= self.silence_max);
            self.heard.forsaken.store(forsaken, Ordering::Relaxed);
            leadership.send_if_modified(|known| {
                if (known.term, known.leader) == (term, leader) {
                    return false;
                }
                if leader.is_some() {
                    known.changes += 1;
                    known.since = Some(Instant::now());
                }
                (known.term, known.leader) = (term, leader);
                true
            });
            tokio::select! {
                changed = changes.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                () = self.heard.news.notified() => {}
                _ = tick.tick() => {}
            }
        }
    }

    /// Whether Raft thinks that this member leads.
    fn leads(&self) -> bool {
        self.raft.metrics().borrow_watched().state.is_leader()
    }

    fn look(&self) -> (u64, Option<MemberId>) {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let lives = |leader: &MemberId| {
            if *leader != self.own {
                return self.heard.within(*leader, self.silence_max);
            }
            let voters: Vec<_> = metrics.membership_config.voter_ids().collect();
            let acked = metrics.last_quorum_acked.as_ref();
            metrics.state.is_leader()
                && (voters == [self.own]
                    || acked.is_some_and(|acked| acked.elapsed() <= self.silence_max))
        };
        let leader = metrics.current_leader.filter(lives);
        (metrics.vote.leader_id().term, leader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_counts_while_it_is_heard_and_has_a_quorum() {
        // Nothing here takes so long.
        let hour = Duration::from_secs(3600);
        let heard = Heard::default();
        let [one, two] = [1, 2].map(MemberId);
        assert!(!heard.within(one, hour));
        heard.note(one);
        assert!(heard.within(one, hour) && !heard.within(two, hour));
        heard.note_heartbeat(one, true);
        assert!(!heard.within(one, hour));
        heard.note(one);
        assert!(!heard.within(one, hour), "entries say nothing of its quorum");
        heard.note_heartbeat(one, false);
        assert!(heard.within(one, hour));
        heard.note_heartbeat(one, true);
        heard.note(two);
        assert!(heard.within(two, hour) && !heard.within(one, hour), "another one begins anew");
    }
}
