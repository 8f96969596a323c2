//! Table `deleted`: for each deletion of a key, which generation it ended.
//!
//! ```text
//! key    ┌─────────────────────────────┬───────┬──────────────────┬─────────────────┐
//!        │ user key, each 00 as 00 FF  │ 00 01 │ main, 8 bytes BE │ sub, 4 bytes BE │
//!        └─────────────────────────────┴───────┴──────────────────┴─────────────────┘
//! value  │ format │ main−create │
//! ```
//! The escaping keeps the order of the user's keys and keeps a key apart from its extensions, so the
//! table can be merged with `current` row by row. The generation's chain of versions starts at the
//! deletion's own record in `log`.

use crate::types::{Revision, SubRevision};

use super::bytes::{Malformed, Reader, put_natural};
use super::log;

const FORMAT: u8 = 1;
const TERMINATOR: [u8; 2] = [0, 1];

/// The part of the table's keys that is the same for all deletions of `user_key`.
pub(crate) fn put_prefix(user_key: &[u8], out: &mut Vec<u8>) {
    put_escaped(user_key, out);
    out.extend_from_slice(&TERMINATOR);
}

/// The smallest key of the table that belongs to `user_key` or to a key after it.
pub(crate) fn lower_bound(user_key: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(user_key.len() + 2);
    put_escaped(user_key, &mut out);
    out.extend_from_slice(&TERMINATOR);
    out
}

/// The first key of the table behind all deletions of `user_key`.
pub(crate) fn upper_bound_of(user_key: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(user_key.len() + 2);
    put_escaped(user_key, &mut out);
    out.extend_from_slice(&[0, 2]);
    out
}

pub(crate) fn put_key(user_key: &[u8], at: SubRevision, out: &mut Vec<u8>) {
    put_prefix(user_key, out);
    out.extend_from_slice(&log::key(at));
}

fn put_escaped(user_key: &[u8], out: &mut Vec<u8>) {
    for part in user_key.split_inclusive(|byte| *byte == 0) {
        out.extend_from_slice(part);
        if part.last() == Some(&0) {
            out.push(0xff);
        }
    }
}

/// Takes a key of the table apart; the user's key replaces what `user_key` held.
pub(crate) fn decode_key(key: &[u8], user_key: &mut Vec<u8>) -> Result<SubRevision, Malformed> {
    let malformed = Malformed("deleted key");
    user_key.clear();
    let (escaped, at) =
        key.split_at_checked(key.len().wrapping_sub(log::KEY_LEN)).ok_or(malformed)?;
    let mut rest = escaped.strip_suffix(&TERMINATOR).ok_or(malformed)?;
    while let Some(zero) = rest.iter().position(|byte| *byte == 0) {
        if rest.get(zero + 1) != Some(&0xff) {
            return Err(malformed);
        }
        user_key.extend_from_slice(&rest[..=zero]);
        rest = &rest[zero + 2..];
    }
    user_key.extend_from_slice(rest);
    log::decode_key(at).map_err(|_| malformed)
}

/// The deletion's place alone, for those who do not need the user's key.
pub(crate) fn decode_place(key: &[u8]) -> Result<SubRevision, Malformed> {
    let at = key.last_chunk::<{ log::KEY_LEN }>().ok_or(Malformed("deleted key"))?;
    log::decode_key(at)
}

pub(crate) fn encode(at: SubRevision, create: Revision, out: &mut Vec<u8>) {
    out.push(FORMAT);
    put_natural(out, at.main.0 - create.0);
}

/// The create revision of the generation that ended at `at`.
pub(crate) fn decode(at: SubRevision, record: &[u8]) -> Result<Revision, Malformed> {
    let mut reader = Reader::new(record);
    if reader.byte("deleted format")? != FORMAT {
        return Err(Malformed("deleted format"));
    }
    let create = reader.back_from(at.main, "create revision")?;
    reader.end("deleted record")?;
    Ok(create)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_round_trip_in_the_order_of_user_keys_then_revisions() {
        let users: [&[u8]; 8] =
            [b"\0", b"\0\0", b"\0\x01", b"a", b"a\0", b"a\0\xff", b"a\x01", b"a\xff"];
        let places = [(1, 0), (1, 1), (2, 0), (i64::MAX, u32::MAX)];
        let mut keys = Vec::new();
        for user in users {
            for (main, sub) in places {
                let at = SubRevision { main: Revision(main), sub };
                let mut key = Vec::new();
                put_key(user, at, &mut key);
                let mut back = vec![9];
                assert_eq!(decode_key(&key, &mut back), Ok(at));
                assert_eq!(back, user);
                assert_eq!(decode_place(&key), Ok(at));
                assert!(lower_bound(user) <= key && key < upper_bound_of(user));
                keys.push(key);
            }
        }
        assert!(keys.is_sorted());
    }

    #[test]
    fn no_prefix_of_a_key_is_a_key() {
        let mut key = Vec::new();
        put_key(b"a\0b", SubRevision { main: Revision(0x0102), sub: 3 }, &mut key);
        for cut in 0..key.len() {
            assert!(decode_key(&key[..cut], &mut Vec::new()).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn records_round_trip_and_reject_every_prefix() {
        let at = SubRevision { main: Revision(1000), sub: 3 };
        let mut out = Vec::new();
        encode(at, Revision(7), &mut out);
        assert_eq!(decode(at, &out), Ok(Revision(7)));
        for cut in 0..out.len() {
            assert!(decode(at, &out[..cut]).is_err());
        }
        out.push(0);
        assert!(decode(at, &out).is_err());
        assert_eq!(decode(at, &[9, 0]), Err(Malformed("deleted format")));
    }
}
