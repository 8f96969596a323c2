//! One segment file: publishing it and reading entries from it.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::name::FileName;
use crate::disk::{Disk, DiskFile, read_exact_at};
use crate::error::Error;
use crate::format::{HEADER_LEN, RECORD_HEADER_LEN, RecordRef, SegmentHeader};
use crate::types::{Entry, EntryId, LogIndex, Lsn};

/// A prepared file: all its space is allocated and it waits to become a segment.
#[derive(Debug)]
pub(crate) struct Spare {
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) len: u64,
    pub(crate) recycled: bool,
}

/// A published segment.
#[derive(Debug)]
pub(crate) struct SegmentFile {
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) header: SegmentHeader,
    /// Nothing will be written to it any more.
    sealed: AtomicBool,
    map: OnceLock<Option<Bytes>>,
    /// The highest entry index ever written to it, plus one; 0 if there is none.
    end_index: AtomicU64,
}

impl SegmentFile {
    pub(crate) fn new(path: PathBuf, file: Arc<dyn DiskFile>, header: SegmentHeader) -> Self {
        Self {
            path,
            file,
            header,
            sealed: AtomicBool::new(false),
            map: OnceLock::new(),
            end_index: AtomicU64::new(0),
        }
    }

    /// Turns a spare into the segment that `header` describes.
    ///
    /// The header is durable before the name is, so a file with a segment's name always has a
    /// valid header, and the name is durable before the first frame is written, so an
    /// acknowledged frame is always found.
    pub(crate) fn publish(
        disk: &dyn Disk,
        dir: &Path,
        spare: Spare,
        header: SegmentHeader,
    ) -> Result<Self, Error> {
        let write = spare.file.write_at(&header.encode(), 0).and_then(|()| spare.file.sync());
        write.map_err(|e| Error::io("failed to write the header of", &spare.path, e))?;
        let path = FileName::Segment(header.seq, header.first_index).in_dir(dir);
        let name = disk.rename(&spare.path, &path).and_then(|()| disk.sync_dir(dir));
        name.map_err(|e| Error::io("failed to publish", &path, e))?;
        Ok(Self::new(path, spare.file, header))
    }

    pub(crate) fn seal(&self) {
        self.sealed.store(true, Ordering::Release);
    }

    pub(crate) fn lsn_at(&self, offset: u64) -> Lsn {
        Lsn(self.header.base_lsn.0 + (offset - HEADER_LEN as u64))
    }

    pub(crate) fn note_index(&self, index: LogIndex) {
        self.end_index.fetch_max(index.0.saturating_add(1), Ordering::Relaxed);
    }

    /// True if no entry above `purged` was ever written here.
    pub(crate) fn is_purged(&self, purged: Option<EntryId>) -> bool {
        let end = self.end_index.load(Ordering::Relaxed);
        end == 0 || purged.is_some_and(|purged| end <= purged.index.0.saturating_add(1))
    }

    /// Reads one entry and checks it, as on every read from disk.
    pub(crate) fn read_entry(&self, id: EntryId, offset: u32, len: u32) -> Result<Entry, Error> {
        let bytes = self.record_bytes(u64::from(offset), len as usize + RECORD_HEADER_LEN)?;
        let corrupt = |reason| Error::corrupt(&self.path, u64::from(offset), reason);
        let lsn = self.lsn_at(u64::from(offset));
        let decoded = RecordRef::decode(self.header.nonce, lsn, &bytes)
            .map_err(|error| corrupt(error.to_string()))?;
        if let RecordRef::Entry(found, payload) = decoded.record
            && found == id
        {
            return Ok(Entry { id, payload: bytes.slice_ref(payload) });
        }
        let kind = decoded.record.kind();
        Err(corrupt(format!("want entry {id}, got another record of kind {kind}")))
    }

    fn record_bytes(&self, offset: u64, len: usize) -> Result<Bytes, Error> {
        let start = usize::try_from(offset).expect("offsets are 32 bits wide");
        if self.sealed.load(Ordering::Acquire)
            && let Some(map) = self.map.get_or_init(|| self.file.map().ok().flatten())
            && start + len <= map.len()
        {
            return Ok(map.slice(start..start + len));
        }
        let mut buf = vec![0; len];
        read_exact_at(&*self.file, &mut buf, offset)
            .map_err(|e| Error::io("failed to read", &self.path, e))?;
        Ok(buf.into())
    }

    /// The file for another life, unless somebody still reads from it: bytes of a map must not
    /// change under their reader.
    pub(crate) fn into_recyclable(segment: Arc<Self>) -> Option<(Arc<dyn DiskFile>, u64)> {
        let segment = Arc::try_unwrap(segment).ok()?;
        let unread = match segment.map.get() {
            Some(Some(map)) => map.is_unique(),
            Some(None) | None => true,
        };
        unread.then_some((segment.file, segment.header.file_len))
    }
}
