//! Walks over segments, frames and records, in order, and stops at the first that is not valid.

use std::path::PathBuf;
use std::sync::Arc;

use super::TornTail;
use super::tail;
use super::window::Window;
use crate::disk::{DiskFile, read_exact_at};
use crate::error::Error;
use crate::format::{
    FRAME_HEADER_LEN, FormatError, FrameHeader, HEADER_LEN, RecordRef, RecordsCrc, SegmentHeader,
    VERSION,
};
use crate::segment::SegmentFile;
use crate::segment::name::FileName;
use crate::types::Lsn;

/// A segment file as the listing shows it.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) name: FileName,
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn DiskFile>,
}

/// Told about everything valid, in the order it was written.
pub(crate) trait Visitor {
    fn segment(&mut self, segment: &SegmentFile);
    fn frame(&mut self, segment: &SegmentFile, offset: u64, frame: &FrameHeader);
    /// An error says why the record can't stand here.
    fn record(
        &mut self,
        segment: &SegmentFile,
        offset: u64,
        record: RecordRef<'_>,
    ) -> Result<(), String>;
}

/// Where the walk ended.
#[derive(Debug)]
pub(crate) struct Scanned {
    pub(crate) segments: Vec<Arc<SegmentFile>>,
    /// End of the valid frames in the last segment.
    pub(crate) offset: u64,
    pub(crate) batch_seq: u64,
    /// Offset and head of the last frame of the last segment.
    pub(crate) last_frame: Option<(u64, FrameHeader)>,
    pub(crate) torn_tail: Option<TornTail>,
}

/// Reads all segments. `found` is in order of their names and not empty.
pub(crate) fn scan(found: Vec<Found>, visitor: &mut dyn Visitor) -> Result<Scanned, Error> {
    let segments = read_headers(found)?;
    check_chain(&segments)?;
    let mut walk = Walk { batch_seq: 0, last_frame: None };
    let mut next = segments.iter().skip(1);
    let mut end = None;
    for segment in &segments {
        visitor.segment(segment);
        walk.batch_seq = segment.header.batch_seq;
        walk.last_frame = None;
        let follower = next.next();
        let upto = match follower {
            Some(next) => sealed_end(segment, next)?,
            None => segment.header.file_len,
        };
        let mut window = Window::new(Arc::clone(&segment.file));
        let (offset, bad) = walk.frames(segment, &mut window, upto, visitor)?;
        end = Some(match (follower, bad) {
            (Some(_), Some(reason)) => return Err(Error::corrupt(&segment.path, offset, reason)),
            (Some(next), None) => {
                check_continues(next, walk.batch_seq)?;
                (offset, None)
            }
            (None, bad) => {
                (offset, tail::judge(segment, &mut window, offset, walk.batch_seq, bad)?)
            }
        });
    }
    let (offset, torn_tail) = end.expect("there is at least one segment");
    let Walk { batch_seq, last_frame } = walk;
    Ok(Scanned { segments, offset, batch_seq, last_frame, torn_tail })
}

/// Reads the first block of every segment. A version this build does not know is reported before
/// anything else is held against the folder.
fn read_headers(found: Vec<Found>) -> Result<Vec<Arc<SegmentFile>>, Error> {
    let mut segments = Vec::with_capacity(found.len());
    let mut first_error = None;
    for found in found {
        match read_header(found) {
            Ok(segment) => segments.push(Arc::new(segment)),
            Err(version @ Error::Version { .. }) => return Err(version),
            Err(error) => first_error = first_error.or(Some(error)),
        }
    }
    first_error.map_or(Ok(segments), Err)
}

fn read_header(found: Found) -> Result<SegmentFile, Error> {
    let Found { name, path, file } = found;
    let failed = |e| Error::io("failed to read", &path, e);
    let len = file.len().map_err(failed)?;
    let mut block = vec![0; HEADER_LEN];
    let read = file.read_at(&mut block, 0).map_err(failed)?;
    block.truncate(read);
    let header = match SegmentHeader::decode(&block) {
        Ok(header) => header,
        Err(FormatError::Version { found }) => {
            return Err(Error::Version { segment: path, found, supported: VERSION });
        }
        Err(error) => return Err(Error::corrupt(&path, 0, error.to_string())),
    };
    let named = FileName::Segment(header.seq, header.first_index);
    if name != named {
        let reason = format!("header says it is segment {} of another name", header.seq.0);
        return Err(Error::corrupt(&path, 0, reason));
    }
    if header.file_len != len || len > u64::from(u32::MAX) {
        let reason = format!("file has {len} bytes, header says {}", header.file_len);
        return Err(Error::corrupt(&path, len, reason));
    }
    Ok(SegmentFile::new(path, file, header))
}

/// Segments follow each other without a gap. Retiring takes them from the front, one by one, so
/// a crash never leaves a gap.
fn check_chain(segments: &[Arc<SegmentFile>]) -> Result<(), Error> {
    for (before, after) in segments.iter().zip(segments.iter().skip(1)) {
        let want = Some((before.header.seq, before.header.nonce));
        if after.header.previous != want || after.header.seq.0 != before.header.seq.0 + 1 {
            let reason = format!(
                "it follows segment {}, but the one before it in the folder is {}",
                after.header.previous.map_or(0, |(seq, _)| seq.0),
                before.header.seq.0
            );
            return Err(Error::corrupt(&after.path, 0, reason));
        }
    }
    Ok(())
}

/// A sealed segment ends where the next one says.
fn sealed_end(segment: &SegmentFile, next: &SegmentFile) -> Result<u64, Error> {
    let len = next.header.base_lsn.0.checked_sub(segment.header.base_lsn.0);
    let end = len.and_then(|len| len.checked_add(HEADER_LEN as u64));
    end.filter(|end| *end <= segment.header.file_len).ok_or_else(|| {
        let reason = format!("base lsn {} can't follow its predecessor", next.header.base_lsn.0);
        Error::corrupt(&next.path, 0, reason)
    })
}

fn check_continues(next: &SegmentFile, batch_seq: u64) -> Result<(), Error> {
    if next.header.batch_seq == batch_seq {
        return Ok(());
    }
    let reason = format!("first frame is number {}, want {batch_seq}", next.header.batch_seq);
    Err(Error::corrupt(&next.path, 0, reason))
}

struct Walk {
    /// Number of the frame that comes next.
    batch_seq: u64,
    last_frame: Option<(u64, FrameHeader)>,
}

/// Why the walk stops: the reason, and what the bytes look like.
#[derive(Debug)]
pub(super) struct BadFrame {
    pub(super) error: FormatError,
    /// The head of the frame is whole; only what follows is not.
    pub(super) header_valid: bool,
}

impl From<BadFrame> for String {
    fn from(bad: BadFrame) -> Self {
        bad.error.to_string()
    }
}

impl Walk {
    /// Visits frames up to `end`, or up to the first bad one; says where it stopped, and why if
    /// that was too early.
    fn frames(
        &mut self,
        segment: &SegmentFile,
        window: &mut Window,
        end: u64,
        visitor: &mut dyn Visitor,
    ) -> Result<(u64, Option<BadFrame>), Error> {
        let mut offset = HEADER_LEN as u64;
        while offset + FRAME_HEADER_LEN as u64 <= end {
            let failed = |e| Error::io("failed to read", &segment.path, e);
            let head = window.get(offset, FRAME_HEADER_LEN).map_err(failed)?;
            let frame = match self.head(segment, offset, head, end) {
                Ok(frame) => frame,
                Err(bad) => return Ok((offset, Some(bad))),
            };
            let payload_at = offset + FRAME_HEADER_LEN as u64;
            let payload = window.get(payload_at, frame.payload_len as usize).map_err(failed)?;
            let records = match records(segment, payload_at, &frame, payload) {
                Ok(records) => records,
                Err(error) => {
                    return Ok((offset, Some(BadFrame { error, header_valid: true })));
                }
            };
            visitor.frame(segment, offset, &frame);
            for (at, record) in records {
                visitor
                    .record(segment, at, record)
                    .map_err(|reason| Error::corrupt(&segment.path, at, reason))?;
            }
            self.last_frame = Some((offset, frame));
            self.batch_seq += 1;
            offset += frame.disk_len();
        }
        Ok((offset, None))
    }

    fn head(
        &self,
        segment: &SegmentFile,
        offset: u64,
        bytes: &[u8],
        end: u64,
    ) -> Result<FrameHeader, BadFrame> {
        let lsn = segment.lsn_at(offset);
        let frame = FrameHeader::decode(segment.header.nonce, lsn, bytes)
            .map_err(|error| BadFrame { error, header_valid: false })?;
        let bad = |field, got, want: String| {
            let error = FormatError::field(field, got, want);
            Err(BadFrame { error, header_valid: true })
        };
        if frame.batch_seq != self.batch_seq {
            return bad("frame number", frame.batch_seq, self.batch_seq.to_string());
        }
        if frame.durable_upto > lsn {
            return bad("durable_upto", frame.durable_upto.0, format!("at most {}", lsn.0));
        }
        if frame.disk_len() > end - offset {
            return bad("frame length", frame.disk_len(), format!("at most {}", end - offset));
        }
        Ok(frame)
    }
}

/// The records of one frame, all of them checked before the first is believed.
fn records<'a>(
    segment: &SegmentFile,
    payload_at: u64,
    frame: &FrameHeader,
    payload: &'a [u8],
) -> Result<Vec<(u64, RecordRef<'a>)>, FormatError> {
    let mut found = Vec::new();
    let mut crcs = RecordsCrc::default();
    let mut at = 0;
    while let Some(rest) = payload.get(at..).filter(|rest| !rest.is_empty()) {
        let offset = payload_at + at as u64;
        let lsn: Lsn = segment.lsn_at(offset);
        let decoded = RecordRef::decode(segment.header.nonce, lsn, rest)?;
        crcs.add(decoded.crc);
        found.push((offset, decoded.record));
        at += decoded.disk_len;
    }
    crcs.check(frame)?;
    if payload.len() != frame.payload_len as usize || found.len() != frame.records as usize {
        return Err(FormatError::Short { what: "frame" });
    }
    Ok(found)
}

/// Reads `len` bytes at `offset` of a segment.
pub(super) fn read(segment: &SegmentFile, offset: u64, len: usize) -> Result<Vec<u8>, Error> {
    let mut buf = vec![0; len];
    read_exact_at(&*segment.file, &mut buf, offset)
        .map_err(|e| Error::io("failed to read", &segment.path, e))?;
    Ok(buf)
}
