//! The whole log through the model, every answer beside the model's.

use std::collections::{BTreeMap, BTreeSet};

use super::log::Log;
use super::order::Bounds;
use crate::checker::model::Model;
use crate::checker::verdict::Findings;
use crate::history::{Action, Answer, History, Op, RangeRequest, Request};

pub(super) fn check(
    history: &History,
    log: &mut Log<'_>,
    bounds: &Bounds,
    found: &mut Findings,
) -> Option<String> {
    let unseen = std::mem::take(&mut log.unseen);
    let mut replay = Replay {
        history,
        log,
        bounds,
        found,
        model: Model::default(),
        unseen,
        doubtful: BTreeSet::new(),
        unchecked: 0,
    };
    let answers = Answers::of(history);
    replay.check_reads(&answers, 1);
    for revision in 2..=replay.log.newest {
        replay.advance(revision, &answers);
        replay.check_reads(&answers, revision);
    }
    let unchecked = replay.unchecked;
    (unchecked > 0).then(|| {
        format!(
            "{unchecked} answers could not be checked: nobody looked at what unknown writes did"
        )
    })
}

/// Answers that change nothing, by the revision whose state they show.
#[derive(Debug)]
struct Answers<'a> {
    now: BTreeMap<i64, Vec<&'a Op>>,
    past: BTreeMap<i64, Vec<(&'a Op, &'a RangeRequest)>>,
}

impl<'a> Answers<'a> {
    fn of(history: &'a History) -> Self {
        let (mut now, mut past) = (BTreeMap::<i64, Vec<_>>::new(), BTreeMap::<i64, Vec<_>>::new());
        for op in &history.ops {
            let Some(response) = op.response() else { continue };
            match &op.request {
                Request::Single(Action::Range(range)) if range.revision > 0 => {
                    past.entry(range.revision).or_default().push((op, range));
                }
                _ if op.changed() => {}
                Request::Single(_) | Request::Txn { .. } => {
                    now.entry(response.header.revision).or_default().push(op);
                }
            }
        }
        Self { now, past }
    }
}

#[derive(Debug)]
struct Replay<'a, 'b> {
    history: &'a History,
    log: &'b Log<'a>,
    bounds: &'b Bounds,
    found: &'b mut Findings,
    model: Model,
    /// Writes of unknown outcome that have not been given a revision.
    unseen: Vec<usize>,
    /// Keys that a revision of unknown content may have changed.
    doubtful: BTreeSet<String>,
    /// Answers about keys in doubt.
    unchecked: usize,
}

impl<'a> Replay<'a, '_> {
    /// Brings the model to this revision by whatever made it.
    fn advance(&mut self, revision: i64, answers: &Answers<'a>) {
        match self.log.owners.get(&revision) {
            Some(place) => self.apply(&self.history.ops[*place], revision),
            None => self.guess(revision, answers),
        }
        if self.model.revision() < revision {
            self.model.skip();
        }
        assert_eq!(self.model.revision(), revision, "one step at a time");
    }

    fn apply(&mut self, op: &'a Op, revision: i64) {
        if self.in_doubt(op) {
            self.trust(op, revision);
            return;
        }
        let expected = self.model.apply(&op.request);
        match op.response() {
            Some(response) => self.compare(op, &response.answer, &expected),
            None if self.model.revision() < revision => {
                let text =
                    format!("a write is seen at revision {revision} where it changes nothing");
                self.found.add("impossible-effect", text, [op]);
            }
            None => {}
        }
    }

    /// A revision that no answer accounts for and whose writes nobody has seen.
    fn guess(&mut self, revision: i64, answers: &Answers<'a>) {
        let mut views = answers.past.get(&revision).into_iter().flatten();
        let view = views.find(|(_, range)| range.min_modified == 0);
        let gone: Option<BTreeSet<String>> = view.map(|(op, range)| self.missing(op, range));
        let eligible = |place: &usize| self.bounds[*place] < revision;
        let candidate = self.unseen.iter().position(|place| {
            let request = &self.history.ops[*place].request;
            eligible(place) && gone.as_ref().is_none_or(|gone| deletes_one_of(request, gone))
        });
        let Some(candidate) = candidate else {
            let text = format!("nobody can have made revision {revision}");
            let evidence = view.map(|(op, _)| op.to_string());
            self.found.add("orphan-revision", text, evidence);
            return;
        };
        let op = &self.history.ops[self.unseen[candidate]];
        if gone.is_some() {
            self.unseen.remove(candidate);
            self.model.apply(&op.request);
            return;
        }
        for place in self.unseen.iter().filter(|place| eligible(place)) {
            let actions = self.history.ops[*place].request.actions();
            self.doubtful.extend(actions.filter_map(Action::changes).map(str::to_owned));
        }
        // Which of them it was stays open; that there are not more revisions than writes is all
        // that can be held against them.
        self.unseen.remove(candidate);
    }

    /// Keys of the model that a view of the past does not show.
    fn missing(&self, op: &Op, range: &RangeRequest) -> BTreeSet<String> {
        let seen: BTreeSet<&str> = op
            .response()
            .map(|response| response.answer.kvs().iter().map(|kv| kv.key.as_str()).collect())
            .unwrap_or_default();
        let covered = self.model.keys().filter(|kv| range.covers(&kv.key));
        covered.filter(|kv| !seen.contains(kv.key.as_str())).map(|kv| kv.key.clone()).collect()
    }

    fn check_reads(&mut self, answers: &Answers<'a>, revision: i64) {
        for op in answers.now.get(&revision).into_iter().flatten() {
            let Some(response) = op.response() else { continue };
            if self.in_doubt(op) {
                self.unchecked += 1;
                continue;
            }
            let mut copy = self.needs_copy(op).then(|| self.model.clone());
            let model = copy.as_mut().unwrap_or(&mut self.model);
            let expected = model.apply(&op.request);
            if model.revision() != revision {
                let text = format!("a write is answered without effect at revision {revision}");
                self.found.add("missing-effect", text, [op]);
                continue;
            }
            self.compare(op, &response.answer, &expected);
        }
        for (op, range) in answers.past.get(&revision).into_iter().flatten() {
            let Some(response) = op.response() else { continue };
            if self.in_doubt(op) {
                self.unchecked += 1;
                continue;
            }
            let expected = self.model.range(range);
            self.compare(op, &response.answer, &expected);
        }
    }

    /// Whether applying it could change the model, which an answer without change must not.
    fn needs_copy(&self, op: &Op) -> bool {
        match &op.request {
            Request::Single(action) => {
                action.changes().is_some_and(|key| self.model.get(key).is_some())
            }
            Request::Txn { compares, success, failure } => {
                let holds = compares.iter().all(|c| c.holds(self.model.get(&c.key)));
                let taken = if holds { success } else { failure };
                taken.iter().any(|action| action.changes().is_some())
            }
        }
    }

    fn compare(&mut self, op: &Op, answer: &Answer, expected: &Answer) {
        if answer != expected {
            let text = format!("expected at this revision: {expected}");
            self.found.add("wrong-answer", text, [op]);
        }
    }

    /// Whether the operation looks at or changes a key in doubt.
    fn in_doubt(&self, op: &Op) -> bool {
        let compared = match &op.request {
            Request::Single(_) => [].as_slice(),
            Request::Txn { compares, .. } => compares.as_slice(),
        };
        let touches = |key: &String| {
            compared.iter().any(|c| c.key == *key)
                || op.request.actions().any(|action| match action {
                    Action::Range(range) => range.covers(key),
                    Action::Put { key: changed, .. } | Action::Delete { key: changed } => {
                        changed == key
                    }
                })
        };
        self.doubtful.iter().any(touches)
    }

    /// Takes the effect of an operation on trust. What is written is known again, but for its
    /// generation, unless an answer has shown it.
    fn trust(&mut self, op: &Op, revision: i64) {
        self.unchecked += 1;
        for action in op.request.actions() {
            let Some(key) = action.changes() else { continue };
            match (self.log.versions.get(&(revision, key)), action) {
                (Some(kv), _) => {
                    self.model.set(key, Some((*kv).clone()));
                    self.doubtful.remove(key);
                }
                (None, Action::Delete { .. }) if op.changed() => {
                    self.model.set(key, None);
                    self.doubtful.remove(key);
                }
                (None, _) => {
                    self.doubtful.insert(key.to_owned());
                }
            }
        }
    }
}

/// Whether the request deletes one of these keys and puts nothing: a put would have been seen.
fn deletes_one_of(request: &Request, gone: &BTreeSet<String>) -> bool {
    request.actions().any(|action| match action {
        Action::Delete { key } => gone.contains(key),
        Action::Range(_) | Action::Put { .. } => false,
    })
}
