//! Finding out what the folder holds: scan, tell a torn tail from corruption, rebuild the state.
//!
//! The rule. Each frame is synced before the next one is begun, and a segment is begun after
//! everything in the one before was synced. So the only frame that may legitimately be in pieces
//! is the last one. The scan goes forward to the first frame that does not validate, at LSN X.
//! If a later segment exists, or a frame behind X validates and says that more than X was durable
//! when it was built, then X was durable once: that is corruption, and the log refuses to open.
//! Otherwise nobody was ever told that X is safe: it is a torn tail, and is zeroed.

mod replay;
mod scan;
mod tail;
mod window;

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(crate) use replay::Replay;
pub(crate) use scan::{Visitor, scan};
pub(crate) use tail::repair;

use crate::disk::Disk;
use crate::error::Error;
use crate::segment::Spare;
use crate::segment::name::FileName;
use crate::segment::pipeline::SPARES_MAX;

/// What was found when the log was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovery {
    /// The folder held no log; a new one was begun.
    pub fresh: bool,
    /// The log had been closed, and nothing was written after that.
    pub clean: bool,
    /// The end of the log that was cut off because its write never completed.
    pub torn_tail: Option<TornTail>,
    /// Segments read.
    pub segments: usize,
    /// Valid frames read.
    pub frames: u64,
    /// Records in them.
    pub records: u64,
    /// Entries that are live now.
    pub entries: u64,
    /// Bytes of frames read.
    pub bytes: u64,
}

/// A write that a crash interrupted before anybody was told that it succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TornTail {
    /// The segment file.
    pub segment: PathBuf,
    /// Where the torn frame begins.
    pub offset: u64,
    /// Why it does not validate.
    pub reason: String,
}

/// The files of the folder that are ours.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    pub(crate) segments: Vec<FileName>,
    pub(crate) others: Vec<FileName>,
}

pub(crate) fn list(disk: &dyn Disk, dir: &Path) -> Result<Listing, Error> {
    let names = disk.list(dir).map_err(|e| Error::io("failed to list", dir, e))?;
    let mut listing = Listing::default();
    for name in names.iter().filter_map(|name| FileName::parse(name)) {
        match name {
            FileName::Segment(..) => listing.segments.push(name),
            FileName::Spare(_) | FileName::Unfinished(_) => listing.others.push(name),
        }
    }
    listing.segments.sort_unstable();
    listing.others.sort_unstable();
    Ok(listing)
}

/// Keeps the spares that are whole and removes what else preparing left behind. A file has a
/// spare's name only after it was filled and synced, so its length is all there is to check.
pub(crate) fn adopt_spares(
    disk: &dyn Disk,
    dir: &Path,
    others: &[FileName],
    segment_bytes: u64,
) -> Result<Vec<Spare>, Error> {
    let mut spares = Vec::new();
    let mut removed = false;
    for name in others {
        let path = name.in_dir(dir);
        let failed = |e| Error::io("failed to look at", &path, e);
        if matches!(name, FileName::Spare(_)) && spares.len() < SPARES_MAX {
            let file = disk.open(&path).map_err(failed)?;
            if file.len().map_err(failed)? == segment_bytes {
                let path = path.clone();
                // Nobody knows whether it served before; that it may have is the safe answer.
                spares.push(Spare { path, file, len: segment_bytes, recycled: true });
                continue;
            }
        }
        disk.remove(&path).map_err(|e| Error::io("failed to remove", &path, e))?;
        removed = true;
    }
    if removed {
        disk.sync_dir(dir).map_err(|e| Error::io("failed to sync", dir, e))?;
    }
    Ok(spares)
}

/// The id that the next spare may take.
pub(crate) fn next_spare_id(others: &[FileName]) -> u64 {
    let ids = others.iter().map(|name| match name {
        FileName::Spare(id) | FileName::Unfinished(id) => id.saturating_add(1),
        FileName::Segment(..) => 0,
    });
    ids.max().unwrap_or(0)
}

/// Opens every segment of the listing; the caller decides whether for writing.
pub(crate) fn open_files(
    disk: &dyn Disk,
    dir: &Path,
    listing: &Listing,
    write: bool,
) -> Result<Vec<scan::Found>, Error> {
    let open = |name: &FileName| {
        let path = name.in_dir(dir);
        let file = if write { disk.open(&path) } else { disk.open_read(&path) };
        let file: Arc<_> = file.map_err(|e| Error::io("failed to open", &path, e))?;
        Ok(scan::Found { name: *name, path, file })
    };
    listing.segments.iter().map(open).collect()
}
