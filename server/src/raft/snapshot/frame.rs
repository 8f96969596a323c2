//! Bytes of what leader and follower say to each other while a snapshot travels.
//!
//! ```text
//! hello   1 version(1)=1 vote
//! offer   2 start(8) store(8) files(4) { len(2) name size(8) }
//! piece   3 file(4) offset(8) crc32(4) bytes
//! ready   4
//! have    5 files(4) { bytes(8) }
//! done    6 vote
//! ```
//! Numbers are little-endian; votes are those of [`codec`](super::super::codec).

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::super::codec::{self, CodecError, put_len, u8, u32, u64, version};
use super::super::types::Vote;

const VERSION: u8 = 1;
const VOTE_BYTES: usize = 18;

const HELLO: u8 = 1;
const OFFER: u8 = 2;
const PIECE: u8 = 3;
const READY: u8 = 4;
const HAVE: u8 = 5;
const DONE: u8 = 6;

type Decoded<T> = Result<T, CodecError>;

/// Where files come from: those of one source with the same name and size are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Source {
    /// A number drawn by chance at the start of the sending process.
    pub(super) start: u64,
    /// The number of its store.
    pub(super) store: u64,
}

/// One file of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FileRow {
    pub(super) name: String,
    pub(super) size: u64,
}

/// What there is to be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Offer {
    pub(super) source: Source,
    pub(super) files: Vec<FileRow>,
}

/// A part of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) file: u32,
    pub(super) offset: u64,
    pub(super) bytes: Bytes,
}

/// From the leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    Hello(Vote),
    Offer(Offer),
    Piece(Piece),
}

/// From the follower.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answered {
    Ready,
    Have(Vec<u64>),
    Done(Vote),
}

impl Sent {
    pub(super) fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        match self {
            Self::Hello(vote) => {
                out.put_u8(HELLO);
                out.put_u8(VERSION);
                out.extend_from_slice(&codec::encode_vote(vote));
            }
            Self::Offer(Offer { source, files }) => {
                out.put_u8(OFFER);
                out.put_u64_le(source.start);
                out.put_u64_le(source.store);
                put_len(&mut out, files.len());
                for file in files {
                    out.put_u16_le(u16::try_from(file.name.len()).expect("a file name is short"));
                    out.extend_from_slice(file.name.as_bytes());
                    out.put_u64_le(file.size);
                }
            }
            Self::Piece(Piece { file, offset, bytes }) => {
                out.reserve(17 + bytes.len());
                out.put_u8(PIECE);
                out.put_u32_le(*file);
                out.put_u64_le(*offset);
                out.put_u32_le(sum(*file, *offset, bytes));
                out.extend_from_slice(bytes);
            }
        }
        out.freeze()
    }

    pub(super) fn decode(mut bytes: Bytes) -> Decoded<Self> {
        let what = "part of a snapshot";
        let bytes = &mut bytes;
        match u8(bytes, what)? {
            HELLO => {
                version(bytes, what)?;
                Ok(Self::Hello(last_vote(bytes, what)?))
            }
            OFFER => decode_offer(bytes, what).map(Self::Offer),
            PIECE => {
                let (file, offset) = (u32(bytes, what)?, u64(bytes, what)?);
                let crc = u32(bytes, what)?;
                if crc != sum(file, offset, bytes) {
                    return Err(CodecError::Malformed { what });
                }
                Ok(Self::Piece(Piece { file, offset, bytes: std::mem::take(bytes) }))
            }
            got => Err(CodecError::Unknown { what, got }),
        }
    }
}

fn decode_offer(bytes: &mut Bytes, what: &'static str) -> Decoded<Offer> {
    let source = Source { start: u64(bytes, what)?, store: u64(bytes, what)? };
    let mut files = Vec::new();
    for _ in 0..u32(bytes, what)? {
        let len = usize::from(bytes.try_get_u16_le().map_err(|_| CodecError::Short { what })?);
        if bytes.len() < len {
            return Err(CodecError::Short { what });
        }
        let name = String::from_utf8(bytes.split_to(len).to_vec());
        let name = name.map_err(|_| CodecError::Malformed { what })?;
        files.push(FileRow { name, size: u64(bytes, what)? });
    }
    end(bytes, what)?;
    Ok(Offer { source, files })
}

/// Covers the place as well as the bytes.
fn sum(file: u32, offset: u64, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&file.to_le_bytes());
    hasher.update(&offset.to_le_bytes());
    hasher.update(bytes);
    hasher.finalize()
}

impl Answered {
    pub(super) fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        match self {
            Self::Ready => out.put_u8(READY),
            Self::Have(held) => {
                out.put_u8(HAVE);
                put_len(&mut out, held.len());
                held.iter().for_each(|bytes| out.put_u64_le(*bytes));
            }
            Self::Done(vote) => {
                out.put_u8(DONE);
                out.extend_from_slice(&codec::encode_vote(vote));
            }
        }
        out.freeze()
    }

    pub(super) fn decode(mut bytes: Bytes) -> Decoded<Self> {
        let what = "answer to a snapshot";
        let bytes = &mut bytes;
        let answered = match u8(bytes, what)? {
            READY => Self::Ready,
            HAVE => {
                let mut held = Vec::new();
                for _ in 0..u32(bytes, what)? {
                    held.push(u64(bytes, what)?);
                }
                Self::Have(held)
            }
            DONE => Self::Done(last_vote(bytes, what)?),
            got => return Err(CodecError::Unknown { what, got }),
        };
        end(bytes, what)?;
        Ok(answered)
    }
}

fn last_vote(bytes: &mut Bytes, what: &'static str) -> Decoded<Vote> {
    if bytes.len() < VOTE_BYTES {
        return Err(CodecError::Short { what });
    }
    let vote = codec::decode_vote(bytes.split_to(VOTE_BYTES))?;
    end(bytes, what)?;
    Ok(vote)
}

fn end(bytes: &Bytes, what: &'static str) -> Decoded<()> {
    if bytes.has_remaining() { Err(CodecError::Malformed { what }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::super::super::types::MemberId;
    use super::*;

    #[test]
    fn frames_come_back_as_they_were_and_no_others_do() {
        let vote = Vote::new_committed(4, MemberId(2));
        let files =
            ["CURRENT", "000012.sst"].map(|name| FileRow { name: name.to_owned(), size: 9 });
        let offer = Offer { source: Source { start: 7, store: 1 }, files: files.to_vec() };
        for sent in [Sent::Hello(vote), Sent::Offer(offer)] {
            let whole = sent.encode();
            assert_eq!(Sent::decode(whole.clone()).unwrap(), sent);
            for len in 0..whole.len() {
                assert!(Sent::decode(whole.slice(..len)).is_err(), "{len} bytes of {sent:?}");
            }
            assert!(Sent::decode(Bytes::from([&whole[..], &[0]].concat())).is_err());
        }
        for answered in [Answered::Ready, Answered::Have(vec![1, 2]), Answered::Done(vote)] {
            let whole = answered.encode();
            assert_eq!(Answered::decode(whole.clone()).unwrap(), answered);
            for len in 0..whole.len() {
                assert!(Answered::decode(whole.slice(..len)).is_err());
            }
            assert!(Answered::decode(Bytes::from([&whole[..], &[0]].concat())).is_err());
        }
    }

    #[test]
    fn a_piece_with_any_bit_changed_is_refused() {
        let piece = Sent::Piece(Piece { file: 1, offset: 5, bytes: Bytes::from_static(b"abc") });
        let whole = piece.encode();
        assert_eq!(Sent::decode(whole.clone()).unwrap(), piece);
        for bit in 8..whole.len() * 8 {
            let mut changed = whole.to_vec();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(Sent::decode(Bytes::from(changed)).is_err(), "bit {bit}");
        }
    }
}
