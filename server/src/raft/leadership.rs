//! Who leads, as far as this member can honestly say.
//!
//! openraft names the last leader it heard of until there is a new one, and a leader that has lost
//! its quorum names itself. Clients are told what etcd would tell them: a follower that has not
//! heard from its leader for an election timeout knows none, and neither does a leader that no
//! quorum has answered for as long.

use std::sync::Arc;
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
    last: Mutex<Option<(MemberId, Instant)>>,
    /// Somebody else than before.
    news: Notify,
}

impl Heard {
    /// The leader has just been heard and was followed.
    pub(crate) fn note(&self, leader: MemberId) {
        let before = self.last.lock().replace((leader, Instant::now()));
        if before.is_none_or(|(before, _)| before != leader) {
            self.news.notify_one();
        }
    }

    fn within(&self, leader: MemberId, silence_max: Duration) -> bool {
        let last = *self.last.lock();
        last.is_some_and(|(who, when)| who == leader && when.elapsed() <= silence_max)
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
        loop {
            let (term, leader) = self.look();
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
