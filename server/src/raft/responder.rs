//! Where openraft leaves the result of a proposal: a callback, run once.

use openraft::OptionalSend;

use super::types::TypeConfig;

/// Runs a closure with the result. One allocation per log entry, whatever number of clients wait
/// on that entry; the closure spreads the outcomes.
pub(crate) struct Responder<T>(Box<dyn FnOnce(T) + Send>);

impl<T> Responder<T> {
    pub(crate) fn new(complete: impl FnOnce(T) + Send + 'static) -> Self {
        Self(Box::new(complete))
    }
}

impl<T: OptionalSend + 'static> openraft::raft::responder::Responder<TypeConfig, T>
    for Responder<T>
{
    fn on_complete(self, result: T) {
        (self.0)(result);
    }
}
