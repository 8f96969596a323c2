//! A schedule of faults, drawn from a seed before the round begins.

use std::fmt;
use std::time::Duration;

use super::mix::Mix;
use crate::random::Random;

/// Whom a fault hits; the leader is looked up when the time has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// These members.
    Nodes(Vec<usize>),
    /// Whoever leads, or the member named if nobody does.
    Leader(usize),
}

/// Links that die.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cut {
    /// Between these members and the rest, both directions.
    Split(Who),
    /// All but those to the neighbours on a ring in this order.
    Ring(Vec<usize>),
    /// Between the members of this order but its first, which sees all: a bridge.
    Bridge(Vec<usize>),
    /// From these members to the rest.
    Mute(Who),
    /// From the rest to these members.
    Deaf(Who),
}

/// What is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    /// SIGKILL, restart at the end.
    Kill(Who),
    /// SIGKILL of the leader, then of others (which, how long after the one before), each
    /// restarted at once; the leader is restarted at the end.
    KillVoters(usize, Vec<(usize, Duration)>),
    /// SIGSTOP, SIGCONT at the end.
    Pause(Who),
    /// Links.
    Cut(Cut),
}

/// One fault of a schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// When it begins, after the start of the round.
    pub at: Duration,
    /// When it is undone, after its begin.
    pub lasts: Duration,
    /// What is done.
    pub deed: Deed,
}

/// A schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// By the time they begin.
    pub steps: Vec<Step>,
}

/// What a schedule depends on besides seed and kinds.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Number of members.
    pub nodes: usize,
    /// Length of the round; all faults are undone before its end.
    pub length: Duration,
    /// A member's election timeout: pauses and cuts that matter are longer.
    pub election: Duration,
}

/// Of 100 faults of a mixed schedule, so many begin while the one before still lasts.
const OVERLAP_PERCENT: u64 = 25;

impl Plan {
    /// The schedule of a seed.
    pub fn draw(seed: u64, kinds: &[Mix], setting: Setting) -> Self {
        let mut random = Random::new(seed, u64::from_le_bytes(*b"schedule"));
        let mut steps = Vec::new();
        let mut at = millis(random.between(500, 1500));
        while !kinds.is_empty() {
            let kind = kinds[random.index(kinds.len())];
            let (deed, lasts) = draw_step(&mut random, kind, setting);
            if at + lasts + millis(500) > setting.length {
                break;
            }
            steps.push(Step { at, lasts, deed });
            let overlaps = kinds.len() > 1 && random.percent(OVERLAP_PERCENT);
            let gap = if overlaps { lasts / 2 } else { lasts + millis(random.between(500, 2500)) };
            at += gap;
        }
        Self { steps }
    }
}

fn draw_step(random: &mut Random, kind: Mix, setting: Setting) -> (Deed, Duration) {
    let nodes = setting.nodes;
    let election = u64::try_from(setting.election.as_millis()).unwrap_or(u64::MAX);
    let one = |random: &mut Random| Who::Nodes(vec![random.index(nodes)]);
    let leader = |random: &mut Random| Who::Leader(random.index(nodes));
    match kind {
        Mix::None | Mix::All => unreachable!("they are expanded into single kinds"),
        Mix::Kill => (Deed::Kill(one(random)), millis(random.between(0, 3000))),
        Mix::KillLeader => (Deed::Kill(leader(random)), millis(random.between(0, 3000))),
        Mix::KillAll => {
            (Deed::Kill(Who::Nodes((0..nodes).collect())), millis(random.between(0, 800)))
        }
        Mix::KillElection => draw_voters(random, nodes, election),
        Mix::Pause => (Deed::Pause(one(random)), millis(random.between(200, 8 * election))),
        Mix::PauseLeader => {
            (Deed::Pause(leader(random)), millis(random.between(2 * election, 8 * election)))
        }
        Mix::Partition => {
            (Deed::Cut(draw_partition(random, nodes)), millis(random.between(300, 7 * election)))
        }
        Mix::PartitionOneWay => {
            let side = minority(random, nodes);
            let cut = if random.percent(50) { Cut::Mute(side) } else { Cut::Deaf(side) };
            (Deed::Cut(cut), millis(random.between(300, 7 * election)))
        }
        Mix::IsolateLeader => {
            let who = leader(random);
            let cut = match random.below(4) {
                0 => Cut::Mute(who),
                1 => Cut::Deaf(who),
                _ => Cut::Split(who),
            };
            (Deed::Cut(cut), millis(random.between(2 * election, 7 * election)))
        }
    }
}

/// Kills over about two election timeouts, so that some fall between a vote and its leader's first
/// words.
fn draw_voters(random: &mut Random, nodes: usize, election: u64) -> (Deed, Duration) {
    let fallback = random.index(nodes);
    let kills = (0..random.between(4, 8))
        .map(|_| (random.index(nodes), millis(random.between(election / 10, election / 2))))
        .collect();
    (Deed::KillVoters(fallback, kills), millis(random.between(2 * election, 4 * election)))
}

fn draw_partition(random: &mut Random, nodes: usize) -> Cut {
    let mut order: Vec<usize> = (0..nodes).collect();
    random.shuffle(&mut order);
    match random.below(4) {
        0 => Cut::Split(Who::Nodes(vec![order[0]])),
        1 if nodes > 3 => Cut::Ring(order),
        2 if nodes > 2 => Cut::Bridge(order),
        _ => Cut::Split(minority(random, nodes)),
    }
}

fn minority(random: &mut Random, nodes: usize) -> Who {
    let mut order: Vec<usize> = (0..nodes).collect();
    random.shuffle(&mut order);
    order.truncate((nodes / 2).max(1));
    Who::Nodes(order)
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nodes(nodes) => f.write_str(&names(nodes)),
            Self::Leader(or) => write!(f, "the leader (or {})", names(&[*or])),
        }
    }
}

/// Members by name.
pub(super) fn names(nodes: &[usize]) -> String {
    let names: Vec<String> = nodes.iter().map(|node| format!("n{}", node + 1)).collect();
    names.join(",")
}

impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill(who) => write!(f, "kill {who}"),
            Self::KillVoters(or, kills) => {
                let nodes: Vec<usize> = kills.iter().map(|(node, _)| *node).collect();
                write!(f, "kill {}, then {}", Who::Leader(*or), names(&nodes))
            }
            Self::Pause(who) => write!(f, "pause {who}"),
            Self::Cut(Cut::Split(who)) => write!(f, "cut {who} off from the rest"),
            Self::Cut(Cut::Ring(order)) => write!(f, "cut all links but the ring {}", names(order)),
            Self::Cut(Cut::Bridge(order)) => {
                write!(f, "cut all links but those of {}", names(&order[..1]))
            }
            Self::Cut(Cut::Mute(who)) => write!(f, "cut what {who} sends to the rest"),
            Self::Cut(Cut::Deaf(who)) => write!(f, "cut what the rest sends to {who}"),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (at, lasts) = (self.at.as_secs_f64(), self.lasts.as_secs_f64());
        write!(f, "{at:8.3} s  {}, for {lasts:.3} s", self.deed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(nodes: usize, seconds: u64) -> Setting {
        Setting {
            nodes,
            length: Duration::from_secs(seconds),
            election: Duration::from_millis(1000),
        }
    }

    #[test]
    fn a_seed_gives_one_schedule() {
        let draw = |seed| Plan::draw(seed, &Mix::SINGLE, setting(5, 120));
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    #[test]
    fn every_kind_comes_and_every_fault_ends_in_time() {
        for kind in Mix::SINGLE {
            let plan = Plan::draw(9, &[kind], setting(3, 30));
            assert!(!plan.steps.is_empty(), "{kind:?}");
        }
        let plan = Plan::draw(9, &Mix::SINGLE, setting(5, 600));
        let all: String = plan.steps.iter().map(|step| format!("{step}\n")).collect();
        for word in
            ["kill", "pause", "then", "off from", "ring", "links but those", "the rest sends"]
        {
            assert!(all.contains(word), "no {word} in\n{all}");
        }
        for step in &plan.steps {
            assert!(step.at + step.lasts < Duration::from_secs(600), "{step}");
        }
    }

    #[test]
    fn steps_begin_in_order() {
        let plan = Plan::draw(4, &Mix::SINGLE, setting(3, 300));
        assert!(plan.steps.len() > 10);
        assert!(plan.steps.windows(2).all(|pair| pair[0].at <= pair[1].at));
    }
}
