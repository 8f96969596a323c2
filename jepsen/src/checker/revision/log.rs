//! The store's log as far as answers tell it.

use std::collections::{BTreeMap, HashMap};

use crate::checker::verdict::Findings;
use crate::history::{Action, History, Kv, Op, Outcome};

/// Who made which revision.
#[derive(Debug)]
pub(super) struct Log<'a> {
    /// Operation (its place in the history) by revision.
    pub owners: BTreeMap<i64, usize>,
    /// Writes of unknown outcome that nobody has seen the effect of.
    pub unseen: Vec<usize>,
    /// Every version that an answer has shown, by revision and key.
    pub versions: BTreeMap<(i64, &'a str), &'a Kv>,
    /// The newest revision of any answer.
    pub newest: i64,
}

impl<'a> Log<'a> {
    pub(super) fn build(history: &'a History, found: &mut Findings) -> Self {
        let mut log = Self {
            owners: BTreeMap::new(),
            unseen: Vec::new(),
            versions: BTreeMap::new(),
            newest: 1,
        };
        log.take_answered(history, found);
        log.take_versions(history, found);
        log.place_unknown(history, found);
        let placed: std::collections::HashSet<usize> = log.owners.values().copied().collect();
        let unseen = history.ops.iter().enumerate().filter(|(place, op)| {
            op.is_unknown() && op.request.is_write() && !placed.contains(place)
        });
        log.unseen = unseen.map(|(place, _)| place).collect();
        log
    }

    fn take_answered(&mut self, history: &History, found: &mut Findings) {
        for (place, op) in history.ops.iter().enumerate() {
            let Some(response) = op.response() else { continue };
            let revision = response.header.revision;
            self.newest = self.newest.max(revision);
            if !op.changed() {
                continue;
            }
            // The first owner stays: what came before a loss is then still explained.
            let owner = *self.owners.entry(revision).or_insert(place);
            if owner != place {
                let text = format!("revision {revision} was given to two writes");
                found.add("revision-reused", text, [&history.ops[owner], op]);
            }
        }
    }

    fn take_versions(&mut self, history: &'a History, found: &mut Findings) {
        for op in &history.ops {
            let Some(response) = op.response() else { continue };
            for kv in response.answer.kvs() {
                let known = *self.versions.entry((kv.modified, kv.key.as_str())).or_insert(kv);
                if known != kv {
                    let text = format!("one version of {} has two faces: {known} and {kv}", kv.key);
                    found.add("version-conflict", text, [op]);
                }
            }
        }
    }

    /// Gives the revisions at which their values are seen to writes without an answer.
    fn place_unknown(&mut self, history: &History, found: &mut Findings) {
        let writers = writers(history);
        let mut placed: HashMap<usize, i64> = HashMap::new();
        for (&(revision, key), kv) in &self.versions {
            self.newest = self.newest.max(revision);
            let writer = writers.get(&(key, kv.value.as_str())).copied();
            let owner = self.owners.get(&revision).copied();
            match (owner, writer) {
                (Some(owner), Some(writer)) if owner == writer => {}
                (_, None) => {
                    found.add("phantom-value", format!("nobody wrote {kv}"), [""; 0]);
                }
                (Some(owner), Some(writer)) => {
                    let text = format!("{kv} is seen, but revision {revision} is another write's");
                    found.add("foreign-effect", text, [&history.ops[owner], &history.ops[writer]]);
                }
                (None, Some(writer)) => {
                    let op = &history.ops[writer];
                    if op.is_unknown() && *placed.entry(writer).or_insert(revision) == revision {
                        self.owners.insert(revision, writer);
                    } else {
                        let (kind, text) = impossible_sight(op, kv, placed.get(&writer));
                        found.add(kind, text, [op]);
                    }
                }
            }
        }
    }
}

/// Why a value that is seen at a revision without an owner cannot be there.
fn impossible_sight(op: &Op, kv: &Kv, placed: Option<&i64>) -> (&'static str, String) {
    match (&op.outcome, placed) {
        (Outcome::Fail(_), _) => ("aborted-read", format!("{kv} is seen, but its write failed")),
        (Outcome::Ok(_), _) if !op.changed() => {
            ("aborted-read", format!("{kv} is seen, but its transaction took the other branch"))
        }
        (Outcome::Ok(response), _) => {
            let revision = response.header.revision;
            ("applied-twice", format!("{kv} is seen, and its write was answered at {revision}"))
        }
        (Outcome::Unknown(_), placed) => {
            let first = placed.copied().unwrap_or_default();
            ("applied-twice", format!("{kv} is seen, and also at revision {first}"))
        }
    }
}

/// Who writes which value to which key.
pub(super) fn writers(history: &History) -> HashMap<(&str, &str), usize> {
    let mut writers = HashMap::new();
    for (place, op) in history.ops.iter().enumerate() {
        for action in op.request.actions() {
            if let Action::Put { key, value } = action {
                writers.insert((key.as_str(), value.as_str()), place);
            }
        }
    }
    writers
}
