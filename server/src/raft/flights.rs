//! Proposals on their way, and who waits for them here.
//!
//! An entry says who proposed it. Whichever way it came into the log, through this member or a
//! leader elsewhere, before a change of leaders or after it: when this member applies an entry of
//! its own, it finds the flight here and hands the outcomes over. So outcomes never travel, and
//! whoever is answered here reads what it wrote here.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use keelson_store::response::Outcome;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::proposer::ProposeError;
use super::types::{MemberId, ProposalId};

/// How often overdue flights are looked for. Whoever waits watches the clock as well; this only
/// bounds how long the memory of a lost one is kept.
const SWEEP_INTERVAL: Duration = Duration::from_millis(500);

/// An entry that was applied here.
#[derive(Debug)]
pub(crate) struct Landing {
    /// The entry's term.
    pub(crate) term: u64,
    /// One for each of its commands, in their order.
    pub(crate) outcomes: Vec<Outcome>,
}

/// Called once, with what a flight came to.
pub(crate) type OnLanding = Box<dyn FnOnce(Result<Landing, ProposeError>) + Send>;

struct Waiting {
    deadline: Instant,
    land: OnLanding,
}

/// All flights of this process.
pub(crate) struct Flights {
    own: MemberId,
    /// Drawn by chance at the start of the process, so that entries of an earlier one, which are
    /// replayed or arrive late, find nobody.
    start: u64,
    next: AtomicU64,
    waiting: Mutex<BTreeMap<u64, Waiting>>,
}

impl Flights {
    pub(crate) fn new(own: MemberId, start: u64) -> Self {
        Self { own, start, next: AtomicU64::new(1), waiting: Mutex::default() }
    }

    /// An id that was never given before.
    pub(crate) fn next_id(&self) -> ProposalId {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        ProposalId { member: self.own, start: self.start, number }
    }

    /// Has `land` called when the proposal is applied here, fails for certain, or is overdue. To be
    /// called before the proposal goes anywhere.
    pub(crate) fn board(&self, id: ProposalId, deadline: Instant, land: OnLanding) {
        let before = self.waiting.lock().insert(id.number, Waiting { deadline, land });
        assert!(before.is_none(), "proposal {id:?} is under way twice");
    }

    /// Whether somebody here waits for the proposal.
    pub(crate) fn awaits(&self, id: &ProposalId) -> bool {
        self.is_ours(id) && self.waiting.lock().contains_key(&id.number)
    }

    pub(crate) fn land(&self, id: &ProposalId, landing: Landing) {
        if self.is_ours(id) {
            self.end(id.number, Ok(landing));
        }
    }

    /// The proposal came to nothing.
    pub(crate) fn fail(&self, id: &ProposalId, error: ProposeError) {
        self.end(id.number, Err(error));
    }

    fn end(&self, number: u64, result: Result<Landing, ProposeError>) {
        let waiting = self.waiting.lock().remove(&number);
        if let Some(waiting) = waiting {
            (waiting.land)(result);
        }
    }

    fn is_ours(&self, id: &ProposalId) -> bool {
        id.member == self.own && id.start == self.start
    }

    /// Ends what is overdue, for as long as the node runs.
    pub(crate) async fn sweep(&self) {
        let mut tick = tokio::time::interval(SWEEP_INTERVAL);
        loop {
            tick.tick().await;
            self.end_overdue(Instant::now());
        }
    }

    fn end_overdue(&self, now: Instant) {
        for number in self.overdue(now) {
            self.end(number, Err(ProposeError::Timeout));
        }
    }

    /// Deadlines grow with the numbers but for those of clients that overtook each other, which
    /// the next look finds.
    fn overdue(&self, now: Instant) -> Vec<u64> {
        let waiting = self.waiting.lock();
        let due = waiting.iter().take_while(|(_, waiting)| waiting.deadline <= now);
        due.map(|(number, _)| *number).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    use super::*;

    fn landing() -> Landing {
        Landing { term: 3, outcomes: Vec::new() }
    }

    fn counted(count: &Arc<AtomicUsize>) -> OnLanding {
        let count = Arc::clone(count);
        Box::new(move |_| {
            count.fetch_add(1, Ordering::Relaxed);
        })
    }

    #[test]
    fn a_flight_lands_once() {
        let flights = Flights::new(MemberId(1), 2);
        let landed = Arc::new(AtomicUsize::new(0));
        let id = flights.next_id();
        flights.board(id, Instant::now(), counted(&landed));
        assert!(flights.awaits(&id));
        for _ in 0..2 {
            flights.land(&id, landing());
        }
        flights.fail(&id, ProposeError::Timeout);
        assert_eq!(landed.load(Ordering::Relaxed), 1);
        assert!(!flights.awaits(&id));
    }

    #[test]
    fn entries_of_others_and_of_earlier_starts_land_nowhere() {
        let flights = Flights::new(MemberId(1), 2);
        let landed = Arc::new(AtomicUsize::new(0));
        let id = flights.next_id();
        flights.board(id, Instant::now(), counted(&landed));
        for other in [ProposalId { member: MemberId(9), ..id }, ProposalId { start: 9, ..id }] {
            assert!(!flights.awaits(&other));
            flights.land(&other, landing());
        }
        assert_eq!(landed.load(Ordering::Relaxed), 0);
        assert!(flights.awaits(&id));
    }

    #[test]
    fn what_is_overdue_ends() {
        let flights = Flights::new(MemberId(1), 2);
        let (ended, mut result) = tokio::sync::oneshot::channel();
        let id = flights.next_id();
        let start = Instant::now();
        let deadline = start + Duration::from_secs(7);
        let land = move |result: Result<Landing, _>| ended.send(result.unwrap_err()).unwrap();
        flights.board(id, deadline, Box::new(land));
        flights.end_overdue(start + Duration::from_secs(6));
        assert!(result.try_recv().is_err(), "it is not due yet");
        flights.end_overdue(start + Duration::from_secs(8));
        assert_eq!(result.try_recv().unwrap(), ProposeError::Timeout);
    }
}
