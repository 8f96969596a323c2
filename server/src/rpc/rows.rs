//! `RangeResponse` written straight from the rows of a range: one buffer, no row of its own in
//! between. Byte for byte what the generated type would encode.

use bytes::{BufMut, BytesMut};
use keelson_api::etcdserverpb::ResponseHeader;
use keelson_store::types::KeyValueRef;
use prost::Message as _;
use prost::encoding::{encode_varint, encoded_len_varint};

const HEADER: u8 = 0x0a; // field 1, length-delimited
const KVS: u8 = 0x12; // field 2, length-delimited
const MORE: u8 = 0x18; // field 3, varint
const COUNT: u8 = 0x20; // field 4, varint

const KEY: u8 = 0x0a;
const CREATE_REVISION: u8 = 0x10;
const MOD_REVISION: u8 = 0x18;
const VERSION: u8 = 0x20;
const VALUE: u8 = 0x2a;
const LEASE: u8 = 0x30;

pub(super) fn put_header(out: &mut BytesMut, header: &ResponseHeader) {
    out.put_u8(HEADER);
    encode_varint(header.encoded_len() as u64, out);
    out.reserve(header.encoded_len());
    header.encode_raw(out);
}

pub(super) fn put_row(out: &mut BytesMut, row: &KeyValueRef<'_>) {
    out.put_u8(KVS);
    encode_varint(kv_len(row) as u64, out);
    put_bytes(out, KEY, row.key);
    put_number(out, CREATE_REVISION, row.create_revision.0);
    put_number(out, MOD_REVISION, row.mod_revision.0);
    put_number(out, VERSION, row.version);
    put_bytes(out, VALUE, row.value);
    put_number(out, LEASE, row.lease.0);
}

/// How many bytes [`put_row`] appends.
pub(super) fn row_len(row: &KeyValueRef<'_>) -> usize {
    let len = kv_len(row);
    1 + encoded_len_varint(len as u64) + len
}

fn kv_len(row: &KeyValueRef<'_>) -> usize {
    bytes_len(row.key)
        + number_len(row.create_revision.0)
        + number_len(row.mod_revision.0)
        + number_len(row.version)
        + bytes_len(row.value)
        + number_len(row.lease.0)
}

pub(super) fn put_totals(out: &mut BytesMut, more: bool, count: i64) {
    put_number(out, MORE, i64::from(more));
    put_number(out, COUNT, count);
}

/// Protobuf's varint of an int64 is that of its bits.
fn bits(number: i64) -> u64 {
    number.cast_unsigned()
}

fn number_len(number: i64) -> usize {
    if number == 0 { 0 } else { 1 + encoded_len_varint(bits(number)) }
}

fn put_number(out: &mut BytesMut, tag: u8, number: i64) {
    if number != 0 {
        out.put_u8(tag);
        encode_varint(bits(number), out);
    }
}

fn bytes_len(bytes: &[u8]) -> usize {
    if bytes.is_empty() { 0 } else { 1 + encoded_len_varint(bytes.len() as u64) + bytes.len() }
}

fn put_bytes(out: &mut BytesMut, tag: u8, bytes: &[u8]) {
    if !bytes.is_empty() {
        out.put_u8(tag);
        encode_varint(bytes.len() as u64, out);
        out.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use keelson_api::etcdserverpb::RangeResponse;
    use keelson_api::mvccpb;
    use keelson_store::types::{KeyValue, LeaseId, Revision};

    use super::*;

    fn row(key: &'static str, value: &'static str, n: i64) -> KeyValue {
        KeyValue {
            key: Bytes::from_static(key.as_bytes()),
            create_revision: Revision(n),
            mod_revision: Revision(n * 300),
            version: n,
            lease: LeaseId(if n % 2 == 0 { i64::MAX } else { -1 }),
            value: Bytes::from_static(value.as_bytes()),
        }
    }

    #[test]
    fn the_generated_type_encodes_the_same_bytes() {
        let header =
            ResponseHeader { cluster_id: u64::MAX, member_id: 1, revision: 9, raft_term: 0 };
        let rows = [row("a", "", 1), row("b", "value", 1 << 40), row("c", "x", 0)];
        let expected = RangeResponse {
            header: Some(header),
            kvs: rows
                .iter()
                .map(|kv| mvccpb::KeyValue {
                    key: kv.key.clone(),
                    create_revision: kv.create_revision.0,
                    mod_revision: kv.mod_revision.0,
                    version: kv.version,
                    value: kv.value.clone(),
                    lease: kv.lease.0,
                })
                .collect(),
            more: true,
            count: 77,
        };
        let mut out = BytesMut::new();
        put_header(&mut out, &header);
        for kv in &rows {
            let row = KeyValueRef {
                key: &kv.key,
                create_revision: kv.create_revision,
                mod_revision: kv.mod_revision,
                version: kv.version,
                lease: kv.lease,
                value: &kv.value,
            };
            let before = out.len();
            put_row(&mut out, &row);
            assert_eq!(out.len() - before, row_len(&row));
        }
        put_totals(&mut out, true, 77);
        assert_eq!(&out[..], &expected.encode_to_vec()[..]);
    }
}
