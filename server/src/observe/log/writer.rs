//! The thread that owns one output. It alone may wait for the device.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::config::LogFormat;

use super::line;
use super::queue::{Batch, Queue};
use super::timestamp::{Timestamp, WallClock};

/// Pause before an output that is full (a pipe in non-blocking mode) is tried again.
const FULL_PAUSE: Duration = Duration::from_millis(10);

/// Lines are gathered to writes of about this size, so that a burst costs few system calls.
const WRITE_BYTES: usize = 64 << 10;

pub(super) struct Writer {
    pub(super) queue: Arc<Queue>,
    pub(super) output: File,
    pub(super) format: LogFormat,
    pub(super) clock: WallClock,
}

impl Writer {
    /// Starts the thread. It ends when the queue is closed and empty; nobody joins it, because it
    /// may be stuck in its output for ever.
    pub(super) fn start(mut self) -> io::Result<()> {
        let thread = thread::Builder::new().name("keelson-log".into());
        thread.spawn(move || self.run()).map(drop)
    }

    fn run(&mut self) {
        while let Some(batch) = self.queue.take() {
            self.write_batch(&batch);
        }
    }

    fn write_batch(&mut self, batch: &Batch) {
        let mut buffer = Vec::with_capacity(WRITE_BYTES);
        let mut held = 0;
        for line in &batch.lines {
            buffer.extend_from_slice(line);
            held += 1;
            if buffer.len() >= WRITE_BYTES {
                self.write(&mut buffer, &mut held);
            }
        }
        if batch.dropped > 0 {
            let at = Timestamp((self.clock)());
            buffer.extend_from_slice(&line::of_dropped(self.format, at, batch.dropped));
        }
        self.write(&mut buffer, &mut held);
    }

    /// Writes and empties the buffer. There is nobody to tell of an error but the counter.
    fn write(&mut self, buffer: &mut Vec<u8>, held: &mut u64) {
        if self.write_all(buffer).is_err() {
            self.queue.lost(*held);
        }
        buffer.clear();
        *held = 0;
    }

    fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.output.write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(FULL_PAUSE),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
