//! One correct store: what a request does to it and what it answers.

use std::collections::BTreeMap;

use crate::history::{Action, Answer, Kv, RangeRequest, Request};

/// The state of a store at one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    revision: i64,
    keys: BTreeMap<String, Kv>,
}

impl Default for Model {
    /// An empty store, which etcd numbers 1.
    fn default() -> Self {
        Self { revision: 1, keys: BTreeMap::new() }
    }
}

impl Model {
    /// Its revision.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// A key's state.
    pub fn get(&self, key: &str) -> Option<&Kv> {
        self.keys.get(key)
    }

    /// All that is there, by key.
    pub fn keys(&self) -> impl Iterator<Item = &Kv> {
        self.keys.values()
    }

    /// Does what is asked, at the next revision if it changes anything, and answers.
    pub fn apply(&mut self, request: &Request) -> Answer {
        let next = self.revision + 1;
        let (answer, changed) = match request {
            Request::Single(action) => self.act(action, next),
            Request::Txn { compares, success, failure } => {
                let succeeded = compares.iter().all(|c| c.holds(self.keys.get(&c.key)));
                let mut changed = false;
                let mut answers = Vec::new();
                for action in if succeeded { success } else { failure } {
                    let (answer, changes) = self.act(action, next);
                    answers.push(answer);
                    changed |= changes;
                }
                (Answer::Txn { succeeded, answers }, changed)
            }
        };
        if changed {
            self.revision = next;
        }
        answer
    }

    /// Answers a read at this state, leaving out what was written too early.
    pub fn range(&self, range: &RangeRequest) -> Answer {
        let all: Vec<&Kv> = match &range.end {
            None => self.keys.get(&range.key).into_iter().collect(),
            Some(end) if *end <= range.key => Vec::new(),
            Some(end) => {
                self.keys.range(range.key.clone()..end.clone()).map(|(_, kv)| kv).collect()
            }
        };
        let count = i64::try_from(all.len()).expect("a store of fewer than 2^63 keys");
        let kvs = all.into_iter().filter(|kv| kv.modified >= range.min_modified).cloned().collect();
        Answer::Range { kvs, count }
    }

    /// Counts a revision whose content nobody knows.
    pub(super) fn skip(&mut self) {
        self.revision += 1;
    }

    /// Corrects what is held of a key, once an answer has shown it.
    pub(super) fn set(&mut self, key: &str, kv: Option<Kv>) {
        match kv {
            Some(kv) => self.keys.insert(key.to_owned(), kv),
            None => self.keys.remove(key),
        };
    }

    fn act(&mut self, action: &Action, next: i64) -> (Answer, bool) {
        match action {
            Action::Range(range) => (self.range(range), false),
            Action::Put { key, value } => {
                let prev = self.keys.get(key).cloned();
                let kv = Kv {
                    key: key.clone(),
                    value: value.clone(),
                    create: prev.as_ref().map_or(next, |kv| kv.create),
                    modified: next,
                    version: prev.as_ref().map_or(1, |kv| kv.version + 1),
                };
                self.keys.insert(key.clone(), kv);
                (Answer::Put { prev }, true)
            }
            Action::Delete { key } => {
                let prev: Vec<Kv> = self.keys.remove(key).into_iter().collect();
                let deleted = i64::from(!prev.is_empty());
                (Answer::Delete { deleted, prev }, deleted > 0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Compare, Target};

    #[test]
    fn revisions_move_once_per_request_that_changes_something() {
        let mut model = Model::default();
        model.apply(&Request::put("a", "1"));
        assert_eq!(model.revision(), 2);
        model.apply(&Request::range(RangeRequest::one("a")));
        model.apply(&Request::delete("b"));
        assert_eq!(model.revision(), 2);
        let puts = ["a", "b"].map(|key| Action::Put { key: key.into(), value: "2".into() });
        let compares = vec![Compare { key: "a".into(), target: Target::Modified(2) }];
        let txn = Request::Txn { compares, success: puts.to_vec(), failure: Vec::new() };
        let answer = model.apply(&txn);
        assert!(matches!(answer, Answer::Txn { succeeded: true, .. }));
        assert_eq!(model.revision(), 3);
        let (a, b) = (model.get("a").unwrap(), model.get("b").unwrap());
        assert_eq!((a.create, a.modified, a.version), (2, 3, 2));
        assert_eq!((b.create, b.modified, b.version), (3, 3, 1));
        assert!(matches!(model.apply(&txn), Answer::Txn { succeeded: false, .. }));
        model.apply(&Request::delete("a"));
        model.apply(&Request::put("a", "3"));
        let a = model.get("a").unwrap();
        assert_eq!((a.create, a.modified, a.version), (5, 5, 1), "a new generation");
    }

    #[test]
    fn a_range_counts_what_its_filter_leaves_out() {
        let mut model = Model::default();
        for key in ["a", "b", "c"] {
            model.apply(&Request::put(key, key));
        }
        let range = RangeRequest {
            key: "a".into(),
            end: Some("c".into()),
            min_modified: 3,
            ..RangeRequest::default()
        };
        let Answer::Range { kvs, count } = model.range(&range) else { panic!("a range") };
        assert_eq!((kvs.len(), count), (1, 2));
        assert_eq!(kvs[0].key, "b");
    }
}
