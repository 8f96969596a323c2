//! Reads a history back.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::{Context, bail, ensure};

use super::op::{Op, Outcome};
use super::record::{Event, Fault, Hash, Line, Start};

/// A whole history.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// What the run was.
    pub start: Start,
    /// Operations, by the time they were asked.
    pub ops: Vec<Op>,
    /// Faults and their ends, with their times.
    pub faults: Vec<(u64, Fault)>,
    /// Hashes of members at the end.
    pub hashes: Vec<Hash>,
    /// Whether the last line is there.
    pub ended: bool,
    /// What did not come back after the last fault.
    pub unrecovered: Option<String>,
}

impl History {
    /// A history of these operations alone.
    pub fn of(mut ops: Vec<Op>) -> Self {
        ops.sort_by_key(|op| (op.invoked, op.id));
        Self { ops, ended: true, ..Self::default() }
    }
}

/// Reads a file. An operation without an outcome has an unknown one.
pub fn read(path: &Path) -> anyhow::Result<History> {
    let file = File::open(path).with_context(|| format!("open history {}", path.display()))?;
    let mut history = History::default();
    let mut open = HashMap::new();
    for (number, text) in BufReader::new(file).lines().enumerate() {
        let place = || format!("read {} line {}", path.display(), number + 1);
        let text = text.with_context(place)?;
        let line: Line = serde_json::from_str(&text).with_context(place)?;
        take(&mut history, &mut open, line).with_context(place)?;
    }
    ensure!(!history.ops.is_empty(), "{} holds no operation", path.display());
    history.ops.sort_by_key(|op| (op.invoked, op.id));
    Ok(history)
}

fn take(history: &mut History, open: &mut HashMap<u64, usize>, line: Line) -> anyhow::Result<()> {
    match line.event {
        Event::Start(start) => history.start = start,
        Event::Invoke { op, process, node, life, request } => {
            let index = history.ops.len();
            ensure!(open.insert(op, index).is_none(), "operation {op} is asked twice");
            history.ops.push(Op {
                id: op,
                process,
                node,
                life: (life, life),
                invoked: line.t,
                completed: u64::MAX,
                request,
                outcome: Outcome::Unknown("the history ends".to_owned()),
            });
        }
        Event::Ok { op, life, response } => {
            close(history, open, op, line.t, Some(life), Outcome::Ok(response))?;
        }
        Event::Fail { op, error } => close(history, open, op, line.t, None, Outcome::Fail(error))?,
        Event::Info { op, error } => {
            close(history, open, op, line.t, None, Outcome::Unknown(error))?;
        }
        Event::Nemesis(fault) => history.faults.push((line.t, fault)),
        Event::Hash(hash) => history.hashes.push(hash),
        Event::End { unrecovered } => {
            history.ended = true;
            history.unrecovered = unrecovered;
        }
    }
    Ok(())
}

fn close(
    history: &mut History,
    open: &mut HashMap<u64, usize>,
    op: u64,
    t: u64,
    life: Option<u32>,
    outcome: Outcome,
) -> anyhow::Result<()> {
    let Some(index) = open.remove(&op) else {
        bail!("operation {op} has an outcome but was not asked, or has two");
    };
    let op = history.ops.get_mut(index).context("an index of this history")?;
    ensure!(t >= op.invoked, "operation {} is answered before it is asked", op.id);
    op.completed = t;
    op.life.1 = life.unwrap_or(op.life.0);
    op.outcome = outcome;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::op::{Answer, Header, RangeRequest, Request, Response};
    use super::super::recorder::Recorder;
    use super::*;
    use crate::clock::Clock;

    #[test]
    fn what_is_recorded_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("h");
        let recorder = Recorder::create(&path, Clock::start()).unwrap();
        let start =
            Start { subject: "etcd".into(), nodes: 3, seed: 7, mix: "kill".into(), round: 1 };
        recorder.note(Event::Start(start.clone()));
        let a = recorder.invoke(1, 0, 0, Request::put("k", "v"));
        let b = recorder.invoke(2, 1, 0, Request::range(RangeRequest::prefix("k")));
        let never = recorder.invoke(3, 2, 4, Request::delete("k"));
        let header = Header { revision: 2, term: 3, member: 4 };
        let response = Response { header, answer: Answer::Put { prev: None } };
        recorder.complete(a, 1, Outcome::Ok(response.clone()));
        recorder.complete(b, 0, Outcome::Fail("no".to_owned()));
        let fault = Fault {
            step: 0,
            kind: "kill".into(),
            begins: true,
            nodes: vec![2],
            detail: "kill -9 n3".into(),
        };
        recorder.note(Event::Nemesis(fault.clone()));
        recorder.finish().unwrap();
        drop(never);

        let history = read(&path).unwrap();
        assert_eq!(history.start, start);
        assert_eq!(history.faults[0].1, fault);
        assert_eq!(history.ops.len(), 3);
        assert_eq!(history.ops[0].outcome, Outcome::Ok(response));
        assert_eq!(history.ops[0].life, (0, 1));
        assert_eq!(history.ops[1].outcome, Outcome::Fail("no".to_owned()));
        assert!(history.ops[2].is_unknown());
        assert!(!history.ended);
    }

    #[test]
    fn broken_files_are_refused_with_their_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("h");
        std::fs::write(&path, "{\"t\":1,\"type\":\"fail\",\"op\":3,\"error\":\"x\"}\n").unwrap();
        let error = format!("{:#}", read(&path).unwrap_err());
        assert!(error.contains("line 1: operation 3 has an outcome but was not asked"), "{error}");
        std::fs::write(&path, "hello\n").unwrap();
        assert!(format!("{:#}", read(&path).unwrap_err()).contains("line 1"));
    }
}
