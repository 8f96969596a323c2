//! What the files of a log folder are called.

use std::path::{Path, PathBuf};

use crate::types::{LogIndex, SegmentSeq};

/// A file of the folder, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum FileName {
    /// `<seq>-<first index>.wal`: a published segment.
    Segment(SegmentSeq, LogIndex),
    /// `spare-<id>.free`: prepared, whole and synced.
    Spare(u64),
    /// `spare-<id>.tmp`: being prepared; worthless after a restart.
    Unfinished(u64),
}

impl FileName {
    /// None for names that are not ours.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        if let Some(rest) = name.strip_prefix("spare-") {
            if let Some(id) = rest.strip_suffix(".free") {
                return number(id).map(Self::Spare);
            }
            return number(rest.strip_suffix(".tmp")?).map(Self::Unfinished);
        }
        let (seq, index) = name.strip_suffix(".wal")?.split_once('-')?;
        Some(Self::Segment(SegmentSeq(number(seq)?), LogIndex(number(index)?)))
    }

    pub(crate) fn in_dir(self, dir: &Path) -> PathBuf {
        dir.join(match self {
            Self::Segment(seq, index) => format!("{:016x}-{:016x}.wal", seq.0, index.0),
            Self::Spare(id) => format!("spare-{id:016x}.free"),
            Self::Unfinished(id) => format!("spare-{id:016x}.tmp"),
        })
    }
}

/// Sixteen lower-case hexadecimal digits, so that one number has one name.
fn number(text: &str) -> Option<u64> {
    let plain = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if text.len() != 16 || !text.bytes().all(plain) {
        return None;
    }
    u64::from_str_radix(text, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_as_they_were() {
        let names = [
            FileName::Segment(SegmentSeq(1), LogIndex(0)),
            FileName::Segment(SegmentSeq(u64::MAX), LogIndex(0xabc)),
            FileName::Spare(3),
            FileName::Unfinished(4),
        ];
        for name in names {
            let path = name.in_dir(Path::new("/log"));
            assert_eq!(FileName::parse(path.file_name().unwrap().to_str().unwrap()), Some(name));
        }
    }

    #[test]
    fn other_names_are_left_alone() {
        for name in [
            "LOCK",
            "lost+found",
            "0000000000000001-0000000000000000.wal.bak",
            "1-0.wal",
            "000000000000000A-0000000000000000.wal",
            "+000000000000001-0000000000000000.wal",
            "spare-0000000000000001",
            "spare-1.free",
        ] {
            assert_eq!(FileName::parse(name), None, "{name}");
        }
    }
}
