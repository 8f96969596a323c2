//! One stream: its watchers, and the bytes that wait for its client.

use std::collections::BTreeMap;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use tonic::Status;

/// Bytes that wait for a client before its watchers fall behind: enough for a hundred small
/// responses, little enough for thousands of stuck clients.
const OUTBOX_BYTES_MAX: usize = 64 << 10;

/// Whoever is behind is caught up when no more than this waits.
const OUTBOX_BYTES_LOW: usize = 16 << 10;

/// A stream.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// Watchers by their ids.
    pub(super) watchers: BTreeMap<i64, usize>,
    /// The id that is looked at first when the server is to choose.
    pub(super) next_id: i64,
    /// How many of the watchers are behind.
    pub(super) behind: usize,
    /// The client has asked how far its watchers have come.
    pub(super) progress_wanted: bool,
    /// It wants no answers from a member that knows no leader.
    pub(super) requires_leader: bool,
    outbox: BytesMut,
    /// Whoever takes from the outbox.
    taker: Option<Waker>,
    /// Whoever waits for room in it.
    filler: Option<Waker>,
    ended: Option<Status>,
}

/// What a client is to get next.
#[derive(Debug)]
pub(super) enum Next {
    Bytes(Bytes),
    /// The stream has ended, and this is how.
    End(Status),
}

impl Stream {
    /// Whether more may be put in.
    pub(super) fn has_room(&self) -> bool {
        self.outbox.len() < OUTBOX_BYTES_MAX && self.ended.is_none()
    }

    /// Whether it is time to catch up.
    pub(super) fn is_low(&self) -> bool {
        self.outbox.len() <= OUTBOX_BYTES_LOW && self.ended.is_none()
    }

    /// What is to be appended to, in whole frames. [`wake`](Self::wake) is due afterwards.
    pub(super) fn outbox(&mut self) -> &mut BytesMut {
        &mut self.outbox
    }

    /// Whoever takes from it has something to do.
    pub(super) fn wake(&mut self) {
        if let Some(taker) = self.taker.take() {
            taker.wake();
        }
    }

    /// Nothing more goes in; what is in it still goes out, and then this.
    pub(super) fn end(&mut self, status: Status) {
        if self.ended.is_none() {
            self.ended = Some(status);
        }
        self.wake();
        if let Some(filler) = self.filler.take() {
            filler.wake();
        }
    }

    pub(super) fn take(&mut self, cx: &Context<'_>) -> Poll<Next> {
        if !self.outbox.is_empty() {
            let bytes = self.outbox.split().freeze();
            if let Some(filler) = self.filler.take() {
                filler.wake();
            }
            return Poll::Ready(Next::Bytes(bytes));
        }
        if let Some(status) = &self.ended {
            return Poll::Ready(Next::End(status.clone()));
        }
        self.taker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Ready when there is room; `false` when nothing goes in any more.
    pub(super) fn poll_room(&mut self, cx: &Context<'_>) -> Poll<bool> {
        if self.ended.is_some() {
            return Poll::Ready(false);
        }
        if self.has_room() {
            return Poll::Ready(true);
        }
        self.filler = Some(cx.waker().clone());
        Poll::Pending
    }

    /// An id for a watcher whose client leaves the choice to the server.
    pub(super) fn free_id(&mut self) -> i64 {
        while self.watchers.contains_key(&self.next_id) {
            self.next_id += 1;
        }
        let id = self.next_id;
        self.next_id += 1;
        id
    }
}
