//! Prints a log for people, without changing it.

use std::fmt::{self, Display};
use std::io::{self, Write};
use std::path::Path;

use crate::disk::Disk;
use crate::error::Error;
use crate::format::{FrameHeader, RecordRef};
use crate::recovery::{self, Replay, TornTail, Visitor};
use crate::segment::SegmentFile;
use crate::types::EntryId;

/// How much to print.
#[derive(Debug, Clone, Copy, Default)]
pub struct Detail {
    /// A line for each frame.
    pub frames: bool,
    /// A line for each record.
    pub records: bool,
    /// The first bytes of each payload.
    pub payload_bytes: usize,
}

/// Why a dump ended early.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// The log can't be read, or opening it would be refused; what precedes the damage was
    /// printed.
    #[error(transparent)]
    Log(#[from] Error),
    /// The output could not be written.
    #[error("failed to write the output")]
    Output(#[from] io::Error),
}

/// Writes what the folder holds to `out`, and says how opening it would judge it. It takes no
/// lock: a running node may add frames meanwhile, which are shown or not.
pub fn dump(
    disk: &dyn Disk,
    dir: &Path,
    detail: Detail,
    out: &mut dyn Write,
) -> Result<(), DumpError> {
    let listing = recovery::list(disk, dir)?;
    if listing.segments.is_empty() {
        writeln!(out, "no log in {}", dir.display())?;
        return Ok(());
    }
    let found = recovery::open_files(disk, dir, &listing, false)?;
    let mut printer = Printer { detail, out, replay: Replay::default(), failed: None };
    let scanned = recovery::scan(found, &mut printer);
    let Printer { replay, failed, out, .. } = printer;
    if let Some(error) = failed {
        return Err(error.into());
    }
    let scanned = scanned?;
    if let Some(first) = scanned.segments.first() {
        replay.check_complete(first)?;
    }
    summary(&replay, scanned.torn_tail.as_ref(), out)?;
    Ok(())
}

fn summary(replay: &Replay, torn: Option<&TornTail>, out: &mut dyn Write) -> io::Result<()> {
    let state = replay.memory.state();
    writeln!(out, "frames {}, records {}, bytes {}", replay.frames, replay.records, replay.bytes)?;
    writeln!(out, "purged up to {}, last entry {}", or_none(state.purged), or_none(state.last))?;
    writeln!(out, "vote {}", mark(replay.memory.vote.as_deref()))?;
    writeln!(out, "committed {}", mark(replay.memory.committed.as_deref()))?;
    match torn {
        Some(torn) => writeln!(
            out,
            "torn tail at offset {} of {}: {}; opening the log cuts it off",
            torn.offset,
            torn.segment.display(),
            torn.reason
        ),
        None if replay.clean => writeln!(out, "closed cleanly"),
        None => writeln!(out, "not closed: in use, or its process died"),
    }
}

fn or_none(id: Option<EntryId>) -> String {
    id.map_or_else(|| "none".to_owned(), |id| id.to_string())
}

fn mark(bytes: Option<&[u8]>) -> String {
    bytes.map_or_else(|| "none".to_owned(), |bytes| Hex(bytes, bytes.len()).to_string())
}

/// Bytes as text where they are text, and the rest escaped.
struct Hex<'a>(&'a [u8], usize);

impl Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.get(..self.1).unwrap_or(self.0);
        write!(f, "\"{}\"", shown.escape_ascii())?;
        if shown.len() < self.0.len() {
            write!(f, "...")?;
        }
        Ok(())
    }
}

struct Printer<'a> {
    detail: Detail,
    out: &'a mut dyn Write,
    replay: Replay,
    failed: Option<io::Error>,
}

impl Printer<'_> {
    /// Keeps the first failure; the walk can't be stopped from here and need not be.
    fn line(&mut self, text: fmt::Arguments<'_>) {
        if self.failed.is_none() {
            self.failed = writeln!(self.out, "{text}").err();
        }
    }

    fn payload(&mut self, offset: u64, what: fmt::Arguments<'_>, payload: &[u8]) {
        let shown = Hex(payload, self.detail.payload_bytes);
        let len = payload.len();
        if self.detail.payload_bytes == 0 {
            self.line(format_args!("    @{offset} {what}, {len} bytes"));
        } else {
            self.line(format_args!("    @{offset} {what}, {len} bytes {shown}"));
        }
    }
}

impl Visitor for Printer<'_> {
    fn segment(&mut self, segment: &SegmentFile) {
        self.replay.segment(segment);
        let header = &segment.header;
        self.line(format_args!(
            "segment {} at lsn {}, {} bytes{}: next index {}, purged {}, last {}",
            header.seq.0,
            header.base_lsn.0,
            header.file_len,
            if header.recycled { ", recycled" } else { "" },
            header.first_index.0,
            or_none(header.checkpoint.purged),
            or_none(header.checkpoint.last),
        ));
    }

    fn frame(&mut self, segment: &SegmentFile, offset: u64, frame: &FrameHeader) {
        self.replay.frame(segment, offset, frame);
        if self.detail.frames {
            self.line(format_args!(
                "  @{offset} frame {}, lsn {}, durable up to {}, {} records in {} bytes",
                frame.batch_seq,
                frame.lsn.0,
                frame.durable_upto.0,
                frame.records,
                frame.disk_len(),
            ));
        }
    }

    fn record(
        &mut self,
        segment: &SegmentFile,
        offset: u64,
        record: RecordRef<'_>,
    ) -> Result<(), String> {
        if self.detail.records {
            match record {
                RecordRef::Entry(id, payload) => {
                    self.payload(offset, format_args!("entry {id}"), payload);
                }
                RecordRef::Vote(vote) => self.payload(offset, format_args!("vote"), vote),
                RecordRef::Committed(mark) => {
                    self.payload(offset, format_args!("committed"), mark);
                }
                RecordRef::TruncateAfter(id) => {
                    self.line(format_args!("    @{offset} truncate after {}", or_none(id)));
                }
                RecordRef::Purge(id) => self.line(format_args!("    @{offset} purge up to {id}")),
                RecordRef::CleanShutdown => {
                    self.line(format_args!("    @{offset} clean shutdown"));
                }
            }
        }
        self.replay.record(segment, offset, record)
    }
}
