//! A range read piece by piece at one view, and sent as its pieces become ready.
//!
//! Between two pieces nothing is held but the view and the key to go on from, so a client that
//! reads slowly costs a snapshot and a few pieces, not a thread and not the range.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use keelson_store::View;
use keelson_store::command::{Range, SortOrder};
use tokio::sync::mpsc;
use tonic::Status;

use super::{errors, rows};

/// Pieces ready before the client takes them.
const READY_MAX: usize = 2;

/// A client that takes nothing for this long loses its answer: its view holds back the removal of
/// old revisions.
const STALL_MAX: Duration = Duration::from_secs(300);

/// Pieces on their way to a response body.
pub(super) type Ready = mpsc::Receiver<Result<Bytes, Status>>;

/// Makes the pieces of an answer, one after the other.
pub(super) trait Pieces: Send + 'static {
    /// The next piece, and whether it is the last one.
    ///
    /// # Errors
    /// The store failed; nothing follows.
    fn next(&mut self) -> Result<(Bytes, bool), Status>;
}

/// Has the pieces made off the runtime's thread, each when the one before has been taken.
pub(super) fn send(pieces: impl Pieces) -> Ready {
    let (sender, ready) = mpsc::channel(READY_MAX);
    tokio::spawn(send_all(pieces, sender));
    ready
}

async fn send_all(mut pieces: impl Pieces, sender: mpsc::Sender<Result<Bytes, Status>>) {
    loop {
        let made = tokio::task::spawn_blocking(move || {
            let next = pieces.next();
            (pieces, next)
        });
        let Ok((back, next)) = made.await else { return };
        pieces = back;
        let (piece, last) = match next {
            Ok((piece, last)) => (Ok(piece), last),
            Err(status) => (Err(status), true),
        };
        let sent = tokio::time::timeout(STALL_MAX, sender.send(piece)).await;
        if last || !matches!(sent, Ok(Ok(()))) {
            return;
        }
    }
}

/// What is left of a range in key order, either way.
pub(super) struct Rest {
    view: Arc<View>,
    /// Its key or its end moves on.
    range: Range,
    /// Rows until the limit, if there is one.
    left: Option<u64>,
    done: bool,
}

impl Rest {
    /// All of `range`, which is sorted by key.
    pub(super) fn of(view: Arc<View>, range: Range) -> Self {
        let left = u64::try_from(range.limit).ok().filter(|limit| *limit > 0);
        Self { view, range: Range { limit: 0, ..range }, left, done: false }
    }

    /// What is left of `range` when `taken` rows have been, and `next` is the key of the row that
    /// follows them.
    pub(super) fn from(view: Arc<View>, range: Range, taken: u64, next: &[u8]) -> Self {
        let mut rest = Self::of(view, range);
        rest.left = rest.left.map(|left| left.saturating_sub(taken));
        rest.go_on_at(next);
        rest
    }

    /// Whether all has been read.
    pub(super) fn is_done(&self) -> bool {
        self.done
    }

    /// Ends here.
    pub(super) fn end(&mut self) {
        self.done = true;
    }

    /// Appends rows to `out` until there are `rows_max`, or `out` has grown to `bytes_max`.
    ///
    /// # Errors
    /// The store failed.
    pub(super) fn read(
        &mut self,
        out: &mut BytesMut,
        rows_max: u64,
        bytes_max: usize,
    ) -> Result<(), Status> {
        let rows_max = self.left.map_or(rows_max, |left| rows_max.min(left));
        let (mut count, mut next) = (0, None);
        if rows_max > 0 && !self.done {
            let sink = &mut |row: keelson_store::types::KeyValueRef<'_>| {
                if count >= rows_max || out.len() >= bytes_max {
                    next = Some(row.key.to_vec());
                    return ControlFlow::Break(());
                }
                rows::put_row(out, &row);
                count += 1;
                ControlFlow::Continue(())
            };
            self.view.range(&self.range, sink).map_err(|error| errors::not_read(&error))?;
        }
        self.left = self.left.map(|left| left - count);
        match next {
            Some(next) if self.left != Some(0) => self.go_on_at(&next),
            _ => self.done = true,
        }
        Ok(())
    }

    fn go_on_at(&mut self, next: &[u8]) {
        if self.range.sort_order == SortOrder::Descend {
            // The end is exclusive: right behind the next key.
            self.range.range.end = [next, &[0]].concat().into();
        } else {
            self.range.range.key = Bytes::copy_from_slice(next);
        }
    }
}
