//! A client: sends a request, waits for the answer, checks it, takes it down, again and again.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use tokio::task::JoinHandle;
use tokio::time::timeout_at;

use super::pacer::Pacer;
use super::shared::Shared;
use crate::clock;
use crate::frame::Scan;
use crate::grpc::{Connection, Error};
use crate::random::Random;
use crate::report::Tally;
use crate::workload::Workload;

/// One of the requests under way at a time.
pub(super) struct Client {
    pub(super) connection: Connection,
    pub(super) workload: Arc<Workload>,
    pub(super) shared: Arc<Shared>,
    pub(super) pacer: Option<Rc<Pacer>>,
    pub(super) tally: Rc<RefCell<Tally>>,
}

impl Client {
    /// Runs until the run is over or the connection is lost.
    pub(super) async fn run(mut self, seed: u64, number: u64) {
        let mut random = Random::new(Random::new(seed.wrapping_add(number)).bits());
        let mut due = clock::now();
        loop {
            if let Some(pacer) = &self.pacer {
                let Some(next) = pacer.next().await else { break };
                due = next;
            }
            if !self.shared.admit(due) {
                if let Some(pacer) = &self.pacer {
                    pacer.close();
                }
                break;
            }
            let call = self.workload.next(&mut random);
            let answer = self.connection.call(call.method, call.body).await;
            let now = clock::now();
            let checked = answer.and_then(|scan| call.expect.check(&scan).map(|()| scan));
            let lost = checked.as_ref().is_err_and(Error::is_fatal);
            self.record(due, now, checked);
            if lost {
                break;
            }
            due = now;
        }
        self.shared.client_done();
    }

    fn record(&self, due: Instant, now: Instant, answer: Result<Scan, Error>) {
        let mut tally = self.tally.borrow_mut();
        match answer {
            // Errors count wherever they happen: one in the warm-up spoils the run as well.
            Err(error) => tally.error(error.to_string()),
            Ok(scan) => {
                tally.answered += 1;
                if !self.shared.measured(due) {
                    return;
                }
                tally.latency(now.saturating_duration_since(due));
                tally.answer_bytes += scan.bytes;
                tally.completed += u64::from(self.shared.completed(now));
            }
        }
    }
}

/// Waits for the clients, and gives the number of those that still wait at the deadline.
pub(super) async fn join(tasks: Vec<JoinHandle<()>>, deadline: Instant) -> usize {
    let mut unfinished = 0;
    for mut task in tasks {
        match timeout_at(deadline.into(), &mut task).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => unfinished += 1,
            },
            Err(_) => {
                task.abort();
                unfinished += 1;
            }
        }
    }
    unfinished
}
