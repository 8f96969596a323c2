//! Reading and writing the small numbers inside records. A reader never runs past its bytes and
//! never allocates; what it cannot read is [`Malformed`], to which the caller adds table and key.

use crate::types::{Revision, SubRevision};

/// Bytes that are not the record they should be; says which field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed {0}")]
pub(crate) struct Malformed(pub(crate) &'static str);

/// A cursor over a record's bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn byte(&mut self, field: &'static str) -> Result<u8, Malformed> {
        let (first, rest) = self.rest.split_first().ok_or(Malformed(field))?;
        self.rest = rest;
        Ok(*first)
    }

    pub(crate) fn take(&mut self, n: usize, field: &'static str) -> Result<&'a [u8], Malformed> {
        let (head, rest) = self.rest.split_at_checked(n).ok_or(Malformed(field))?;
        self.rest = rest;
        Ok(head)
    }

    /// LEB128, at most ten bytes, no bits past the sixty-fourth.
    pub(crate) fn varint(&mut self, field: &'static str) -> Result<u64, Malformed> {
        let mut value = 0_u64;
        for shift in (0..70).step_by(7) {
            let byte = self.byte(field)?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(Malformed(field));
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed(field))
    }

    /// A varint that is a length or a revision: not negative as an `i64`.
    pub(crate) fn natural(&mut self, field: &'static str) -> Result<i64, Malformed> {
        i64::try_from(self.varint(field)?).map_err(|_| Malformed(field))
    }

    /// A length-prefixed run of bytes.
    pub(crate) fn run(&mut self, field: &'static str) -> Result<&'a [u8], Malformed> {
        let len = usize::try_from(self.varint(field)?).map_err(|_| Malformed(field))?;
        self.take(len, field)
    }

    pub(crate) fn sub(&mut self, field: &'static str) -> Result<u32, Malformed> {
        u32::try_from(self.varint(field)?).map_err(|_| Malformed(field))
    }

    /// A revision stored as its distance below `from`.
    pub(crate) fn back_from(
        &mut self,
        from: Revision,
        field: &'static str,
    ) -> Result<Revision, Malformed> {
        let back = self.natural(field)?;
        match from.0.checked_sub(back) {
            Some(at) if at >= 0 => Ok(Revision(at)),
            _ => Err(Malformed(field)),
        }
    }

    /// A place stored by [`put_place`].
    pub(crate) fn place(
        &mut self,
        from: Revision,
        field: &'static str,
    ) -> Result<SubRevision, Malformed> {
        Ok(SubRevision { main: self.back_from(from, field)?, sub: self.sub(field)? })
    }

    pub(crate) const fn rest(self) -> &'a [u8] {
        self.rest
    }

    /// The record must end here.
    pub(crate) fn end(self, field: &'static str) -> Result<(), Malformed> {
        if self.rest.is_empty() { Ok(()) } else { Err(Malformed(field)) }
    }
}

pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(low_bits(value) | 0x80);
        value >>= 7;
    }
    out.push(low_bits(value));
}

/// A number that is never negative in a sound store.
pub(crate) fn put_natural(out: &mut Vec<u8>, value: i64) {
    put_varint(
        out,
        u64::try_from(value).expect("revisions, versions and distances are not negative"),
    );
}

/// `place` as its distance below the main revision `from`, which it may not exceed.
pub(crate) fn put_place(out: &mut Vec<u8>, from: Revision, place: SubRevision) {
    put_natural(out, from.0 - place.main.0);
    put_varint(out, u64::from(place.sub));
}

/// A bit of a flags byte.
pub(crate) const fn flag(on: bool, bit: u8) -> u8 {
    if on { bit } else { 0 }
}

const fn low_bits(value: u64) -> u8 {
    (value & 0x7f) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_round_trip_and_reject_overlong_ones() {
        for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX >> 1, u64::MAX] {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            let mut reader = Reader::new(&out);
            assert_eq!(reader.varint("n"), Ok(value));
            assert!(reader.rest().is_empty());
            for cut in 0..out.len() {
                assert!(Reader::new(&out[..cut]).varint("n").is_err());
            }
        }
        assert!(Reader::new(&[0xff; 11]).varint("n").is_err());
        assert!(
            Reader::new(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2])
                .varint("n")
                .is_err()
        );
    }
}
