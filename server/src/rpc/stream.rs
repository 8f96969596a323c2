//! `RangeStream`: a range of any size in messages of bounded size, all at one revision.

use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use keelson_api::etcdserverpb::ResponseHeader;
use keelson_store::View;
use keelson_store::command::{Range, SortOrder, SortTarget};
use prost::encoding::{encode_varint, encoded_len_varint};
use tonic::Status;

use super::body::{self, PREFIX_BYTES};
use super::pieces::{self, Pieces, Ready, Rest};
use super::{errors, kv, rows};

/// Rows of the first message: it should leave at once.
const FIRST_ROWS: u64 = 10;

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

/// A message ends when it has grown to this size, or to the largest request if that is smaller.
/// Larger ones save a client nothing, and each stream holds three of them.
const MESSAGE_BYTES: usize = 256 << 10;

/// Starts streaming; the count is settled first, so that errors come before any message.
pub(super) fn start(
    view: Arc<View>,
    range: Range,
    header: ResponseHeader,
    request_bytes_max: usize,
) -> Result<Ready, Status> {
    let counting = Range { count_only: true, limit: 0, ..range.clone() };
    let totals = view
        .range(&counting, &mut |_| ControlFlow::Continue(()))
        .map_err(|error| errors::not_read(&error))?;
    let more = range.limit > 0 && totals.count > range.limit;
    let count_only = range.count_only;
    let mut rest = Rest::of(view, range);
    if count_only {
        rest.end();
    }
    let (count, message_bytes) = (totals.count, MESSAGE_BYTES.min(request_bytes_max));
    Ok(pieces::send(Messages { rest, header, message_bytes, rows: FIRST_ROWS, more, count }))
}

struct Messages {
    rest: Rest,
    header: ResponseHeader,
    /// A message ends when it has grown to this size.
    message_bytes: usize,
    /// Rows in the next message at the most; doubles while messages stay small.
    rows: u64,
    more: bool,
    count: i64,
}

impl Pieces for Messages {
    /// The last message carries header and totals.
    fn next(&mut self) -> Result<(Bytes, bool), Status> {
        let room = if self.rows == FIRST_ROWS { 4 << 10 } else { self.message_bytes };
        let mut message = BytesMut::with_capacity(room + (4 << 10));
        message.put_bytes(0, HEADROOM);
        self.rest.read(&mut message, self.rows, self.message_bytes)?;
        let last = self.rest.is_done();
        if last {
            rows::put_header(&mut message, &self.header);
            rows::put_totals(&mut message, self.more, self.count);
        } else if message.len() < self.message_bytes / 2 {
            self.rows *= 2;
        }
        Ok((framed(message)?, last))
    }
}

/// Room before a `RangeResponse` for what comes before it: the gRPC prefix, a tag and a length.
const HEADROOM: usize = PREFIX_BYTES + 1 + 5;

/// Frames the `RangeResponse` behind the headroom as a `RangeStreamResponse`, whose only field
/// holds it.
fn framed(mut message: BytesMut) -> Result<Bytes, Status> {
    const RANGE_RESPONSE: u8 = 0x0a; // field 1, length-delimited
    let len = message.len() - HEADROOM;
    let start = HEADROOM - (PREFIX_BYTES + 1 + encoded_len_varint(len as u64));
    let mut head = BytesMut::with_capacity(HEADROOM);
    head.extend_from_slice(&body::prefix(message.len() - start - PREFIX_BYTES)?);
    head.put_u8(RANGE_RESPONSE);
    encode_varint(len as u64, &mut head);
    message[start..HEADROOM].copy_from_slice(&head);
    Ok(message.freeze().slice(start..))
}
