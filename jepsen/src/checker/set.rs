//! The set checker: elements are only ever added, so each read must show all that was there before
//! it was asked, nothing twice, and nothing that nobody added.
//!
//! A set is a folder of keys, or a list in one key; see [`crate::workload`].

use std::collections::{BTreeMap, HashMap, HashSet};

use super::verdict::{Findings, Verdict};
use crate::history::{Action, Answer, History, Kv, Op, Outcome, Request};
use crate::workload::{ELEMENTS, PACKED, elements};

/// Checks a history.
pub fn check(history: &History) -> Verdict {
    let mut found = Findings::new("set");
    let mut sets: BTreeMap<String, Set<'_>> = BTreeMap::new();
    for op in &history.ops {
        for (set, element) in added(&op.request) {
            sets.entry(set).or_default().attempts.insert(element, op);
        }
    }
    let mut reads: Vec<Read<'_>> = history.ops.iter().flat_map(reads).collect();
    reads.sort_by_key(|read| read.op.invoked);
    for read in reads {
        sets.entry(read.set.clone()).or_default().reads.push(read);
    }
    let examined = sets.values().map(|set| set.attempts.len() + set.reads.len()).sum();
    for (name, set) in &sets {
        set.check(name, &mut found);
    }
    found.verdict(examined, None)
}

/// All that is known of one set.
#[derive(Debug, Default)]
struct Set<'a> {
    attempts: HashMap<&'a str, &'a Op>,
    reads: Vec<Read<'a>>,
}

/// A read of one set.
#[derive(Debug)]
struct Read<'a> {
    set: String,
    op: &'a Op,
    seen: Vec<&'a str>,
}

/// What an operation would add, by set.
fn added(request: &Request) -> Vec<(String, &str)> {
    let puts = request.actions().filter_map(|action| match action {
        Action::Put { key, value } => Some((key.as_str(), value.as_str())),
        Action::Range(_) | Action::Delete { .. } => None,
    });
    puts.filter_map(|(key, value)| element_of(key, value)).collect()
}

/// The element that a write of this key adds: the value, or the last of a list.
fn element_of<'a>(key: &str, value: &'a str) -> Option<(String, &'a str)> {
    if key.starts_with(ELEMENTS) {
        Some((set_of(key)?, value))
    } else if key.starts_with(PACKED) {
        Some((key.to_owned(), elements(value).last()?))
    } else {
        None
    }
}

/// The folder of an element's key.
fn set_of(key: &str) -> Option<String> {
    key.rfind('/').map(|end| key[..=end].to_owned())
}

/// The reads of sets in an operation. A read of everything shows many sets at once, but proves
/// nothing about sets of which it shows nothing, as nobody knows that they exist.
fn reads(op: &Op) -> Vec<Read<'_>> {
    let mut by_set: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (action, answer) in op.taken() {
        let (Action::Range(range), Answer::Range { kvs, .. }) = (action, answer) else { continue };
        if range.revision != 0 {
            continue;
        }
        if range.key.starts_with(ELEMENTS) && range.end.is_some() {
            by_set.entry(range.key.clone()).or_default();
        }
        if range.key.starts_with(PACKED) {
            by_set.entry(range.key.clone()).or_default();
        }
        for kv in kvs {
            add_row(&mut by_set, kv);
        }
    }
    by_set.into_iter().map(|(set, seen)| Read { set, op, seen }).collect()
}

fn add_row<'a>(by_set: &mut BTreeMap<String, Vec<&'a str>>, kv: &'a Kv) {
    if kv.key.starts_with(ELEMENTS)
        && let Some(set) = set_of(&kv.key)
    {
        by_set.entry(set).or_default().push(&kv.value);
    } else if kv.key.starts_with(PACKED) {
        by_set.entry(kv.key.clone()).or_default().extend(elements(&kv.value));
    }
}

impl Set<'_> {
    fn check(&self, name: &str, found: &mut Findings) {
        let mut confirmed: Vec<(u64, &str)> = self
            .attempts
            .iter()
            .filter(|(_, op)| op.changed())
            .map(|(element, op)| (op.completed, *element))
            .collect();
        confirmed.sort_unstable();
        let last = self.reads.iter().rev().find(|read| !read.op.request.is_serializable());
        let final_view: HashSet<&str> =
            last.map(|read| read.seen.iter().copied().collect()).unwrap_or_default();
        for read in &self.reads {
            let seen: HashSet<&str> = read.seen.iter().copied().collect();
            self.check_seen(name, read, &seen, found);
            if read.op.request.is_serializable() {
                continue;
            }
            let before = confirmed.iter().take_while(|(end, _)| *end < read.op.invoked);
            for (_, element) in before.filter(|(_, element)| !seen.contains(element)) {
                let is_lost = !final_view.contains(element);
                let kind = if is_lost { "lost-element" } else { "stale-set" };
                let text = format!("a read of {name} does not show {element}, added before it");
                found.add(kind, text, [self.attempts[element], read.op]);
            }
        }
    }

    fn check_seen(&self, name: &str, read: &Read<'_>, seen: &HashSet<&str>, found: &mut Findings) {
        if seen.len() < read.seen.len() {
            let mut known = HashSet::new();
            let twice = read.seen.iter().find(|element| !known.insert(**element));
            let text = format!("{name} shows {} twice", twice.unwrap_or(&"an element"));
            found.add("duplicated-element", text, [read.op]);
        }
        for element in seen {
            match self.attempts.get(element) {
                None => {
                    let text = format!("{name} shows {element}, which nobody added");
                    found.add("phantom-element", text, [read.op]);
                }
                Some(op) if matches!(op.outcome, Outcome::Unknown(_)) || op.changed() => {
                    if op.invoked > read.op.completed {
                        let text = format!("{name} shows {element} before it was added");
                        found.add("phantom-element", text, [read.op, *op]);
                    }
                }
                Some(op) => {
                    let text = format!("{name} shows {element}, whose adding failed");
                    found.add("aborted-element", text, [*op, read.op]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checker::simulate::{Script, Shape, good, rows};
    use crate::history::RangeRequest;

    const SET: &str = "j/s/000001/";

    fn add(script: &mut Script, at: (u64, u64), element: &str) -> usize {
        let request = Request::put(format!("{SET}{element}"), element);
        script.ok(at, request, 2, Answer::Put { prev: None })
    }

    fn read(script: &mut Script, at: (u64, u64), shown: &[&str]) -> usize {
        let pairs: Vec<(String, String)> =
            shown.iter().map(|e| (format!("{SET}{e}"), (*e).to_owned())).collect();
        script.ok(at, Request::range(RangeRequest::prefix(SET)), 2, rows(&pairs))
    }

    fn verdict(build: impl FnOnce(&mut Script)) -> Verdict {
        let mut script = Script::default();
        build(&mut script);
        check(&script.history())
    }

    #[test]
    fn a_read_shows_what_was_there_and_may_show_what_was_under_way() {
        for shown in [["a"].as_slice(), &["a", "b"]] {
            let verdict = verdict(|s| {
                add(s, (0, 1), "a");
                add(s, (2, 9), "b");
                read(s, (3, 4), shown);
                read(s, (10, 11), &["a", "b"]);
            });
            assert!(verdict.is_clean(), "{verdict:?}");
        }
    }

    #[test]
    fn lost_and_late_elements_are_told_apart() {
        let lost = verdict(|s| {
            add(s, (0, 1), "a");
            read(s, (2, 3), &["a"]);
            read(s, (4, 5), &[]);
        });
        assert!(lost.has("lost-element") && !lost.has("stale-set"), "{lost:?}");
        let stale = verdict(|s| {
            add(s, (0, 1), "a");
            read(s, (2, 3), &[]);
            read(s, (4, 5), &["a"]);
        });
        assert!(stale.has("stale-set") && !stale.has("lost-element"), "{stale:?}");
    }

    #[test]
    fn what_nobody_added_or_failed_to_add_is_not_there() {
        let phantom = verdict(|s| {
            read(s, (0, 1), &["x"]);
        });
        assert!(phantom.has("phantom-element"), "{phantom:?}");
        let early = verdict(|s| {
            read(s, (0, 1), &["a"]);
            add(s, (2, 3), "a");
        });
        assert!(early.has("phantom-element"), "{early:?}");
        let aborted = verdict(|s| {
            s.fail((0, 1), Request::put(format!("{SET}a"), "a"));
            read(s, (2, 3), &["a"]);
        });
        assert!(aborted.has("aborted-element"), "{aborted:?}");
        let unknown = verdict(|s| {
            s.unknown(0, Request::put(format!("{SET}a"), "a"));
            read(s, (2, 3), &["a"]);
        });
        assert!(unknown.is_clean(), "{unknown:?}");
    }

    #[test]
    fn a_list_that_holds_an_element_twice_is_found() {
        let verdict = verdict(|s| {
            let key = format!("{PACKED}1");
            s.ok((0, 1), Request::put(key.clone(), "a"), 2, Answer::Put { prev: None });
            let shown = rows(&[(key.clone(), "a a".to_owned())]);
            s.ok((2, 3), Request::range(RangeRequest::one(&key)), 2, shown);
        });
        assert!(verdict.has("duplicated-element"), "{verdict:?}");
    }

    #[test]
    fn a_serializable_read_may_be_old_but_shows_nothing_made_up() {
        let history = |shown: &'static [&'static str]| {
            verdict(|s| {
                add(s, (0, 1), "a");
                let range = RangeRequest { serializable: true, ..RangeRequest::prefix(SET) };
                let pairs: Vec<(String, String)> =
                    shown.iter().map(|e| (format!("{SET}{e}"), (*e).to_owned())).collect();
                s.ok((2, 3), Request::range(range), 2, rows(&pairs));
                read(s, (4, 5), &["a"]);
            })
        };
        assert!(history(&[]).is_clean());
        assert!(history(&["x"]).has("phantom-element"));
    }

    #[test]
    fn what_an_old_state_still_shows_is_lost_all_the_same() {
        let verdict = verdict(|s| {
            add(s, (0, 1), "a");
            read(s, (2, 3), &[]);
            let range = RangeRequest { serializable: true, ..RangeRequest::prefix(SET) };
            let shown = rows(&[(format!("{SET}a"), "a".to_owned())]);
            s.ok((4, 5), Request::range(range), 2, shown);
        });
        assert!(verdict.has("lost-element") && !verdict.has("stale-set"), "{verdict:?}");
    }

    #[test]
    fn simulated_good_histories_pass() {
        let mut examined = 0;
        for seed in 0..60 {
            let verdict = check(&good(seed, Shape::default()));
            assert!(verdict.is_clean(), "seed {seed}: {verdict:#?}");
            examined += verdict.examined;
        }
        assert!(examined > 1000, "{examined}");
    }
}
