//! Bytes of membership changes, which members hand to the leader, and of what it answers.
//!
//! ```text
//! change   version(1)=1 again(1) tag(1) body
//!   tag 0  publish   id(8) name urls version    tag 3  update     id(8) urls
//!   tag 1  add       id(8) learner(1) urls      tag 4  promote    id(8)
//!   tag 2  remove    id(8)                      tag 5  downgrade  version?
//! answer   0 count(4) { id(8) member voting(1) } | 1 error(1) | 2 (does not lead)
//! ```

use bytes::{BufMut, Bytes, BytesMut};

use super::change::{Change, ChangeError, Row};
use super::codec::{
    self, CodecError, flag, maybe_version, put_len, put_member, put_text, put_texts, put_version,
    u8, u32, u64,
};
use super::types::MemberId;

const VERSION: u8 = 1;

/// What the leader answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The change is made; these are the members now.
    Made(Vec<Row>),
    /// It is refused.
    Refused(ChangeError),
    /// It was not tried: the asked member does not lead, or is busy with another change.
    Again,
}

pub(super) fn encode_change(change: &Change, again: bool) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u8(VERSION);
    out.put_u8(u8::from(again));
    match change {
        Change::Publish { id, name, client_urls, version } => {
            out.put_u8(0);
            out.put_u64_le(id.0);
            put_text(&mut out, name);
            put_texts(&mut out, client_urls);
            put_version(&mut out, Some(*version));
        }
        Change::Add { id, learner, peer_urls } => {
            out.put_u8(1);
            out.put_u64_le(id.0);
            out.put_u8(u8::from(*learner));
            put_texts(&mut out, peer_urls);
        }
        Change::Remove(id) => {
            out.put_u8(2);
            out.put_u64_le(id.0);
        }
        Change::Update { id, peer_urls } => {
            out.put_u8(3);
            out.put_u64_le(id.0);
            put_texts(&mut out, peer_urls);
        }
        Change::Promote(id) => {
            out.put_u8(4);
            out.put_u64_le(id.0);
        }
        Change::Downgrade(target) => {
            out.put_u8(5);
            put_version(&mut out, *target);
        }
    }
    out.freeze()
}

pub(super) fn decode_change(mut bytes: Bytes) -> Result<(Change, bool), CodecError> {
    let what = "membership change";
    let malformed = CodecError::Malformed { what };
    let bytes = &mut bytes;
    codec::version(bytes, what)?;
    let again = flag(bytes, what)?;
    let tag = u8(bytes, what)?;
    if tag == 5 {
        let change = Change::Downgrade(maybe_version(bytes, what)?);
        return if bytes.is_empty() { Ok((change, again)) } else { Err(malformed) };
    }
    let id = MemberId(u64(bytes, what)?);
    let change = match tag {
        0 => {
            let name = codec::text(bytes, what)?;
            let client_urls = codec::texts(bytes, what)?;
            let version = maybe_version(bytes, what)?.ok_or(malformed)?;
            Change::Publish { id, name, client_urls, version }
        }
        1 => {
            let learner = flag(bytes, what)?;
            Change::Add { id, learner, peer_urls: codec::texts(bytes, what)? }
        }
        2 => Change::Remove(id),
        3 => Change::Update { id, peer_urls: codec::texts(bytes, what)? },
        4 => Change::Promote(id),
        got => return Err(CodecError::Unknown { what, got }),
    };
    if bytes.is_empty() { Ok((change, again)) } else { Err(malformed) }
}

pub(super) fn encode_answer(answer: &Answer) -> Bytes {
    let mut out = BytesMut::new();
    match answer {
        Answer::Made(members) => {
            out.put_u8(0);
            put_len(&mut out, members.len());
            for row in members {
                out.put_u64_le(row.id.0);
                put_member(&mut out, &row.member);
                out.put_u8(u8::from(row.voting));
            }
        }
        Answer::Refused(error) => {
            out.put_u8(1);
            out.put_u8(*error as u8);
        }
        Answer::Again => out.put_u8(2),
    }
    out.freeze()
}

pub(super) fn decode_answer(mut bytes: Bytes) -> Result<Answer, CodecError> {
    let what = "answer to a membership change";
    let bytes = &mut bytes;
    let answer = match u8(bytes, what)? {
        0 => {
            let mut members = Vec::new();
            for _ in 0..u32(bytes, what)? {
                let id = MemberId(u64(bytes, what)?);
                let member = codec::member(bytes, what)?;
                members.push(Row { id, member, voting: flag(bytes, what)? });
            }
            Answer::Made(members)
        }
        1 => {
            let got = u8(bytes, what)?;
            let known = ChangeError::ALL.into_iter().find(|error| *error as u8 == got);
            Answer::Refused(known.ok_or(CodecError::Unknown { what, got })?)
        }
        2 => Answer::Again,
        got => return Err(CodecError::Unknown { what, got }),
    };
    if bytes.is_empty() { Ok(answer) } else { Err(CodecError::Malformed { what }) }
}
