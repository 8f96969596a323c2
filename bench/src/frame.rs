//! gRPC frames: `[compressed: u8 = 0][length: u32, big endian][message]`, and as much of the answers
//! as a load generator has to understand.

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;

/// Bytes before a message.
pub const PREFIX_BYTES: usize = 5;

/// A message as it goes into DATA frames.
pub fn encode(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut frame = BytesMut::with_capacity(PREFIX_BYTES + length);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(length).expect("requests are small"));
    message.encode(&mut frame).expect("the buffer grows");
    frame.freeze()
}

/// The bytes of an answer are not what gRPC and protobuf prescribe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed answer")]
pub struct Malformed;

/// What to descend into when scanning an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Shape {
    /// The fields that count are those of the message itself: RangeResponse.
    #[default]
    Flat,
    /// They are inside field 1 of each message: RangeStreamResponse.
    Wrapped,
}

/// Counts keys in an answer while it comes in, without keeping it.
#[derive(Debug, Clone, Default)]
pub struct Scan {
    shape: Shape,
    state: State,
    /// Bytes of the message that are still to come.
    left: u32,
    /// Bytes of the field that are still to be skipped.
    skip: u64,
    inside: bool,
    varint: Varint,
    prefix: [u8; PREFIX_BYTES],
    prefix_have: usize,
    /// Whole messages seen.
    pub messages: u64,
    /// Fields number 2: keys of a range.
    pub kvs: u64,
    /// Value of field number 4: count of a range. A stream carries it in one of its pieces.
    pub count: u64,
    /// All bytes seen, prefixes included.
    pub bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    Prefix,
    Tag,
    Length(u64),
    Value(u64),
    Skip,
}

#[derive(Debug, Clone, Copy, Default)]
struct Varint {
    value: u64,
    shift: u32,
}

impl Varint {
    /// Takes a byte; gives the number when it was the last one.
    fn push(&mut self, byte: u8) -> Result<Option<u64>, Malformed> {
        if self.shift > 63 {
            return Err(Malformed);
        }
        self.value |= u64::from(byte & 0x7f) << self.shift;
        self.shift += 7;
        if byte & 0x80 != 0 {
            return Ok(None);
        }
        Ok(Some(std::mem::take(self).value))
    }
}

impl Scan {
    /// A scan of an answer of this shape.
    pub fn new(shape: Shape) -> Self {
        Self { shape, ..Self::default() }
    }

    /// Takes the next bytes of the answer.
    pub fn feed(&mut self, mut chunk: &[u8]) -> Result<(), Malformed> {
        self.bytes += u64::try_from(chunk.len()).map_err(|_| Malformed)?;
        while let Some((&byte, rest)) = chunk.split_first() {
            if self.state == State::Skip {
                chunk = self.skip_some(chunk)?;
                continue;
            }
            chunk = rest;
            if self.state == State::Prefix {
                self.take_prefix(byte)?;
                continue;
            }
            self.left = self.left.checked_sub(1).ok_or(Malformed)?;
            if let Some(number) = self.varint.push(byte)? {
                self.take_number(number)?;
            }
            self.end_message()?;
        }
        Ok(())
    }

    /// Says whether the answer ended where a message ended.
    pub fn finish(&self) -> Result<(), Malformed> {
        if self.state == State::Prefix && self.prefix_have == 0 { Ok(()) } else { Err(Malformed) }
    }

    fn take_prefix(&mut self, byte: u8) -> Result<(), Malformed> {
        self.prefix[self.prefix_have] = byte;
        self.prefix_have += 1;
        if self.prefix_have < PREFIX_BYTES {
            return Ok(());
        }
        let [compressed, length @ ..] = self.prefix;
        if compressed != 0 {
            return Err(Malformed);
        }
        self.prefix_have = 0;
        self.left = u32::from_be_bytes(length);
        self.inside = self.shape == Shape::Flat;
        self.state = State::Tag;
        self.end_message()
    }

    fn take_number(&mut self, number: u64) -> Result<(), Malformed> {
        self.state = match self.state {
            State::Tag => match (number & 7, number >> 3) {
                (_, 0) => return Err(Malformed),
                (0, field) => State::Value(field),
                (2, field) => State::Length(field),
                (1, _) => self.begin_skip(8),
                (5, _) => self.begin_skip(4),
                _ => return Err(Malformed),
            },
            State::Length(1) if !self.inside => {
                self.inside = true;
                State::Tag
            }
            State::Length(field) => {
                self.kvs += u64::from(self.inside && field == 2);
                self.begin_skip(number)
            }
            State::Value(field) => {
                if self.inside && field == 4 {
                    self.count = number;
                }
                State::Tag
            }
            State::Prefix | State::Skip => unreachable!("these states take no number"),
        };
        Ok(())
    }

    fn begin_skip(&mut self, bytes: u64) -> State {
        self.skip = bytes;
        if bytes == 0 { State::Tag } else { State::Skip }
    }

    fn skip_some<'a>(&mut self, chunk: &'a [u8]) -> Result<&'a [u8], Malformed> {
        let have = u64::try_from(chunk.len()).map_err(|_| Malformed)?;
        let step = have.min(self.skip);
        self.skip -= step;
        let step32 = u32::try_from(step).map_err(|_| Malformed)?;
        self.left = self.left.checked_sub(step32).ok_or(Malformed)?;
        if self.skip == 0 {
            self.state = State::Tag;
        }
        self.end_message()?;
        Ok(&chunk[usize::try_from(step).map_err(|_| Malformed)?..])
    }

    fn end_message(&mut self) -> Result<(), Malformed> {
        if self.left > 0 {
            return Ok(());
        }
        if self.state != State::Tag || self.varint.shift != 0 {
            return Err(Malformed);
        }
        self.state = State::Prefix;
        self.messages += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keelson_api::etcdserverpb::{
        PutRequest, RangeResponse, RangeStreamResponse, ResponseHeader,
    };
    use keelson_api::mvccpb::KeyValue;

    fn response(kvs: usize, count: i64) -> RangeResponse {
        let kv = KeyValue {
            key: "key".into(),
            value: Bytes::from(vec![0x22; 300]),
            mod_revision: 1 << 40,
            ..Default::default()
        };
        let header = ResponseHeader { cluster_id: u64::MAX, revision: 5, ..Default::default() };
        RangeResponse { header: Some(header), kvs: vec![kv; kvs], more: true, count }
    }

    fn scan(shape: Shape, bytes: &[u8], step: usize) -> Result<Scan, Malformed> {
        let mut scan = Scan::new(shape);
        for chunk in bytes.chunks(step) {
            scan.feed(chunk)?;
        }
        scan.finish()?;
        Ok(scan)
    }

    #[test]
    fn a_frame_is_prefix_and_message() {
        let frame = encode(&PutRequest { key: "a".into(), ..Default::default() });
        assert_eq!(&frame[..], b"\0\0\0\0\x03\x0a\x01a");
        assert_eq!(&encode(&PutRequest::default())[..], b"\0\0\0\0\0");
    }

    #[test]
    fn a_scan_counts_keys_however_the_bytes_are_cut() {
        let frame = encode(&response(3, 70_000));
        for step in 1..=frame.len() {
            let scan = scan(Shape::Flat, &frame, step).unwrap();
            assert_eq!((scan.messages, scan.kvs, scan.count), (1, 3, 70_000), "step {step}");
            assert_eq!(scan.bytes, u64::try_from(frame.len()).unwrap());
        }
    }

    #[test]
    fn a_scan_of_a_stream_adds_its_pieces_up() {
        let mut bytes = Vec::new();
        for kvs in 0..4 {
            let range_response = Some(response(kvs, 6));
            bytes.extend_from_slice(&encode(&RangeStreamResponse { range_response }));
        }
        bytes.extend_from_slice(&encode(&RangeStreamResponse::default()));
        for step in [1, 2, 7, 64, bytes.len()] {
            let scan = scan(Shape::Wrapped, &bytes, step).unwrap();
            assert_eq!((scan.messages, scan.kvs, scan.count), (5, 6, 6), "step {step}");
        }
    }

    #[test]
    fn a_cut_answer_is_malformed() {
        let frame = encode(&response(2, 9));
        for end in 1..frame.len() {
            assert_eq!(scan(Shape::Flat, &frame[..end], 50).unwrap_err(), Malformed, "end {end}");
        }
    }

    #[test]
    fn nonsense_is_malformed() {
        let cases: [&[u8]; 5] = [
            b"\x01\0\0\0\0",                                             // compressed
            b"\0\0\0\0\x02\x0a\x05", // field longer than message
            b"\0\0\0\0\x01\x0b",     // wire type 3
            b"\0\0\0\0\x01\x00",     // field 0
            b"\0\0\0\0\x0b\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", // endless number
        ];
        for case in cases {
            assert!(scan(Shape::Flat, case, 100).is_err(), "{case:?}");
        }
    }
}
