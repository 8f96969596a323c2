//! Reading sealed segments through a memory map: the only unsafe code of the crate.

#![expect(unsafe_code, reason = "a map of a file is only as immutable as its owner keeps it")]

use std::fs::File;
use std::io;

use bytes::Bytes;
use memmap2::Mmap;

/// Maps the whole file for reading.
///
/// The bytes handed out keep the map alive. A page that the disk can't read ends the process with
/// SIGBUS, so recovery reads with `pread` and only catch-up reads go through maps.
pub(crate) fn map(file: &File) -> io::Result<Bytes> {
    // SAFETY: The caller maps sealed segments only (`SegmentFile::payload_bytes`). Nobody in this
    // process writes or shortens a sealed segment as long as such bytes live: it is recycled only
    // if `SegmentFile::into_recyclable` finds them gone, and unlinked otherwise, which leaves the
    // mapped pages alone. Other processes are kept out by the lock on the folder.
    let map = unsafe { Mmap::map(file)? };
    Ok(Bytes::from_owner(map))
}
