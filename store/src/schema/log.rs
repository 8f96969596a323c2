//! Table `log`: everything that happened, in order; appended to and cut from the front, never
//! rewritten.
//!
//! ```text
//! key    ┌────────────────────┬───────────────┐
//!        │ main, 8 bytes big-endian │ sub, 4 bytes │
//!        └────────────────────┴───────────────┘
//! value  ┌────────┬───────┬─────────────┬─────────┬─────────┬──────┬───────┬───────┬─────────┐
//!        │ format │ flags │ main−create │ version │ [lease] │ key  │ [prev] │ [far] │ value … │
//!        └────────┴───────┴─────────────┴─────────┴─────────┴──────┴───────┴───────┴─────────┘
//! flags: 1 = deletion, 2 = prev is a pointer, 4 = prev is embedded, 8 = lease, 16 = far pointers
//! prev:  pointer: distance back in main, sub;  embedded: length, record of table `current`
//! ```
//! `prev` is the version that this one superseded. It is embedded when that version lay at or below
//! the compacted revision, because its own record may be cut: a pointer never leads there.

use crate::types::{KeyMeta, KeyValueRef, LeaseId, Revision, SubRevision};

use super::bytes::{Malformed, Reader, flag, put_natural, put_place, put_varint};
use super::far::Far;

const FORMAT: u8 = 1;
const DELETION: u8 = 1;
const PREV_POINTER: u8 = 2;
const PREV_EMBEDDED: u8 = 4;
const HAS_LEASE: u8 = 8;
const HAS_FAR: u8 = 16;
const KNOWN: u8 = DELETION | PREV_POINTER | PREV_EMBEDDED | HAS_LEASE | HAS_FAR;

/// Length of the table's keys.
pub(crate) const KEY_LEN: usize = 12;

/// A key of the table.
pub(crate) type Key = [u8; KEY_LEN];

/// What a record superseded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Prev<'a> {
    /// Nothing: the key was absent.
    None,
    /// The record written there, which is above the compacted revision of the time of writing.
    Pointer(SubRevision),
    /// These bytes, a record of table `current`.
    Embedded(&'a [u8]),
}

/// A record of the table, its parts still where they were read. A deletion carries the create
/// revision and version of the generation it ended, and no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    pub(crate) deletion: bool,
    pub(crate) key: &'a [u8],
    pub(crate) meta: KeyMeta,
    pub(crate) prev: Prev<'a>,
    pub(crate) value: &'a [u8],
}

impl<'a> Record<'a> {
    /// As a row of an answer.
    pub(crate) const fn row(&self) -> KeyValueRef<'a> {
        let KeyMeta { at, create, version, lease, .. } = self.meta;
        KeyValueRef {
            key: self.key,
            create_revision: create,
            mod_revision: at.main,
            version,
            lease,
            value: self.value,
        }
    }
}

pub(crate) fn key(at: SubRevision) -> Key {
    let mut key = [0; KEY_LEN];
    key[..8].copy_from_slice(&at.main.0.cast_unsigned().to_be_bytes());
    key[8..].copy_from_slice(&at.sub.to_be_bytes());
    key
}

/// The first key at or after main revision `main`.
pub(crate) fn first_key_of(main: Revision) -> Key {
    key(SubRevision { main, sub: 0 })
}

/// The last key that main revision `main` can have.
pub(crate) fn last_key_of(main: Revision) -> Key {
    key(SubRevision { main, sub: u32::MAX })
}

pub(crate) fn decode_key(key: &[u8]) -> Result<SubRevision, Malformed> {
    let (main, sub) = key.split_first_chunk::<8>().ok_or(Malformed("log key"))?;
    let sub = <[u8; 4]>::try_from(sub).map_err(|_| Malformed("log key"))?;
    let main = u64::from_be_bytes(*main).cast_signed();
    if main < 0 {
        return Err(Malformed("log key"));
    }
    Ok(SubRevision { main: Revision(main), sub: u32::from_be_bytes(sub) })
}

pub(crate) fn encode(record: &Record<'_>, out: &mut Vec<u8>) {
    let Record { deletion, key, meta, prev, value } = record;
    let has_lease = meta.lease != LeaseId::NONE;
    let has_far = meta.far != Far::NONE && (*deletion || Far::kept_in_log(meta.version));
    let prev_flag = match prev {
        Prev::None => 0,
        Prev::Pointer(_) => PREV_POINTER,
        Prev::Embedded(_) => PREV_EMBEDDED,
    };
    out.push(FORMAT);
    out.push(
        flag(*deletion, DELETION) | prev_flag | flag(has_lease, HAS_LEASE) | flag(has_far, HAS_FAR),
    );
    put_natural(out, meta.at.main.0 - meta.create.0);
    put_natural(out, meta.version);
    if has_lease {
        put_varint(out, meta.lease.0.cast_unsigned());
    }
    put_varint(out, key.len() as u64);
    out.extend_from_slice(key);
    match prev {
        Prev::None => {}
        Prev::Pointer(place) => put_place(out, meta.at.main, *place),
        Prev::Embedded(record) => {
            put_varint(out, record.len() as u64);
            out.extend_from_slice(record);
        }
    }
    if has_far {
        meta.far.encode(meta.at.main, out);
    }
    out.extend_from_slice(value);
}

/// `at` is what the record's key says.
pub(crate) fn decode(at: SubRevision, record: &[u8]) -> Result<Record<'_>, Malformed> {
    let mut reader = Reader::new(record);
    if reader.byte("log format")? != FORMAT {
        return Err(Malformed("log format"));
    }
    let flags = reader.byte("log flags")?;
    if flags & !KNOWN != 0 {
        return Err(Malformed("log flags"));
    }
    let create = reader.back_from(at.main, "create revision")?;
    let version = reader.natural("version")?;
    let lease = match flags & HAS_LEASE {
        0 => LeaseId::NONE,
        _ => LeaseId(reader.varint("lease")?.cast_signed()),
    };
    let key = reader.run("key")?;
    let prev = match flags & (PREV_POINTER | PREV_EMBEDDED) {
        0 => Prev::None,
        PREV_POINTER => Prev::Pointer(reader.place(at.main, "prev pointer")?),
        PREV_EMBEDDED => Prev::Embedded(reader.run("embedded prev")?),
        _ => return Err(Malformed("log flags")),
    };
    let far = match flags & HAS_FAR {
        0 => Far::NONE,
        _ => Far::decode(&mut reader, at.main)?,
    };
    Ok(Record {
        deletion: flags & DELETION != 0,
        key,
        meta: KeyMeta { at, create, version, lease, far },
        prev,
        value: reader.rest(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(main: i64, sub: u32) -> SubRevision {
        SubRevision { main: Revision(main), sub }
    }

    #[test]
    fn keys_order_as_revisions_do() {
        let mut places = [place(2, 0), place(1, 9), place(1 << 40, 0), place(1, 0), place(1, 256)];
        let mut keys = places.map(key);
        places.sort_unstable();
        keys.sort_unstable();
        assert_eq!(keys.map(|k| decode_key(&k).unwrap()), places);
        assert!(decode_key(&keys[0][..11]).is_err());
        assert!(decode_key(&[0xff; 12]).is_err());
    }

    #[test]
    fn round_trips_and_rejects_every_prefix_of_the_header() {
        let far = Far::NONE.next(16, place(40, 0), Revision(0));
        let meta = |version, far| KeyMeta {
            at: place(50, 3),
            create: Revision(20),
            version,
            lease: LeaseId(77),
            far,
        };
        let cases = [
            (false, meta(1, Far::NONE), Prev::None),
            (false, meta(32, far), Prev::Pointer(place(49, 1))),
            (false, meta(3, Far::NONE), Prev::Embedded(b"old bytes")),
            (true, meta(17, far), Prev::Pointer(place(50, 2))),
        ];
        for (deletion, meta, prev) in cases {
            let record = Record { deletion, key: b"k\0ey", meta, prev, value: b"" };
            let mut out = Vec::new();
            encode(&record, &mut out);
            assert_eq!(decode(meta.at, &out), Ok(record));
            for cut in 0..out.len() {
                assert!(decode(meta.at, &out[..cut]).is_err(), "cut at {cut}");
            }
            out.extend_from_slice(b"value");
            assert_eq!(decode(meta.at, &out), Ok(Record { value: b"value", ..record }));
        }
    }

    #[test]
    fn far_pointers_of_ordinary_versions_stay_out_of_the_log() {
        let far = Far::NONE.next(16, place(40, 0), Revision(0));
        let meta =
            KeyMeta { at: place(50, 0), create: Revision(20), version: 17, lease: LeaseId(0), far };
        let record = Record { deletion: false, key: b"k", meta, prev: Prev::None, value: b"" };
        let mut out = Vec::new();
        encode(&record, &mut out);
        assert_eq!(decode(meta.at, &out).unwrap().meta.far, Far::NONE);
    }

    #[test]
    fn a_newer_format_is_refused_by_name() {
        assert_eq!(decode(place(1, 0), &[2, 0, 0, 0]), Err(Malformed("log format")));
    }
}
