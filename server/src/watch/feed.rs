//! Tells hubs that the store has moved.

use tokio::sync::watch;

/// The sending end: whoever applies.
#[derive(Clone, Debug)]
pub(crate) struct Feed(watch::Sender<()>);

/// The receiving end; one for each hub.
#[derive(Clone, Debug)]
pub(crate) struct Fed(watch::Receiver<()>);

impl Feed {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(()))
    }

    /// What was applied is there to be read. Costs next to nothing while nobody waits.
    pub(crate) fn moved(&self) {
        self.0.send_replace(());
    }

    pub(crate) fn subscribe(&self) -> Fed {
        Fed(self.0.subscribe())
    }
}

impl Fed {
    /// Returns when the store has moved since the last call; `false` when it never will again.
    pub(crate) async fn moved(&mut self) -> bool {
        self.0.changed().await.is_ok()
    }
}
