//! `WatchResponse` on the wire, put together from parts that many responses share.

use bytes::{BufMut, Bytes, BytesMut};
use keelson_api::etcdserverpb::{ResponseHeader, WatchResponse};
use keelson_api::mvccpb;
use keelson_store::events::Event;
use keelson_store::types::KeyValue;
use prost::Message;
use prost::encoding::{encode_varint, encoded_len_varint};

const HEADER: u8 = 0x0a; // field 1, length-delimited
const WATCH_ID: u8 = 0x10; // field 2, varint
const FRAGMENT: u8 = 0x38; // field 7, varint
const EVENTS: u8 = 0x5a; // field 11, length-delimited

/// A flag byte and a length.
const PREFIX_BYTES: usize = 5;

/// A header, ready to be put in front of events.
pub(super) fn header(header: &ResponseHeader) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u8(HEADER);
    encode_varint(header.encoded_len() as u64, &mut out);
    out.reserve(header.encoded_len());
    header.encode_raw(&mut out);
    out.freeze()
}

/// An event, ready to be put behind a header.
pub(super) fn event(event: &Event, before: Option<KeyValue>) -> Bytes {
    use mvccpb::event::EventType;
    let kind = if event.deletion { EventType::Delete } else { EventType::Put };
    let message = mvccpb::Event {
        r#type: kind.into(),
        kv: Some(key_value(event.kv.clone())),
        prev_kv: before.map(key_value),
    };
    let len = message.encoded_len();
    let mut out = BytesMut::with_capacity(len + 6);
    out.put_u8(EVENTS);
    encode_varint(len as u64, &mut out);
    message.encode_raw(&mut out);
    out.freeze()
}

fn key_value(kv: KeyValue) -> mvccpb::KeyValue {
    mvccpb::KeyValue {
        key: kv.key,
        create_revision: kv.create_revision.0,
        mod_revision: kv.mod_revision.0,
        version: kv.version,
        value: kv.value,
        lease: kv.lease.0,
    }
}

/// Appends a framed response of events.
pub(super) fn put_events<'a>(
    out: &mut BytesMut,
    header: &[u8],
    watch_id: i64,
    fragment: bool,
    events: impl Iterator<Item = &'a Bytes> + Clone,
) {
    let id = watch_id.cast_unsigned();
    let id_len = if watch_id == 0 { 0 } else { 1 + encoded_len_varint(id) };
    let fragment_len = if fragment { 2 } else { 0 };
    let events_len: usize = events.clone().map(Bytes::len).sum();
    let len = header.len() + id_len + fragment_len + events_len;
    put_prefix(out, len);
    out.extend_from_slice(header);
    if watch_id != 0 {
        out.put_u8(WATCH_ID);
        encode_varint(id, out);
    }
    if fragment {
        out.put_slice(&[FRAGMENT, 1]);
    }
    events.for_each(|event| out.extend_from_slice(event));
}

/// Appends a framed response of any kind.
pub(super) fn put_response(out: &mut BytesMut, response: &WatchResponse) {
    put_prefix(out, response.encoded_len());
    out.reserve(response.encoded_len());
    response.encode_raw(out);
}

fn put_prefix(out: &mut BytesMut, len: usize) {
    out.reserve(PREFIX_BYTES + len);
    out.put_u8(0);
    // One revision is one request, which fits in a message with room to spare; so does a slice.
    out.put_u32(u32::try_from(len).expect("a response is shorter than 4 GiB"));
}

#[cfg(test)]
mod tests {
    use keelson_store::types::{LeaseId, Revision};

    use super::*;

    #[test]
    fn the_generated_type_encodes_the_same_bytes() {
        let kv = KeyValue {
            key: Bytes::from_static(b"k"),
            create_revision: Revision(3),
            mod_revision: Revision(400),
            version: 2,
            lease: LeaseId(-1),
            value: Bytes::from_static(b"v"),
        };
        let head = ResponseHeader { cluster_id: 1, member_id: u64::MAX, revision: 9, raft_term: 2 };
        for (id, fragment) in [(0, false), (-1, true), (i64::MAX, false)] {
            let events = [None, Some(key_value(kv.clone()))].map(|prev_kv| mvccpb::Event {
                r#type: 0,
                kv: Some(key_value(kv.clone())),
                prev_kv,
            });
            let encoded = events.clone().map(|message| {
                let mut out = BytesMut::new();
                out.put_u8(EVENTS);
                message.encode_length_delimited(&mut out).unwrap();
                out.freeze()
            });
            let response = WatchResponse {
                header: Some(head),
                watch_id: id,
                fragment,
                events: events.to_vec(),
                ..Default::default()
            };
            let (mut parts, mut whole) = (BytesMut::new(), BytesMut::new());
            put_events(&mut parts, &header(&head), id, fragment, encoded.iter());
            put_response(&mut whole, &response);
            assert_eq!(parts, whole, "{id} {fragment}");
        }
    }
}
