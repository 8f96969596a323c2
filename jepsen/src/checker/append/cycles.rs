//! Forbidden cycles among transactions.

use std::collections::{HashMap, HashSet, VecDeque};

use super::graph::{Edge, Edges, Txn, Why};
use crate::checker::verdict::Findings;
use crate::history::Action;
use crate::workload::list_key_group;

/// A kind of cycle: the edges that may be on it, and the one that must begin it.
#[derive(Debug)]
struct Class {
    name: &'static str,
    first: Why,
    then: &'static [Why],
}

/// From the worst to the mildest; a set of transactions is reported as the worst it shows.
const CLASSES: [Class; 8] = [
    Class { name: "G0", first: Why::Ww, then: &[Why::Ww] },
    Class { name: "G1c", first: Why::Wr, then: &[Why::Ww, Why::Wr] },
    Class { name: "G-single", first: Why::Rw, then: &[Why::Ww, Why::Wr] },
    Class { name: "G2", first: Why::Rw, then: &[Why::Ww, Why::Wr, Why::Rw] },
    Class { name: "G0-realtime", first: Why::Ww, then: &[Why::Ww, Why::Realtime] },
    Class { name: "G1c-realtime", first: Why::Wr, then: &[Why::Ww, Why::Wr, Why::Realtime] },
    Class { name: "G-single-realtime", first: Why::Rw, then: &[Why::Ww, Why::Wr, Why::Realtime] },
    Class {
        name: "G2-realtime",
        first: Why::Rw,
        then: &[Why::Ww, Why::Wr, Why::Rw, Why::Realtime],
    },
];

pub(super) fn find(edges: &Edges, txns: &[Txn<'_>], found: &mut Findings) {
    for component in components(edges) {
        if component.len() < 2 {
            continue;
        }
        let members: HashSet<usize> = component.iter().copied().collect();
        let inside = |txn: usize| members.contains(&txn);
        for class in &CLASSES {
            if let Some(mut cycle) = cycle_of(class, edges, &component, &inside) {
                if class.then.contains(&Why::Realtime) {
                    cycle = shorten(&cycle, txns);
                }
                report(class.name, &cycle, txns, found);
                break;
            }
        }
    }
}

/// Starting edges from which a shorter cycle is looked for once one is known; in a history with
/// one old read, thousands of transactions can lie on cycles.
const SEARCHES_MAX: usize = 200;

/// A short cycle of a class that its first edge begins.
fn cycle_of(
    class: &Class,
    edges: &Edges,
    component: &[usize],
    inside: &impl Fn(usize) -> bool,
) -> Option<Vec<(usize, Why)>> {
    let mut best: Option<Vec<(usize, Why)>> = None;
    let mut searches = 0;
    for from in component {
        for edge in edges[*from].iter().filter(|e| e.why == class.first && inside(e.to)) {
            if best.is_some() {
                searches += 1;
                if searches > SEARCHES_MAX {
                    return best;
                }
            }
            let Some(back) = path(edges, edge.to, *from, class.then, inside) else { continue };
            let mut cycle = vec![(*from, edge.why)];
            cycle.extend(back);
            if best.as_ref().is_none_or(|best| cycle.len() < best.len()) {
                let is_shortest = cycle.len() == 2;
                best = Some(cycle);
                if is_shortest {
                    return best;
                }
            }
        }
    }
    best
}

/// The shortest way along edges of these kinds.
fn path(
    edges: &Edges,
    from: usize,
    to: usize,
    kinds: &[Why],
    inside: &impl Fn(usize) -> bool,
) -> Option<Vec<(usize, Why)>> {
    let mut came: HashMap<usize, (usize, Why)> = HashMap::new();
    let mut queue = VecDeque::from([from]);
    while let Some(at) = queue.pop_front() {
        if at == to {
            let mut way = Vec::new();
            let mut at = to;
            while at != from {
                let (before, why) = came[&at];
                way.push((before, why));
                at = before;
            }
            way.reverse();
            return Some(way);
        }
        for Edge { to: next, why } in &edges[at] {
            let is_new = *next != from && !came.contains_key(next);
            if is_new && kinds.contains(why) && inside(*next) {
                came.insert(*next, (at, *why));
                queue.push_back(*next);
            }
        }
    }
    None
}

/// Real time needs no steps in between: who had ended before another began, had.
fn shorten(cycle: &[(usize, Why)], txns: &[Txn<'_>]) -> Vec<(usize, Why)> {
    let ended_before =
        |a: usize, b: usize| !txns[a].op.is_unknown() && txns[a].op.completed < txns[b].op.invoked;
    let at = |index: usize| cycle[index % cycle.len()].0;
    let mut short = vec![cycle[0]];
    let mut index = 1;
    while index < cycle.len() {
        let farthest = (index + 1..=cycle.len()).rev().find(|to| ended_before(at(index), at(*to)));
        let (why, next) = match farthest {
            Some(to) => (Why::Realtime, to),
            None => (cycle[index].1, index + 1),
        };
        short.push((at(index), why));
        index = next;
    }
    short
}

fn report(name: &str, cycle: &[(usize, Why)], txns: &[Txn<'_>], found: &mut Findings) {
    let mut lines = Vec::new();
    for (index, (from, why)) in cycle.iter().enumerate() {
        let to = cycle[(index + 1) % cycle.len()].0;
        let because = match why {
            Why::Ww => "ww: appended before",
            Why::Wr => "wr: was read by",
            Why::Rw => "rw: did not see the append of",
            Why::Realtime => "had ended before the begin of",
        };
        lines.push(txns[*from].op.to_string());
        lines.push(format!("  {because} #{}", txns[to].op.id));
    }
    let group = cycle.first().and_then(|(txn, _)| {
        txns[*txn].op.request.actions().find_map(|action| match action {
            Action::Range(range) => list_key_group(&range.key),
            Action::Put { key, .. } | Action::Delete { key } => list_key_group(key),
        })
    });
    let text = format!(
        "{} transactions over lists of group {} depend on each other in a circle",
        cycle.len(),
        group.unwrap_or("?")
    );
    found.add(name, text, lines);
}

/// Strongly connected components, by Tarjan's method without recursion.
fn components(edges: &Edges) -> Vec<Vec<usize>> {
    let mut tarjan = Tarjan {
        edges,
        index: vec![None; edges.len()],
        low: vec![0; edges.len()],
        on_stack: vec![false; edges.len()],
        stack: Vec::new(),
        next: 0,
        components: Vec::new(),
    };
    for node in 0..edges.len() {
        if tarjan.index[node].is_none() {
            tarjan.visit(node);
        }
    }
    tarjan.components
}

#[derive(Debug)]
struct Tarjan<'a> {
    edges: &'a Edges,
    index: Vec<Option<usize>>,
    low: Vec<usize>,
    on_stack: Vec<bool>,
    stack: Vec<usize>,
    next: usize,
    components: Vec<Vec<usize>>,
}

impl Tarjan<'_> {
    fn visit(&mut self, root: usize) {
        let mut calls = vec![(root, 0)];
        self.enter(root);
        while let Some((node, edge)) = calls.pop() {
            if let Some(Edge { to, .. }) = self.edges[node].get(edge) {
                calls.push((node, edge + 1));
                match self.index[*to] {
                    None => {
                        self.enter(*to);
                        calls.push((*to, 0));
                    }
                    Some(index) if self.on_stack[*to] => {
                        self.low[node] = self.low[node].min(index);
                    }
                    Some(_) => {}
                }
                continue;
            }
            if self.index[node] == Some(self.low[node]) {
                self.leave(node);
            }
            if let Some((parent, _)) = calls.last() {
                self.low[*parent] = self.low[*parent].min(self.low[node]);
            }
        }
    }

    fn enter(&mut self, node: usize) {
        self.index[node] = Some(self.next);
        self.low[node] = self.next;
        self.next += 1;
        self.on_stack[node] = true;
        self.stack.push(node);
    }

    fn leave(&mut self, node: usize) {
        let from = self.stack.iter().rposition(|n| *n == node).expect("it is on the stack");
        let component = self.stack.split_off(from);
        for member in &component {
            self.on_stack[*member] = false;
        }
        self.components.push(component);
    }
}
