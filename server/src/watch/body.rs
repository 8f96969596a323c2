//! The response body of a watch stream.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use tonic::Status;

use super::hub::Hub;
use super::outbox::Next;

/// Takes from a stream's outbox as HTTP/2 has window for it. The stream ends with this value.
#[derive(Debug)]
pub struct WatchBody {
    hub: Arc<Hub>,
    stream: usize,
    ended: bool,
}

impl WatchBody {
    pub(super) fn new(hub: Arc<Hub>, stream: usize) -> Self {
        Self { hub, stream, ended: false }
    }

    /// The next bytes, or how the stream has ended; `None` after that.
    pub(crate) fn poll(&mut self, cx: &Context<'_>) -> Poll<Option<Result<Bytes, Status>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        self.hub.take(self.stream, cx).map(|next| match next {
            Next::Bytes(bytes) => Some(Ok(bytes)),
            Next::End(status) => {
                self.ended = true;
                Some(Err(status))
            }
        })
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.ended
    }
}

impl Drop for WatchBody {
    fn drop(&mut self) {
        self.hub.close(self.stream);
    }
}
