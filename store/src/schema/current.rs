//! Table `current`: the living version of each key.
//!
//! ```text
//! key    the user's key as it is: byte order is etcd's order
//! value  ┌──────┬──────────┬─────┬──────────┬─────────┬────────┬───────┬─────────┐
//!        │ 0x1F │ mod main │ sub │ mod−create │ version │ [lease] │ [far] │ value … │
//!        └──────┴──────────┴─────┴──────────┴─────────┴────────┴───────┴─────────┘
//!          │ └ flags: 1 = has a lease, 2 = has far pointers
//!          └ format version
//! ```
//! Numbers are LEB128. The same bytes, embedded in a log record, carry an old version whose own log
//! record may be gone.

use crate::types::{KeyMeta, KeyValueRef, LeaseId, Revision, SubRevision};

use super::bytes::{Malformed, Reader, flag, put_natural, put_varint};
use super::far::Far;

const FORMAT: u8 = 1;
const HAS_LEASE: u8 = 1;
const HAS_FAR: u8 = 2;

/// A record of the table, its value still where it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Current<'a> {
    pub(crate) meta: KeyMeta,
    pub(crate) value: &'a [u8],
}

impl<'a> Current<'a> {
    /// As a row of an answer.
    pub(crate) const fn row(&self, key: &'a [u8]) -> KeyValueRef<'a> {
        let KeyMeta { at, create, version, lease, .. } = self.meta;
        KeyValueRef {
            key,
            create_revision: create,
            mod_revision: at.main,
            version,
            lease,
            value: self.value,
        }
    }
}

pub(crate) fn encode(meta: &KeyMeta, value: &[u8], out: &mut Vec<u8>) {
    let has_lease = meta.lease != LeaseId::NONE;
    let has_far = meta.far != Far::NONE;
    out.push((FORMAT << 4) | flag(has_lease, HAS_LEASE) | flag(has_far, HAS_FAR));
    put_natural(out, meta.at.main.0);
    put_varint(out, u64::from(meta.at.sub));
    put_natural(out, meta.at.main.0 - meta.create.0);
    put_natural(out, meta.version);
    if has_lease {
        put_varint(out, meta.lease.0.cast_unsigned());
    }
    if has_far {
        meta.far.encode(meta.at.main, out);
    }
    out.extend_from_slice(value);
}

pub(crate) fn decode(record: &[u8]) -> Result<Current<'_>, Malformed> {
    let mut reader = Reader::new(record);
    let head = reader.byte("current format")?;
    if head >> 4 != FORMAT || head & 0x0f & !(HAS_LEASE | HAS_FAR) != 0 {
        return Err(Malformed("current format"));
    }
    let at = SubRevision {
        main: Revision(reader.natural("mod revision")?),
        sub: reader.sub("mod sub-revision")?,
    };
    let create = reader.back_from(at.main, "create revision")?;
    let version = reader.natural("version")?;
    let lease = match head & HAS_LEASE {
        0 => LeaseId::NONE,
        _ => LeaseId(reader.varint("lease")?.cast_signed()),
    };
    let far = match head & HAS_FAR {
        0 => Far::NONE,
        _ => Far::decode(&mut reader, at.main)?,
    };
    Ok(Current { meta: KeyMeta { at, create, version, lease, far }, value: reader.rest() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_and_rejects_every_prefix_of_the_header() {
        let at = SubRevision { main: Revision(1 << 40), sub: 7 };
        let far = Far::NONE.next(256, SubRevision { main: Revision(99), sub: 1 }, Revision(0));
        for (lease, far) in
            [(LeaseId::NONE, Far::NONE), (LeaseId(i64::MIN), far), (LeaseId(5), Far::NONE)]
        {
            let meta = KeyMeta { at, create: Revision(3), version: 257, lease, far };
            let mut out = Vec::new();
            encode(&meta, b"", &mut out);
            let header = out.len();
            out.extend_from_slice(b"value");
            assert_eq!(decode(&out), Ok(Current { meta, value: b"value" }));
            for cut in 0..header {
                assert!(decode(&out[..cut]).is_err());
            }
        }
    }

    #[test]
    fn a_newer_format_is_refused_by_name() {
        assert_eq!(decode(&[2 << 4, 1, 0, 0, 1]), Err(Malformed("current format")));
    }
}
