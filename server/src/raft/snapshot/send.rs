//! The leader's side.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use keelson_store::Store;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::frame::{Answered, FileRow, Offer, Piece, Sent, Source};
use super::pace::Pace;
use super::stores::{Scratch, Stores};
use crate::peer::{Answers, PeerError, PeerTransport};
use crate::raft::codec::CodecError;
use crate::raft::types::{MemberId, Vote};

/// What is read and sent at once.
const PIECE_BYTES: usize = 1 << 20;

/// Pieces that are ready while another is being sent.
const PIECES_AHEAD: usize = 2;

/// How often the log tells how far a long transfer is.
const REPORT_INTERVAL: Duration = Duration::from_secs(10);

/// Why a snapshot did not arrive.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    /// The other member, or the way there.
    #[error(transparent)]
    Peer(#[from] PeerError),
    /// It ended the transfer without a word.
    #[error("the transfer was cut off")]
    CutOff,
    /// It said what makes no sense here.
    #[error("an answer out of place: {0}")]
    Odd(String),
    /// The checkpoint could not be made or read.
    #[error("the checkpoint to send: {0}")]
    Local(io::Error),
}

impl From<CodecError> for SendError {
    fn from(error: CodecError) -> Self {
        Self::Odd(error.to_string())
    }
}

/// Sends snapshots; one for the process.
#[derive(Debug)]
pub(crate) struct Outgoing {
    store: Store,
    stores: Arc<Stores>,
    /// Drawn by chance at the start of the process.
    start: u64,
    pace: Pace,
    next: AtomicU64,
    /// The entries after these are needed when the transfers under way are done.
    holds: Mutex<BTreeMap<u64, u64>>,
}

/// A checkpoint to send.
struct Copy {
    source: Source,
    files: Vec<FileRow>,
    dir: Scratch,
}

/// Has the log keep what follows a snapshot that is on its way.
struct Hold<'a>(&'a Outgoing, u64);

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.0.holds.lock().remove(&self.1);
    }
}

impl Outgoing {
    pub(crate) fn new(
        store: Store,
        stores: Arc<Stores>,
        start: u64,
        bytes_per_second: u64,
    ) -> Self {
        let (next, holds) = (AtomicU64::new(0), Mutex::default());
        Self { store, stores, start, pace: Pace::new(bytes_per_second), next, holds }
    }

    /// The last entry that may be purged from the log while snapshots are on their way.
    pub(crate) fn purge_limit(&self) -> Option<u64> {
        self.holds.lock().values().min().copied()
    }

    /// Sends the newest state, which holds at least the entries up to `index`. Answers the vote
    /// that the other member knows: a higher one than `vote` means that it was not taken.
    pub(crate) async fn send(
        &self,
        transport: &dyn PeerTransport,
        to: MemberId,
        vote: Vote,
        index: u64,
    ) -> Result<Vote, SendError> {
        let _hold = self.hold(index);
        let (requests, mut feed) = mpsc::channel(PIECES_AHEAD);
        let feed = stream::poll_fn(move |cx| feed.poll_recv(cx));
        let mut conversation =
            Conversation { requests, answers: transport.snapshot(to, Box::pin(feed)).await? };
        // Only whoever answers is worth a checkpoint.
        match conversation.ask(&Sent::Hello(vote)).await? {
            Answered::Ready => {}
            Answered::Done(vote) => return Ok(vote),
            other @ Answered::Have(_) => return Err(SendError::Odd(format!("{other:?}"))),
        }
        let copy = self.copy().await.map_err(SendError::Local)?;
        let offer = Offer { source: copy.source, files: copy.files.clone() };
        let held = match conversation.ask(&Sent::Offer(offer)).await? {
            Answered::Have(held) if held.len() == copy.files.len() => held,
            other @ (Answered::Have(_) | Answered::Ready | Answered::Done(_)) => {
                return Err(SendError::Odd(format!("{other:?}")));
            }
        };
        self.send_files(&mut conversation, to, &copy, &held).await?;
        match conversation.answer().await? {
            Answered::Done(vote) => Ok(vote),
            other @ (Answered::Ready | Answered::Have(_)) => {
                Err(SendError::Odd(format!("{other:?}")))
            }
        }
    }

    fn hold(&self, index: u64) -> Hold<'_> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.holds.lock().insert(number, index);
        Hold(self, number)
    }

    async fn copy(&self) -> io::Result<Copy> {
        let source = Source { start: self.start, store: self.stores.current() };
        let (dir, store) = (self.stores.scratch(), self.store.clone());
        let copied = tokio::task::spawn_blocking(move || {
            store.checkpoint(dir.path()).map_err(io::Error::other)?;
            let mut files = Vec::new();
            for entry in fs::read_dir(dir.path())? {
                let entry = entry?;
                let name = entry.file_name().into_string();
                let name = name.map_err(|name| io::Error::other(format!("file name {name:?}")))?;
                files.push(FileRow { name, size: entry.metadata()?.len() });
            }
            Ok(Copy { source, files, dir })
        });
        copied.await.map_err(io::Error::other)?
    }

    async fn send_files(
        &self,
        conversation: &mut Conversation,
        to: MemberId,
        copy: &Copy,
        held: &[u64],
    ) -> Result<(), SendError> {
        let total: u64 = copy.files.iter().map(|file| file.size).sum();
        let mut left = Left::new(to, total, held.iter().sum());
        for (number, (file, held)) in copy.files.iter().zip(held).enumerate() {
            let number = u32::try_from(number).expect("counted in the offer with 32 bits");
            if *held > file.size {
                return Err(SendError::Odd(format!("{held} bytes of {file:?}")));
            }
            if *held == file.size {
                continue;
            }
            let open = File::open(copy.dir.path().join(&file.name)).map_err(SendError::Local)?;
            let (open, mut offset) = (Arc::new(open), *held);
            while offset < file.size {
                let bytes = read(&open, offset, file.size).await.map_err(SendError::Local)?;
                self.pace.take(bytes.len()).await;
                let next = offset + bytes.len() as u64;
                left.sent(bytes.len());
                conversation.send(&Sent::Piece(Piece { file: number, offset, bytes })).await?;
                offset = next;
            }
        }
        Ok(())
    }
}

/// Reads the next piece, of a file that has `size` bytes.
async fn read(file: &Arc<File>, offset: u64, size: u64) -> io::Result<Bytes> {
    let file = Arc::clone(file);
    let len = usize::try_from(size - offset).map_or(PIECE_BYTES, |left| left.min(PIECE_BYTES));
    let reading = tokio::task::spawn_blocking(move || {
        let mut bytes = vec![0; len];
        file.read_exact_at(&mut bytes, offset)?;
        Ok(Bytes::from(bytes))
    });
    reading.await.map_err(io::Error::other)?
}

/// Both directions of a transfer.
struct Conversation {
    requests: mpsc::Sender<Bytes>,
    answers: Answers<PeerError>,
}

impl Conversation {
    /// When the other side has ended the stream, its last answer says why.
    async fn send(&mut self, sent: &Sent) -> Result<(), SendError> {
        if self.requests.send(sent.encode()).await.is_ok() {
            return Ok(());
        }
        let answer = self.answer().await?;
        Err(SendError::Odd(format!("{answer:?} before the end")))
    }

    async fn answer(&mut self) -> Result<Answered, SendError> {
        let answer = self.answers.next().await.ok_or(SendError::CutOff)?;
        Ok(Answered::decode(answer?)?)
    }

    async fn ask(&mut self, sent: &Sent) -> Result<Answered, SendError> {
        self.send(sent).await?;
        self.answer().await
    }
}

/// Tells in the log how far a transfer is.
struct Left {
    to: MemberId,
    total: u64,
    done: u64,
    told: Instant,
}

impl Left {
    fn new(to: MemberId, total: u64, done: u64) -> Self {
        tracing::info!(%to, bytes = total, already_there = done, "sending a snapshot");
        Self { to, total, done, told: Instant::now() }
    }

    fn sent(&mut self, bytes: usize) {
        self.done += bytes as u64;
        if self.told.elapsed() >= REPORT_INTERVAL {
            self.told = Instant::now();
            let Self { to, total, done, .. } = self;
            tracing::info!(%to, bytes = *total, done = *done, "a snapshot is on its way");
        }
    }
}
