//! Round trips, every prefix, every flipped bit, and the order of the checks.

use super::*;

fn header() -> SegmentHeader {
    SegmentHeader {
        seq: SegmentSeq(7),
        nonce: 0x1122_3344_5566_7788,
        file_len: 16384,
        base_lsn: Lsn(12288),
        batch_seq: 5,
        first_index: LogIndex(42),
        previous: Some((SegmentSeq(6), 99)),
        recycled: true,
        checkpoint: Checkpoint {
            vote: Some(Bytes::from_static(b"vote")),
            committed: Some(Bytes::from_static(b"")),
            purged: Some(EntryId::new(2, 30)),
            last: Some(EntryId::new(3, 41)),
        },
    }
}

const RECORDS: [RecordRef<'static>; 7] = [
    RecordRef::Entry(EntryId::new(3, 42), b"some payload"),
    RecordRef::Entry(EntryId::new(3, 43), b""),
    RecordRef::Vote(b"v"),
    RecordRef::Committed(b"c"),
    RecordRef::TruncateAfter(None),
    RecordRef::TruncateAfter(Some(EntryId::new(1, 9))),
    RecordRef::Purge(EntryId::new(1, 9)),
];

fn frame() -> Vec<u8> {
    let mut builder = FrameBuilder::new(9, Lsn(512));
    for record in RECORDS {
        builder.push(record);
    }
    builder.push(RecordRef::CleanShutdown);
    builder.finish(5, Lsn(512)).to_vec()
}

/// Reads a whole frame back the way recovery does.
fn read_frame(nonce: u64, lsn: Lsn, bytes: &[u8]) -> Result<Vec<RecordRef<'_>>, FormatError> {
    let header = FrameHeader::decode(nonce, lsn, bytes)?;
    let mut at = FRAME_HEADER_LEN;
    let mut crcs = RecordsCrc::default();
    let mut found = Vec::new();
    for _ in 0..header.records {
        let rest = bytes.get(at..).ok_or(FormatError::Short { what: "frame" })?;
        let decoded = RecordRef::decode(nonce, Lsn(lsn.0 + at as u64), rest)?;
        crcs.add(decoded.crc);
        at += decoded.disk_len;
        found.push(decoded.record);
    }
    crcs.check(&header)?;
    Ok(found)
}

#[test]
fn header_comes_back_as_it_was() {
    let mut bare = header();
    bare.previous = None;
    bare.recycled = false;
    bare.checkpoint = Checkpoint::default();
    for header in [header(), bare] {
        let bytes = header.encode();
        assert_eq!(bytes.len(), HEADER_LEN);
        assert_eq!(SegmentHeader::decode(&bytes), Ok(header));
    }
}

#[test]
fn every_prefix_of_a_header_is_refused() {
    let bytes = header().encode();
    for len in 0..bytes.len() {
        let error = SegmentHeader::decode(&bytes[..len]).unwrap_err();
        assert_eq!(error, FormatError::Short { what: "segment header" }, "prefix of {len}");
    }
}

#[test]
fn every_flipped_bit_of_a_header_is_noticed() {
    let good = header().encode();
    for bit in 0..good.len() * 8 {
        let mut bytes = good.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(SegmentHeader::decode(&bytes).is_err(), "bit {bit}");
    }
}

#[test]
fn a_newer_version_is_named_before_any_checksum() {
    let mut bytes = header().encode();
    bytes[8] += 1;
    assert_eq!(SegmentHeader::decode(&bytes), Err(FormatError::Version { found: VERSION + 1 }));
    bytes[2000] ^= 0xff;
    assert_eq!(SegmentHeader::decode(&bytes), Err(FormatError::Version { found: VERSION + 1 }));
}

#[test]
fn records_come_back_in_order() {
    let mut want = RECORDS.to_vec();
    want.push(RecordRef::CleanShutdown);
    assert_eq!(frame().len() % SECTOR, 0);
    assert_eq!(read_frame(9, Lsn(512), &frame()), Ok(want));
}

#[test]
fn every_prefix_of_a_frame_is_refused() {
    let bytes = frame();
    let header = FrameHeader::decode(9, Lsn(512), &bytes).unwrap();
    let used = FRAME_HEADER_LEN + header.payload_len as usize;
    for len in 0..used {
        assert!(read_frame(9, Lsn(512), &bytes[..len]).is_err(), "prefix of {len}");
    }
    assert!(read_frame(9, Lsn(512), &bytes[..used]).is_ok());
}

#[test]
fn every_flipped_bit_that_means_something_is_noticed() {
    let good = frame();
    let want = read_frame(9, Lsn(512), &good).unwrap();
    for bit in 0..good.len() * 8 {
        let mut bytes = good.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        // Padding carries nothing: damage there may go unnoticed but never changes a record.
        if let Ok(found) = read_frame(9, Lsn(512), &bytes) {
            assert_eq!(found, want, "bit {bit}");
        }
    }
    for byte in 0..FRAME_HEADER_LEN {
        let mut bytes = good.clone();
        bytes[byte] ^= 0x10;
        assert!(read_frame(9, Lsn(512), &bytes).is_err(), "header byte {byte}");
    }
}

#[test]
fn a_frame_is_valid_in_one_place_and_one_life_only() {
    let bytes = frame();
    assert!(FrameHeader::decode(9, Lsn(512), &bytes).is_ok());
    assert!(FrameHeader::decode(8, Lsn(512), &bytes).is_err(), "another life of the file");
    assert!(FrameHeader::decode(9, Lsn(1024), &bytes).is_err(), "another place");
    let record = &bytes[FRAME_HEADER_LEN..];
    let lsn = Lsn(512 + FRAME_HEADER_LEN as u64);
    assert!(RecordRef::decode(9, lsn, record).is_ok());
    assert!(RecordRef::decode(8, lsn, record).is_err(), "another life of the file");
    assert!(RecordRef::decode(9, Lsn(lsn.0 + 8), record).is_err(), "another place");
}

#[test]
fn a_mixture_of_two_frames_at_one_place_is_refused() {
    let build = |payload: &[u8]| {
        let mut builder = FrameBuilder::new(9, Lsn(0));
        builder.push(RecordRef::Entry(EntryId::new(1, 1), &[1; 600]));
        builder.push(RecordRef::Entry(EntryId::new(1, 2), payload));
        builder.finish(1, Lsn(0)).to_vec()
    };
    let (old, new) = (build(&[2; 600]), build(&[3; 600]));
    let mut mixed = new.clone();
    mixed[1024..].copy_from_slice(&old[1024..]);
    mixed[512..1024].copy_from_slice(&old[512..1024]);
    assert!(read_frame(9, Lsn(0), &old).is_ok() && read_frame(9, Lsn(0), &new).is_ok());
    assert!(read_frame(9, Lsn(0), &mixed).is_err());
}

#[test]
fn a_length_from_a_wild_bit_is_not_followed() {
    let mut bytes = frame();
    bytes[FRAME_HEADER_LEN + 4..FRAME_HEADER_LEN + 8].copy_from_slice(&u32::MAX.to_le_bytes());
    let error = RecordRef::decode(9, Lsn(576), &bytes[FRAME_HEADER_LEN..]).unwrap_err();
    assert_eq!(error, FormatError::Short { what: "record" });
}
