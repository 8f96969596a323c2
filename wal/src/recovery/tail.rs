//! The end of the log: judging what is behind the last valid frame, and making it good.

use super::scan::{BadFrame, Scanned, read};
use super::window::Window;
use super::{Recovery, TornTail};
use crate::disk::Disk;
use crate::error::Error;
use crate::format::{FormatError, FrameHeader, HEADER_LEN, SECTOR};
use crate::segment::SegmentFile;

/// Decides what the first invalid frame of the last segment means: the unused rest of the file
/// (None), a torn tail, or corruption. See the rule in the parent module.
pub(super) fn judge(
    segment: &SegmentFile,
    window: &mut Window,
    offset: u64,
    batch_seq: u64,
    bad: Option<BadFrame>,
) -> Result<Option<TornTail>, Error> {
    let Some(bad) = bad else { return Ok(None) };
    if bad.header_valid && matches!(bad.error, FormatError::Field { .. }) {
        // The head is one that we wrote for this very place, whole, and says what can't be.
        return Err(Error::corrupt(&segment.path, offset, bad));
    }
    let failed = |e| Error::io("failed to read", &segment.path, e);
    let lsn = segment.lsn_at(offset);
    let head = window.get(offset, SECTOR).map_err(failed)?;
    let mut torn = bad.header_valid || FrameHeader::resembles(lsn, head);
    let mut at = offset;
    while at < segment.header.file_len {
        let block = window.get(at, SECTOR).map_err(failed)?;
        let later = FrameHeader::decode(segment.header.nonce, segment.lsn_at(at), block);
        if let Ok(later) = later
            && later.batch_seq > batch_seq
            && later.durable_upto > lsn
        {
            let reason = format!(
                "{}; yet frame {} at offset {at} proves that it was durable",
                bad.error, later.batch_seq
            );
            return Err(Error::corrupt(&segment.path, offset, reason));
        }
        // In a file that never served before, everything that is not zero was written by us.
        torn |= !segment.header.recycled && block.iter().any(|byte| *byte != 0);
        at += SECTOR as u64;
    }
    let reason = bad.error.to_string();
    Ok(torn.then(|| TornTail { segment: segment.path.clone(), offset, reason }))
}

/// Makes what the scan believed durable, and what it did not believe zero, before anything is
/// built on either.
///
/// The last frame may have been read from the page cache of a process that died before its sync,
/// or after a sync that failed and left the pages marked clean. Writing the same bytes again
/// makes the pages dirty, so that this sync is about them. The frames before it were synced
/// before it was begun. The name of the segment is made durable for the same reason.
pub(crate) fn repair(
    disk: &dyn Disk,
    dir: &std::path::Path,
    scanned: &Scanned,
    recovery: &Recovery,
) -> Result<(), Error> {
    let active = scanned.segments.last().expect("there is at least one segment");
    let (at, len) = match &scanned.last_frame {
        Some((offset, frame)) => (*offset, frame.disk_len()),
        None => (0, HEADER_LEN as u64),
    };
    let len = usize::try_from(len).expect("it was read in one piece before");
    let bytes = read(active, at, len)?;
    let failed = |e| Error::io("failed to repair the end of", &active.path, e);
    active.file.write_at(&bytes, at).map_err(failed)?;
    if !recovery.clean {
        zero_tail(active, scanned.offset)?;
    }
    active.file.sync().map_err(failed)?;
    disk.sync_dir(dir).map_err(|e| Error::io("failed to sync", dir, e))
}

/// Zeroes whatever is behind the last valid frame. Pieces of a torn frame carry this segment's
/// nonce, so they must not stay where a later frame could end beside them.
fn zero_tail(active: &SegmentFile, from: u64) -> Result<(), Error> {
    let failed = |e| Error::io("failed to repair the end of", &active.path, e);
    let zeros = vec![0; 1 << 16];
    let mut at = from;
    while at < active.header.file_len {
        let left = usize::try_from(active.header.file_len - at).unwrap_or(zeros.len());
        let zeros = zeros.get(..left).unwrap_or(&zeros);
        let bytes = read(active, at, zeros.len())?;
        if bytes != zeros {
            active.file.write_at(zeros, at).map_err(failed)?;
        }
        at += zeros.len() as u64;
    }
    Ok(())
}
