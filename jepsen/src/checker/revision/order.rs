//! Real time against revisions.

use std::collections::HashMap;

use super::log::Log;
use crate::checker::verdict::Findings;
use crate::history::{History, Op};

/// For each operation the newest revision that had been told when it was asked: an effect of it
/// has a higher one.
pub(super) type Bounds = Vec<i64>;

/// The newest revision told so far, and who was told.
#[derive(Debug, Clone, Copy)]
struct Told {
    revision: i64,
    by: usize,
}

pub(super) fn check(history: &History, log: &Log<'_>, found: &mut Findings) -> Bounds {
    let ops = &history.ops;
    let mut by_end: Vec<usize> = (0..ops.len()).filter(|i| ops[*i].response().is_some()).collect();
    by_end.sort_by_key(|i| ops[*i].completed);
    let mut ended = by_end.into_iter().peekable();
    let mut newest: Option<Told> = None;
    // A life of a member, to what it has told.
    let mut local: HashMap<(usize, u32), Told> = HashMap::new();
    let mut bounds = vec![0; ops.len()];
    for (place, op) in ops.iter().enumerate() {
        while let Some(earlier) = ended.next_if(|i| ops[*i].completed < op.invoked) {
            let told = Told { revision: revision(&ops[earlier]), by: earlier };
            if newest.is_none_or(|n| n.revision < told.revision) {
                newest = Some(told);
            }
            if let Some(life) = life(&ops[earlier]) {
                let known = local.entry(life).or_insert(told);
                if known.revision < told.revision {
                    *known = told;
                }
            }
        }
        bounds[place] = newest.map_or(0, |told| told.revision);
        check_answer(ops, op, newest, life(op).and_then(|l| local.get(&l).copied()), found);
    }
    check_placed(ops, log, &bounds, found);
    bounds
}

fn revision(op: &Op) -> i64 {
    op.response().map_or(0, |response| response.header.revision)
}

/// The life of the member that answered, if it is known which it was.
fn life(op: &Op) -> Option<(usize, u32)> {
    (op.life.0 == op.life.1).then_some((op.node, op.life.0))
}

fn check_answer(
    ops: &[Op],
    op: &Op,
    newest: Option<Told>,
    local: Option<Told>,
    found: &mut Findings,
) {
    if op.response().is_none() {
        return;
    }
    let revision = revision(op);
    if op.request.is_serializable() {
        if let Some(told) = local.filter(|told| told.revision > revision) {
            let text = format!(
                "n{} answers at revision {revision} after it has told {}",
                op.node + 1,
                told.revision
            );
            found.add("member-went-back", text, [&ops[told.by], op]);
        }
        return;
    }
    let Some(told) = newest else { return };
    if op.changed() && revision <= told.revision {
        let text =
            format!("a write gets revision {revision} after {} has been told", told.revision);
        found.add("revision-went-back", text, [&ops[told.by], op]);
    } else if revision < told.revision {
        let text = format!(
            "a linearizable answer of revision {revision} begins after {} has been told",
            told.revision
        );
        found.add("stale-read", text, [&ops[told.by], op]);
    }
}

/// A write of unknown outcome takes effect after it was asked.
fn check_placed(ops: &[Op], log: &Log<'_>, bounds: &Bounds, found: &mut Findings) {
    for (revision, place) in &log.owners {
        let op = &ops[*place];
        if op.is_unknown() && *revision <= bounds[*place] {
            let text = format!(
                "a write is seen at revision {revision}, but {} had been told before it was asked",
                bounds[*place]
            );
            found.add("effect-before-cause", text, [op]);
        }
    }
}
