//! Reads a file front to back in large blocks, and shows it as if it were in memory.

use std::io;
use std::sync::Arc;

use crate::disk::DiskFile;

/// Large enough that the disk streams, small enough not to matter.
const BLOCK: usize = 1 << 20;

/// A part of a file that moves forward.
#[derive(Debug)]
pub(crate) struct Window {
    file: Arc<dyn DiskFile>,
    start: u64,
    bytes: Vec<u8>,
}

impl Window {
    pub(crate) fn new(file: Arc<dyn DiskFile>) -> Self {
        Self { file, start: 0, bytes: Vec::new() }
    }

    /// The bytes at `offset`; fewer than `len` only where the file ends. The caller bounds `len`.
    pub(crate) fn get(&mut self, offset: u64, len: usize) -> io::Result<&[u8]> {
        if self.slice(offset, len).is_none() {
            let mut bytes = vec![0; len.max(BLOCK)];
            let read = self.file.read_at(&mut bytes, offset)?;
            bytes.truncate(read);
            (self.start, self.bytes) = (offset, bytes);
        }
        let have = self.bytes.len().min(len);
        Ok(self.slice(offset, len).unwrap_or(&self.bytes[..have]))
    }

    fn slice(&self, offset: u64, len: usize) -> Option<&[u8]> {
        let at = usize::try_from(offset.checked_sub(self.start)?).ok()?;
        self.bytes.get(at..at.checked_add(len)?)
    }
}
