//! What clients asked and were told, as a file of JSON lines and as a value that checkers read.
//!
//! An operation is one request. It is recorded before it is sent and again when its outcome is
//! known: `ok` with the whole answer, `fail` when it certainly has had no effect, `info` when
//! nobody can tell. Written values are unique within a run, so that a value seen anywhere names
//! the operation that wrote it.

mod op;
mod reader;
mod record;
mod recorder;
mod show;

pub use op::{
    Action, Answer, Compare, Header, Kv, Op, Outcome, RangeRequest, Request, Response, Target,
};
pub use reader::{History, read};
pub use record::{Event, Fault, Hash, Line, Start};
pub use recorder::{Recorder, Ticket};
pub use show::seconds;
