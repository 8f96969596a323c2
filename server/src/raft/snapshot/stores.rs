//! The folders of a member that hold stores, and which of them is the one.
//!
//! ```text
//! <data-dir>/member/store          the first store
//!                   store-<n>      one that came as a snapshot, n from 1
//!                   store-current  which of them counts; missing: the first
//!                   incoming/      a snapshot that is being received, kept over restarts
//!                   outgoing-<n>/  a checkpoint that is being sent
//! ```
//! The pointer is text, `keelson-store 1 <n> <crc32 of the text before, hexadecimal>`. Whatever is
//! neither pointed at nor being received is a left-over, and removed at the start.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use keelson_store::engine::{self, Engine};
use keelson_wal::disk::Disk;
use parking_lot::Mutex;

const POINTER: &str = "store-current";
const FIRST: &str = "store";
const INCOMING: &str = "incoming";
const OUTGOING: &str = "outgoing-";
const FORMAT: &str = "keelson-store 1";

/// A pointer this long is something else.
const POINTER_BYTES_MAX: usize = 256;

/// Opens the engine in a folder, making it where there is none.
pub type OpenEngine = Box<dyn Fn(&Path) -> Result<Arc<dyn Engine>, engine::Error> + Send + Sync>;

/// Why the current store is not known.
#[derive(Debug, thiserror::Error)]
pub enum StoresError {
    /// The disk.
    #[error("{path}")]
    Io {
        /// What was looked at.
        path: PathBuf,
        /// What went wrong.
        #[source]
        source: io::Error,
    },
    /// The pointer is not one.
    #[error(
        "{0} is damaged: it does not name a store; restore the data directory from a backup, or \
         remove this member from the cluster and add it again with an empty directory"
    )]
    Damaged(PathBuf),
    /// The folder that the pointer names is not there.
    #[error(
        "{0} is missing, though it is the store of this member; restore the data directory from a \
         backup, or remove this member from the cluster and add it again with an empty directory"
    )]
    Missing(PathBuf),
}

/// A store that is no longer the one, kept for those who still read it.
struct Retired {
    dir: PathBuf,
    engine: Arc<dyn Engine>,
}

/// See the module.
pub struct Stores {
    disk: Arc<dyn Disk>,
    member: PathBuf,
    open: OpenEngine,
    current: Mutex<Current>,
    retired: Mutex<Vec<Retired>>,
    scratches: AtomicU64,
}

#[derive(Clone)]
struct Current {
    number: u64,
    engine: Option<Arc<dyn Engine>>,
}

impl std::fmt::Debug for Stores {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stores").field("member", &self.member).finish_non_exhaustive()
    }
}

impl Stores {
    /// Reads which store counts, and removes left-overs of transfers that did not end.
    ///
    /// # Errors
    /// The folder cannot be read, or its pointer leads nowhere.
    pub fn read(disk: Arc<dyn Disk>, member: &Path, open: OpenEngine) -> Result<Self, StoresError> {
        let number = read_pointer(&*disk, &member.join(POINTER))?;
        if let Some(number) = number
            && !member.join(name(number)).is_dir()
        {
            return Err(StoresError::Missing(member.join(name(number))));
        }
        let number = number.unwrap_or(0);
        let failed = |source| StoresError::Io { path: member.to_owned(), source };
        remove_leftovers(member, number).map_err(failed)?;
        Ok(Self {
            disk,
            member: member.to_owned(),
            open,
            current: Mutex::new(Current { number, engine: None }),
            retired: Mutex::default(),
            scratches: AtomicU64::new(0),
        })
    }

    /// Opens the store that counts. To be called once.
    ///
    /// # Errors
    /// The engine cannot be opened.
    pub fn open_current(&self) -> Result<Arc<dyn Engine>, engine::Error> {
        let mut current = self.current.lock();
        assert!(current.engine.is_none(), "the store is opened once");
        let engine = (self.open)(&self.dir(current.number))?;
        current.engine = Some(Arc::clone(&engine));
        Ok(engine)
    }

    /// The number of the store that counts; another one never had it.
    pub(crate) fn current(&self) -> u64 {
        self.current.lock().number
    }

    fn dir(&self, number: u64) -> PathBuf {
        self.member.join(name(number))
    }

    /// Where a snapshot is received.
    pub(crate) fn incoming(&self) -> PathBuf {
        self.member.join(INCOMING)
    }

    /// A folder, not made yet, for a checkpoint that is to be sent; it goes with the value.
    pub(crate) fn scratch(&self) -> Scratch {
        let number = self.scratches.fetch_add(1, Ordering::Relaxed);
        Scratch(self.member.join(format!("{OUTGOING}{number}")))
    }

    /// Opens what was received as a store that may become the one.
    pub(crate) fn candidate(self: &Arc<Self>) -> io::Result<Candidate> {
        let mut number = self.current() + 1;
        while self.dir(number).exists() {
            number += 1;
        }
        let dir = self.dir(number);
        self.disk.rename(&self.incoming(), &dir)?;
        self.disk.sync_dir(&self.member)?;
        let mut candidate = Candidate { stores: Arc::clone(self), number, engine: None };
        candidate.engine = Some((self.open)(&dir).map_err(io::Error::other)?);
        Ok(candidate)
    }

    /// Makes a candidate the one, durably. The one before stays for as long as it is read.
    fn switch(&self, number: u64, engine: &Arc<dyn Engine>) -> io::Result<()> {
        let mut current = self.current.lock();
        assert!(number > current.number, "numbers of stores only grow");
        write_pointer(&*self.disk, &self.member, number)?;
        let next = Current { number, engine: Some(Arc::clone(engine)) };
        let before = std::mem::replace(&mut *current, next);
        if let Some(engine) = before.engine {
            self.retired.lock().push(Retired { dir: self.dir(before.number), engine });
        }
        Ok(())
    }

    /// Removes retired stores that nobody reads any more. May take a while.
    pub(crate) fn tidy(&self) {
        let free = |retired: &Retired| {
            Arc::strong_count(&retired.engine) == 1 && !retired.engine.is_read()
        };
        let gone: Vec<_> = {
            let mut retired = self.retired.lock();
            let (gone, held) = std::mem::take(&mut *retired).into_iter().partition(free);
            *retired = held;
            gone
        };
        for Retired { dir, engine } in gone {
            // Closed first, so that nothing is written into a folder that is gone.
            drop(engine);
            remove(&dir);
        }
    }

    /// Whether [`tidy`](Self::tidy) may have something to do.
    pub(crate) fn is_untidy(&self) -> bool {
        !self.retired.lock().is_empty()
    }
}

/// Removes a folder that nothing depends on.
fn remove(dir: &Path) {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(%error, dir = %dir.display(), "cannot remove a folder no longer needed");
        }
        Ok(()) | Err(_) => {}
    }
}

/// A folder for the time being.
#[derive(Debug)]
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let dir = std::mem::take(&mut self.0);
        off_thread(move || remove(&dir));
    }
}

/// A received store, open, that goes again unless it is adopted.
pub(crate) struct Candidate {
    stores: Arc<Stores>,
    number: u64,
    engine: Option<Arc<dyn Engine>>,
}

impl std::fmt::Debug for Candidate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Candidate").field("number", &self.number).finish_non_exhaustive()
    }
}

impl Candidate {
    pub(crate) fn engine(&self) -> &Arc<dyn Engine> {
        self.engine.as_ref().expect("open until it is adopted")
    }

    /// Makes it the member's store, durably.
    pub(crate) fn adopt(mut self) -> io::Result<Arc<dyn Engine>> {
        self.stores.switch(self.number, self.engine())?;
        Ok(self.engine.take().expect("adopted once"))
    }
}

impl Drop for Candidate {
    fn drop(&mut self) {
        // Adopted, or never opened: then the start removes the folder.
        let Some(engine) = self.engine.take() else { return };
        let dir = self.stores.dir(self.number);
        off_thread(move || {
            drop(engine);
            remove(&dir);
        });
    }
}

/// Raft drops what it does not want on its own thread, which must not wait for the disk.
fn off_thread(work: impl FnOnce() + Send + 'static) {
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) => drop(runtime.spawn_blocking(work)),
        Err(_) => work(),
    }
}

fn name(number: u64) -> String {
    if number == 0 { FIRST.to_owned() } else { format!("{FIRST}-{number}") }
}

fn remove_leftovers(member: &Path, current: u64) -> io::Result<()> {
    for entry in fs::read_dir(member)? {
        let entry = entry?;
        let text = entry.file_name().to_string_lossy().into_owned();
        let number = text.strip_prefix("store-").and_then(|number| number.parse::<u64>().ok());
        let number = if text == FIRST { Some(0) } else { number };
        let is_old = number.is_some_and(|number| number != current && name(number) == text);
        if is_old || text.starts_with(OUTGOING) {
            tracing::info!(dir = text, "removing a store that is no longer needed");
            remove(&entry.path());
        }
    }
    Ok(())
}

fn pointer_text(number: u64) -> String {
    let text = format!("{FORMAT} {number}");
    let crc = crc32fast::hash(text.as_bytes());
    format!("{text} {crc:08x}\n")
}

fn read_pointer(disk: &dyn Disk, path: &Path) -> Result<Option<u64>, StoresError> {
    let failed = |source| StoresError::Io { path: path.to_owned(), source };
    let file = match disk.open_read(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut bytes = vec![0; POINTER_BYTES_MAX];
    let len = file.read_at(&mut bytes, 0).map_err(failed)?;
    bytes.truncate(len);
    let text = String::from_utf8_lossy(&bytes);
    let number = text.strip_prefix(FORMAT).and_then(|rest| rest.split_whitespace().next());
    let number = number.and_then(|number| number.parse().ok());
    match number {
        Some(number) if pointer_text(number) == text => Ok(Some(number)),
        Some(_) | None => Err(StoresError::Damaged(path.to_owned())),
    }
}

fn write_pointer(disk: &dyn Disk, member: &Path, number: u64) -> io::Result<()> {
    let temporary = member.join(format!("{POINTER}.tmp"));
    match disk.remove(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        // A left-over of an interrupted switch means nothing.
        Ok(()) | Err(_) => {}
    }
    let file = disk.create(&temporary)?;
    file.write_at(pointer_text(number).as_bytes(), 0)?;
    file.sync()?;
    disk.rename(&temporary, &member.join(POINTER))?;
    disk.sync_dir(member)
}
