//! Operations in a form that a person reads.

use std::fmt;

use super::op::{Action, Answer, Compare, Kv, Op, Outcome, RangeRequest, Request, Target};

/// Nanoseconds as seconds.
pub fn seconds(nanos: u64) -> String {
    format!("{}.{:06}", nanos / 1_000_000_000, nanos % 1_000_000_000 / 1_000)
}

/// Rows of a range that are shown; a set of hundreds of elements would hide the rest.
const ROWS_MAX: usize = 6;

/// A value, of a long list its begin and its end.
struct Short<'a>(&'a str);

/// Elements of a list that are shown at its begin and at its end.
const ELEMENTS_SHOWN: usize = 2;

impl fmt::Display for Short<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<&str> = self.0.split(' ').collect();
        let left_out = all.len().saturating_sub(2 * ELEMENTS_SHOWN);
        if left_out < 2 {
            return write!(f, "{:?}", self.0);
        }
        let begin = all[..ELEMENTS_SHOWN].join(" ");
        let end = all[all.len() - ELEMENTS_SHOWN..].join(" ");
        write!(f, "\"{begin} .. {left_out} more .. {end}\"")
    }
}

impl fmt::Display for Kv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}@{}", self.key, Short(&self.value), self.modified)?;
        if self.version != 1 {
            write!(f, " (version {})", self.version)?;
        }
        Ok(())
    }
}

impl fmt::Display for RangeRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.serializable { "serializable read " } else { "read " })?;
        f.write_str(&self.key)?;
        if let Some(end) = &self.end {
            write!(f, "..{end}")?;
        }
        if self.revision != 0 {
            write!(f, " at revision {}", self.revision)?;
        }
        if self.min_modified != 0 {
            write!(f, " written from {} on", self.min_modified)?;
        }
        Ok(())
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Range(range) => range.fmt(f),
            Self::Put { key, value } => write!(f, "put {key}={}", Short(value)),
            Self::Delete { key } => write!(f, "delete {key}"),
        }
    }
}

impl fmt::Display for Compare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.target {
            Target::Modified(0) => write!(f, "{} is absent", self.key),
            Target::Modified(revision) => write!(f, "{} is of revision {revision}", self.key),
            Target::Value(value) => write!(f, "{}={}", self.key, Short(value)),
        }
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Single(action) => action.fmt(f),
            Self::Txn { compares, success, failure } => {
                write!(f, "if {} then {}", list(compares), list(success))?;
                if !failure.is_empty() {
                    write!(f, " else {}", list(failure))?;
                }
                Ok(())
            }
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Range { kvs, .. } if kvs.is_empty() => f.write_str("nothing there"),
            Self::Range { kvs, .. } => {
                f.write_str(&list(kvs.iter().take(ROWS_MAX)))?;
                match kvs.len().saturating_sub(ROWS_MAX) {
                    0 => Ok(()),
                    more => write!(f, " and {more} more"),
                }
            }
            Self::Put { prev: None } => f.write_str("put, nothing was there"),
            Self::Put { prev: Some(prev) } => write!(f, "put, before {prev}"),
            Self::Delete { prev, deleted } => match prev.first() {
                Some(prev) => write!(f, "deleted {prev}"),
                None => write!(f, "deleted {deleted}"),
            },
            Self::Txn { succeeded, answers } => {
                let branch = if *succeeded { "then" } else { "else" };
                write!(f, "{branch}: {}", list(answers))
            }
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = match &self.outcome {
            Outcome::Ok(_) | Outcome::Fail(_) => seconds(self.completed),
            Outcome::Unknown(_) => "?".to_owned(),
        };
        write!(
            f,
            "#{} client {} on n{} [{} .. {end}] {} -> ",
            self.id,
            self.process,
            self.node + 1,
            seconds(self.invoked),
            self.request,
        )?;
        match &self.outcome {
            Outcome::Ok(response) => {
                write!(f, "revision {}: {}", response.header.revision, response.answer)
            }
            Outcome::Fail(error) => write!(f, "failed: {error}"),
            Outcome::Unknown(error) => write!(f, "unknown: {error}"),
        }
    }
}

fn list<T: fmt::Display>(items: impl IntoIterator<Item = T>) -> String {
    let texts: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    if texts.is_empty() { "nothing".to_owned() } else { texts.join(", ") }
}
