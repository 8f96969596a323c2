//! The report of a round and of a run.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use super::availability::{Availability, Gap, longest_gaps};
use crate::checker::Verdict;
use crate::history::{History, Outcome};

/// Outcomes of operations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Answered.
    pub ok: usize,
    /// Certainly without effect.
    pub fail: usize,
    /// Unknown.
    pub unknown: usize,
}

/// One round.
#[derive(Debug, Clone, Serialize)]
pub struct RoundReport {
    /// Its number, from 1.
    pub round: u64,
    /// Where its schedule and requests come from.
    pub seed: u64,
    /// Outcomes.
    pub ops: Counts,
    /// Faults that began.
    pub faults: usize,
    /// The longest time without acknowledged writes.
    pub longest_gap: Option<Gap>,
    /// The same around each fault.
    pub around_faults: Vec<Availability>,
    /// What the checkers say.
    pub verdicts: Vec<Verdict>,
    /// Where history, schedule and logs of members lie, if they were kept.
    pub files: Option<PathBuf>,
}

impl RoundReport {
    /// The report of a history.
    pub fn of(history: &History, verdicts: Vec<Verdict>, files: Option<PathBuf>) -> Self {
        let count =
            |f: fn(&Outcome) -> bool| history.ops.iter().filter(|op| f(&op.outcome)).count();
        let ops = Counts {
            ok: count(|o| matches!(o, Outcome::Ok(_))),
            fail: count(|o| matches!(o, Outcome::Fail(_))),
            unknown: count(|o| matches!(o, Outcome::Unknown(_))),
        };
        let (longest_gap, around_faults) = longest_gaps(history);
        Self {
            round: history.start.round,
            seed: history.start.seed,
            ops,
            faults: history.faults.iter().filter(|(_, fault)| fault.begins).count(),
            longest_gap,
            around_faults,
            verdicts,
            files,
        }
    }

    /// Whether no checker found anything.
    pub fn is_clean(&self) -> bool {
        self.verdicts.iter().all(Verdict::is_clean)
    }

    /// Whether every checker came to an end.
    pub fn is_decided(&self) -> bool {
        self.verdicts.iter().all(|verdict| verdict.undecided.is_none())
    }
}

impl fmt::Display for RoundReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { ok, fail, unknown } = self.ops;
        writeln!(f, "round {}  seed {}", self.round, self.seed)?;
        writeln!(f, "  operations  {ok} ok, {fail} failed, {unknown} unknown")?;
        write!(f, "  faults      {}", self.faults)?;
        if let Some(gap) = &self.longest_gap {
            let (seconds, from) = (gap.seconds, gap.from);
            write!(f, "; longest time without writes {seconds:.3} s, from {from:.3} s on")?;
        }
        writeln!(f)?;
        for verdict in &self.verdicts {
            writeln!(f, "  {verdict}")?;
        }
        self.write_anomalies(f)?;
        if let Some(files) = &self.files {
            writeln!(f, "  files       {}", files.display())?;
        }
        Ok(())
    }
}

/// Operations that are printed as the evidence of one anomaly; a cycle may be long.
const EVIDENCE_SHOWN: usize = 16;

impl RoundReport {
    /// One anomaly of each kind, or all that were kept with `{:#}`.
    fn write_anomalies(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = std::collections::BTreeSet::new();
        let mut left_out = 0;
        for verdict in &self.verdicts {
            for anomaly in &verdict.anomalies {
                if !shown.insert((verdict.checker, &anomaly.kind)) && !f.alternate() {
                    left_out += 1;
                    continue;
                }
                writeln!(f, "\n  {} / {}: {}", verdict.checker, anomaly.kind, anomaly.text)?;
                let lines = anomaly.evidence.iter().filter(|line| !line.is_empty());
                let limit = if f.alternate() { usize::MAX } else { EVIDENCE_SHOWN };
                for line in lines.take(limit) {
                    writeln!(f, "    {line}")?;
                }
            }
        }
        if left_out > 0 {
            writeln!(f, "\n  {left_out} more of these kinds are in anomalies.txt")?;
        }
        Ok(())
    }
}

/// All rounds.
#[derive(Debug, Clone, Default, Serialize)]
pub struct RunReport {
    /// `keelson` or `etcd`.
    pub subject: String,
    /// The program.
    pub program: PathBuf,
    /// Number of members.
    pub nodes: usize,
    /// `namespaces` or `loopback`.
    pub network: String,
    /// The faults asked for.
    pub mix: String,
    /// The seed of the first round.
    pub seed: u64,
    /// How long it took, checks included.
    pub seconds: f64,
    /// The rounds.
    pub rounds: Vec<RoundReport>,
}

impl RunReport {
    /// Whether nothing was found in any round.
    pub fn is_clean(&self) -> bool {
        self.rounds.iter().all(RoundReport::is_clean)
    }

    /// The times without writes around all faults, in order, by kind.
    fn gaps_by_fault(&self) -> BTreeMap<&str, Vec<f64>> {
        let mut gaps: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        for around in self.rounds.iter().flat_map(|round| &round.around_faults) {
            gaps.entry(&around.fault).or_default().push(around.gap.seconds);
        }
        gaps.values_mut().for_each(|gaps| gaps.sort_by(f64::total_cmp));
        gaps
    }
}

impl fmt::Display for RunReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sum = |count: fn(&Counts) -> usize| -> usize {
            self.rounds.iter().map(|round| count(&round.ops)).sum()
        };
        let bad: Vec<&RoundReport> = self.rounds.iter().filter(|round| !round.is_clean()).collect();
        let open = self.rounds.iter().filter(|round| !round.is_decided()).count();
        let longest = self.rounds.iter().filter_map(|round| round.longest_gap);
        let longest = longest.map(|gap| gap.seconds).fold(0.0, f64::max);
        writeln!(
            f,
            "{} x{} ({}), mix {}, seed {}, {} rounds in {:.0} s",
            self.subject,
            self.nodes,
            self.network,
            self.mix,
            self.seed,
            self.rounds.len(),
            self.seconds
        )?;
        writeln!(
            f,
            "{} ok, {} failed, {} unknown; {} faults; longest time without writes {longest:.3} s",
            sum(|c| c.ok),
            sum(|c| c.fail),
            sum(|c| c.unknown),
            self.rounds.iter().map(|round| round.faults).sum::<usize>(),
        )?;
        for (fault, gaps) in self.gaps_by_fault() {
            let (median, longest) = (gaps[gaps.len() / 2], gaps[gaps.len() - 1]);
            let times = gaps.len();
            writeln!(
                f,
                "  {fault:<18} x{times:<5} without writes: median {median:.2} s, longest {longest:.2} s"
            )?;
        }
        if open > 0 {
            writeln!(f, "in {open} rounds a checker could not decide; see above")?;
        }
        match bad.as_slice() {
            [] => write!(f, "CLEAN: no anomaly found"),
            bad => {
                let seeds: Vec<String> = bad.iter().map(|round| round.seed.to_string()).collect();
                write!(f, "ANOMALIES in {} rounds, seeds {}", bad.len(), seeds.join(", "))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_counts_faults_by_kind_with_their_times_without_writes() {
        let around = |fault: &str, seconds: f64| Availability {
            fault: fault.to_owned(),
            detail: String::new(),
            gap: Gap { from: 1.0, seconds },
        };
        let round = |around_faults| RoundReport {
            round: 1,
            seed: 7,
            ops: Counts { ok: 10, fail: 2, unknown: 1 },
            faults: 2,
            longest_gap: None,
            around_faults,
            verdicts: Vec::new(),
            files: None,
        };
        let rounds = vec![
            round(vec![around("kill", 3.0), around("pause", 0.5)]),
            round(vec![around("kill", 1.0), around("kill", 2.0)]),
        ];
        let text = RunReport { rounds, seconds: 90.0, ..RunReport::default() }.to_string();
        for line in [
            "2 rounds in 90 s",
            "20 ok, 4 failed, 2 unknown; 4 faults",
            "  kill               x3     without writes: median 2.00 s, longest 3.00 s",
            "  pause              x1     without writes: median 0.50 s, longest 0.50 s",
            "CLEAN",
        ] {
            assert!(text.contains(line), "no {line:?} in\n{text}");
        }
    }
}
