//! Damage to the log's files.

use std::fs::{self, File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::common::Rng;

/// A file of the log, with the place of something in it.
pub(crate) struct LogFile {
    pub(crate) path: PathBuf,
    /// Where the last occurrence of what was looked for begins.
    pub(crate) found: usize,
    bytes: Vec<u8>,
}

impl LogFile {
    /// The file that holds these bytes.
    pub(crate) fn with(folder: &Path, needle: &[u8]) -> Self {
        let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        for path in files.filter(|path| path.is_file()) {
            let bytes = fs::read(&path).unwrap();
            if let Some(found) = bytes.windows(needle.len()).rposition(|part| part == needle) {
                return Self { path, found, bytes };
            }
        }
        panic!("no file in {} holds {:?}", folder.display(), String::from_utf8_lossy(needle));
    }

    fn write(&mut self, at: usize, bytes: &[u8]) {
        let end = (at + bytes.len()).min(self.bytes.len());
        self.bytes[at..end].copy_from_slice(&bytes[..end - at]);
        let mut file: File = OpenOptions::new().write(true).open(&self.path).unwrap();
        file.seek(SeekFrom::Start(u64::try_from(at).unwrap())).unwrap();
        file.write_all(bytes).unwrap();
    }

    /// Flips one bit.
    pub(crate) fn flip(&mut self, at: usize) {
        self.write(at, &[self.bytes[at] ^ 0x10]);
    }

    /// Zeroes from here to the end, as if the rest of a write had not reached the disk.
    pub(crate) fn zero_from(&mut self, at: usize) {
        let rest = vec![0; self.bytes.len() - at];
        self.write(at, &rest);
    }

    /// A few sectors of rubbish after the last byte that is not zero.
    pub(crate) fn rubbish_at_end(&mut self) {
        let last = self.bytes.iter().rposition(|byte| *byte != 0).expect("the file holds data");
        let mut rng = Rng::new(7);
        let rubbish: Vec<u8> = (0..2000).map(|_| rng.next().to_le_bytes()[0]).collect();
        // A frame may end in zeroes of its own.
        let at = (last + 1).next_multiple_of(64);
        self.write(at, &rubbish);
    }
}
