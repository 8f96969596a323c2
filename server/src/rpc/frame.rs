//! gRPC messages in, whole: flag byte, length, payload.

use bytes::{Buf, Bytes, BytesMut};
use http_body::Body;
use http_body_util::BodyExt;
use tonic::Status;

const PREFIX_BYTES: usize = 5;

/// Reads the only message of a unary request. The payload shares the memory it was received in
/// when it came in one piece, as small ones do.
///
/// # Errors
/// What grpc-go answers to a message over `bytes_max`, a compressed one, a cut-off or absent one.
pub(super) async fn read_message<B>(mut body: B, bytes_max: usize) -> Result<Bytes, Status>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let mut pieces = Pieces::default();
    let len = loop {
        if let Some(len) = pieces.message_len(bytes_max)? {
            break len;
        }
        pieces.push(next(&mut body).await?.ok_or_else(missing)?);
    };
    while pieces.len() < PREFIX_BYTES + len {
        pieces.push(next(&mut body).await?.ok_or_else(cut_off)?);
    }
    let mut whole = pieces.into_bytes();
    whole.advance(PREFIX_BYTES);
    whole.truncate(len);
    Ok(whole)
}

/// Reads the messages of a request that is a stream.
pub(super) struct Messages<B> {
    body: B,
    bytes_max: usize,
    arrived: BytesMut,
}

impl<B> Messages<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    pub(super) fn new(body: B, bytes_max: usize) -> Self {
        Self { body, bytes_max, arrived: BytesMut::new() }
    }

    /// The next message; `None` when the client has said all.
    ///
    /// # Errors
    /// As for [`read_message`].
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Status> {
        loop {
            if let Some(len) = message_len(&self.arrived, self.bytes_max)?
                && self.arrived.len() >= PREFIX_BYTES + len
            {
                self.arrived.advance(PREFIX_BYTES);
                return Ok(Some(self.arrived.split_to(len).freeze()));
            }
            match next(&mut self.body).await? {
                Some(piece) => self.arrived.extend_from_slice(&piece),
                None if self.arrived.is_empty() => return Ok(None),
                None => return Err(cut_off()),
            }
        }
    }
}

async fn next<B>(body: &mut B) -> Result<Option<Bytes>, Status>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    loop {
        match body.frame().await {
            None => return Ok(None),
            Some(Err(error)) => return Err(Status::cancelled(error.to_string())),
            Some(Ok(frame)) => {
                // Trailers of a request mean nothing in gRPC.
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

// What grpc-go answers to both, word for word.
fn missing() -> Status {
    Status::unknown("EOF")
}

fn cut_off() -> Status {
    Status::unknown("unexpected EOF")
}

/// The announced length, once enough has arrived to know it; checked before anything is allocated
/// for it.
fn message_len(mut prefix: &[u8], bytes_max: usize) -> Result<Option<usize>, Status> {
    if prefix.len() < PREFIX_BYTES {
        return Ok(None);
    }
    if prefix.get_u8() != 0 {
        return Err(Status::internal("grpc: compressed flag set with identity or empty encoding"));
    }
    let len = prefix.get_u32() as usize;
    if len > bytes_max {
        return Err(Status::resource_exhausted(format!(
            "grpc: received message larger than max ({len} vs. {bytes_max})"
        )));
    }
    Ok(Some(len))
}

/// What has arrived so far; copied only when it is more than one piece.
#[derive(Default)]
struct Pieces {
    first: Bytes,
    joined: BytesMut,
}

impl Pieces {
    fn len(&self) -> usize {
        self.first.len() + self.joined.len()
    }

    fn push(&mut self, piece: Bytes) {
        if self.len() == 0 {
            self.first = piece;
            return;
        }
        if !self.first.is_empty() {
            self.joined.extend_from_slice(&std::mem::take(&mut self.first));
        }
        self.joined.extend_from_slice(&piece);
    }

    fn message_len(&self, bytes_max: usize) -> Result<Option<usize>, Status> {
        message_len(if self.first.is_empty() { &self.joined } else { &self.first }, bytes_max)
    }

    fn into_bytes(self) -> Bytes {
        if self.first.is_empty() { self.joined.freeze() } else { self.first }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::StreamBody;

    use super::*;

    fn body(pieces: &[&'static [u8]]) -> impl Body<Data = Bytes, Error = std::io::Error> + Unpin {
        let frames: Vec<_> = pieces
            .iter()
            .map(|piece| Ok(http_body::Frame::data(Bytes::from_static(piece))))
            .collect();
        StreamBody::new(futures_util::stream::iter(frames))
    }

    async fn read(pieces: &[&'static [u8]]) -> Result<Bytes, Status> {
        read_message(body(pieces), 4).await
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_message_is_read_however_it_is_cut() {
        for pieces in [
            &[b"\0\0\0\0\x03abc" as &[u8]] as &[&[u8]],
            &[b"\0\0", b"\0\0\x03a", b"bc"],
            &[b"", b"\0", b"\0\0\0\x03", b"abc", b"trailing"],
        ] {
            assert_eq!(read(pieces).await.unwrap(), "abc", "{pieces:?}");
        }
        assert_eq!(read(&[b"\0\0\0\0\0"]).await.unwrap(), "");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn what_is_no_message_is_refused_by_its_kind() {
        let code = |result: Result<Bytes, Status>| result.unwrap_err().code();
        assert_eq!(code(read(&[]).await), tonic::Code::Unknown);
        assert_eq!(code(read(&[b"\0\0\0\0\x03ab"]).await), tonic::Code::Unknown);
        assert_eq!(code(read(&[b"\x01\0\0\0\x01a"]).await), tonic::Code::Internal);
        let status = read(&[b"\0\xff\xff\xff\xff"]).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::ResourceExhausted);
        assert_eq!(status.message(), "grpc: received message larger than max (4294967295 vs. 4)");
    }
}
