//! A snapshot on the disk of the member that receives it.
//!
//! ```text
//! incoming/origin       the source, so that another one's files are not taken for this one's
//!          <name>.part  a file that is being written
//!          <name>       one that is whole, checked and synced
//! ```
//! Tables of RocksDB never change and their numbers never return, so a whole one of the same
//! source need not travel twice. The few other files are small and always do.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::frame::{FileRow, Offer, Piece, Source};

const ORIGIN: &str = "origin";
const PART: &str = ".part";

/// Ends the names of files that never change.
const TABLE: &str = ".sst";

/// RocksDB's names are far shorter.
const NAME_LEN_MAX: usize = 128;

/// One file on its way.
#[derive(Debug)]
struct Row {
    name: String,
    size: u64,
    held: u64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Partial {
    dir: PathBuf,
    source: Source,
    rows: Vec<Row>,
    /// The file that is being written, by its place among the rows.
    open: Option<(usize, File)>,
}

fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

impl Partial {
    /// Prepares the folder for what is offered. `before` is what this process received last; files
    /// that it began go on where they were.
    pub(super) fn begin(dir: &Path, offer: Offer, before: Option<Self>) -> io::Result<Self> {
        check(&offer.files)?;
        let Offer { source, files } = offer;
        if read_origin(dir)? != Some(source) {
            clear(dir)?;
            fs::create_dir_all(dir)?;
            write_origin(dir, source)?;
        }
        let begun = before.filter(|before| before.source == source).map(Self::begun);
        let begun = begun.unwrap_or_default();
        let held = |file: &FileRow| held(dir, file, &begun);
        let rows = files
            .iter()
            .map(|file| Ok(Row { name: file.name.clone(), size: file.size, held: held(file)? }))
            .collect::<io::Result<Vec<_>>>()?;
        remove_others(dir, &rows)?;
        let mut partial = Self { dir: dir.to_owned(), source, rows, open: None };
        partial.make_empty_ones()?;
        Ok(partial)
    }

    /// Tables that are not whole, with what there is of them.
    fn begun(self) -> BTreeMap<String, (u64, u64)> {
        let is_begun = |row: &Row| row.name.ends_with(TABLE) && row.held < row.size;
        let begun = self.rows.into_iter().filter(is_begun);
        begun.map(|row| (row.name, (row.size, row.held))).collect()
    }

    /// Bytes held of each file, in the order of the offer.
    pub(super) fn held(&self) -> Vec<u64> {
        self.rows.iter().map(|row| row.held).collect()
    }

    pub(super) fn bytes(&self) -> (u64, u64) {
        let sum = |of: fn(&Row) -> u64| self.rows.iter().map(of).sum();
        (sum(|row| row.held), sum(|row| row.size))
    }

    pub(super) fn is_whole(&self) -> bool {
        self.rows.iter().all(|row| row.held == row.size)
    }

    /// Takes the next part of a file.
    pub(super) fn write(&mut self, piece: &Piece) -> io::Result<()> {
        let Piece { file, offset, bytes } = piece;
        let number = usize::try_from(*file).map_err(io::Error::other)?;
        let row = self.rows.get(number).filter(|row| row.held == *offset && !bytes.is_empty());
        let held = row.and_then(|row| {
            offset.checked_add(bytes.len() as u64).filter(|held| *held <= row.size)
        });
        let Some(held) = held else {
            return Err(invalid(format!("{} bytes at {offset} of file {file}", bytes.len())));
        };
        if self.open.as_ref().is_none_or(|(open, _)| *open != number) {
            self.open = Some((number, self.file(number)?));
        }
        let (_, file) = self.open.as_ref().expect("opened above");
        file.write_all_at(bytes, *offset)?;
        self.rows[number].held = held;
        if held == self.rows[number].size {
            self.finish(number)?;
        }
        Ok(())
    }

    fn file(&self, number: usize) -> io::Result<File> {
        let Row { name, held, .. } = &self.rows[number];
        let path = self.dir.join(format!("{name}{PART}"));
        let file = fs::OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
        file.set_len(*held)?;
        Ok(file)
    }

    /// A file is whole once it is on the disk; only then it has its name.
    fn finish(&mut self, number: usize) -> io::Result<()> {
        let (_, file) = self.open.take().expect("the file was just written");
        file.sync_all()?;
        let name = &self.rows[number].name;
        rename(&self.dir.join(format!("{name}{PART}")), &self.dir.join(name))
    }

    fn make_empty_ones(&mut self) -> io::Result<()> {
        for row in self.rows.iter().filter(|row| row.size == 0) {
            File::create(self.dir.join(&row.name))?.sync_all()?;
        }
        Ok(())
    }

    /// Makes the whole snapshot durable, and leaves nothing but it in the folder.
    pub(super) fn seal(&self) -> io::Result<()> {
        assert!(self.is_whole(), "sealed with files missing");
        fs::remove_file(self.dir.join(ORIGIN))?;
        File::open(&self.dir)?.sync_all()
    }
}

#[expect(clippy::disallowed_methods, reason = "the folder is synced when the snapshot is whole")]
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)
}

/// Names come from another machine.
fn check(files: &[FileRow]) -> io::Result<()> {
    let mut seen = BTreeSet::new();
    let mut bytes = 0_u64;
    for FileRow { name, size } in files {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let good = name.len() <= NAME_LEN_MAX
            && name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name.chars().all(plain)
            && !name.ends_with(PART)
            && name != ORIGIN;
        let sum = bytes.checked_add(*size);
        match sum {
            Some(sum) if good && seen.insert(name) => bytes = sum,
            Some(_) | None => return Err(invalid(format!("a file {name:?} of {size} bytes"))),
        }
    }
    Ok(())
}

/// What is there of a file.
fn held(dir: &Path, file: &FileRow, begun: &BTreeMap<String, (u64, u64)>) -> io::Result<u64> {
    if !file.name.ends_with(TABLE) {
        return Ok(0);
    }
    match fs::metadata(dir.join(&file.name)) {
        Ok(found) if found.len() == file.size => return Ok(file.size),
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(_) | Err(_) => {}
    }
    let begun = begun.get(&file.name).filter(|(size, _)| *size == file.size);
    let Some((_, held)) = begun else { return Ok(0) };
    match fs::metadata(dir.join(format!("{}{PART}", file.name))) {
        Ok(found) if found.len() >= *held => Ok(*held),
        Ok(_) | Err(_) => Ok(0),
    }
}

/// Removes what the offer does not count on.
fn remove_others(dir: &Path, rows: &[Row]) -> io::Result<()> {
    let mut keep = BTreeSet::from([ORIGIN.to_owned()]);
    for row in rows.iter().filter(|row| row.held > 0) {
        let whole = row.held == row.size;
        keep.insert(if whole { row.name.clone() } else { format!("{}{PART}", row.name) });
    }
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if !entry.file_name().to_str().is_some_and(|name| keep.contains(name)) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn clear(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn origin_text(source: Source) -> String {
    format!("{:016x} {:016x}\n", source.start, source.store)
}

fn read_origin(dir: &Path) -> io::Result<Option<Source>> {
    let text = match fs::read(dir.join(ORIGIN)) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut numbers = text.split_whitespace().map(|word| u64::from_str_radix(word, 16));
    let source = match (numbers.next(), numbers.next()) {
        (Some(Ok(start)), Some(Ok(store))) => Source { start, store },
        _ => return Ok(None),
    };
    Ok(Some(source).filter(|source| origin_text(*source) == text))
}

/// Durable before any file that counts on it.
fn write_origin(dir: &Path, source: Source) -> io::Result<()> {
    let path = dir.join(ORIGIN);
    fs::write(&path, origin_text(source))?;
    File::open(&path)?.sync_all()?;
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const SOURCE: Source = Source { start: 5, store: 1 };

    fn offer(source: Source, files: &[(&str, u64)]) -> Offer {
        let row = |(name, size): &(&str, u64)| FileRow { name: (*name).to_owned(), size: *size };
        Offer { source, files: files.iter().map(row).collect() }
    }

    fn piece(file: u32, offset: u64, bytes: &'static [u8]) -> Piece {
        Piece { file, offset, bytes: Bytes::from_static(bytes) }
    }

    fn names(dir: &Path) -> BTreeSet<String> {
        let entries = fs::read_dir(dir).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn files_arrive_in_pieces_and_only_as_offered() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("in");
        let files = [("CURRENT", 3), ("1.sst", 4), ("empty.sst", 0)];
        let mut partial = Partial::begin(&dir, offer(SOURCE, &files), None).unwrap();
        assert_eq!(partial.held(), [0, 0, 0]);
        for wrong in [piece(0, 1, b"a"), piece(0, 0, b"abcd"), piece(3, 0, b"a"), piece(0, 0, b"")]
        {
            assert!(partial.write(&wrong).is_err(), "{wrong:?}");
        }
        for next in [piece(1, 0, b"wx"), piece(0, 0, b"abc"), piece(1, 2, b"yz")] {
            assert!(!partial.is_whole());
            partial.write(&next).unwrap();
        }
        assert!(partial.is_whole());
        partial.seal().unwrap();
        assert_eq!(names(&dir), files.map(|(name, _)| name.to_owned()).into());
        assert_eq!(fs::read(dir.join("1.sst")).unwrap(), b"wxyz");
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        let home = tempfile::tempdir().unwrap();
        let long = "a".repeat(NAME_LEN_MAX + 1);
        for name in ["", ".", "..", "../x", "a/b", "/x", "origin", "a.part", "a b", "a\0", &long] {
            let refused = Partial::begin(home.path(), offer(SOURCE, &[(name, 1)]), None);
            assert!(refused.is_err(), "{name:?}");
        }
        for files in [[("a", 1), ("a", 1)], [("a", u64::MAX), ("b", 1)]] {
            assert!(Partial::begin(home.path(), offer(SOURCE, &files), None).is_err());
        }
        assert!(names(home.path()).is_empty());
    }

    #[test]
    fn whole_tables_of_the_same_source_do_not_travel_twice() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("in");
        let files = [("1.sst", 2), ("2.sst", 4), ("MANIFEST", 2), ("3.sst", 4)];
        let mut first = Partial::begin(&dir, offer(SOURCE, &files), None).unwrap();
        for next in [piece(0, 0, b"ab"), piece(2, 0, b"mm"), piece(1, 0, b"xyz")] {
            first.write(&next).unwrap();
        }
        // The same process goes on inside a table; a small file travels again.
        let again = [("2.sst", 4), ("1.sst", 2), ("MANIFEST", 2)];
        let second = Partial::begin(&dir, offer(SOURCE, &again), Some(first)).unwrap();
        assert_eq!(second.held(), [3, 2, 0]);
        drop(second);
        // Another process trusts what has its name, and no part.
        let third = Partial::begin(&dir, offer(SOURCE, &again), None).unwrap();
        assert_eq!(third.held(), [0, 2, 0]);
        // Another size is another table; another source has nothing to do with it.
        let other_size = Partial::begin(&dir, offer(SOURCE, &[("1.sst", 3)]), None).unwrap();
        assert_eq!(other_size.held(), [0]);
        let files = [("1.sst", 2)];
        let mut partial = Partial::begin(&dir, offer(SOURCE, &files), None).unwrap();
        partial.write(&piece(0, 0, b"ab")).unwrap();
        for other in [Source { start: 6, store: 1 }, Source { start: 6, store: 2 }] {
            let partial = Partial::begin(&dir, offer(other, &files), None).unwrap();
            assert_eq!(partial.held(), [0], "{other:?}");
            let mut partial = partial;
            partial.write(&piece(0, 0, b"cd")).unwrap();
        }
    }
}
