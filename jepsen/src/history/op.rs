//! Requests, answers and outcomes of operations.

use serde::{Deserialize, Serialize};

/// A key with its value and etcd's numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kv {
    /// The key.
    pub key: String,
    /// The value.
    pub value: String,
    /// Revision that created this generation of the key.
    pub create: i64,
    /// Revision that wrote this value.
    pub modified: i64,
    /// Number of writes in this generation.
    pub version: i64,
}

/// A read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RangeRequest {
    /// The key, or the first one.
    pub key: String,
    /// The key after the last one, for intervals.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<String>,
    /// Answered from the member's own state, which may be old.
    #[serde(default, skip_serializing_if = "is_default")]
    pub serializable: bool,
    /// The revision to read at; 0 is the newest.
    #[serde(default, skip_serializing_if = "is_default")]
    pub revision: i64,
    /// Leaves out what was written before this revision.
    #[serde(default, skip_serializing_if = "is_default")]
    pub min_modified: i64,
}

impl RangeRequest {
    /// A linearizable read of one key.
    pub fn one(key: &str) -> Self {
        Self { key: key.to_owned(), ..Self::default() }
    }

    /// A linearizable read of all keys that begin like this. Keys are ASCII here, so the end of a
    /// prefix is the prefix with its last byte one higher.
    pub fn prefix(prefix: &str) -> Self {
        let mut end = prefix.as_bytes().to_vec();
        if let Some(last) = end.last_mut() {
            *last += 1;
        }
        let end = String::from_utf8(end).expect("the next ASCII character");
        Self { key: prefix.to_owned(), end: Some(end), ..Self::default() }
    }

    /// Whether a key lies in what is read.
    pub fn covers(&self, key: &str) -> bool {
        match &self.end {
            None => key == self.key,
            Some(end) => self.key.as_str() <= key && key < end.as_str(),
        }
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// What a condition of a transaction looks at; all conditions ask for equality.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// The revision of the last write, 0 if the key is absent.
    Modified(i64),
    /// The value; never equal if the key is absent.
    Value(String),
}

/// A condition of a transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compare {
    /// Whose state it looks at.
    pub key: String,
    /// What it must be equal to.
    pub target: Target,
}

impl Compare {
    /// Whether the condition holds for this state of its key.
    pub fn holds(&self, state: Option<&Kv>) -> bool {
        match &self.target {
            Target::Modified(revision) => state.map_or(0, |kv| kv.modified) == *revision,
            Target::Value(value) => state.is_some_and(|kv| kv.value == *value),
        }
    }
}

/// One step of a transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Reads a key or an interval.
    Range(RangeRequest),
    /// Writes a key and asks for what was there.
    Put {
        /// The key.
        key: String,
        /// Its new value.
        value: String,
    },
    /// Deletes one key and asks for what was there.
    Delete {
        /// The key.
        key: String,
    },
}

impl Action {
    /// The key that this changes, if it is a write.
    pub fn changes(&self) -> Option<&str> {
        match self {
            Self::Range(_) => None,
            Self::Put { key, .. } | Self::Delete { key } => Some(key),
        }
    }
}

/// What a client asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// A single step outside a transaction.
    Single(Action),
    /// A transaction.
    Txn {
        /// All must hold.
        compares: Vec<Compare>,
        /// Steps if they do.
        success: Vec<Action>,
        /// Steps if one does not.
        failure: Vec<Action>,
    },
}

impl Request {
    /// All steps that may be taken.
    pub fn actions(&self) -> impl Iterator<Item = &Action> {
        let (success, failure) = match self {
            Self::Single(action) => (std::slice::from_ref(action), [].as_slice()),
            Self::Txn { success, failure, .. } => (success.as_slice(), failure.as_slice()),
        };
        success.iter().chain(failure)
    }

    /// Whether it may change anything.
    pub fn is_write(&self) -> bool {
        self.actions().any(|action| action.changes().is_some())
    }

    /// Whether the answer may be old.
    pub fn is_serializable(&self) -> bool {
        !self.is_write()
            && self.actions().all(|action| match action {
                Action::Range(range) => range.serializable,
                Action::Put { .. } | Action::Delete { .. } => false,
            })
    }

    /// A write of one key.
    pub fn put(key: impl Into<String>, value: impl Into<String>) -> Self {
        Self::Single(Action::Put { key: key.into(), value: value.into() })
    }

    /// A deletion of one key.
    pub fn delete(key: impl Into<String>) -> Self {
        Self::Single(Action::Delete { key: key.into() })
    }

    /// A read.
    pub fn range(range: RangeRequest) -> Self {
        Self::Single(Action::Range(range))
    }
}

/// The answer to one step, or to a transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// To a read.
    Range {
        /// What is there, by key.
        kvs: Vec<Kv>,
        /// Number of keys in the interval, whatever was left out of `kvs`.
        count: i64,
    },
    /// To a put.
    Put {
        /// What was there.
        prev: Option<Kv>,
    },
    /// To a deletion.
    Delete {
        /// Number of keys deleted.
        deleted: i64,
        /// What was there.
        prev: Vec<Kv>,
    },
    /// To a transaction.
    Txn {
        /// Whether the conditions held.
        succeeded: bool,
        /// Answers to the steps taken.
        answers: Vec<Answer>,
    },
}

impl Answer {
    /// All key-values that this answer shows, as they were before or are at its revision.
    pub fn kvs(&self) -> Vec<&Kv> {
        match self {
            Self::Range { kvs, .. } => kvs.iter().collect(),
            Self::Put { prev } => prev.iter().collect(),
            Self::Delete { prev, .. } => prev.iter().collect(),
            Self::Txn { answers, .. } => answers.iter().flat_map(Self::kvs).collect(),
        }
    }
}

/// The head of an answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The store's revision when it answered.
    pub revision: i64,
    /// Raft's term.
    pub term: u64,
    /// The member that answered.
    pub member: u64,
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Response {
    /// Its head.
    pub header: Header,
    /// Its body.
    pub answer: Answer,
}

/// What became of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered.
    Ok(Response),
    /// It had no effect, for this reason.
    Fail(String),
    /// It may have had an effect, now or later.
    Unknown(String),
}

/// An operation of a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Op {
    /// Its number in the file.
    pub id: u64,
    /// The client; a client has one operation under way.
    pub process: u64,
    /// The member asked.
    pub node: usize,
    /// Which start of that member it was when asked and when answered.
    pub life: (u32, u32),
    /// When it was asked, in nanoseconds.
    pub invoked: u64,
    /// When its outcome was known. Meaningless as a bound if the outcome is unknown.
    pub completed: u64,
    /// What was asked.
    pub request: Request,
    /// What became of it.
    pub outcome: Outcome,
}

impl Op {
    /// The answer, if there is one.
    pub fn response(&self) -> Option<&Response> {
        match &self.outcome {
            Outcome::Ok(response) => Some(response),
            Outcome::Fail(_) | Outcome::Unknown(_) => None,
        }
    }

    /// Whether nobody knows what became of it.
    pub fn is_unknown(&self) -> bool {
        matches!(self.outcome, Outcome::Unknown(_))
    }

    /// The steps that were certainly taken, with their answers.
    pub fn taken(&self) -> Vec<(&Action, &Answer)> {
        let Some(response) = self.response() else { return Vec::new() };
        match (&self.request, &response.answer) {
            (Request::Single(action), answer) => vec![(action, answer)],
            (Request::Txn { success, failure, .. }, Answer::Txn { succeeded, answers }) => {
                let steps = if *succeeded { success } else { failure };
                steps.iter().zip(answers).collect()
            }
            // A txn that is not answered by a txn: the revision checker reports the mismatch.
            (Request::Txn { .. }, _) => Vec::new(),
        }
    }

    /// Whether it certainly changed something, which gives it a revision of its own.
    pub fn changed(&self) -> bool {
        self.taken().iter().any(|(action, answer)| match (action, answer) {
            (Action::Put { .. }, _) => true,
            (Action::Delete { .. }, Answer::Delete { deleted, .. }) => *deleted > 0,
            (Action::Delete { .. } | Action::Range(_), _) => false,
        })
    }
}
