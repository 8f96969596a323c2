//! Leases and what hangs on them: two keyed tables inside table `meta`.
//!
//! ```text
//! lease       0x05 · id (8)          ▶ │ format │ granted TTL │ remaining TTL │ entry that granted it │
//! attachment  0x06 · id (8) · key    ▶ nothing
//! ```
//! Ids are big-endian with their sign turned, so that bytes order as numbers do. Revoking a lease
//! and listing its keys cost those keys, and nothing is scanned.

use crate::lease::Lease;
use crate::types::{LeaseId, LogIndex};

use super::bytes::{Malformed, Reader, put_varint};

const LEASE: u8 = 0x05;
const ATTACHMENT: u8 = 0x06;

const FORMAT: u8 = 1;

const SIGN: u64 = 1 << 63;

/// The key of a lease's own record.
pub(crate) fn key(id: LeaseId) -> [u8; 9] {
    prefix(LEASE, id)
}

/// Where the leases with ids from `from` on lie, and where all leases end.
pub(crate) fn bounds(from: LeaseId) -> ([u8; 9], [u8; 1]) {
    (key(from), [LEASE + 1])
}

/// The id in the key of a lease's record.
pub(crate) fn decode_key(row: &[u8]) -> Result<LeaseId, Malformed> {
    let mut reader = Reader::new(row);
    let id = decode_prefix(&mut reader, LEASE)?;
    reader.end("lease key")?;
    Ok(id)
}

/// The key of an attachment.
pub(crate) fn attachment(id: LeaseId, key: &[u8]) -> Vec<u8> {
    let mut row = Vec::with_capacity(9 + key.len());
    row.extend_from_slice(&prefix(ATTACHMENT, id));
    row.extend_from_slice(key);
    row
}

/// Where a lease's attachments behind `after` end; the last lease's end with their table.
pub(crate) fn attachments_end(id: LeaseId) -> Vec<u8> {
    match id.0.checked_add(1) {
        Some(next) => prefix(ATTACHMENT, LeaseId(next)).to_vec(),
        None => vec![ATTACHMENT + 1],
    }
}

/// The user key of an attachment.
pub(crate) fn attached_key(row: &[u8]) -> Result<&[u8], Malformed> {
    let mut reader = Reader::new(row);
    decode_prefix(&mut reader, ATTACHMENT)?;
    Ok(reader.rest())
}

pub(crate) fn encode(lease: &Lease) -> Vec<u8> {
    let mut out = vec![FORMAT];
    put_varint(&mut out, lease.ttl.cast_unsigned());
    put_varint(&mut out, lease.remaining.cast_unsigned());
    put_varint(&mut out, lease.granted.0);
    out
}

pub(crate) fn decode(id: LeaseId, record: &[u8]) -> Result<Lease, Malformed> {
    let mut reader = Reader::new(record);
    if reader.byte("lease format")? != FORMAT {
        return Err(Malformed("lease format"));
    }
    let ttl = reader.varint("granted TTL")?.cast_signed();
    let remaining = reader.varint("remaining TTL")?.cast_signed();
    let granted = LogIndex(reader.varint("entry of the grant")?);
    reader.end("lease")?;
    Ok(Lease { id, ttl, remaining, granted })
}

fn prefix(table: u8, id: LeaseId) -> [u8; 9] {
    let mut row = [table; 9];
    row[1..].copy_from_slice(&(id.0.cast_unsigned() ^ SIGN).to_be_bytes());
    row
}

fn decode_prefix(reader: &mut Reader<'_>, table: u8) -> Result<LeaseId, Malformed> {
    if reader.byte("lease table")? != table {
        return Err(Malformed("lease table"));
    }
    let id = reader.take(8, "lease id")?.first_chunk().ok_or(Malformed("lease id"))?;
    Ok(LeaseId((u64::from_be_bytes(*id) ^ SIGN).cast_signed()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDS: [i64; 7] = [i64::MIN, -2, -1, 0, 1, 255, i64::MAX];

    #[test]
    fn leases_round_trip_and_reject_every_prefix() {
        for (ttl, remaining) in [(60, 0), (i64::MAX, 5), (-1, i64::MIN)] {
            let lease = Lease { id: LeaseId(7), ttl, remaining, granted: LogIndex(300) };
            let mut out = encode(&lease);
            assert_eq!(decode(lease.id, &out), Ok(lease));
            for cut in 0..out.len() {
                assert!(decode(lease.id, &out[..cut]).is_err());
            }
            out.push(0);
            assert!(decode(lease.id, &out).is_err());
        }
        assert_eq!(decode(LeaseId(7), &[2, 0, 0, 0]), Err(Malformed("lease format")));
    }

    #[test]
    fn keys_order_as_ids_do_and_attachments_lie_with_their_lease() {
        for pair in IDS.windows(2) {
            let (low, high) = (LeaseId(pair[0]), LeaseId(pair[1]));
            assert!(key(low) < key(high));
            assert!(attachments_end(low) <= attachment(high, b""));
            assert!(attachment(low, &[0xff; 40]) < attachments_end(low));
        }
        for id in IDS.map(LeaseId) {
            assert_eq!(decode_key(&key(id)), Ok(id));
            assert_eq!(attached_key(&attachment(id, b"\0k")), Ok(&b"\0k"[..]));
            assert!(attachment(id, b"") < attachments_end(id));
            let (lower, upper) = bounds(id);
            assert!(lower.as_slice() < upper.as_slice());
            assert!(upper.as_slice() <= attachment(LeaseId(i64::MIN), b"").as_slice());
        }
        for cut in 0..9 {
            assert!(decode_key(&key(LeaseId(1))[..cut]).is_err());
            assert!(attached_key(&attachment(LeaseId(1), b"")[..cut]).is_err());
        }
    }
}
