//! Transactions over lists and their dependencies.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::checker::verdict::Findings;
use crate::history::{Action, Answer, History, Op, Outcome};
use crate::workload::{LISTS, elements};

/// Why one transaction comes before another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Why {
    /// The other appended after it.
    Ww,
    /// The other read what it appended.
    Wr,
    /// The other appended what it did not see.
    Rw,
    /// The other began after it had ended.
    Realtime,
}

/// A dependency.
#[derive(Debug, Clone, Copy)]
pub(super) struct Edge {
    pub to: usize,
    pub why: Why,
}

/// Dependencies by the transaction they leave from.
pub(super) type Edges = Vec<Vec<Edge>>;

/// A transaction that has happened or may have.
#[derive(Debug)]
pub(super) struct Txn<'a> {
    pub op: &'a Op,
    /// What it saw of lists before its own appends.
    pub reads: BTreeMap<&'a str, Vec<&'a str>>,
    /// What it appends.
    pub appends: BTreeMap<&'a str, Vec<&'a str>>,
}

/// All transactions over lists that have not certainly failed.
pub(super) fn txns(history: &History) -> Vec<Txn<'_>> {
    let may_have_happened = |op: &&Op| match &op.outcome {
        Outcome::Ok(_) => true,
        Outcome::Unknown(_) => op.request.is_write(),
        Outcome::Fail(_) => false,
    };
    let ops = history.ops.iter().filter(may_have_happened);
    ops.filter_map(txn).filter(|txn| !txn.reads.is_empty() || !txn.appends.is_empty()).collect()
}

fn txn(op: &Op) -> Option<Txn<'_>> {
    if op.request.is_serializable() {
        return None;
    }
    let mut txn = Txn { op, reads: BTreeMap::new(), appends: BTreeMap::new() };
    if op.is_unknown() {
        txn.appends = appends(op);
        return Some(txn);
    }
    for (action, answer) in op.taken() {
        match action {
            Action::Range(range) if range.revision == 0 => {
                if range.end.is_none() && range.key.starts_with(LISTS) {
                    txn.reads.entry(&range.key).or_default();
                }
                for kv in answer.kvs().into_iter().filter(|kv| kv.key.starts_with(LISTS)) {
                    txn.reads.insert(&kv.key, elements(&kv.value).collect());
                }
            }
            Action::Put { key, .. } if key.starts_with(LISTS) => {
                // The condition on its revision makes what was there before part of what it saw.
                if let Answer::Put { prev } = answer {
                    let before = prev.as_ref().map(|kv| elements(&kv.value).collect());
                    txn.reads.insert(key, before.unwrap_or_default());
                }
                txn.appends = appends(op);
            }
            Action::Range(_) | Action::Put { .. } | Action::Delete { .. } => {}
        }
    }
    Some(txn)
}

/// What a transaction appends: the elements at the end of its lists that carry its name.
fn appends(op: &Op) -> BTreeMap<&str, Vec<&str>> {
    let mut appends = BTreeMap::new();
    for action in op.request.actions() {
        let Action::Put { key, value } = action else { continue };
        if !key.starts_with(LISTS) {
            continue;
        }
        let all: Vec<&str> = elements(value).collect();
        let name = all.last().map_or("", |last| name_of(last));
        let own = all.iter().rev().take_while(|element| name_of(element) == name).count();
        appends.insert(key.as_str(), all[all.len() - own..].to_vec());
    }
    appends
}

/// The name of the transaction in an element: `CLIENT.NUMBER.POSITION`.
fn name_of(element: &str) -> &str {
    element.rsplit_once('.').map_or(element, |(name, _)| name)
}

/// Who appended an element.
#[derive(Debug, Clone, Copy)]
struct Writer {
    txn: usize,
    /// Whether it is the last one that the transaction appended to that list.
    is_last: bool,
}

type Writers<'a> = HashMap<(&'a str, &'a str), Writer>;

/// All dependencies; what is wrong without a cycle is reported on the way.
pub(super) fn edges(txns: &[Txn<'_>], history: &History, found: &mut Findings) -> Edges {
    let mut edges: Edges = txns.iter().map(|_| Vec::new()).collect();
    let mut writers = Writers::new();
    for (index, txn) in txns.iter().enumerate() {
        for (key, appended) in &txn.appends {
            for element in appended {
                let is_last = appended.last() == Some(element);
                writers.insert((key, element), Writer { txn: index, is_last });
            }
        }
    }
    check_failed(txns, history, found);
    for (key, order) in orders(txns, found) {
        check_order(key, &order, txns, &writers, found);
        add_list_edges(key, &order, txns, &writers, &mut edges, found);
    }
    add_realtime(txns, &mut edges);
    edges
}

/// G1a: elements of transactions that certainly failed.
fn check_failed(txns: &[Txn<'_>], history: &History, found: &mut Findings) {
    let mut failed: HashMap<(&str, &str), &Op> = HashMap::new();
    for op in &history.ops {
        let is_failed = matches!(op.outcome, Outcome::Fail(_))
            || (matches!(op.outcome, Outcome::Ok(_)) && !op.changed());
        if is_failed {
            for (key, appended) in appends(op) {
                failed.extend(appended.into_iter().map(|element| ((key, element), op)));
            }
        }
    }
    for txn in txns {
        for (key, seen) in &txn.reads {
            let bad = seen
                .iter()
                .find_map(|element| failed.get(&(*key, *element)).map(|op| (element, *op)));
            if let Some((element, op)) = bad {
                let text = format!("{element} of {key} is read, but its transaction failed");
                found.add("G1a", text, [op, txn.op]);
            }
        }
    }
}

/// The order of each list: its longest read. Every other read must be a beginning of it.
fn orders<'a>(txns: &[Txn<'a>], found: &mut Findings) -> BTreeMap<&'a str, Vec<&'a str>> {
    let mut longest: BTreeMap<&str, (usize, &Vec<&str>)> = BTreeMap::new();
    for (index, txn) in txns.iter().enumerate() {
        for (key, seen) in &txn.reads {
            let best = longest.entry(key).or_insert((index, seen));
            if seen.len() > best.1.len() {
                *best = (index, seen);
            }
        }
    }
    for txn in txns {
        for (key, seen) in &txn.reads {
            let (by, order) = longest[key];
            if !order.starts_with(seen) {
                let text = format!("two reads of {key} do not agree on the order of elements");
                found.add("incompatible-order", text, [txn.op, txns[by].op]);
            }
        }
    }
    longest.into_iter().map(|(key, (_, order))| (key, order.clone())).collect()
}

/// Doubled, made up and lost elements.
fn check_order(
    key: &str,
    order: &[&str],
    txns: &[Txn<'_>],
    writers: &Writers<'_>,
    found: &mut Findings,
) {
    let mut known = HashSet::new();
    for element in order {
        if !known.insert(*element) {
            found.add("duplicated-element", format!("{key} holds {element} twice"), [""; 0]);
        }
        if !writers.contains_key(&(key, element)) {
            let text = format!("{key} holds {element}, which nobody appended");
            found.add("phantom-element", text, [""; 0]);
        }
    }
    // Who appended and was told so before the longest read was asked is in that read.
    let reader = txns.iter().filter(|txn| txn.reads.get(key).is_some_and(|seen| seen == order));
    let Some(last) = reader.max_by_key(|txn| txn.op.invoked) else { return };
    for txn in txns.iter().filter(|txn| txn.op.changed() && txn.op.completed < last.op.invoked) {
        let appended = txn.appends.get(key).into_iter().flatten();
        if let Some(element) = appended.into_iter().find(|element| !known.contains(*element)) {
            let text = format!("{element} was appended to {key}, but a later read lacks it");
            found.add("lost-element", text, [txn.op, last.op]);
        }
    }
}

fn add_list_edges(
    key: &str,
    order: &[&str],
    txns: &[Txn<'_>],
    writers: &Writers<'_>,
    edges: &mut Edges,
    found: &mut Findings,
) {
    let writer_of = |element: &str| writers.get(&(key, element)).copied();
    let mut link = |from: usize, to: usize, why: Why| {
        if from != to {
            edges[from].push(Edge { to, why });
        }
    };
    for pair in order.windows(2) {
        if let (Some(a), Some(b)) = (writer_of(pair[0]), writer_of(pair[1])) {
            link(a.txn, b.txn, Why::Ww);
        }
    }
    for (index, txn) in txns.iter().enumerate() {
        let Some(seen) = txn.reads.get(key) else { continue };
        if let Some(writer) = seen.last().and_then(|last| writer_of(last)) {
            link(writer.txn, index, Why::Wr);
            if !writer.is_last && writer.txn != index {
                let text = format!("{key} is read with half of what one transaction appended");
                found.add("G1b", text, [txns[writer.txn].op, txn.op]);
            }
        }
        if let Some(next) = order.get(seen.len()).and_then(|next| writer_of(next)) {
            link(index, next.txn, Why::Rw);
        }
    }
}

/// Real time, without what follows from other such edges: a transaction is linked to those that
/// had ended when it began, but not to those that had ended when one of those began.
fn add_realtime(txns: &[Txn<'_>], edges: &mut Edges) {
    let mut moments: Vec<(u64, bool, usize)> = Vec::new();
    for (index, txn) in txns.iter().enumerate() {
        moments.push((txn.op.invoked, false, index));
        if !txn.op.is_unknown() {
            moments.push((txn.op.completed, true, index));
        }
    }
    // Begins before ends at the same moment: those overlap.
    moments.sort_unstable();
    let mut frontier: Vec<usize> = Vec::new();
    for (_, is_end, index) in moments {
        if is_end {
            let begin = txns[index].op.invoked;
            frontier.retain(|other| txns[*other].op.completed >= begin);
            frontier.push(index);
        } else {
            for other in &frontier {
                edges[*other].push(Edge { to: index, why: Why::Realtime });
            }
        }
    }
}
