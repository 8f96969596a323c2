//! Opening the outputs, and the handle that the rest of the server keeps.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;

use crate::config::{LogFormat, LogLevel, LogOutput, Logging};

use super::layer::LogLayer;
use super::queue::{Line, Queue};
use super::timestamp::WallClock;
use super::writer::Writer;

/// Libraries whose own lines say little to an operator: shown from warn on, unless at debug level.
const LIBRARIES: [&str; 4] = ["h2", "hyper", "tonic", "tower"];

/// It warns of every message that a member which is down does not take: shown from error on.
const CHATTY: &str = "openraft";

/// How long a panic waits for its line to be written before the process goes down.
const PANIC_FLUSH: Duration = Duration::from_secs(1);

/// Why logging cannot start.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// An output of `--log-outputs`.
    #[error("cannot open the log output {output:?}")]
    Open {
        /// Which one.
        output: LogOutput,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// Its thread.
    #[error("cannot start a log thread")]
    Thread(#[source] io::Error),
    /// A process has one log.
    #[error("logging was started before")]
    Twice,
}

/// Cheap to clone; when the last one and the layer are gone, the writers end.
#[derive(Clone)]
pub struct Log {
    outputs: Arc<Outputs>,
    format: LogFormat,
    level: LogLevel,
    clock: WallClock,
}

/// The queues of all outputs. Dropping it, with the last handle and layer, lets the writers end.
#[derive(Debug)]
pub(super) struct Outputs(Vec<Arc<Queue>>);

impl Outputs {
    pub(super) fn push(&self, line: &Line) {
        for queue in &self.0 {
            queue.push(Arc::clone(line));
        }
    }
}

impl Drop for Outputs {
    fn drop(&mut self) {
        for queue in &self.0 {
            queue.close();
        }
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("format", &self.format).finish_non_exhaustive()
    }
}

impl Log {
    /// Opens all outputs and starts a writer for each.
    pub fn open(options: &Logging, clock: WallClock) -> Result<Log, LogError> {
        let mut files = Vec::new();
        for output in &options.outputs {
            let file =
                open(output).map_err(|source| LogError::Open { output: output.clone(), source })?;
            files.push(file);
        }
        Log::over(files, options.format, options.level, clock).map_err(LogError::Thread)
    }

    /// The same over open files.
    pub(super) fn over(
        files: Vec<File>,
        format: LogFormat,
        level: LogLevel,
        clock: WallClock,
    ) -> io::Result<Log> {
        let mut queues = Vec::new();
        for output in files {
            let queue = Arc::new(Queue::default());
            let clock = Arc::clone(&clock);
            Writer { queue: Arc::clone(&queue), output, format, clock }.start()?;
            queues.push(queue);
        }
        Ok(Log { outputs: Arc::new(Outputs(queues)), format, level, clock })
    }

    /// What to hand to tracing: the layer behind the level filter.
    pub fn subscriber(&self) -> impl Subscriber + Send + Sync + 'static {
        let layer = LogLayer {
            outputs: Arc::clone(&self.outputs),
            format: self.format,
            clock: Arc::clone(&self.clock),
        };
        tracing_subscriber::registry().with(filter(self.level)).with(layer)
    }

    /// Makes this the log of the whole process, panics included.
    pub fn install(&self) -> Result<(), LogError> {
        tracing::subscriber::set_global_default(self.subscriber()).map_err(|_| LogError::Twice)?;
        self.install_panic_hook();
        Ok(())
    }

    /// A panic becomes a log line and waits for it a bounded time. The hook of the standard
    /// library writes to stderr itself and could wait there for ever, so that a node whose stderr
    /// is stuck would neither work nor go down.
    fn install_panic_hook(&self) {
        let log = self.clone();
        std::panic::set_hook(Box::new(move |info| {
            let place = info.location().map(ToString::to_string).unwrap_or_default();
            let reason = info.payload_as_str().unwrap_or("a value that is no text");
            let thread = std::thread::current().name().unwrap_or("unnamed").to_owned();
            let trace = std::backtrace::Backtrace::capture();
            tracing::error!(place, reason, thread, backtrace = %trace, "panic");
            log.flush(PANIC_FLUSH);
        }));
    }

    /// Lines left out since the start, over all outputs.
    pub fn dropped(&self) -> u64 {
        self.outputs.0.iter().map(|queue| queue.dropped_total()).sum()
    }

    /// Waits until all lines so far are written, for each output no longer than `wait`; says
    /// whether they are. For the end of the process.
    pub fn flush(&self, wait: Duration) -> bool {
        // Each is waited for, also after one that did not make it.
        let stuck = self.outputs.0.iter().filter(|queue| !queue.flush(wait)).count();
        stuck == 0
    }
}

/// The standard streams are duplicated and written as files: behind std's own lock, a stuck write
/// would hold up everybody else who prints.
fn open(output: &LogOutput) -> io::Result<File> {
    match output {
        LogOutput::Stderr => io::stderr().as_fd().try_clone_to_owned().map(File::from),
        LogOutput::Stdout => io::stdout().as_fd().try_clone_to_owned().map(File::from),
        LogOutput::File(path) => OpenOptions::new().create(true).append(true).open(path),
    }
}

fn filter(level: LogLevel) -> Targets {
    let (own, libraries) = match level {
        LogLevel::Debug => (LevelFilter::DEBUG, LevelFilter::INFO),
        LogLevel::Info => (LevelFilter::INFO, LevelFilter::WARN),
        LogLevel::Warn => (LevelFilter::WARN, LevelFilter::WARN),
        LogLevel::Error => (LevelFilter::ERROR, LevelFilter::ERROR),
    };
    let chatty = if level == LogLevel::Debug { libraries } else { LevelFilter::ERROR };
    Targets::new()
        .with_default(own)
        .with_targets(LIBRARIES.map(|name| (name, libraries)))
        .with_target(CHATTY, chatty)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
