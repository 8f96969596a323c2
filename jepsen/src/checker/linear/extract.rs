//! Operations as steps on variables, in independent groups.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::history::{Action, Answer, Compare, History, Op, Request, Target};

/// A variable of a group, and a value of it; value 0 is absence.
pub(super) type Cell = (usize, u32);
/// The value of an absent key.
pub(super) const ABSENT: u32 = 0;
/// The end of a step that need never happen.
pub(super) const NEVER: u64 = u64::MAX;

/// One operation as the search sees it: at some moment of its time it finds all of `finds` and
/// leaves all of `leaves`, at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    /// The operation's place in the history.
    pub place: usize,
    pub begin: u64,
    /// [`NEVER`] if it may as well not happen.
    pub end: u64,
    pub finds: Vec<Cell>,
    pub leaves: Vec<Cell>,
}

/// Keys that are joined by transactions, and all steps on them.
#[derive(Debug, Clone)]
pub(super) struct Group {
    pub keys: Vec<String>,
    pub steps: Vec<Step>,
}

/// An answer that is wrong whatever the state was.
#[derive(Debug)]
pub(super) struct Contradiction {
    pub place: usize,
    pub text: String,
}

/// A value of a key; `None` is absence.
type State = Option<String>;

/// A step by keys and values, before they are numbered.
#[derive(Debug)]
struct Raw {
    place: usize,
    begin: u64,
    end: u64,
    finds: BTreeMap<String, State>,
    leaves: BTreeMap<String, State>,
}

pub(super) fn extract(history: &History) -> (Vec<Group>, Vec<Contradiction>) {
    let values = values_by_revision(history);
    let mut contradictions = Vec::new();
    let mut raw = Vec::new();
    for (place, op) in history.ops.iter().enumerate() {
        let step = match op.response() {
            Some(_) => answered(place, op, &values).unwrap_or_else(|text| {
                contradictions.push(Contradiction { place, text });
                None
            }),
            None if op.is_unknown() => unknown(place, op, &values),
            None => None,
        };
        raw.extend(step.filter(|step| !step.finds.is_empty() || !step.leaves.is_empty()));
    }
    keep_what_matters(&mut raw);
    (group(raw), contradictions)
}

/// What a mod revision in a condition stands for: values are unique, so it is only another name
/// for a value that this or another client was shown.
fn values_by_revision(history: &History) -> HashMap<(&str, i64), &str> {
    let responses = history.ops.iter().filter_map(Op::response);
    let shown = responses.flat_map(|response| response.answer.kvs());
    let mut values: HashMap<(&str, i64), &str> =
        shown.map(|kv| ((kv.key.as_str(), kv.modified), kv.value.as_str())).collect();
    // A client may also depend on what it wrote itself.
    for op in &history.ops {
        let Some(response) = op.response() else { continue };
        for (action, _) in op.taken() {
            if let Action::Put { key, value } = action {
                values.entry((key.as_str(), response.header.revision)).or_insert(value);
            }
        }
    }
    values
}

/// What a condition demands; `None` if nobody knows which value it means.
fn demanded(compare: &Compare, values: &HashMap<(&str, i64), &str>) -> Option<State> {
    match &compare.target {
        Target::Value(value) => Some(Some(value.clone())),
        Target::Modified(0) => Some(None),
        Target::Modified(revision) => {
            values.get(&(compare.key.as_str(), *revision)).map(|value| Some((*value).to_owned()))
        }
    }
}

fn answered(
    place: usize,
    op: &Op,
    values: &HashMap<(&str, i64), &str>,
) -> Result<Option<Raw>, String> {
    if op.request.is_serializable() || !is_about_single_keys(&op.request) {
        return Ok(None);
    }
    let mut raw = Raw::new(place, op.invoked, op.completed);
    let mut succeeded = None;
    if let (Request::Txn { compares, .. }, Some(Answer::Txn { succeeded: s, .. })) =
        (&op.request, op.response().map(|r| &r.answer))
    {
        succeeded = Some((*s, compares));
        if *s {
            for compare in compares {
                if let Some(state) = demanded(compare, values) {
                    raw.find(&compare.key, state)?;
                }
            }
        }
    }
    for (action, answer) in op.taken() {
        raw.take(action, answer)?;
    }
    if let Some((false, compares)) = succeeded {
        let holds = |compare: &Compare| {
            let demanded = demanded(compare, values);
            demanded.is_some() && raw.finds.get(&compare.key) == demanded.as_ref()
        };
        if compares.iter().all(holds) {
            return Err(
                "the conditions hold for what it shows, but it took the other branch".into()
            );
        }
    }
    Ok(Some(raw))
}

fn unknown(place: usize, op: &Op, values: &HashMap<(&str, i64), &str>) -> Option<Raw> {
    let mut raw = Raw::new(place, op.invoked, NEVER);
    let actions = match &op.request {
        Request::Single(action) => std::slice::from_ref(action),
        Request::Txn { compares, success, .. } => {
            for compare in compares {
                if let Some(state) = demanded(compare, values) {
                    raw.finds.insert(compare.key.clone(), state);
                }
            }
            success.as_slice()
        }
    };
    for action in actions {
        match action {
            Action::Range(_) => {}
            Action::Put { key, value } => {
                raw.leaves.insert(key.clone(), Some(value.clone()));
            }
            Action::Delete { key } => {
                raw.leaves.insert(key.clone(), None);
            }
        }
    }
    (!raw.leaves.is_empty()).then_some(raw)
}

fn is_about_single_keys(request: &Request) -> bool {
    request.actions().all(|action| match action {
        Action::Range(range) => range.end.is_none() && range.revision == 0,
        Action::Put { .. } | Action::Delete { .. } => true,
    })
}

impl Raw {
    fn new(place: usize, begin: u64, end: u64) -> Self {
        Self { place, begin, end, finds: BTreeMap::new(), leaves: BTreeMap::new() }
    }

    /// The step sees this state: what it left itself, or what was there before.
    fn find(&mut self, key: &str, state: State) -> Result<(), String> {
        let known = self.leaves.get(key).or_else(|| self.finds.get(key));
        match known {
            Some(known) if *known == state => Ok(()),
            Some(known) => {
                let name = |state: &State| state.clone().unwrap_or_else(|| "absent".to_owned());
                Err(format!("it shows {key} as {} and as {} at once", name(&state), name(known)))
            }
            None => {
                self.finds.insert(key.to_owned(), state);
                Ok(())
            }
        }
    }

    fn take(&mut self, action: &Action, answer: &Answer) -> Result<(), String> {
        let shown = || answer.kvs().first().map(|kv| kv.value.clone());
        match (action, answer) {
            (Action::Range(range), Answer::Range { .. }) => self.find(&range.key, shown()),
            (Action::Put { key, value }, Answer::Put { .. }) => {
                self.find(key, shown())?;
                self.leaves.insert(key.clone(), Some(value.clone()));
                Ok(())
            }
            (Action::Delete { key }, Answer::Delete { .. }) => {
                self.find(key, shown())?;
                self.leaves.insert(key.clone(), None);
                Ok(())
            }
            (action, answer) => Err(format!("{action} is answered by: {answer}")),
        }
    }
}

/// Drops steps that need not happen and that nobody has seen, and bounds the others.
///
/// If nobody finds what a step left, every order with it is an order without it: whatever it left
/// was replaced before anybody looked. If somebody does, it happened before that one ended. Both
/// keep the search from carrying along every timeout until the end.
fn keep_what_matters(raw: &mut Vec<Raw>) {
    let mut kept: BTreeSet<usize> =
        (0..raw.len()).filter(|index| raw[*index].end != NEVER).collect();
    // The earliest end of those who find a value.
    let mut found: HashMap<(String, State), u64> = HashMap::new();
    let mut fresh: Vec<usize> = kept.iter().copied().collect();
    while !fresh.is_empty() {
        for index in fresh.drain(..) {
            let step = &raw[index];
            for (key, state) in &step.finds {
                let end = found.entry((key.clone(), state.clone())).or_insert(NEVER);
                *end = (*end).min(step.end);
            }
        }
        for (index, step) in raw.iter_mut().enumerate() {
            if step.end != NEVER {
                continue;
            }
            let seen = step.leaves.iter().filter_map(|(key, state)| {
                found.get(&(key.clone(), state.clone())).map(|end| (state, *end))
            });
            let mut end = NEVER;
            let mut matters = false;
            for (state, by) in seen {
                matters = true;
                // Absence has many causes, so who finds it proves nothing about this one.
                if state.is_some() {
                    end = end.min(by);
                }
            }
            if matters && (kept.insert(index) || end < step.end) {
                step.end = end;
                fresh.push(index);
            }
        }
    }
    let mut index = 0;
    raw.retain(|_| {
        index += 1;
        kept.contains(&(index - 1))
    });
}

/// Numbers keys and values and parts what no step joins.
fn group(raw: Vec<Raw>) -> Vec<Group> {
    let mut names: BTreeMap<String, usize> = BTreeMap::new();
    for step in &raw {
        for key in step.finds.keys().chain(step.leaves.keys()) {
            let number = names.len();
            names.entry(key.clone()).or_insert(number);
        }
    }
    let mut parts = Parts::new(names.len());
    for step in &raw {
        let mut keys = step.finds.keys().chain(step.leaves.keys()).map(|key| names[key]);
        let Some(first) = keys.next() else { continue };
        keys.for_each(|other| parts.join(first, other));
    }
    let mut groups: BTreeMap<usize, Group> = BTreeMap::new();
    let mut cells: HashMap<String, usize> = HashMap::new();
    for (key, number) in &names {
        let group = groups
            .entry(parts.find(*number))
            .or_insert_with(|| Group { keys: Vec::new(), steps: Vec::new() });
        cells.insert(key.clone(), group.keys.len());
        group.keys.push(key.clone());
    }
    let mut values: HashMap<String, u32> = HashMap::new();
    for step in raw {
        let Some(any) = step.finds.keys().chain(step.leaves.keys()).next() else { continue };
        let part = parts.find(names[any]);
        let mut numbered = |states: BTreeMap<String, State>| -> Vec<Cell> {
            let cell = |(key, state): (String, State)| {
                (cells[&key], state.map_or(ABSENT, |value| number(&mut values, value)))
            };
            states.into_iter().map(cell).collect()
        };
        let step = Step {
            place: step.place,
            begin: step.begin,
            end: step.end,
            finds: numbered(step.finds),
            leaves: numbered(step.leaves),
        };
        groups.get_mut(&part).expect("every key has a group").steps.push(step);
    }
    groups.into_values().collect()
}

fn number(values: &mut HashMap<String, u32>, value: String) -> u32 {
    let next = u32::try_from(values.len() + 1).expect("fewer than 2^32 values in a history");
    *values.entry(value).or_insert(next)
}

/// Disjoint sets.
#[derive(Debug)]
struct Parts(Vec<usize>);

impl Parts {
    fn new(length: usize) -> Self {
        Self((0..length).collect())
    }

    fn find(&mut self, item: usize) -> usize {
        let mut item = item;
        while self.0[item] != item {
            self.0[item] = self.0[self.0[item]];
            item = self.0[item];
        }
        item
    }

    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.find(a), self.find(b));
        self.0[a] = b;
    }
}
