//! Reads watch responses as they come in: counts events and takes the time out of their values.

use crate::frame::{Malformed, PREFIX_BYTES};

/// Longest message that is put together from pieces; a watch response of a single revision is as
/// large as its request was, and catching up sends a thousand revisions in one.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// Bytes of the time at the beginning of a value.
pub(super) const STAMP_BYTES: usize = 8;

/// What a watch response says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    /// A watcher is there.
    Created,
    /// A watcher is gone.
    Canceled,
    /// A key was put or deleted.
    Event {
        /// The first eight bytes of the value; 0 without a value.
        stamp: u64,
        /// Revision of the change.
        revision: u64,
    },
}

/// Scan of a stream.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// The beginning of a message whose end has not come yet.
    begun: Vec<u8>,
}

impl Scan {
    /// Takes the next bytes and shows what they say.
    pub(super) fn feed(
        &mut self,
        mut chunk: &[u8],
        see: &mut impl FnMut(Said),
    ) -> Result<(), Malformed> {
        while !self.begun.is_empty() {
            let whole = frame_len(&self.begun)?.unwrap_or(PREFIX_BYTES);
            let missing = whole.saturating_sub(self.begun.len());
            let (more, rest) = chunk.split_at(missing.min(chunk.len()));
            self.begun.extend_from_slice(more);
            chunk = rest;
            if more.len() < missing {
                return Ok(());
            }
            // The prefix being whole says how long the rest is.
            if frame_len(&self.begun)? == Some(self.begun.len()) {
                message(&self.begun[PREFIX_BYTES..], see)?;
                self.begun.clear();
            }
        }
        while let Some(whole) = frame_len(chunk)? {
            let Some((frame, rest)) = chunk.split_at_checked(whole) else { break };
            message(&frame[PREFIX_BYTES..], see)?;
            chunk = rest;
        }
        self.begun.extend_from_slice(chunk);
        Ok(())
    }
}

/// Length of the frame that these bytes begin with, once its prefix is there.
fn frame_len(bytes: &[u8]) -> Result<Option<usize>, Malformed> {
    let Some((prefix, _)) = bytes.split_first_chunk::<PREFIX_BYTES>() else { return Ok(None) };
    let [compressed, length @ ..] = *prefix;
    let length = usize::try_from(u32::from_be_bytes(length)).map_err(|_| Malformed)?;
    if compressed != 0 || length > MESSAGE_BYTES_MAX {
        return Err(Malformed);
    }
    Ok(Some(PREFIX_BYTES + length))
}

fn message(bytes: &[u8], see: &mut impl FnMut(Said)) -> Result<(), Malformed> {
    let mut fields = Fields(bytes);
    while let Some(field) = fields.next()? {
        match field {
            (3, Value::Number(1)) => see(Said::Created),
            (4, Value::Number(1)) => see(Said::Canceled),
            (11, Value::Bytes(bytes)) => see(event(bytes)?),
            _ => {}
        }
    }
    Ok(())
}

fn event(bytes: &[u8]) -> Result<Said, Malformed> {
    let (mut stamp, mut revision) = (0, 0);
    let mut fields = Fields(bytes);
    while let Some(field) = fields.next()? {
        let (2, Value::Bytes(kv)) = field else { continue };
        let mut fields = Fields(kv);
        while let Some(field) = fields.next()? {
            match field {
                (3, Value::Number(number)) => revision = number,
                (5, Value::Bytes(value)) => {
                    stamp = value.first_chunk().map_or(0, |first| u64::from_le_bytes(*first));
                }
                _ => {}
            }
        }
        // What was before the change is of no interest.
        break;
    }
    Ok(Said::Event { stamp, revision })
}

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The fields of a message.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn next(&mut self) -> Result<Option<(u64, Value<'a>)>, Malformed> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let tag = self.number()?;
        let value = match tag & 7 {
            0 => Value::Number(self.number()?),
            1 => Value::Bytes(self.bytes(8)?),
            2 => {
                let length = self.number()?;
                Value::Bytes(self.bytes(length)?)
            }
            5 => Value::Bytes(self.bytes(4)?),
            _ => return Err(Malformed),
        };
        Ok(Some((tag >> 3, value)))
    }

    fn number(&mut self) -> Result<u64, Malformed> {
        let mut number = 0;
        for (i, &byte) in self.0.iter().enumerate().take(10) {
            number |= u64::from(byte & 0x7f) << (7 * i);
            if byte & 0x80 == 0 {
                self.0 = &self.0[i + 1..];
                return Ok(number);
            }
        }
        Err(Malformed)
    }

    fn bytes(&mut self, length: u64) -> Result<&'a [u8], Malformed> {
        let length = usize::try_from(length).map_err(|_| Malformed)?;
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(Malformed)?;
        self.0 = rest;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::encode;
    use keelson_api::etcdserverpb::{ResponseHeader, WatchResponse};
    use keelson_api::mvccpb::{Event, KeyValue};

    fn put(stamp: u64, revision: i64) -> Event {
        let mut value = stamp.to_le_bytes().to_vec();
        value.resize(100, b'v');
        let kv = KeyValue {
            key: "key".into(),
            value: value.into(),
            mod_revision: revision,
            ..Default::default()
        };
        let before = KeyValue { mod_revision: 1, value: vec![9; 8].into(), ..kv.clone() };
        Event { r#type: 0, kv: Some(kv), prev_kv: Some(before) }
    }

    fn said(bytes: &[u8], step: usize) -> Result<Vec<Said>, Malformed> {
        let (mut scan, mut all) = (Scan::default(), Vec::new());
        for chunk in bytes.chunks(step) {
            scan.feed(chunk, &mut |said| all.push(said))?;
        }
        assert!(scan.begun.is_empty(), "whole messages leave nothing");
        Ok(all)
    }

    #[test]
    fn it_reads_the_same_however_the_bytes_are_cut() {
        let header = Some(ResponseHeader { cluster_id: u64::MAX, ..Default::default() });
        let created = WatchResponse { header, created: true, ..Default::default() };
        let events = vec![put(7, 300), put(u64::MAX, 301)];
        let told = WatchResponse { header, watch_id: 900, events, ..Default::default() };
        let canceled = WatchResponse { canceled: true, ..Default::default() };
        let progress = WatchResponse { header, ..Default::default() };
        let messages = [created, progress, told, canceled, WatchResponse::default()];
        let bytes = messages.iter().flat_map(encode).collect::<Vec<u8>>();
        let want = [
            Said::Created,
            Said::Event { stamp: 7, revision: 300 },
            Said::Event { stamp: u64::MAX, revision: 301 },
            Said::Canceled,
        ];
        for step in 1..=bytes.len() {
            assert_eq!(said(&bytes, step).unwrap(), want, "step {step}");
        }
    }

    #[test]
    fn deletions_have_no_stamp() {
        let kv = KeyValue { mod_revision: 4, ..Default::default() };
        let events = vec![Event { r#type: 1, kv: Some(kv), prev_kv: None }];
        let frame = encode(&WatchResponse { events, ..Default::default() });
        assert_eq!(said(&frame, 99).unwrap(), [Said::Event { stamp: 0, revision: 4 }]);
    }

    #[test]
    fn nonsense_is_malformed() {
        let cases: [&[u8]; 5] = [
            b"\x01\0\0\0\0",                     // compressed
            b"\0\xff\xff\xff\xff",               // endless
            b"\0\0\0\0\x02\x5a\x05",             // field longer than message
            b"\0\0\0\0\x01\x0b",                 // wire type 3
            b"\0\0\0\0\x05\x5a\x03\x12\x01\x1a", // cut inside
        ];
        for case in cases {
            assert!(said(case, 100).is_err(), "{case:?}");
        }
    }
}
