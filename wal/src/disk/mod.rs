//! The only door to files. The log asks for nothing else of the operating system, so that a
//! faulty disk in memory can stand in for the real one.
//!
//! Promises an implementation makes, and nothing beyond them:
//! * what was written and then synced with [`DiskFile::sync`] is there after a crash, whole;
//! * a name created, changed or removed is there after a crash once its folder was synced;
//! * everything else may be there, may be missing, or may be there in part, sector by sector and
//!   in any order.

mod faulty;
mod real;

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

pub use faulty::{Fault, FaultyDisk, Keep, Op};
pub use real::RealDisk;

/// Folders and names.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Makes the folder and those above it, durably.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;

    /// The names of the files in the folder, in no particular order.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Opens a file that exists, for reading and writing.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens a file that exists, for reading only.
    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Creates an empty file; one of that name must not exist. The name is durable only after
    /// [`Disk::sync_dir`].
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Gives a file another name, replacing whatever has it; durable after [`Disk::sync_dir`].
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a name; durable after [`Disk::sync_dir`].
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names of a folder durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Takes the folder for this process alone, until the guard is dropped or the process ends.
    fn lock(&self, dir: &Path) -> Result<Box<dyn DirLock>, LockError>;
}

/// A file, at positions; there is no cursor.
pub trait DiskFile: Send + Sync + fmt::Debug {
    /// Reads up to `buf.len()` bytes; fewer only at the end of the file.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of `bytes`. After an error any part of them may have been written.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes everything written so far durable, the length included. After an error nothing
    /// written since the last sync may be relied upon, whatever a second call says.
    fn sync(&self) -> io::Result<()>;

    /// The length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// True if the file has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        self.len().map(|len| len == 0)
    }

    /// The whole file mapped for reading, where that exists. Only for files that nobody will
    /// write or shorten as long as the bytes are alive.
    fn map(&self) -> io::Result<Option<Bytes>> {
        Ok(None)
    }
}

/// Holds the folder; dropping it lets go.
pub trait DirLock: Send + Sync + fmt::Debug {}

/// Why the folder could not be taken.
#[derive(Debug)]
pub enum LockError {
    /// Somebody has it; the process id if the holder left one.
    Held(Option<u32>),
    /// The lock file could not be used.
    Io(io::Error),
}

/// Reads exactly `buf.len()` bytes, or says that the file ends early.
pub(crate) fn read_exact_at(file: &dyn DiskFile, buf: &mut [u8], offset: u64) -> io::Result<()> {
    let got = file.read_at(buf, offset)?;
    if got == buf.len() {
        return Ok(());
    }
    let text =
        format!("file ends at {}, wanted {}", offset + got as u64, offset + buf.len() as u64);
    Err(io::Error::new(io::ErrorKind::UnexpectedEof, text))
}
