//! From tracing's events to the queues of the outputs.

use std::fmt;
use std::sync::Arc;

use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use crate::config::LogFormat;

use super::handle::Outputs;
use super::line;
use super::queue::Line;
use super::timestamp::{Timestamp, WallClock};

/// Turns every event into a line for every output. Spans are not shown: their fields belong in
/// the event that needs them.
pub struct LogLayer {
    pub(super) outputs: Arc<Outputs>,
    pub(super) format: LogFormat,
    pub(super) clock: WallClock,
}

impl fmt::Debug for LogLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogLayer").field("format", &self.format).finish_non_exhaustive()
    }
}

impl<S: Subscriber> Layer<S> for LogLayer {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let at = Timestamp((self.clock)());
        let line: Line = line::of_event(self.format, at, event).into();
        self.outputs.push(&line);
    }
}
