//! Defects planted on purpose, to see the consistency harness find them.
//!
//! Only in builds with the feature `planted-defects`, which no release has; then the variable
//! `KEELSON_DEFECT` names the one that is on. Each is what a careless hand could have written.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use keelson_wal::disk::{DirLock, Disk, DiskFile, LockError};
use openraft::async_runtime::WatchReceiver;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::handle::Raft;
use super::types::{LogId, MemberId, Vote};

const VARIABLE: &str = "KEELSON_DEFECT";

/// How long a write that counts as durable stays in this process. A kill loses what the process
/// holds, not what the kernel holds, so the page cache that a power cut would take is played here.
const WRITES_HELD: Duration = Duration::from_millis(50);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Defect {
    /// The log says that a write is on disk while it is still in memory.
    AnswerBeforeSync,
    /// A leader answers linearizable reads without asking whether it still leads.
    UnconfirmedRead,
    /// A vote is promised to its candidate and kept nowhere: whoever restarts knows the term from
    /// its log, and does not know that it has voted in it.
    ForgottenVote,
}

static PLANTED: LazyLock<Option<Defect>> = LazyLock::new(|| {
    let name = std::env::var(VARIABLE).ok()?;
    let defect = match name.as_str() {
        "answer-before-sync" => Defect::AnswerBeforeSync,
        "unconfirmed-read" => Defect::UnconfirmedRead,
        "forgotten-vote" => Defect::ForgottenVote,
        _ => panic!("{VARIABLE}={name}: there is no such defect"),
    };
    tracing::error!(?defect, "this member is broken on purpose");
    Some(defect)
});

fn is_planted(defect: Defect) -> bool {
    *PLANTED == Some(defect)
}

/// The disk for the log.
pub(crate) fn disk(disk: Arc<dyn Disk>) -> Arc<dyn Disk> {
    if !is_planted(Defect::AnswerBeforeSync) {
        return disk;
    }
    let late = Arc::new(LateDisk { disk, held: Arc::default() });
    let held = Arc::clone(&late.held);
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(WRITES_HELD / 10);
            held.let_go(Instant::now());
        }
    });
    late
}

/// What this member has applied, if it believes that it leads.
pub(crate) fn unconfirmed_read(raft: &Raft) -> Option<LogId> {
    if !is_planted(Defect::UnconfirmedRead) {
        return None;
    }
    let metrics = raft.metrics();
    let metrics = metrics.borrow_watched();
    if metrics.state.is_leader() { metrics.last_applied } else { None }
}

/// Whether votes are not saved.
pub(crate) fn forgets_votes() -> bool {
    is_planted(Defect::ForgottenVote)
}

/// The vote of a member that knows no more than its log: it is free to vote in its last term.
pub(crate) fn vote_of(log: Option<LogId>) -> Option<Vote> {
    let term = log?.leader_id.term;
    Some(Vote::new(term.saturating_sub(1), MemberId::default()))
}

/// A disk that says yes to every sync and writes later.
#[derive(Debug)]
struct LateDisk {
    disk: Arc<dyn Disk>,
    held: Arc<Held>,
}

/// A write that is still in memory.
#[derive(Debug)]
struct Write {
    since: Instant,
    file: Arc<dyn DiskFile>,
    offset: u64,
    bytes: Bytes,
}

/// All of them, in their order.
#[derive(Debug, Default)]
struct Held(Mutex<VecDeque<Write>>);

impl Held {
    /// Carries out what was written until `WRITES_HELD` before `now`.
    fn let_go(&self, now: Instant) {
        let mut held = self.0.lock();
        while held.front().is_some_and(|write| now - write.since >= WRITES_HELD) {
            if let Some(Write { file, offset, bytes, .. }) = held.pop_front() {
                file.write_at(&bytes, offset).expect("a test's disk takes writes");
            }
        }
    }

    /// Carries everything out: what needs it does not happen often.
    fn let_all_go(&self) {
        self.let_go(Instant::now() + WRITES_HELD);
    }
}

impl LateDisk {
    fn late(&self, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(LateFile { file, held: Arc::clone(&self.held) })
    }
}

impl Disk for LateDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.disk.create_dir_all(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.disk.list(dir)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.late(self.disk.open(path)?))
    }

    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.late(self.disk.open_read(path)?))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.late(self.disk.create(path)?))
    }

    /// A segment gets its name when its header is there.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.held.let_all_go();
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }

    fn lock(&self, dir: &Path) -> Result<Box<dyn DirLock>, LockError> {
        self.disk.lock(dir)
    }
}

#[derive(Debug)]
struct LateFile {
    file: Arc<dyn DiskFile>,
    held: Arc<Held>,
}

impl DiskFile for LateFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.held.let_all_go();
        self.file.read_at(buf, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let (file, bytes) = (Arc::clone(&self.file), Bytes::copy_from_slice(bytes));
        self.held.0.lock().push_back(Write { since: Instant::now(), file, offset, bytes });
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        self.held.let_all_go();
        self.file.len()
    }

    fn map(&self) -> io::Result<Option<Bytes>> {
        self.held.let_all_go();
        self.file.map()
    }
}
