//! A disk in memory that forgets what was not synced, and fails when told to.
//!
//! It keeps two images: what the running process sees, and what a crash would leave. A sync
//! carries a file from the first to the second, a folder sync carries names. Between two syncs
//! every 512-byte sector and every name stands for itself, so a crash may keep any subset of
//! them. All chance comes from the seed.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::{DirLock, Disk, DiskFile, LockError};

const SECTOR: u64 = 512;

/// An operation that changes the disk, for counting and for choosing what fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Op {
    /// [`Disk::create`]
    Create,
    /// [`DiskFile::write_at`]
    Write,
    /// [`DiskFile::sync`]
    Sync,
    /// [`Disk::rename`]
    Rename,
    /// [`Disk::remove`]
    Remove,
    /// [`Disk::sync_dir`]
    SyncDir,
}

/// What happens to an operation that was chosen to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// An error, and nothing was done. A failed sync behaves as Linux does: each unsynced sector
    /// may have reached the disk or not, all of them can still be read, and all count as clean,
    /// so that a second sync says yes to what a power cut will take.
    Error(io::ErrorKind),
    /// An error after part of the sectors was written.
    Torn,
    /// Success is reported, and nothing was done: the disk lies.
    Lost,
    /// The power goes: this operation is done in part at most, and every later one fails.
    PowerOff,
}

/// What a crash keeps of that which was never synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Nothing.
    Nothing,
    /// Everything.
    Everything,
    /// Each sector and each name by the toss of a coin.
    Random,
}

/// The disk. Clones share it; [`FaultyDisk::fork`] copies it.
#[derive(Debug, Clone)]
pub struct FaultyDisk {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Clone, Default)]
struct Inner {
    random: u64,
    files: Vec<Inode>,
    dirs: BTreeSet<PathBuf>,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    name_changes: Vec<NameChange>,
    locked: BTreeMap<PathBuf, u64>,
    /// Handles from before a crash belong to a process that is gone.
    boot: u64,
    capacity: Option<u64>,
    counts: BTreeMap<Op, u64>,
    ops: u64,
    planned: Vec<(Option<Op>, u64, Fault)>,
    power_off: bool,
}

#[derive(Debug, Clone, Default)]
struct Inode {
    data: Vec<u8>,
    /// What the disk holds of each sector written since the last sync.
    undo: BTreeMap<u64, Vec<u8>>,
    /// The same for sectors that a failed sync marked clean without writing them.
    ghosts: BTreeMap<u64, Vec<u8>>,
    durable_len: u64,
}

#[derive(Debug, Clone)]
struct NameChange {
    path: PathBuf,
    inode: Option<usize>,
    /// The other half of a rename, which a crash keeps or loses together with this one.
    also_removes: Option<PathBuf>,
}

impl FaultyDisk {
    /// An empty disk without limit that works until told otherwise.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let inner = Inner { random: seed, ..Inner::default() };
        Self { inner: Arc::new(Mutex::new(inner)) }
    }

    /// A copy that goes its own way from here; nobody holds it locked.
    #[must_use]
    pub fn fork(&self, seed: u64) -> Self {
        let mut inner = self.inner.lock().clone();
        inner.random = seed;
        inner.locked.clear();
        inner.planned.clear();
        inner.power_off = false;
        Self { inner: Arc::new(Mutex::new(inner)) }
    }

    /// The machine loses power and starts again. Open files are dead, locks are free, and of what
    /// was not synced there remains what `keep` says.
    pub fn crash(&self, keep: Keep) {
        let mut inner = self.inner.lock();
        inner.boot += 1;
        inner.power_off = false;
        inner.planned.clear();
        inner.locked.clear();
        inner.crash_names(keep);
        for at in 0..inner.files.len() {
            inner.crash_file(at, keep);
        }
    }

    /// The process dies and the machine lives: open files are dead, locks are free, and what was
    /// not synced can still be read but is no safer than before.
    pub fn kill(&self) {
        let mut inner = self.inner.lock();
        inner.boot += 1;
        inner.power_off = false;
        inner.planned.clear();
        inner.locked.clear();
    }

    /// Lets the `nth` next operation of this kind fail, counted from 1; of any kind if `None`.
    pub fn plan(&self, op: Option<Op>, nth: u64, fault: Fault) {
        assert!(nth > 0, "the next operation is number 1");
        let mut inner = self.inner.lock();
        let done = op.map_or(inner.ops, |op| inner.counts.get(&op).copied().unwrap_or(0));
        inner.planned.push((op, done + nth, fault));
    }

    /// Limits the bytes all files may take together; `None` takes the limit away.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.inner.lock().capacity = bytes;
    }

    /// Bytes all files take together.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.inner.lock().used()
    }

    /// Changing operations so far, of one kind or of all.
    #[must_use]
    pub fn count(&self, op: Option<Op>) -> u64 {
        let inner = self.inner.lock();
        op.map_or(inner.ops, |op| inner.counts.get(&op).copied().unwrap_or(0))
    }

    /// The files that hold bytes, or go by names, which a crash could take.
    #[must_use]
    pub fn unsynced(&self) -> Vec<PathBuf> {
        let inner = self.inner.lock();
        let dirty = |(path, at): &(&PathBuf, &usize)| {
            let file = &inner.files[**at];
            !(file.undo.is_empty() && file.ghosts.is_empty())
                || inner.durable_names.get(*path) != Some(*at)
        };
        inner.names.iter().filter(dirty).map(|(path, _)| path.clone()).collect()
    }

    /// All names, in order.
    #[must_use]
    pub fn paths(&self) -> Vec<PathBuf> {
        self.inner.lock().names.keys().cloned().collect()
    }

    /// The bytes of a file, if it exists.
    #[must_use]
    pub fn bytes(&self, path: &Path) -> Option<Vec<u8>> {
        let inner = self.inner.lock();
        inner.names.get(path).map(|at| inner.files[*at].data.clone())
    }

    /// Puts bytes in place of a file's content behind everybody's back, durably; creates the
    /// file if there is none. For damage, and for bringing a folder in.
    pub fn set_bytes(&self, path: &Path, bytes: Vec<u8>) {
        let mut inner = self.inner.lock();
        let at = match inner.names.get(path) {
            Some(at) => *at,
            None => inner.add_file(path),
        };
        inner.durable_names.insert(path.to_owned(), at);
        if let Some(dir) = path.parent() {
            inner.dirs.insert(dir.to_owned());
        }
        let durable_len = bytes.len() as u64;
        inner.files[at] = Inode { data: bytes, durable_len, ..Inode::default() };
    }

    /// Turns one bit over, durably and unnoticed.
    pub fn flip_bit(&self, path: &Path, offset: usize, bit: u32) {
        let mut bytes = self.bytes(path).expect("the file to damage exists");
        bytes[offset] ^= 1 << (bit % 8);
        self.set_bytes(path, bytes);
    }
}

impl Inner {
    /// The next number of a splitmix sequence.
    fn chance(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn coin(&mut self) -> bool {
        self.chance() & 1 == 0
    }

    fn used(&self) -> u64 {
        let live: BTreeSet<usize> = self.names.values().copied().collect();
        live.into_iter().map(|at| self.files[at].data.len() as u64).sum()
    }

    /// Counts an operation and says what is planned for it.
    fn begin(&mut self, op: Op) -> io::Result<Option<Fault>> {
        if self.power_off {
            return Err(io::Error::other("the power is off"));
        }
        self.ops += 1;
        let of_kind = self.counts.entry(op).or_default();
        *of_kind += 1;
        let (of_kind, ops) = (*of_kind, self.ops);
        let due = self.planned.iter().position(|(wanted, nth, _)| match wanted {
            Some(wanted) => *wanted == op && *nth == of_kind,
            None => *nth == ops,
        });
        let fault = due.map(|at| self.planned.swap_remove(at).2);
        self.power_off |= fault == Some(Fault::PowerOff);
        Ok(fault)
    }

    fn add_file(&mut self, path: &Path) -> usize {
        self.files.push(Inode::default());
        let at = self.files.len() - 1;
        self.names.insert(path.to_owned(), at);
        at
    }

    fn find(&self, path: &Path) -> io::Result<usize> {
        self.names.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn write(&mut self, at: usize, bytes: &[u8], offset: u64, sectors: Sectors) -> io::Result<()> {
        let end = offset + bytes.len() as u64;
        let grown = end.saturating_sub(self.files[at].data.len() as u64);
        if grown > 0 && self.capacity.is_some_and(|most| self.used() + grown > most) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        for sector in offset / SECTOR..end.div_ceil(SECTOR) {
            if sectors == Sectors::Some && self.coin() {
                continue;
            }
            let from = (sector * SECTOR).max(offset);
            let upto = ((sector + 1) * SECTOR).min(end);
            self.files[at].write(sector, &bytes[index(from - offset)..index(upto - offset)], from);
        }
        Ok(())
    }

    fn crash_names(&mut self, keep: Keep) {
        for change in std::mem::take(&mut self.name_changes) {
            let kept = match keep {
                Keep::Nothing => false,
                Keep::Everything => true,
                Keep::Random => self.coin(),
            };
            if kept {
                change.apply(&mut self.durable_names);
            }
        }
        self.names = self.durable_names.clone();
    }

    fn crash_file(&mut self, at: usize, keep: Keep) {
        let undo = std::mem::take(&mut self.files[at].undo);
        for (sector, old) in std::mem::take(&mut self.files[at].ghosts) {
            self.files[at].put_back(sector, &old);
        }
        let keep_len = keep == Keep::Everything || (keep == Keep::Random && self.coin());
        for (sector, old) in undo {
            let lost = match keep {
                Keep::Nothing => true,
                Keep::Everything => false,
                Keep::Random => self.coin(),
            };
            if lost {
                self.files[at].put_back(sector, &old);
            }
        }
        let file = &mut self.files[at];
        if !keep_len {
            file.data.truncate(index(file.durable_len));
        }
        file.durable_len = file.data.len() as u64;
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sectors {
    All,
    Some,
}

impl Inode {
    fn write(&mut self, sector: u64, bytes: &[u8], from: u64) {
        let start = index(sector * SECTOR);
        let end = (start + index(SECTOR)).min(self.data.len());
        let seen = self.data.get(start..end).unwrap_or_default();
        let old = self.ghosts.remove(&sector).unwrap_or_else(|| seen.to_vec());
        self.undo.entry(sector).or_insert(old);
        let upto = index(from) + bytes.len();
        if self.data.len() < upto {
            self.data.resize(upto, 0);
        }
        self.data[index(from)..upto].copy_from_slice(bytes);
    }

    fn put_back(&mut self, sector: u64, old: &[u8]) {
        let start = index(sector * SECTOR);
        let end = (start + index(SECTOR)).min(self.data.len());
        if start >= end {
            return;
        }
        self.data[start..end].fill(0);
        let known = old.len().min(end - start);
        self.data[start..start + known].copy_from_slice(&old[..known]);
    }

    fn sync(&mut self) {
        self.undo.clear();
        self.durable_len = self.data.len() as u64;
    }
}

impl NameChange {
    fn apply(self, names: &mut BTreeMap<PathBuf, usize>) {
        // A rename moves what it moved: if an earlier change of the old name was lost, the old
        // name may still stand for another file, and that one stays.
        if let Some(old) = self.also_removes
            && names.get(&old).copied() == self.inode
        {
            names.remove(&old);
        }
        match self.inode {
            Some(inode) => names.insert(self.path, inode),
            None => names.remove(&self.path),
        };
    }
}

fn index(position: u64) -> usize {
    usize::try_from(position).expect("test disks fit into memory")
}

/// What a fault means for an operation on names: either it is done or it is not.
fn name_fault(inner: &mut Inner, op: Op) -> io::Result<bool> {
    match inner.begin(op)? {
        None => Ok(true),
        Some(Fault::Lost) => Ok(false),
        Some(Fault::Error(kind)) => Err(kind.into()),
        Some(Fault::Torn | Fault::PowerOff) => Err(io::Error::other("the power went off")),
    }
}

impl Disk for FaultyDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.inner.lock().dirs.insert(dir.to_owned());
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let inner = self.inner.lock();
        if !inner.dirs.contains(dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let here = inner.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(here.filter_map(|path| path.file_name()?.to_str().map(str::to_owned)).collect())
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let inner = self.inner.lock();
        let (at, boot) = (inner.find(path)?, inner.boot);
        Ok(Arc::new(FaultyFile { disk: self.clone(), at, boot }))
    }

    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.open(path)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut inner = self.inner.lock();
        let done = name_fault(&mut inner, Op::Create)?;
        if inner.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if inner.capacity.is_some_and(|most| inner.used() >= most) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let at = inner.add_file(path);
        if done {
            let change = NameChange { path: path.to_owned(), inode: Some(at), also_removes: None };
            inner.name_changes.push(change);
        }
        let boot = inner.boot;
        Ok(Arc::new(FaultyFile { disk: self.clone(), at, boot }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut inner = self.inner.lock();
        let done = name_fault(&mut inner, Op::Rename)?;
        let at = inner.find(from)?;
        inner.names.remove(from);
        inner.names.insert(to.to_owned(), at);
        if done {
            inner.name_changes.push(NameChange {
                path: to.to_owned(),
                inode: Some(at),
                also_removes: Some(from.to_owned()),
            });
        }
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.inner.lock();
        let done = name_fault(&mut inner, Op::Remove)?;
        inner.find(path)?;
        inner.names.remove(path);
        if done {
            let change = NameChange { path: path.to_owned(), inode: None, also_removes: None };
            inner.name_changes.push(change);
        }
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut inner = self.inner.lock();
        if !name_fault(&mut inner, Op::SyncDir)? {
            return Ok(());
        }
        let changes = std::mem::take(&mut inner.name_changes);
        let (here, elsewhere): (Vec<_>, Vec<_>) =
            changes.into_iter().partition(|change| change.path.parent() == Some(dir));
        inner.name_changes = elsewhere;
        for change in here {
            change.apply(&mut inner.durable_names);
        }
        Ok(())
    }

    fn lock(&self, dir: &Path) -> Result<Box<dyn DirLock>, LockError> {
        let mut inner = self.inner.lock();
        if inner.locked.contains_key(dir) {
            return Err(LockError::Held(None));
        }
        let boot = inner.boot;
        inner.locked.insert(dir.to_owned(), boot);
        Ok(Box::new(FaultyLock { disk: self.clone(), dir: dir.to_owned(), boot }))
    }
}

#[derive(Debug)]
struct FaultyLock {
    disk: FaultyDisk,
    dir: PathBuf,
    boot: u64,
}

impl DirLock for FaultyLock {}

impl Drop for FaultyLock {
    fn drop(&mut self) {
        let mut inner = self.disk.inner.lock();
        if inner.locked.get(&self.dir) == Some(&self.boot) {
            inner.locked.remove(&self.dir);
        }
    }
}

#[derive(Debug)]
struct FaultyFile {
    disk: FaultyDisk,
    at: usize,
    boot: u64,
}

impl FaultyFile {
    /// Runs `act` unless the machine has restarted since the file was opened.
    fn with<T>(&self, act: impl FnOnce(&mut Inner) -> io::Result<T>) -> io::Result<T> {
        let mut inner = self.disk.inner.lock();
        if inner.boot != self.boot {
            return Err(io::Error::other("the file was opened before the crash"));
        }
        act(&mut inner)
    }
}

impl DiskFile for FaultyFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.with(|inner| {
            let data = &inner.files[self.at].data;
            let rest = data.get(index(offset)..).unwrap_or_default();
            let read = rest.len().min(buf.len());
            buf[..read].copy_from_slice(&rest[..read]);
            Ok(read)
        })
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.with(|inner| match inner.begin(Op::Write)? {
            None => inner.write(self.at, bytes, offset, Sectors::All),
            Some(Fault::Lost) => Ok(()),
            Some(Fault::Error(kind)) => Err(kind.into()),
            Some(Fault::Torn | Fault::PowerOff) => {
                inner.write(self.at, bytes, offset, Sectors::Some)?;
                Err(io::Error::other("the write was torn"))
            }
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.with(|inner| match inner.begin(Op::Sync)? {
            None => {
                inner.files[self.at].sync();
                Ok(())
            }
            Some(Fault::Lost) => Ok(()),
            Some(Fault::PowerOff) => Err(io::Error::other("the power went off")),
            Some(fault @ (Fault::Error(_) | Fault::Torn)) => {
                inner.fail_sync(self.at);
                Err(match fault {
                    Fault::Error(kind) => kind.into(),
                    Fault::Torn | Fault::Lost | Fault::PowerOff => io::Error::other("sync failed"),
                })
            }
        })
    }

    fn len(&self) -> io::Result<u64> {
        self.with(|inner| Ok(inner.files[self.at].data.len() as u64))
    }
}

impl Inner {
    fn fail_sync(&mut self, at: usize) {
        for (sector, old) in std::mem::take(&mut self.files[at].undo) {
            if self.coin() {
                self.files[at].ghosts.insert(sector, old);
            }
        }
        let file = &mut self.files[at];
        file.durable_len = file.data.len() as u64;
    }
}

#[cfg(test)]
mod tests;
