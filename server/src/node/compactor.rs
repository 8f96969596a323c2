//! Removes old revisions in the background, a step at a time, whenever there are any.

use std::io;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use keelson_store::Store;
use keelson_store::types::Revision;
use tokio::sync::watch;

/// Pause between two steps: the step itself is short, and the pause leaves the disk to writers.
const STEP_PAUSE: Duration = Duration::from_millis(10);

/// Pause while there is nothing to remove.
const IDLE_PAUSE: Duration = Duration::from_millis(200);

/// The thread that removes.
#[derive(Debug)]
pub(super) struct Compactor {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl Compactor {
    /// Starts the thread; the receiver follows the revision that removal has reached.
    pub(super) fn start(store: Store) -> io::Result<(Self, watch::Receiver<Revision>)> {
        let (stop, stopped) = mpsc::channel();
        let (reached, removed) = watch::channel(Revision::NEVER);
        let thread = thread::Builder::new().name("compactor".into()).spawn(move || {
            let mut pause = IDLE_PAUSE;
            while stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                pause = match store.physical_compaction_step() {
                    Ok(progress) => {
                        reached.send_replace(progress.done);
                        if progress.done < progress.wanted { STEP_PAUSE } else { IDLE_PAUSE }
                    }
                    Err(error) => {
                        tracing::error!(%error, "old revisions could not be removed");
                        IDLE_PAUSE
                    }
                };
            }
        })?;
        Ok((Self { stop, thread }, removed))
    }

    /// Lets the current step end, then returns.
    pub(super) fn stop(self) {
        drop(self.stop);
        if self.thread.join().is_err() {
            tracing::error!("the compactor ended in a panic");
        }
    }
}
