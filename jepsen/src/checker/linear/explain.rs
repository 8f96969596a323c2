//! A contradiction for a person to read.

use super::extract::{Group, NEVER};
use super::search::{Outcome, search};
use crate::clock::Clock;
use crate::history::{History, Op};

/// Text and evidence for steps that have no order.
pub(super) fn explain(group: &Group, history: &History) -> (String, Vec<String>) {
    let mut steps = group.steps.clone();
    steps.sort_by_key(|step| (step.begin, step.place));
    let op = |index: usize| -> &Op { &history.ops[steps[index].place] };
    let clock = Clock::start();
    let best = match search(&steps, group.keys.len(), clock, std::time::Duration::from_secs(5)) {
        Outcome::None(best) => best,
        Outcome::Ordered | Outcome::GaveUp => Vec::new(),
    };
    let mut lines: Vec<String> = (0..steps.len())
        .map(|index| {
            let note = if steps[index].end == NEVER { " (may never happen)" } else { "" };
            format!("{}{note}", op(index))
        })
        .collect();
    let name = |index: &usize| format!("#{}", op(*index).id);
    let order: Vec<String> = best.iter().map(name).collect();
    let stuck: Vec<String> = (0..steps.len())
        .filter(|index| !best.contains(index) && steps[*index].end != NEVER)
        .map(|index| name(&index))
        .collect();
    let order = if order.is_empty() { "none at all".to_owned() } else { order.join(" ") };
    lines.push(format!("longest order: {order}; then no place is left for {}", stuck.join(" ")));
    let mut touched: Vec<&str> = steps
        .iter()
        .flat_map(|step| step.finds.iter().chain(&step.leaves))
        .map(|(variable, _)| group.keys[*variable].as_str())
        .collect();
    touched.sort_unstable();
    touched.dedup();
    let text = format!(
        "no order of these {} operations on {} explains what they show (keys begin absent; what \
         does not matter is left out)",
        steps.len(),
        touched.join(", ")
    );
    (text, lines)
}
