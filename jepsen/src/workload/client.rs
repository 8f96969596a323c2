//! One client: its session, its generator, what it remembers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::kind::Workload;
use super::session::Session;
use crate::history::{Outcome, Request, Response};
use crate::random::Random;

/// What clients of a round share: which set and which lists are in use now.
#[derive(Debug, Default)]
pub(super) struct Shared {
    added: AtomicU64,
    appended: AtomicU64,
}

/// Elements of a set before the next one is begun: reads of it must stay cheap.
const SET_LENGTH: u64 = 200;
/// Appending transactions on a group of lists before the next group is begun.
const GROUP_LENGTH: u64 = 120;

impl Shared {
    /// The set in use, counting one more element.
    pub(super) fn set_for_add(&self) -> u64 {
        self.added.fetch_add(1, Ordering::Relaxed) / SET_LENGTH
    }

    /// The set in use.
    pub(super) fn set(&self) -> u64 {
        self.added.load(Ordering::Relaxed) / SET_LENGTH
    }

    /// The group of lists in use, counting one more transaction if it appends.
    pub(super) fn group(&self, appends: bool) -> u64 {
        let counted = u64::from(appends);
        self.appended.fetch_add(counted, Ordering::Relaxed) / GROUP_LENGTH
    }
}

/// A client.
#[derive(Debug)]
pub struct Client {
    pub(super) session: Session,
    pub(super) random: Random,
    pub(super) shared: Arc<Shared>,
    /// What it knows of registers: value and revision; `None` for an absent one.
    pub(super) known: BTreeMap<String, Option<(String, i64)>>,
    process: u64,
    written: u64,
    workloads: Vec<Workload>,
}

impl Client {
    /// A client with requests of its own, drawn from the seed.
    pub(super) fn new(
        session: Session,
        process: u64,
        seed: u64,
        shared: Arc<Shared>,
        workloads: &[Workload],
    ) -> Self {
        Self {
            session,
            random: Random::new(seed, process + 1),
            shared,
            known: BTreeMap::new(),
            process,
            written: 0,
            workloads: workloads.to_vec(),
        }
    }

    /// Asks once, or the few times that belong together. False if the member cannot be reached.
    pub(super) async fn step(&mut self) -> bool {
        let total: u64 = self.workloads.iter().map(|w| w.weight()).sum();
        let mut drawn = self.random.below(total.max(1));
        let mut chosen = Workload::Register;
        for workload in &self.workloads {
            if drawn < workload.weight() {
                chosen = *workload;
                break;
            }
            drawn -= workload.weight();
        }
        match chosen {
            Workload::Register => self.register_step().await,
            Workload::Set => self.set_step().await,
            Workload::Append => self.append_step().await,
        }
    }

    /// A name that nobody writes twice.
    pub(super) fn unique(&mut self) -> String {
        self.written += 1;
        format!("{}.{}", self.process, self.written)
    }

    /// Asks; `None` if the member cannot be reached, the answer if there is one.
    pub(super) async fn ask(&mut self, request: Request) -> Option<Option<Response>> {
        match self.session.ask(request).await? {
            Outcome::Ok(response) => Some(Some(response)),
            Outcome::Fail(_) | Outcome::Unknown(_) => Some(None),
        }
    }
}
