//! The lines of a history file. Lines are only ever added; a new kind of line is a new variant.

use serde::{Deserialize, Serialize};

use super::op::{Request, Response};

/// What a run was, so that a history explains itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// `keelson` or `etcd`.
    pub subject: String,
    /// Number of members.
    pub nodes: usize,
    /// Where schedule and requests come from.
    pub seed: u64,
    /// The faults.
    pub mix: String,
    /// Number of the round, from 1.
    pub round: u64,
}

/// A fault or its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Number of the step in the schedule.
    pub step: usize,
    /// The kind, such as `kill`.
    pub kind: String,
    /// True when it begins, false when it is undone.
    pub begins: bool,
    /// Members it was done to.
    pub nodes: Vec<usize>,
    /// In words.
    pub detail: String,
}

/// A member's hash over everything up to a revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hash {
    /// The member.
    pub node: usize,
    /// Up to here.
    pub revision: i64,
    /// From here, compacted revision.
    pub compacted: i64,
    /// What it says.
    pub hash: u32,
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Event {
    /// The first line.
    Start(Start),
    /// An operation is about to be sent.
    Invoke {
        /// Its number.
        op: u64,
        /// The client.
        process: u64,
        /// The member asked.
        node: usize,
        /// Which start of the member.
        life: u32,
        /// What is asked.
        request: Request,
    },
    /// An operation was answered.
    Ok {
        /// Its number.
        op: u64,
        /// Which start of the member.
        life: u32,
        /// The answer.
        response: Response,
    },
    /// An operation certainly had no effect.
    Fail {
        /// Its number.
        op: u64,
        /// Why.
        error: String,
    },
    /// Nobody knows what became of an operation.
    Info {
        /// Its number.
        op: u64,
        /// Why.
        error: String,
    },
    /// A fault begins or ends.
    Nemesis(Fault),
    /// A member's hash at the end.
    Hash(Hash),
    /// The run was finished in order; without this line it was cut off.
    End {
        /// What did not come back after the last fault, if anything.
        unrecovered: Option<String>,
    },
}

/// A line: when and what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Nanoseconds since the run began.
    pub t: u64,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}
