//! Carries a schedule out.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::plan::{Cut, Deed, Plan, Step, Who, names};
use crate::cluster::Cluster;
use crate::history::{Event, Fault, Recorder};

/// What does the harm. It owns the cluster while it works.
#[derive(Debug)]
pub struct Nemesis<'a> {
    cluster: &'a mut Cluster,
    recorder: &'a Recorder,
    /// Dead directions by the step that cut them; the union is what is dead.
    cuts: BTreeMap<usize, BTreeSet<(usize, usize)>>,
    /// Members that a step has killed or paused and must bring back.
    victims: BTreeMap<usize, Vec<usize>>,
}

/// What is next on the schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    at: Duration,
    step: usize,
    begins: bool,
}

impl<'a> Nemesis<'a> {
    /// Ready to harm.
    pub fn new(cluster: &'a mut Cluster, recorder: &'a Recorder) -> Self {
        Self { cluster, recorder, cuts: BTreeMap::new(), victims: BTreeMap::new() }
    }

    /// Does everything on the schedule, each at its time after `begin`, and undoes it.
    pub async fn run(&mut self, plan: &Plan, begin: Duration) -> anyhow::Result<()> {
        let mut turns = Vec::new();
        for (step, Step { at, lasts, .. }) in plan.steps.iter().enumerate() {
            turns.push(Turn { at: *at, step, begins: true });
            turns.push(Turn { at: *at + *lasts, step, begins: false });
        }
        turns.sort();
        for turn in turns {
            tokio::time::sleep_until(self.recorder.clock().at(begin + turn.at)).await;
            let deed = &plan.steps[turn.step].deed;
            match turn.begins {
                true => self.begin(turn.step, deed).await?,
                false => self.end(turn.step, deed)?,
            }
        }
        Ok(())
    }

    async fn begin(&mut self, step: usize, deed: &Deed) -> anyhow::Result<()> {
        match deed {
            Deed::Kill(who) => {
                let nodes = self.find(who).await;
                self.note(step, "kill", true, &nodes, format!("kill -9 {}", names(&nodes)));
                nodes.iter().for_each(|node| self.cluster.kill(*node));
                self.victims.insert(step, nodes);
            }
            Deed::KillVoters(or, kills) => self.kill_voters(step, *or, kills).await?,
            Deed::Pause(who) => {
                let nodes = self.find(who).await;
                self.note(step, "pause", true, &nodes, format!("SIGSTOP {}", names(&nodes)));
                nodes.iter().for_each(|node| self.cluster.pause(*node));
                self.victims.insert(step, nodes);
            }
            Deed::Cut(cut) => {
                let (who, dead) = self.links(cut).await;
                let text = dead.iter().map(|(a, b)| format!("n{}>n{}", a + 1, b + 1));
                let text = text.collect::<Vec<_>>().join(" ");
                self.note(step, "partition", true, &who, format!("cut {text}"));
                self.cuts.insert(step, dead);
                self.apply_cuts()?;
            }
        }
        Ok(())
    }

    async fn kill_voters(
        &mut self,
        step: usize,
        or: usize,
        kills: &[(usize, Duration)],
    ) -> anyhow::Result<()> {
        let leader = self.find(&Who::Leader(or)).await;
        self.note(step, "kill-election", true, &leader, format!("kill -9 {}", names(&leader)));
        leader.iter().for_each(|node| self.cluster.kill(*node));
        for (node, after) in kills.iter().filter(|(node, _)| !leader.contains(node)) {
            tokio::time::sleep(*after).await;
            let text = format!("kill -9 n{} and restart at once", node + 1);
            self.note(step, "kill-election", true, &[*node], text);
            self.cluster.kill(*node);
            self.cluster.start(*node)?;
        }
        self.victims.insert(step, leader);
        Ok(())
    }

    fn end(&mut self, step: usize, deed: &Deed) -> anyhow::Result<()> {
        let victims = self.victims.remove(&step).unwrap_or_default();
        match deed {
            Deed::Kill(_) | Deed::KillVoters(..) => {
                self.note(step, "kill", false, &victims, format!("start {}", names(&victims)));
                victims.iter().try_for_each(|node| self.cluster.start(*node))?;
            }
            Deed::Pause(_) => {
                self.note(step, "pause", false, &victims, format!("SIGCONT {}", names(&victims)));
                victims.iter().for_each(|node| self.cluster.resume(*node));
            }
            Deed::Cut(_) => {
                self.note(step, "partition", false, &[], "heal".to_owned());
                self.cuts.remove(&step);
                self.apply_cuts()?;
            }
        }
        Ok(())
    }

    /// Undoes everything, whatever the schedule says.
    pub fn heal(&mut self) -> anyhow::Result<()> {
        self.cuts.clear();
        self.apply_cuts()?;
        for node in 0..self.cluster.len() {
            self.cluster.resume(node);
        }
        self.cluster.start_all()
    }

    async fn find(&self, who: &Who) -> Vec<usize> {
        match who {
            Who::Nodes(nodes) => nodes.clone(),
            Who::Leader(or) => vec![self.cluster.leader().await.unwrap_or(*or)],
        }
    }

    async fn links(&self, cut: &Cut) -> (Vec<usize>, BTreeSet<(usize, usize)>) {
        let who = match cut {
            Cut::Split(who) | Cut::Mute(who) | Cut::Deaf(who) => self.find(who).await,
            Cut::Ring(order) => order.clone(),
            Cut::Bridge(order) => order[..1].to_vec(),
        };
        let dead = dead_links(cut, &who, self.cluster.len());
        (who, dead)
    }

    fn apply_cuts(&mut self) -> anyhow::Result<()> {
        let dead: BTreeSet<(usize, usize)> = self.cuts.values().flatten().copied().collect();
        self.cluster.cut(&dead)
    }

    fn note(&self, step: usize, kind: &str, begins: bool, nodes: &[usize], detail: String) {
        let kind = kind.to_owned();
        let nodes = nodes.to_vec();
        self.recorder.note(Event::Nemesis(Fault { step, kind, begins, nodes, detail }));
    }
}

/// The directions that a cut kills, given whom it hits.
fn dead_links(cut: &Cut, who: &[usize], nodes: usize) -> BTreeSet<(usize, usize)> {
    let hit = |node: usize| who.contains(&node);
    let neighbours = |a: usize, b: usize| {
        let place = |node| who.iter().position(|n| *n == node).unwrap_or(0);
        let apart = place(a).abs_diff(place(b));
        apart == 1 || apart == nodes - 1
    };
    let is_dead = |from: usize, to: usize| match cut {
        Cut::Split(_) => hit(from) != hit(to),
        Cut::Mute(_) => hit(from) && !hit(to),
        Cut::Deaf(_) => !hit(from) && hit(to),
        Cut::Bridge(_) => !hit(from) && !hit(to),
        Cut::Ring(_) => !neighbours(from, to),
    };
    let pairs = (0..nodes).flat_map(|from| (0..nodes).map(move |to| (from, to)));
    pairs.filter(|(from, to)| from != to && is_dead(*from, *to)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dead(cut: &Cut, who: &[usize], nodes: usize) -> Vec<(usize, usize)> {
        dead_links(cut, who, nodes).into_iter().collect()
    }

    #[test]
    fn cuts_kill_the_links_they_name() {
        let one = Who::Nodes(vec![0]);
        assert_eq!(dead(&Cut::Split(one.clone()), &[0], 3), [(0, 1), (0, 2), (1, 0), (2, 0)]);
        assert_eq!(dead(&Cut::Mute(one.clone()), &[0], 3), [(0, 1), (0, 2)]);
        assert_eq!(dead(&Cut::Deaf(one), &[0], 3), [(1, 0), (2, 0)]);
        assert_eq!(dead(&Cut::Bridge(vec![1, 0, 2]), &[1], 3), [(0, 2), (2, 0)]);
        let order = vec![0, 2, 4, 1, 3];
        let links = dead(&Cut::Ring(order.clone()), &order, 5);
        assert_eq!(links.len(), 10, "each of five has two neighbours left");
        assert!(!links.contains(&(0, 2)) && !links.contains(&(3, 0)) && links.contains(&(0, 1)));
    }
}
