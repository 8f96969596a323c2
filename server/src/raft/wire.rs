//! Bytes of what members say to each other: openraft's messages and our own, in our encoding.
//!
//! ```text
//! log id?          0, or 1 term(8) index(8)
//! append           version(1)=1 vote prev? commit? entries(4) { term(8) index(8) len(4) payload }
//! heartbeat        append without entries, forsaken(1): the leader is without a quorum
//! append answer    0 log id? | 1 log id (conflict) | 2 vote (a higher one)
//! vote             version(1)=1 vote last? transfer(1)
//! vote answer      version(1)=1 vote granted(1) last?
//! transfer         version(1)=1 vote to(8) last?
//! transfer answer  0 | 1 vote vote | 2 last? last?
//! read index       version(1)=1 start(8) number(8)
//! its answer       start(8) number(8), then 0 term(8) index(8) | 1 (does not lead)
//! propose          an entry payload; its answer is 0 applied | 1 not appended | 2 nobody knows
//! ```
//! Votes and payloads are those of [`codec`](super::codec), and so are the numbers.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use openraft::raft::{
    AppendEntriesRequest, StreamAppendError, StreamAppendResult, TransferLeaderError,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};

use super::codec::{self, CodecError, flag, put_len, u8, u32, u64, version};
use super::types::{Entry, LogId, MemberId, TypeConfig, Vote};

const VERSION: u8 = 1;
const VOTE_BYTES: usize = 18;

type Decoded<T> = Result<T, CodecError>;

fn put_log_id(out: &mut BytesMut, log_id: &LogId) {
    out.put_u64_le(log_id.leader_id.term);
    out.put_u64_le(log_id.index);
}

fn log_id(bytes: &mut Bytes, what: &'static str) -> Decoded<LogId> {
    let term = u64(bytes, what)?;
    Ok(codec::log_id(term, u64(bytes, what)?))
}

fn put_maybe(out: &mut BytesMut, log_id: Option<&LogId>) {
    out.put_u8(u8::from(log_id.is_some()));
    if let Some(log_id) = log_id {
        put_log_id(out, log_id);
    }
}

fn maybe(bytes: &mut Bytes, what: &'static str) -> Decoded<Option<LogId>> {
    if flag(bytes, what)? { log_id(bytes, what).map(Some) } else { Ok(None) }
}

fn put_vote(out: &mut BytesMut, vote: &Vote) {
    out.extend_from_slice(&codec::encode_vote(vote));
}

fn vote(bytes: &mut Bytes, what: &'static str) -> Decoded<Vote> {
    codec::decode_vote(take(bytes, VOTE_BYTES, what)?)
}

fn take(bytes: &mut Bytes, len: usize, what: &'static str) -> Decoded<Bytes> {
    if bytes.len() < len {
        return Err(CodecError::Short { what });
    }
    Ok(bytes.split_to(len))
}

fn end(bytes: &Bytes, what: &'static str) -> Decoded<()> {
    if bytes.has_remaining() { Err(CodecError::Malformed { what }) } else { Ok(()) }
}

pub(super) fn encode_append(request: AppendEntriesRequest<TypeConfig>) -> Bytes {
    let entries: Vec<_> = request
        .entries
        .into_iter()
        .map(|entry| (entry.log_id, codec::encode_payload(entry.payload)))
        .collect();
    let bytes: usize = entries.iter().map(|(_, payload)| payload.len() + 20).sum();
    let mut out = BytesMut::with_capacity(bytes + 64);
    out.put_u8(VERSION);
    put_vote(&mut out, &request.vote);
    put_maybe(&mut out, request.prev_log_id.as_ref());
    put_maybe(&mut out, request.leader_commit.as_ref());
    put_len(&mut out, entries.len());
    for (log_id, payload) in entries {
        put_log_id(&mut out, &log_id);
        put_len(&mut out, payload.len());
        out.extend_from_slice(&payload);
    }
    out.freeze()
}

pub(super) fn decode_append(mut bytes: Bytes) -> Decoded<AppendEntriesRequest<TypeConfig>> {
    let what = "append request";
    let bytes = &mut bytes;
    version(bytes, what)?;
    let vote = vote(bytes, what)?;
    let prev_log_id = maybe(bytes, what)?;
    let leader_commit = maybe(bytes, what)?;
    let mut entries = Vec::new();
    for _ in 0..u32(bytes, what)? {
        let log_id = log_id(bytes, what)?;
        let len = u32(bytes, what)? as usize;
        let payload = codec::decode_payload(&take(bytes, len, what)?)?;
        entries.push(Entry { log_id, payload });
    }
    end(bytes, what)?;
    let consecutive = entries.windows(2).all(|pair| match pair {
        [one, next] => one.log_id.index.checked_add(1) == Some(next.log_id.index),
        _ => true,
    });
    let joined = match (prev_log_id.as_ref(), entries.first()) {
        (Some(prev), Some(first)) => prev.index.checked_add(1) == Some(first.log_id.index),
        (None, Some(first)) => first.log_id.index == 0,
        (_, None) => true,
    };
    if !consecutive || !joined {
        return Err(CodecError::Malformed { what });
    }
    Ok(AppendEntriesRequest { vote, prev_log_id, entries, leader_commit })
}

/// A heartbeat from an append without entries.
pub(super) fn say_forsaken(append: &Bytes, forsaken: bool) -> Bytes {
    let mut out = BytesMut::with_capacity(append.len() + 1);
    out.extend_from_slice(append);
    out.put_u8(u8::from(forsaken));
    out.freeze()
}

/// The append that a heartbeat is, and whether the leader is without a quorum.
pub(super) fn decode_heartbeat(
    mut bytes: Bytes,
) -> Decoded<(AppendEntriesRequest<TypeConfig>, bool)> {
    let what = "heartbeat";
    let len = bytes.len().checked_sub(1).ok_or(CodecError::Short { what })?;
    let forsaken = flag(&mut bytes.split_off(len), what)?;
    let append = decode_append(bytes)?;
    if append.entries.is_empty() {
        Ok((append, forsaken))
    } else {
        Err(CodecError::Malformed { what })
    }
}

pub(super) fn encode_append_answer(answer: &StreamAppendResult<TypeConfig>) -> Bytes {
    let mut out = BytesMut::with_capacity(32);
    match answer {
        Ok(matched) => {
            out.put_u8(0);
            put_maybe(&mut out, matched.as_ref());
        }
        Err(StreamAppendError::Conflict(at)) => {
            out.put_u8(1);
            put_log_id(&mut out, at);
        }
        Err(StreamAppendError::HigherVote(higher)) => {
            out.put_u8(2);
            put_vote(&mut out, higher);
        }
    }
    out.freeze()
}

pub(super) fn decode_append_answer(mut bytes: Bytes) -> Decoded<StreamAppendResult<TypeConfig>> {
    let what = "append answer";
    let bytes = &mut bytes;
    let answer = match u8(bytes, what)? {
        0 => Ok(maybe(bytes, what)?),
        1 => Err(StreamAppendError::Conflict(log_id(bytes, what)?)),
        2 => Err(StreamAppendError::HigherVote(vote(bytes, what)?)),
        got => return Err(CodecError::Unknown { what, got }),
    };
    end(bytes, what)?;
    Ok(answer)
}

pub(super) fn encode_vote_request(request: &VoteRequest<TypeConfig>) -> Bytes {
    let mut out = BytesMut::with_capacity(64);
    out.put_u8(VERSION);
    put_vote(&mut out, &request.vote);
    put_maybe(&mut out, request.last_log_id.as_ref());
    out.put_u8(u8::from(request.leadership_transfer));
    out.freeze()
}

pub(super) fn decode_vote_request(mut bytes: Bytes) -> Decoded<VoteRequest<TypeConfig>> {
    let what = "vote request";
    let bytes = &mut bytes;
    version(bytes, what)?;
    let mut request = VoteRequest::new(vote(bytes, what)?, maybe(bytes, what)?);
    request.leadership_transfer = flag(bytes, what)?;
    end(bytes, what)?;
    Ok(request)
}

pub(super) fn encode_vote_answer(answer: &VoteResponse<TypeConfig>) -> Bytes {
    let mut out = BytesMut::with_capacity(64);
    out.put_u8(VERSION);
    put_vote(&mut out, &answer.vote);
    out.put_u8(u8::from(answer.vote_granted));
    put_maybe(&mut out, answer.last_log_id.as_ref());
    out.freeze()
}

pub(super) fn decode_vote_answer(mut bytes: Bytes) -> Decoded<VoteResponse<TypeConfig>> {
    let what = "vote answer";
    let bytes = &mut bytes;
    version(bytes, what)?;
    let vote = vote(bytes, what)?;
    let granted = flag(bytes, what)?;
    let last = maybe(bytes, what)?;
    end(bytes, what)?;
    Ok(VoteResponse::new(vote, last, granted))
}

pub(super) fn encode_transfer(request: &TransferLeaderRequest<TypeConfig>) -> Bytes {
    let mut out = BytesMut::with_capacity(64);
    out.put_u8(VERSION);
    put_vote(&mut out, request.from_leader());
    out.put_u64_le(request.to_node_id().0);
    put_maybe(&mut out, request.last_log_id());
    out.freeze()
}

pub(super) fn decode_transfer(mut bytes: Bytes) -> Decoded<TransferLeaderRequest<TypeConfig>> {
    let what = "transfer request";
    let bytes = &mut bytes;
    version(bytes, what)?;
    let from = vote(bytes, what)?;
    let to = MemberId(u64(bytes, what)?);
    let last = maybe(bytes, what)?;
    end(bytes, what)?;
    Ok(TransferLeaderRequest::new(from, to, last))
}

pub(super) fn encode_transfer_answer(answer: &TransferLeaderResponse<TypeConfig>) -> Bytes {
    let mut out = BytesMut::with_capacity(64);
    match answer {
        Ok(()) => out.put_u8(0),
        Err(TransferLeaderError::VoteChanged { expected, actual }) => {
            out.put_u8(1);
            put_vote(&mut out, expected);
            put_vote(&mut out, actual);
        }
        Err(TransferLeaderError::LogNotFlushed { expected, actual }) => {
            out.put_u8(2);
            put_maybe(&mut out, expected.as_ref());
            put_maybe(&mut out, actual.as_ref());
        }
    }
    out.freeze()
}

pub(super) fn decode_transfer_answer(
    mut bytes: Bytes,
) -> Decoded<TransferLeaderResponse<TypeConfig>> {
    let what = "transfer answer";
    let bytes = &mut bytes;
    let answer = match u8(bytes, what)? {
        0 => Ok(()),
        1 => {
            let expected = vote(bytes, what)?;
            Err(TransferLeaderError::VoteChanged { expected, actual: vote(bytes, what)? })
        }
        2 => {
            let expected = maybe(bytes, what)?;
            Err(TransferLeaderError::LogNotFlushed { expected, actual: maybe(bytes, what)? })
        }
        got => return Err(CodecError::Unknown { what, got }),
    };
    end(bytes, what)?;
    Ok(answer)
}

/// Tells one question for a read index from every other, so that no answer is taken for another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ReadId {
    /// The start of the asking process.
    pub(super) start: u64,
    /// The question's number since.
    pub(super) number: u64,
}

pub(super) fn encode_read(id: ReadId) -> Bytes {
    let mut out = BytesMut::with_capacity(17);
    out.put_u8(VERSION);
    out.put_u64_le(id.start);
    out.put_u64_le(id.number);
    out.freeze()
}

pub(super) fn decode_read(mut bytes: Bytes) -> Decoded<ReadId> {
    let what = "read index request";
    let bytes = &mut bytes;
    version(bytes, what)?;
    let id = ReadId { start: u64(bytes, what)?, number: u64(bytes, what)? };
    end(bytes, what)?;
    Ok(id)
}

/// `None`: the asked member does not lead, or could not show that it does.
pub(super) fn encode_read_answer(id: ReadId, at: Option<&LogId>) -> Bytes {
    let mut out = BytesMut::with_capacity(33);
    out.put_u64_le(id.start);
    out.put_u64_le(id.number);
    out.put_u8(u8::from(at.is_none()));
    if let Some(at) = at {
        put_log_id(&mut out, at);
    }
    out.freeze()
}

pub(super) fn decode_read_answer(mut bytes: Bytes) -> Decoded<(ReadId, Option<LogId>)> {
    let what = "read index answer";
    let bytes = &mut bytes;
    let id = ReadId { start: u64(bytes, what)?, number: u64(bytes, what)? };
    let at = if flag(bytes, what)? { None } else { Some(log_id(bytes, what)?) };
    end(bytes, what)?;
    Ok((id, at))
}

/// What became of a forwarded batch, as far as the leader can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is in the log for good.
    Applied,
    /// It is not in the log and cannot come there by this call.
    NotAppended,
    /// It was in the log of this leader, and another one may or may not go on with it.
    Unknown,
}

impl Taken {
    const ALL: [Self; 3] = [Self::Applied, Self::NotAppended, Self::Unknown];

    pub(super) fn encode(self) -> Bytes {
        Bytes::copy_from_slice(&[self as u8])
    }

    pub(super) fn decode(mut bytes: Bytes) -> Decoded<Self> {
        let what = "propose answer";
        let got = u8(&mut bytes, what)?;
        end(&bytes, what)?;
        let known = Self::ALL.into_iter().find(|taken| *taken as u8 == got);
        known.ok_or(CodecError::Unknown { what, got })
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use openraft::EntryPayload;

    use super::super::types::Batch;
    use super::*;

    fn at(term: u64, index: u64) -> LogId {
        codec::log_id(term, index)
    }

    /// The whole reads back, no prefix of it and nothing longer does.
    fn check<T: Debug>(whole: &Bytes, decode: impl Fn(Bytes) -> Decoded<T>) -> T {
        for len in 0..whole.len() {
            assert!(decode(whole.slice(..len)).is_err(), "{len} of {} bytes", whole.len());
        }
        let longer = Bytes::from([&whole[..], &[0]].concat());
        assert!(decode(longer).is_err(), "a byte too many");
        decode(whole.clone()).unwrap()
    }

    fn append(prev: Option<LogId>, indexes: &[u64]) -> AppendEntriesRequest<TypeConfig> {
        let entry = |index: &u64| Entry {
            log_id: at(3, *index),
            payload: EntryPayload::Normal(Batch(Bytes::from_static(&[codec::TAG_COMMANDS, 9]))),
        };
        AppendEntriesRequest {
            vote: Vote::new_committed(3, MemberId(7)),
            prev_log_id: prev,
            entries: indexes.iter().map(entry).collect(),
            leader_commit: Some(at(2, 1)),
        }
    }

    #[test]
    fn appends_come_back_as_they_were() {
        for request in [append(None, &[]), append(Some(at(2, 4)), &[5, 6]), append(None, &[0])] {
            let back = check(&encode_append(request.clone()), decode_append);
            assert_eq!(format!("{back:?}"), format!("{request:?}"));
        }
        for answer in [
            Ok(None),
            Ok(Some(at(1, 2))),
            Err(StreamAppendError::Conflict(at(3, 4))),
            Err(StreamAppendError::HigherVote(Vote::new(9, MemberId(1)))),
        ] {
            assert_eq!(check(&encode_append_answer(&answer), decode_append_answer), answer);
        }
    }

    #[test]
    fn heartbeats_come_back_as_they_were() {
        for forsaken in [false, true] {
            let request = append(Some(at(2, 4)), &[]);
            let bytes = say_forsaken(&encode_append(request.clone()), forsaken);
            let (back, said) = check(&bytes, decode_heartbeat);
            assert_eq!((format!("{back:?}"), said), (format!("{request:?}"), forsaken));
        }
        let entries = say_forsaken(&encode_append(append(Some(at(2, 4)), &[5])), false);
        assert!(decode_heartbeat(entries).is_err());
    }

    #[test]
    fn entries_that_do_not_follow_each_other_are_refused() {
        for request in [
            append(Some(at(2, 4)), &[6]),
            append(Some(at(2, 4)), &[5, 7]),
            append(None, &[1]),
            append(Some(at(2, u64::MAX)), &[0]),
        ] {
            assert!(decode_append(encode_append(request.clone())).is_err(), "{request:?}");
        }
    }

    #[test]
    fn votes_and_transfers_come_back_as_they_were() {
        let vote = Vote::new(4, MemberId(2));
        for last in [None, Some(at(3, 9))] {
            let mut request = VoteRequest::new(vote, last);
            request.leadership_transfer = last.is_some();
            assert_eq!(check(&encode_vote_request(&request), decode_vote_request), request);
            let answer = VoteResponse::new(vote, last, last.is_some());
            assert_eq!(check(&encode_vote_answer(&answer), decode_vote_answer), answer);
            let transfer = TransferLeaderRequest::new(vote, MemberId(8), last);
            assert_eq!(check(&encode_transfer(&transfer), decode_transfer), transfer);
            let flushed = TransferLeaderError::LogNotFlushed { expected: last, actual: None };
            let changed = TransferLeaderError::VoteChanged { expected: vote, actual: vote };
            for answer in [Ok(()), Err(flushed), Err(changed)] {
                let bytes = encode_transfer_answer(&answer);
                assert_eq!(check(&bytes, decode_transfer_answer), answer);
            }
        }
    }

    #[test]
    fn reads_and_forwards_come_back_as_they_were() {
        let id = ReadId { start: 5, number: u64::MAX };
        assert_eq!(check(&encode_read(id), decode_read), id);
        for index in [None, Some(at(3, 9))] {
            let bytes = encode_read_answer(id, index.as_ref());
            assert_eq!(check(&bytes, decode_read_answer), (id, index));
        }
        for taken in Taken::ALL {
            assert_eq!(check(&taken.encode(), Taken::decode), taken);
        }
        assert!(Taken::decode(Bytes::from_static(&[3])).is_err());
    }
}
