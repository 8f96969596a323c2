//! What a checker found.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::clock::Clock;

/// Anomalies of one kind that are kept; a lost write makes every later read wrong, and the first
/// few tell the story.
pub(super) const ANOMALIES_PER_KIND_MAX: usize = 5;

/// Something that a correct store cannot do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Anomaly {
    /// Its name, such as `stale-read`.
    pub kind: String,
    /// In words.
    pub text: String,
    /// The operations that show it.
    pub evidence: Vec<String>,
}

/// What one checker says about one history.
#[derive(Debug, Clone, Serialize)]
pub struct Verdict {
    /// The checker.
    pub checker: &'static str,
    /// Operations (or transactions, or elements) it looked at.
    pub examined: usize,
    /// What is wrong, the first few of each kind.
    pub anomalies: Vec<Anomaly>,
    /// All that is wrong, by kind.
    pub counts: BTreeMap<String, usize>,
    /// Why it could not decide, if it could not.
    pub undecided: Option<String>,
    /// How long it took.
    pub seconds: f64,
}

impl Verdict {
    /// Whether nothing is wrong as far as it could tell.
    pub fn is_clean(&self) -> bool {
        self.anomalies.is_empty()
    }

    /// Whether an anomaly of this kind was found.
    pub fn has(&self, kind: &str) -> bool {
        self.counts.contains_key(kind)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<9} ", self.checker)?;
        match (&self.undecided, self.is_clean()) {
            (_, false) => {
                let kinds = self.counts.iter().map(|(kind, count)| format!("{kind} x{count}"));
                write!(f, "ANOMALY   {}", kinds.collect::<Vec<_>>().join(", "))?;
            }
            (Some(why), true) => write!(f, "UNDECIDED {why}")?,
            (None, true) => write!(f, "clean")?,
        }
        write!(f, "  ({} examined, {:.2} s)", self.examined, self.seconds)
    }
}

/// Gathers anomalies.
#[derive(Debug)]
pub struct Findings {
    checker: &'static str,
    clock: Clock,
    anomalies: Vec<Anomaly>,
    counts: BTreeMap<String, usize>,
}

impl Findings {
    /// Nothing yet.
    pub fn new(checker: &'static str) -> Self {
        Self { checker, clock: Clock::start(), anomalies: Vec::new(), counts: BTreeMap::new() }
    }

    /// One more.
    pub fn add<E: fmt::Display>(
        &mut self,
        kind: &str,
        text: impl fmt::Display,
        evidence: impl IntoIterator<Item = E>,
    ) {
        let count = self.counts.entry(kind.to_owned()).or_default();
        *count += 1;
        if *count <= ANOMALIES_PER_KIND_MAX {
            self.anomalies.push(Anomaly {
                kind: kind.to_owned(),
                text: text.to_string(),
                evidence: evidence.into_iter().map(|e| e.to_string()).collect(),
            });
        }
    }

    /// The end.
    pub fn verdict(self, examined: usize, undecided: Option<String>) -> Verdict {
        Verdict {
            checker: self.checker,
            examined,
            anomalies: self.anomalies,
            counts: self.counts,
            undecided,
            seconds: self.clock.elapsed().as_secs_f64(),
        }
    }
}
