//! `RangeStream`: a range of any size in messages of bounded size, all at one revision.
//!
//! The view pins the revision. Between two messages nothing is held but the view and the key to go
//! on from, so a client that reads slowly costs a snapshot and two messages, not a thread.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use keelson_api::etcdserverpb::ResponseHeader;
use keelson_store::View;
use keelson_store::command::{Range, SortOrder, SortTarget};
use prost::encoding::encode_varint;
use tokio::sync::mpsc;
use tonic::Status;

use super::body::Message;
use super::{errors, kv, rows};

/// Messages ready before the client takes them.
const READY_MESSAGES_MAX: usize = 2;

/// Rows of the first message: it should leave at once.
const FIRST_ROWS: usize = 10;

/// A client that takes nothing for this long loses its stream: its view holds back the removal of
/// old revisions.
const STALL_MAX: Duration = Duration::from_secs(300);

type Messages = mpsc::Receiver<Result<Bytes, Status>>;

/// Refuses what cannot be streamed.
pub(super) fn check(range: &Range) -> Result<(), Status> {
    if range.sort_target != SortTarget::Key || range.sort_order == SortOrder::Descend {
        return Err(Status::unimplemented("RangeStream does not support custom sort orders"));
    }
    if !kv::is_plain(range) {
        return Err(Status::unimplemented("RangeStream does not support revision filters"));
    }
    Ok(())
}

/// Starts streaming; the count is settled first, so that errors come before any message.
pub(super) fn start(
    view: Arc<View>,
    range: Range,
    header: ResponseHeader,
    message_bytes: usize,
) -> Result<Messages, Status> {
    let counting = Range { count_only: true, limit: 0, ..range.clone() };
    let totals = view
        .range(&counting, &mut |_| ControlFlow::Continue(()))
        .map_err(|error| errors::not_read(&error))?;
    let (sender, messages) = mpsc::channel(READY_MESSAGES_MAX);
    let left = u64::try_from(range.limit).ok().filter(|limit| *limit > 0);
    let cursor = Cursor {
        more: left.is_some_and(|limit| totals.count.cast_unsigned() > limit),
        count: totals.count,
        left: if range.count_only { Some(0) } else { left },
        rows: FIRST_ROWS,
        view,
        range,
        header,
        message_bytes,
    };
    tokio::spawn(send_all(cursor, sender));
    Ok(messages)
}

async fn send_all(mut cursor: Cursor, sender: mpsc::Sender<Result<Bytes, Status>>) {
    loop {
        let read = tokio::task::spawn_blocking(move || {
            let next = cursor.next_message();
            (cursor, next)
        });
        let Ok((next_cursor, next)) = read.await else { return };
        cursor = next_cursor;
        let (message, last) = match next {
            Ok((message, last)) => (Ok(message), last),
            Err(status) => (Err(status), true),
        };
        let sent = tokio::time::timeout(STALL_MAX, sender.send(message)).await;
        if last || !matches!(sent, Ok(Ok(()))) {
            return;
        }
    }
}

struct Cursor {
    view: Arc<View>,
    /// What is left of the range; its key moves on.
    range: Range,
    header: ResponseHeader,
    /// A message ends when it has grown to this size.
    message_bytes: usize,
    /// Rows in the next message at the most; doubles while messages stay small.
    rows: usize,
    /// Rows until the limit, if there is one.
    left: Option<u64>,
    more: bool,
    count: i64,
}

impl Cursor {
    /// The next message and whether it is the last one, which carries header and totals.
    fn next_message(&mut self) -> Result<(Bytes, bool), Status> {
        let mut message = BytesMut::with_capacity(4 << 10);
        let mut rows = 0;
        let mut cut = false;
        let mut last_key = Vec::new();
        if self.left != Some(0) {
            let piece = Range { limit: 0, ..self.range.clone() };
            let enough = |rows: usize, left: Option<u64>, len: usize| {
                rows >= self.rows || len >= self.message_bytes || left == Some(rows as u64)
            };
            self.view
                .range(&piece, &mut |row| {
                    if enough(rows, self.left, message.len()) {
                        cut = true;
                        return ControlFlow::Break(());
                    }
                    rows::put_row(&mut message, &row);
                    rows += 1;
                    last_key.clear();
                    last_key.extend_from_slice(row.key);
                    ControlFlow::Continue(())
                })
                .map_err(|error| errors::not_read(&error))?;
        }
        if let Some(left) = &mut self.left {
            *left -= rows as u64;
        }
        let last = !cut || self.left == Some(0);
        if last {
            rows::put_header(&mut message, &self.header);
            rows::put_totals(&mut message, self.more, self.count);
        } else {
            // The next possible key: the last one and a zero byte.
            last_key.push(0);
            self.range.range.key = last_key.into();
            if message.len() < self.message_bytes / 2 {
                self.rows *= 2;
            }
        }
        Ok((wrap(&message)?, last))
    }
}

/// The frame of a `RangeStreamResponse`, whose only field holds the `RangeResponse`.
fn wrap(response: &[u8]) -> Result<Bytes, Status> {
    const RANGE_RESPONSE: u8 = 0x0a; // field 1, length-delimited
    let mut message = Message::with_capacity(response.len() + 11);
    message.buffer().put_u8(RANGE_RESPONSE);
    encode_varint(response.len() as u64, message.buffer());
    message.buffer().extend_from_slice(response);
    message.finish()
}
