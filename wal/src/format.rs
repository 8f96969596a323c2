//! The bytes of a segment file. Nothing else in the crate builds or reads them.
//!
//! All numbers are little-endian. `lsn(offset) = base_lsn + offset - 4096`.
//!
//! ```text
//! segment file  <seq:016x>-<first_index:016x>.wal, segment_bytes long from the start
//! ┌──────────────┬─────────┬─────────┬─────┬──────────────────────────────────┐
//! │ header 4096  │ frame   │ frame   │ ... │ zeros, or stale bytes of a former │
//! │              │ n×512   │ n×512   │     │ life of the file (other nonce)    │
//! └──────────────┴─────────┴─────────┴─────┴──────────────────────────────────┘
//!
//! header        0 magic[8]   8 version u32   12 flags u32   16 crc u32      20 zero u32
//!              24 seq        32 nonce        40 file length 48 base_lsn     56 first batch_seq
//!              64 first_index                72 previous seq, or 0          80 previous nonce
//!              88 present u32 (1 vote, 2 committed, 4 purged, 8 last)       92 zero u32
//!              96 purged term, index        112 last term, index
//!             128 vote length u32           132 committed length u32
//!             136 vote bytes, committed bytes, zeros up to 4096
//!               crc covers the whole block except itself
//!
//! frame         0 magic u32  4 crc u32       8 batch_seq    16 lsn          24 durable_upto
//!              32 payload length u32        36 records u32  40 records_crc u32
//!              44 zeros up to 64, then the records, then zeros up to a multiple of 512
//!               crc covers bytes 8..64, seeded; records_crc covers the CRCs of the records in
//!               order, so that a mixture of two frames never passes for one
//!
//! record        0 crc u32    4 length u32    8 kind u8   9 flags u8   10 zeros up to 16
//!              16 term      24 index        32 payload, zeros up to a multiple of 8
//!               crc covers bytes 4..32+length, seeded
//! ```
//!
//! *Seeded* means that the checksum starts with the segment's nonce and the LSN of the frame or
//! record. A byte range is therefore valid at one place in one life of one file only: what a
//! recycled file holds from before can never be taken for a frame, whatever its payloads are.
//!
//! *durable_upto* is the LSN up to which everything was synced when the frame was built. A valid
//! frame behind an invalid one proves by it that the invalid one was once durable.
//!
//! The version is looked at before any checksum, so that a newer format is reported as that and
//! not as corruption. Kinds and flags are never reused.

use bytes::Bytes;
use crc32fast::Hasher;

use crate::types::{Entry, EntryId, LogIndex, Lsn, SegmentSeq, Term};

/// The format this build writes and reads.
pub const VERSION: u32 = 1;
/// Length of the segment header; the first frame begins here.
pub const HEADER_LEN: usize = 4096;
/// Frames begin and end at multiples of this, the unit in which disks write.
pub const SECTOR: usize = 512;
/// Length of a frame's header.
pub const FRAME_HEADER_LEN: usize = 64;
/// Length of a record's header.
pub const RECORD_HEADER_LEN: usize = 32;
/// The longest vote or committed mark; both fit into the segment header.
pub const MARK_LEN_MAX: usize = 1024;

const SEGMENT_MAGIC: [u8; 8] = *b"KEELWAL\0";
const FRAME_MAGIC: u32 = u32::from_le_bytes(*b"KWFR");
const FLAG_RECYCLED: u32 = 1;
const HAS_VOTE: u32 = 1;
const HAS_COMMITTED: u32 = 2;
const HAS_PURGED: u32 = 4;
const HAS_LAST: u32 = 8;
const CRC_AT: usize = 16;

const _: () = assert!(136 + 2 * MARK_LEN_MAX <= HEADER_LEN, "both marks fit into the header");
const _: () = assert!(HEADER_LEN.is_multiple_of(SECTOR) && FRAME_HEADER_LEN <= SECTOR);

/// Why bytes are not what they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// The bytes end before the structure does.
    #[error("{what} is cut short")]
    Short {
        /// The structure.
        what: &'static str,
    },
    /// The bytes are not such a structure at all.
    #[error("no {what} here, magic is {got:02x?}")]
    Magic {
        /// The structure.
        what: &'static str,
        /// The bytes in its place.
        got: Vec<u8>,
    },
    /// A version from another build.
    #[error("format version is {found}, this build reads {VERSION}")]
    Version {
        /// The version found.
        found: u32,
    },
    /// The checksum does not match the bytes.
    #[error("{what} has checksum {got:08x}, its bytes give {want:08x}")]
    Checksum {
        /// The structure.
        what: &'static str,
        /// The checksum in the bytes.
        got: u32,
        /// The checksum of the bytes.
        want: u32,
    },
    /// A field has a value that cannot be.
    #[error("{field} is {got}, want {want}")]
    Field {
        /// The field.
        field: &'static str,
        /// The value found.
        got: u64,
        /// What it must be.
        want: String,
    },
}

impl FormatError {
    pub(crate) fn field(field: &'static str, got: u64, want: impl Into<String>) -> Self {
        Self::Field { field, got, want: want.into() }
    }
}

/// The small durable state, as it was when a segment began: whatever older segments said about
/// it is repeated here, so that they can be dropped.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checkpoint {
    /// The last vote saved.
    pub vote: Option<Bytes>,
    /// The last committed mark saved.
    pub committed: Option<Bytes>,
    /// The last entry purged.
    pub purged: Option<EntryId>,
    /// The last entry of the log, or `purged` if there is none above it.
    pub last: Option<EntryId>,
}

impl Checkpoint {
    /// Notes that entries up to this one are gone. The mark never moves back.
    pub(crate) fn purge(&mut self, upto: EntryId) {
        if self.purged.is_none_or(|purged| purged.index < upto.index) {
            self.purged = Some(upto);
        }
        if self.last.is_none_or(|last| last.index < upto.index) {
            self.last = Some(upto);
        }
    }
}

/// The first block of a segment file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Number of the segment, one more than the one before.
    pub seq: SegmentSeq,
    /// Number of this life of the file.
    pub nonce: u64,
    /// Length of the file in bytes; a file of another length was damaged.
    pub file_len: u64,
    /// LSN of the first frame, which is where the segment before ends.
    pub base_lsn: Lsn,
    /// `batch_seq` of the first frame.
    pub batch_seq: u64,
    /// The index that comes next in the log when the segment begins.
    pub first_index: LogIndex,
    /// Number and nonce of the segment before.
    pub previous: Option<(SegmentSeq, u64)>,
    /// The file held another segment before and may hold stale bytes.
    pub recycled: bool,
    /// The small durable state when the segment began.
    pub checkpoint: Checkpoint,
}

impl SegmentHeader {
    /// The 4096 bytes of the header.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let state = &self.checkpoint;
        let mut out = Vec::with_capacity(HEADER_LEN);
        out.extend_from_slice(&SEGMENT_MAGIC);
        put_u32(&mut out, VERSION);
        put_u32(&mut out, if self.recycled { FLAG_RECYCLED } else { 0 });
        put_u32(&mut out, 0);
        put_u32(&mut out, 0);
        let (previous_seq, previous_nonce) = self.previous.unwrap_or_default();
        for number in [
            self.seq.0,
            self.nonce,
            self.file_len,
            self.base_lsn.0,
            self.batch_seq,
            self.first_index.0,
            previous_seq.0,
            previous_nonce,
        ] {
            put_u64(&mut out, number);
        }
        let present = [
            (state.vote.is_some(), HAS_VOTE),
            (state.committed.is_some(), HAS_COMMITTED),
            (state.purged.is_some(), HAS_PURGED),
            (state.last.is_some(), HAS_LAST),
        ];
        put_u32(&mut out, present.iter().filter(|(is, _)| *is).map(|(_, bit)| bit).sum());
        put_u32(&mut out, 0);
        put_id(&mut out, state.purged.unwrap_or_default());
        put_id(&mut out, state.last.unwrap_or_default());
        let vote = state.vote.as_deref().unwrap_or_default();
        let committed = state.committed.as_deref().unwrap_or_default();
        assert!(vote.len() <= MARK_LEN_MAX && committed.len() <= MARK_LEN_MAX, "checked on entry");
        put_u32(&mut out, len_u32(vote.len()));
        put_u32(&mut out, len_u32(committed.len()));
        out.extend_from_slice(vote);
        out.extend_from_slice(committed);
        out.resize(HEADER_LEN, 0);
        let crc = header_crc(&out).expect("the block is whole");
        out[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads a header. Magic first, then the version, then the checksum, then the fields.
    pub fn decode(block: &[u8]) -> Result<Self, FormatError> {
        let mut fields = Fields::new("segment header", block);
        let magic = fields.take(8)?;
        if magic != SEGMENT_MAGIC {
            return Err(FormatError::Magic { what: "segment header", got: magic.to_vec() });
        }
        let version = fields.u32()?;
        if version != VERSION {
            return Err(FormatError::Version { found: version });
        }
        let flags = fields.u32()?;
        let got = fields.u32()?;
        let want = header_crc(block)?;
        if got != want {
            return Err(FormatError::Checksum { what: "segment header", got, want });
        }
        fields.u32()?;
        let seq = SegmentSeq(fields.u64()?);
        let nonce = fields.u64()?;
        let file_len = fields.u64()?;
        let base_lsn = Lsn(fields.u64()?);
        let batch_seq = fields.u64()?;
        let first_index = LogIndex(fields.u64()?);
        let previous = (SegmentSeq(fields.u64()?), fields.u64()?);
        Ok(Self {
            seq,
            nonce,
            file_len,
            base_lsn,
            batch_seq,
            first_index,
            previous: (previous.0.0 != 0).then_some(previous),
            recycled: flags & FLAG_RECYCLED != 0,
            checkpoint: Self::decode_checkpoint(&mut fields)?,
        })
    }

    fn decode_checkpoint(fields: &mut Fields<'_>) -> Result<Checkpoint, FormatError> {
        let present = fields.u32()?;
        fields.u32()?;
        let purged = fields.id()?;
        let last = fields.id()?;
        let vote_len = fields.len()?;
        let committed_len = fields.len()?;
        let vote = Bytes::copy_from_slice(fields.take(vote_len)?);
        let committed = Bytes::copy_from_slice(fields.take(committed_len)?);
        Ok(Checkpoint {
            vote: (present & HAS_VOTE != 0).then_some(vote),
            committed: (present & HAS_COMMITTED != 0).then_some(committed),
            purged: (present & HAS_PURGED != 0).then_some(purged),
            last: (present & HAS_LAST != 0).then_some(last),
        })
    }
}

fn header_crc(block: &[u8]) -> Result<u32, FormatError> {
    let short = FormatError::Short { what: "segment header" };
    let before = block.get(..CRC_AT).ok_or_else(|| short.clone())?;
    let after = block.get(CRC_AT + 4..HEADER_LEN).ok_or(short)?;
    let mut hasher = Hasher::new();
    hasher.update(before);
    hasher.update(after);
    Ok(hasher.finalize())
}

/// The head of a frame: one frame is what one sync made durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// Counts frames without gaps over the whole log.
    pub batch_seq: u64,
    /// Where the frame lies.
    pub lsn: Lsn,
    /// Everything below this LSN was synced when the frame was built.
    pub durable_upto: Lsn,
    /// Bytes of the records, without the padding at the end.
    pub payload_len: u32,
    /// Number of records.
    pub records: u32,
    /// Checksum over the records' checksums.
    pub records_crc: u32,
}

impl FrameHeader {
    /// Reads the head of the frame at `lsn` in the segment with this nonce.
    pub fn decode(nonce: u64, lsn: Lsn, bytes: &[u8]) -> Result<Self, FormatError> {
        let mut fields = Fields::new("frame header", bytes);
        let magic = fields.u32()?;
        if magic != FRAME_MAGIC {
            let got = magic.to_le_bytes().to_vec();
            return Err(FormatError::Magic { what: "frame", got });
        }
        let got = fields.u32()?;
        let covered =
            bytes.get(8..FRAME_HEADER_LEN).ok_or(FormatError::Short { what: "frame header" })?;
        let want = seeded_crc(nonce, lsn, covered);
        if got != want {
            return Err(FormatError::Checksum { what: "frame header", got, want });
        }
        let header = Self {
            batch_seq: fields.u64()?,
            lsn: Lsn(fields.u64()?),
            durable_upto: Lsn(fields.u64()?),
            payload_len: fields.u32()?,
            records: fields.u32()?,
            records_crc: fields.u32()?,
        };
        if header.lsn != lsn {
            return Err(FormatError::field("frame lsn", header.lsn.0, lsn.0.to_string()));
        }
        Ok(header)
    }

    /// True if the bytes look like a frame that was meant for this place, whatever its checksum:
    /// the sign by which a torn frame is told from stale bytes.
    #[must_use]
    pub fn resembles(lsn: Lsn, bytes: &[u8]) -> bool {
        let mut fields = Fields::new("frame header", bytes);
        let magic = fields.u32();
        let place = fields.take(12).and_then(|_| fields.u64());
        magic == Ok(FRAME_MAGIC) && place == Ok(lsn.0)
    }

    /// Length of the whole frame on disk.
    #[must_use]
    pub fn disk_len(&self) -> u64 {
        (FRAME_HEADER_LEN as u64 + u64::from(self.payload_len)).next_multiple_of(SECTOR as u64)
    }

    /// The LSN behind this frame.
    #[must_use]
    pub fn end(&self) -> Lsn {
        Lsn(self.lsn.0 + self.disk_len())
    }
}

/// A frame being built, in a buffer that is used again and again.
#[derive(Debug)]
pub struct FrameBuilder {
    buf: Vec<u8>,
    nonce: u64,
    lsn: Lsn,
    records: u32,
    crcs: Hasher,
}

impl FrameBuilder {
    /// A builder for the frame at `lsn` of the segment with this nonce.
    #[must_use]
    pub fn new(nonce: u64, lsn: Lsn) -> Self {
        let mut builder = Self { buf: Vec::new(), nonce, lsn, records: 0, crcs: Hasher::new() };
        builder.restart(nonce, lsn);
        builder
    }

    /// Begins the next frame.
    pub fn restart(&mut self, nonce: u64, lsn: Lsn) {
        self.buf.clear();
        self.buf.resize(FRAME_HEADER_LEN, 0);
        (self.nonce, self.lsn, self.records) = (nonce, lsn, 0);
        self.crcs = Hasher::new();
    }

    /// Records pushed so far.
    #[must_use]
    pub fn records(&self) -> u32 {
        self.records
    }

    /// Length on disk if one more record with such a payload is pushed.
    #[must_use]
    pub fn disk_len_with(&self, payload_len: usize) -> u64 {
        (self.buf.len() + record_len(payload_len)).next_multiple_of(SECTOR) as u64
    }

    /// Adds a record and returns its offset in the frame.
    pub fn push(&mut self, record: RecordRef<'_>) -> u32 {
        let start = self.buf.len();
        let (id, flags, payload) = record.parts();
        put_u32(&mut self.buf, 0);
        put_u32(&mut self.buf, len_u32(payload.len()));
        self.buf.extend_from_slice(&[record.kind(), flags, 0, 0, 0, 0, 0, 0]);
        put_id(&mut self.buf, id);
        self.buf.extend_from_slice(payload);
        let lsn = Lsn(self.lsn.0 + start as u64);
        let crc = seeded_crc(self.nonce, lsn, &self.buf[start + 4..]).to_le_bytes();
        self.buf[start..start + 4].copy_from_slice(&crc);
        self.crcs.update(&crc);
        self.records += 1;
        self.buf.resize(start + record_len(payload.len()), 0);
        len_u32(start)
    }

    /// Completes the frame and returns its bytes, a whole number of sectors.
    pub fn finish(&mut self, batch_seq: u64, durable_upto: Lsn) -> &[u8] {
        let payload_len = len_u32(self.buf.len() - FRAME_HEADER_LEN);
        let mut head = Vec::with_capacity(FRAME_HEADER_LEN);
        put_u32(&mut head, FRAME_MAGIC);
        put_u32(&mut head, 0);
        put_u64(&mut head, batch_seq);
        put_u64(&mut head, self.lsn.0);
        put_u64(&mut head, durable_upto.0);
        put_u32(&mut head, payload_len);
        put_u32(&mut head, self.records);
        put_u32(&mut head, self.crcs.clone().finalize());
        head.resize(FRAME_HEADER_LEN, 0);
        let crc = seeded_crc(self.nonce, self.lsn, &head[8..]);
        head[4..8].copy_from_slice(&crc.to_le_bytes());
        self.buf[..FRAME_HEADER_LEN].copy_from_slice(&head);
        self.buf.resize(self.buf.len().next_multiple_of(SECTOR), 0);
        &self.buf
    }
}

/// Collects the records' checksums of a frame that is being read.
#[derive(Debug, Default)]
pub struct RecordsCrc(Hasher);

impl RecordsCrc {
    /// Adds the next record's checksum.
    pub fn add(&mut self, crc: u32) {
        self.0.update(&crc.to_le_bytes());
    }

    /// Compares with what the frame's header says.
    pub fn check(self, header: &FrameHeader) -> Result<(), FormatError> {
        let (got, want) = (header.records_crc, self.0.finalize());
        if got != want {
            return Err(FormatError::Checksum { what: "frame's list of records", got, want });
        }
        Ok(())
    }
}

/// A record: one fact in the stream. The numbers in [`RecordRef::kind`] are on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordRef<'a> {
    /// Kind 1: an entry at the end of the log.
    Entry(EntryId, &'a [u8]),
    /// Kind 2: the vote.
    Vote(&'a [u8]),
    /// Kind 3: the committed mark.
    Committed(&'a [u8]),
    /// Kind 4: entries above this one are gone; all of them if there is none.
    TruncateAfter(Option<EntryId>),
    /// Kind 5: entries up to this one are gone.
    Purge(EntryId),
    /// Kind 6: the log was closed here.
    CleanShutdown,
}

const FLAG_HAS_ID: u8 = 1;

impl<'a> RecordRef<'a> {
    /// The byte that stands for the variant. Append only.
    #[must_use]
    pub fn kind(&self) -> u8 {
        match self {
            Self::Entry(..) => 1,
            Self::Vote(_) => 2,
            Self::Committed(_) => 3,
            Self::TruncateAfter(_) => 4,
            Self::Purge(_) => 5,
            Self::CleanShutdown => 6,
        }
    }

    /// Length of its payload.
    #[must_use]
    pub fn payload_len(&self) -> usize {
        self.parts().2.len()
    }

    fn parts(&self) -> (EntryId, u8, &'a [u8]) {
        match *self {
            Self::Entry(id, payload) => (id, FLAG_HAS_ID, payload),
            Self::Vote(mark) | Self::Committed(mark) => (EntryId::default(), 0, mark),
            Self::TruncateAfter(Some(id)) | Self::Purge(id) => (id, FLAG_HAS_ID, &[]),
            Self::TruncateAfter(None) | Self::CleanShutdown => (EntryId::default(), 0, &[]),
        }
    }

    /// Reads the record at `lsn`, and checks it.
    pub fn decode(nonce: u64, lsn: Lsn, bytes: &'a [u8]) -> Result<DecodedRecord<'a>, FormatError> {
        let mut fields = Fields::new("record", bytes);
        let got = fields.u32()?;
        let payload_len = fields.len()?;
        let covered_end = payload_len
            .checked_add(RECORD_HEADER_LEN)
            .ok_or(FormatError::Short { what: "record" })?;
        let covered = bytes.get(4..covered_end).ok_or(FormatError::Short { what: "record" })?;
        let want = seeded_crc(nonce, lsn, covered);
        if got != want {
            return Err(FormatError::Checksum { what: "record", got, want });
        }
        let kind = fields.u8()?;
        let flags = fields.u8()?;
        fields.take(6)?;
        let id = fields.id()?;
        let payload = fields.take(payload_len)?;
        let record = match kind {
            1 => Self::Entry(id, payload),
            2 => Self::Vote(payload),
            3 => Self::Committed(payload),
            4 => Self::TruncateAfter((flags & FLAG_HAS_ID != 0).then_some(id)),
            5 => Self::Purge(id),
            6 => Self::CleanShutdown,
            other => {
                return Err(FormatError::field("record kind", u64::from(other), "1 to 6"));
            }
        };
        Ok(DecodedRecord { record, crc: got, disk_len: record_len(payload_len) })
    }
}

impl<'a> From<&'a Entry> for RecordRef<'a> {
    fn from(entry: &'a Entry) -> Self {
        Self::Entry(entry.id, &entry.payload)
    }
}

/// A record that passed its checks.
#[derive(Debug, Clone, Copy)]
pub struct DecodedRecord<'a> {
    /// What it says.
    pub record: RecordRef<'a>,
    /// Its checksum, for [`RecordsCrc`].
    pub crc: u32,
    /// How many bytes it takes, padding included.
    pub disk_len: usize,
}

/// Length of a record on disk.
#[must_use]
pub fn record_len(payload_len: usize) -> usize {
    (RECORD_HEADER_LEN + payload_len).next_multiple_of(8)
}

fn seeded_crc(nonce: u64, lsn: Lsn, bytes: &[u8]) -> u32 {
    let mut seed = [0; 16];
    seed[..8].copy_from_slice(&nonce.to_le_bytes());
    seed[8..].copy_from_slice(&lsn.0.to_le_bytes());
    let mut hasher = Hasher::new();
    hasher.update(&seed);
    hasher.update(bytes);
    hasher.finalize()
}

fn len_u32(len: usize) -> u32 {
    u32::try_from(len).expect("segments are at most 1 GiB long")
}

fn put_u32(out: &mut Vec<u8>, number: u32) {
    out.extend_from_slice(&number.to_le_bytes());
}

fn put_u64(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(&number.to_le_bytes());
}

fn put_id(out: &mut Vec<u8>, id: EntryId) {
    put_u64(out, id.term.0);
    put_u64(out, id.index.0);
}

/// Takes fields off the front of bytes that may end anywhere.
struct Fields<'a> {
    what: &'static str,
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    fn new(what: &'static str, rest: &'a [u8]) -> Self {
        Self { what, rest }
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], FormatError> {
        let (head, rest) =
            self.rest.split_at_checked(len).ok_or(FormatError::Short { what: self.what })?;
        self.rest = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], FormatError> {
        let (head, rest) =
            self.rest.split_first_chunk().ok_or(FormatError::Short { what: self.what })?;
        self.rest = rest;
        Ok(*head)
    }

    fn u8(&mut self) -> Result<u8, FormatError> {
        self.array().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Result<u32, FormatError> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, FormatError> {
        self.array().map(u64::from_le_bytes)
    }

    fn len(&mut self) -> Result<usize, FormatError> {
        let len = self.u32()?;
        usize::try_from(len).map_err(|_| FormatError::Short { what: self.what })
    }

    fn id(&mut self) -> Result<EntryId, FormatError> {
        Ok(EntryId { term: Term(self.u64()?), index: LogIndex(self.u64()?) })
    }
}

#[cfg(test)]
mod tests;
