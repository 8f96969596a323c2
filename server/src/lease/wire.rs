//! What members ask each other about leases, in bytes.
//!
//! ```text
//! asks     version(1)=1, then each: id(8) renew(1)
//! answer   0 (does not lead, or not yet)
//!          1, then each: 0 gone | 1 remaining(8) granted(8) | 2 ask again
//! ```
//! Numbers are little-endian; what is asked first is answered first.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use keelson_store::types::LeaseId;

use super::TimeLeft;
use super::asks::Answer;

const VERSION: u8 = 1;

/// Asks in one call: a small message, answered within a heartbeat.
pub(super) const ASKS_MAX: usize = 4096;

/// What is asked of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) id: LeaseId,
    /// It is to live on; otherwise only what is left of it is to be told.
    pub(super) renew: bool,
}

pub(super) fn encode_questions(questions: impl Iterator<Item = Question>) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u8(VERSION);
    for Question { id, renew } in questions {
        out.put_i64_le(id.0);
        out.put_u8(u8::from(renew));
    }
    out.freeze()
}

pub(super) fn decode_questions(mut bytes: Bytes) -> Option<Vec<Question>> {
    if bytes.try_get_u8().ok()? != VERSION || bytes.len() > ASKS_MAX * 9 {
        return None;
    }
    let mut questions = Vec::new();
    while bytes.has_remaining() {
        let id = LeaseId(bytes.try_get_i64_le().ok()?);
        let renew = match bytes.try_get_u8().ok()? {
            0 => false,
            1 => true,
            _ => return None,
        };
        questions.push(Question { id, renew });
    }
    Some(questions)
}

pub(super) fn encode_answers(answers: Option<&[Answer]>) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u8(u8::from(answers.is_some()));
    for answer in answers.into_iter().flatten() {
        match answer {
            Answer::Gone => out.put_u8(0),
            Answer::Lives(TimeLeft { remaining, granted }) => {
                out.put_u8(1);
                out.put_i64_le(*remaining);
                out.put_i64_le(*granted);
            }
            Answer::Again => out.put_u8(2),
        }
    }
    out.freeze()
}

/// The answers to `count` questions; none if they do not read as that.
pub(super) fn decode_answers(mut bytes: Bytes, count: usize) -> Option<Vec<Answer>> {
    if bytes.try_get_u8().ok()? != 1 {
        return None;
    }
    let mut answers = Vec::new();
    for _ in 0..count {
        answers.push(match bytes.try_get_u8().ok()? {
            0 => Answer::Gone,
            1 => {
                let remaining = bytes.try_get_i64_le().ok()?;
                Answer::Lives(TimeLeft { remaining, granted: bytes.try_get_i64_le().ok()? })
            }
            2 => Answer::Again,
            _ => return None,
        });
    }
    (!bytes.has_remaining()).then_some(answers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_and_answers_round_trip_and_reject_what_is_not_whole() {
        let questions = [(1, true), (i64::MIN, false), (i64::MAX, true)]
            .map(|(id, renew)| Question { id: LeaseId(id), renew });
        let bytes = encode_questions(questions.into_iter());
        assert_eq!(decode_questions(bytes.clone()).unwrap(), questions);
        for cut in (0..bytes.len()).filter(|cut| cut % 9 != 1) {
            assert!(decode_questions(bytes.slice(..cut)).is_none(), "cut at {cut}");
        }
        let lives = Answer::Lives(TimeLeft { remaining: -1, granted: i64::MAX });
        let answers = [Answer::Gone, lives, Answer::Again];
        let bytes = encode_answers(Some(&answers));
        assert_eq!(decode_answers(bytes.clone(), 3).unwrap(), answers);
        for cut in 0..bytes.len() {
            assert!(decode_answers(bytes.slice(..cut), 3).is_none(), "cut at {cut}");
        }
        assert!(decode_answers(bytes.clone(), 2).is_none());
        assert!(decode_answers(bytes, 4).is_none());
        assert!(decode_answers(encode_answers(None), 0).is_none());
        for odd in [&[2][..], &[1, 0, 0, 0, 0, 0, 0, 0, 0, 7], &[]] {
            assert!(decode_questions(Bytes::copy_from_slice(odd)).is_none());
        }
        let many = (0..=4096).map(|id| Question { id: LeaseId(id), renew: true });
        assert!(decode_questions(encode_questions(many)).is_none());
    }
}
