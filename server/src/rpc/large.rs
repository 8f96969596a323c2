//! A unary range of any size in bounded memory.
//!
//! A gRPC message announces its length before its first byte, and a range is one message. So the
//! rows are walked once to learn how long it will be, and what does not fit into memory's share is
//! walked a second time, at the same view, while the client takes it: twice the CPU beyond the
//! first megabyte, instead of a message of up to two gigabytes for every client that asks.

use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::Response;
use keelson_api::etcdserverpb::ResponseHeader;
use keelson_store::View;
use keelson_store::command::{Range, SortTarget};
use tonic::Status;

use super::body::{self, MESSAGE_BYTES_MAX, Message, ResponseBody};
use super::pieces::{self, Pieces, Rest};
use super::{errors, rows};

/// What of an answer is kept from the first walk.
const HEAD_BYTES_MAX: usize = 1 << 20;

/// Size of the pieces of the second walk.
const PIECE_BYTES: usize = 256 << 10;

/// Rows read at once, where they are small: a few milliseconds of a thread.
const PIECE_ROWS_MAX: u64 = 16 << 10;

/// The answer to `range` as a unary response.
///
/// # Errors
/// The range cannot be read, or no gRPC peer would accept its answer.
pub(super) async fn answer(
    view: Arc<View>,
    range: Range,
    header: ResponseHeader,
) -> Result<Response<ResponseBody>, Status> {
    let walk = tokio::task::spawn_blocking(move || first_walk(view, range, &header));
    let walked = walk.await.map_err(|_| keelson_api::errors::Error::Stopped.status())?;
    Ok(match walked? {
        Walked::Whole(message) => body::unary(message),
        Walked::Head(tail) => body::stream(pieces::send(tail)),
    })
}

/// What the first walk came to.
enum Walked {
    /// All of it, framed.
    Whole(Bytes),
    /// Too large: its beginning, and how to make the rest.
    Head(Tail),
}

fn first_walk(view: Arc<View>, range: Range, header: &ResponseHeader) -> Result<Walked, Status> {
    // Other orders are made in memory, and so is their answer.
    let head_bytes_max =
        if range.sort_target == SortTarget::Key { HEAD_BYTES_MAX } else { MESSAGE_BYTES_MAX };
    let mut head = Message::with_capacity(64 << 10);
    rows::put_header(head.buffer(), header);
    let (mut taken, mut beyond, mut next) = (0, 0_usize, None);
    let totals = view
        .range(&range, &mut |row| {
            if next.is_none() && head.len() < head_bytes_max {
                rows::put_row(head.buffer(), &row);
                taken += 1;
            } else {
                next.get_or_insert_with(|| row.key.to_vec());
                beyond += rows::row_len(&row);
            }
            ControlFlow::Continue(())
        })
        .map_err(|error| errors::not_read(&error))?;
    let mut totals_bytes = BytesMut::new();
    rows::put_totals(&mut totals_bytes, totals.more, totals.count);
    let len = head.len() + beyond + totals_bytes.len();
    let Some(next) = next else {
        head.buffer().extend_from_slice(&totals_bytes);
        return Ok(Walked::Whole(head.finish()?));
    };
    let rest = Rest::from(view, range, taken, &next);
    let head = Some(head.finish_as_head_of(len)?);
    Ok(Walked::Head(Tail { head, rest, totals: totals_bytes.freeze(), owed: beyond }))
}

/// The message from its head on.
struct Tail {
    head: Option<Bytes>,
    rest: Rest,
    totals: Bytes,
    /// Bytes of rows that were announced and are still to come.
    owed: usize,
}

impl Pieces for Tail {
    fn next(&mut self) -> Result<(Bytes, bool), Status> {
        if let Some(head) = self.head.take() {
            return Ok((head, false));
        }
        let mut piece = BytesMut::with_capacity(PIECE_BYTES + (4 << 10));
        self.rest.read(&mut piece, PIECE_ROWS_MAX, PIECE_BYTES)?;
        let last = self.rest.is_done();
        assert!(piece.len() <= self.owed, "both walks see the same rows");
        self.owed -= piece.len();
        if last {
            assert_eq!(self.owed, 0, "both walks see the same rows");
            piece.extend_from_slice(&self.totals);
        }
        Ok((piece.freeze(), last))
    }
}
