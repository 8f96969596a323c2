//! Writes a history while it happens.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::Context;

use super::op::{Outcome, Request};
use super::record::{Event, Line};
use crate::clock::Clock;

/// Writes lines in the order of their times as seen by the callers.
///
/// The time of an invocation is taken before the request is sent, that of an outcome after it was
/// received, so the interval on file contains the real one: checks never see an order that was not
/// there.
#[derive(Debug)]
pub struct Recorder {
    clock: Clock,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    file: BufWriter<File>,
    next_op: u64,
    failed: Option<String>,
    counts: Counts,
    last_write: Option<u64>,
}

/// Outcomes so far, for progress lines.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counts {
    /// Answered.
    pub ok: u64,
    /// Without effect.
    pub fail: u64,
    /// Unknown.
    pub unknown: u64,
}

/// An operation under way.
#[derive(Debug)]
#[must_use = "an operation has an outcome"]
pub struct Ticket {
    op: u64,
}

impl Recorder {
    /// Starts a file.
    pub fn create(path: &Path, clock: Clock) -> anyhow::Result<Self> {
        let file =
            File::create(path).with_context(|| format!("create history {}", path.display()))?;
        let inner = Inner {
            file: BufWriter::new(file),
            next_op: 0,
            failed: None,
            counts: Counts::default(),
            last_write: None,
        };
        Ok(Self { clock, inner: Mutex::new(inner) })
    }

    /// The clock that times come from.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// An operation is about to be sent.
    pub fn invoke(&self, process: u64, node: usize, life: u32, request: Request) -> Ticket {
        let t = self.clock.nanos();
        let mut inner = self.lock();
        let op = inner.next_op;
        inner.next_op += 1;
        inner.write(&Line { t, event: Event::Invoke { op, process, node, life, request } });
        Ticket { op }
    }

    /// An operation has an outcome.
    pub fn complete(&self, ticket: Ticket, life: u32, outcome: Outcome) {
        let t = self.clock.nanos();
        let op = ticket.op;
        let mut inner = self.lock();
        let event = match outcome {
            Outcome::Ok(response) => {
                inner.counts.ok += 1;
                Event::Ok { op, life, response }
            }
            Outcome::Fail(error) => {
                inner.counts.fail += 1;
                Event::Fail { op, error }
            }
            Outcome::Unknown(error) => {
                inner.counts.unknown += 1;
                Event::Info { op, error }
            }
        };
        inner.write(&Line { t, event });
    }

    /// Something else happened.
    pub fn note(&self, event: Event) {
        let t = self.clock.nanos();
        self.lock().write(&Line { t, event });
    }

    /// A write was acknowledged now: for progress lines.
    pub fn wrote(&self) {
        let t = self.clock.nanos();
        self.lock().last_write = Some(t);
    }

    /// Outcomes so far, and when a write was acknowledged last.
    pub fn counts(&self) -> (Counts, Option<u64>) {
        let inner = self.lock();
        (inner.counts, inner.last_write)
    }

    /// Ends the file; an error of any line comes out here.
    pub fn finish(&self) -> anyhow::Result<()> {
        let mut inner = self.lock();
        if let Some(failed) = &inner.failed {
            anyhow::bail!("write history: {failed}");
        }
        inner.file.flush().context("write history")
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn write(&mut self, line: &Line) {
        let text = serde_json::to_string(line).expect("a line has no map with odd keys");
        if let Err(e) = writeln!(self.file, "{text}") {
            self.failed.get_or_insert(e.to_string());
        }
    }
}
