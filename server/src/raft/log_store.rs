//! openraft's log storage on the wal.
//!
//! Vote, entries, truncation and purge all go into the wal's one ordered stream, so that none of
//! them can become durable before an earlier one. Only the vote is waited for here: openraft
//! awaits it before it sends anything that depends on it. Entries report through their callback
//! once they are on disk; the commit mark is a hint and rides along with the next group.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, Range, RangeBounds};
use std::sync::Arc;

use futures_util::{Stream, stream};
use keelson_wal as wal;
use keelson_wal::Wal;
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::{LogState, OptionalSend, RaftLogReader};
use tokio::sync::oneshot;

use super::codec;
use super::types::{Entry, LogId, TypeConfig, Vote};
use super::write_here::WriteHere;

/// Entries are handed to apply and replication in pieces of about this many bytes, so that a long
/// backlog never sits in memory whole.
const READ_CHUNK_BYTES: usize = 4 << 20;

/// The log as openraft sees it; clones share one wal.
#[derive(Clone, Debug)]
pub(crate) struct LogStore {
    wal: Wal,
    write_here: Arc<WriteHere>,
}

impl LogStore {
    pub(crate) fn new(wal: Wal, write_here: Arc<WriteHere>) -> Self {
        Self { wal, write_here }
    }

    /// Reads entries of `range` that are in the log, up to `bytes_max`, at least one if there is
    /// one.
    fn read(&self, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<Entry>> {
        let entries = self.wal.entries(range, bytes_max).map_err(io::Error::other)?;
        entries.into_iter().map(decode_entry).collect()
    }

    /// The last entry, or where the log begins.
    pub(crate) fn last(&self) -> Option<LogId> {
        let state = self.wal.state();
        state.last.or(state.purged).map(log_id)
    }

    /// Whether the log holds just this entry, or did before it was purged.
    pub(crate) fn holds(&self, id: &LogId) -> bool {
        let state = self.wal.state();
        if state.purged.is_some_and(|purged| id.index <= purged.index.0) {
            return true;
        }
        if state.last.map(log_id) == Some(*id) {
            return true;
        }
        let entry = self.wal.entries(id.index..id.index.saturating_add(1), 1);
        entry.is_ok_and(|found| found.first().is_some_and(|found| log_id(found.id) == *id))
    }

    /// The part of `range` that the log holds.
    fn clip(&self, range: &impl RangeBounds<u64>) -> Range<u64> {
        let state = self.wal.state();
        let first = state.purged.map_or(0, |id| id.index.0 + 1);
        let end = state.last.map_or(0, |id| id.index.0 + 1);
        let from = match range.start_bound() {
            Bound::Included(&index) => index,
            Bound::Excluded(&index) => index.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let to = match range.end_bound() {
            Bound::Included(&index) => index.saturating_add(1),
            Bound::Excluded(&index) => index,
            Bound::Unbounded => u64::MAX,
        };
        from.max(first)..to.min(end)
    }
}

fn decode_entry(entry: wal::Entry) -> io::Result<Entry> {
    let payload = codec::decode_payload(&entry.payload)?;
    Ok(Entry { log_id: log_id(entry.id), payload })
}

fn log_id(id: wal::EntryId) -> LogId {
    codec::log_id(id.term.0, id.index.0)
}

pub(super) fn entry_id(id: &LogId) -> wal::EntryId {
    wal::EntryId { term: wal::Term(id.leader_id.term), index: wal::LogIndex(id.index) }
}

/// A completion that wakes a waiting task.
pub(super) fn waited() -> (wal::Done, oneshot::Receiver<Result<(), wal::Error>>) {
    let (sender, receiver) = oneshot::channel();
    // A waiter that is gone needs no answer: openraft has been stopped meanwhile.
    (Box::new(move |result| drop(sender.send(result))), receiver)
}

/// A completion nobody waits for: a failure poisons the wal, and the next call reports it.
fn unwatched() -> wal::Done {
    Box::new(drop)
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> io::Result<Vec<Entry>> {
        let mut rest = self.clip(&range);
        let mut entries = Vec::new();
        while rest.start < rest.end {
            let piece = self.read(rest.clone(), READ_CHUNK_BYTES)?;
            let Some(last) = piece.last() else { break };
            rest.start = last.log_id.index + 1;
            entries.extend(piece);
        }
        Ok(entries)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        self.read(self.clip(&(start..end)), READ_CHUNK_BYTES)
    }

    async fn entries_stream<RB>(
        &mut self,
        range: RB,
    ) -> impl Stream<Item = io::Result<Entry>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let log = self.clone();
        let state = (log.clip(&range), VecDeque::new());
        stream::unfold(state, move |(mut rest, mut ready)| {
            let item = next_entry(&log, &mut rest, &mut ready).transpose();
            std::future::ready(item.map(|item| (item, (rest, ready))))
        })
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        #[cfg(feature = "planted-defects")]
        if super::defects::forgets_votes() {
            return Ok(super::defects::vote_of(self.last()));
        }
        self.wal.vote().map(codec::decode_vote).transpose().map_err(Into::into)
    }
}

fn next_entry(
    log: &LogStore,
    rest: &mut Range<u64>,
    ready: &mut VecDeque<Entry>,
) -> io::Result<Option<Entry>> {
    if ready.is_empty() && rest.start < rest.end {
        ready.extend(log.read(rest.clone(), READ_CHUNK_BYTES)?);
        rest.start = ready.back().map_or(rest.end, |entry| entry.log_id.index + 1);
    }
    Ok(ready.pop_front())
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<TypeConfig>> {
        let state = self.wal.state();
        let last_purged_log_id = state.purged.map(log_id);
        Ok(LogState {
            last_purged_log_id,
            last_log_id: state.last.map(log_id).or(last_purged_log_id),
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        #[cfg(feature = "planted-defects")]
        if super::defects::forgets_votes() {
            return Ok(());
        }
        let (done, saved) = waited();
        self.wal.save_vote(codec::encode_vote(vote), done).map_err(io::Error::other)?;
        let result = saved.await.map_err(|_| io::Error::other("the log stopped"))?;
        result.map_err(io::Error::other)
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        let mark = codec::encode_committed(committed.as_ref());
        self.wal.save_committed(mark).map_err(io::Error::other)
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        let mark = self.wal.committed().map(codec::decode_committed).transpose()?;
        Ok(mark.flatten())
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let encode = |entry: Entry| wal::Entry {
            id: entry_id(&entry.log_id),
            payload: codec::encode_payload(entry.payload),
        };
        let entries: Vec<_> = entries.into_iter().map(encode).collect();
        let bytes = entries.iter().map(|entry| entry.payload.len()).sum();
        let done = move |result: Result<(), wal::Error>| {
            callback.io_completed(result.map_err(io::Error::other));
        };
        let append = if self.write_here.suits(bytes) { Wal::append_here } else { Wal::append };
        append(&self.wal, entries, Box::new(done)).map_err(io::Error::other)
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> io::Result<()> {
        let last_kept = last_log_id.as_ref().map(entry_id);
        self.wal.truncate_after(last_kept, unwatched()).map_err(io::Error::other)
    }

    async fn purge(&mut self, log_id: LogId) -> io::Result<()> {
        self.wal.purge(entry_id(&log_id), unwatched()).map_err(io::Error::other)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use keelson_wal::Options;
    use keelson_wal::disk::{FaultyDisk, Keep};

    use super::super::types::MemberId;
    use super::*;

    fn open(disk: &FaultyDisk) -> LogStore {
        let options = Options { segment_bytes: 1 << 20, ..Options::default() };
        let (wal, _) = Wal::open(Arc::new(disk.clone()), Path::new("/wal"), options).unwrap();
        LogStore::new(wal, Arc::default())
    }

    /// A member that forgot a vote could give another one in the same term.
    #[tokio::test]
    async fn votes_outlive_a_power_cut() {
        let disk = FaultyDisk::new(1);
        let mut log = open(&disk);
        assert_eq!(log.read_vote().await.unwrap(), None);
        for vote in [Vote::new(3, MemberId(2)), Vote::new_committed(3, MemberId(2))] {
            log.save_vote(&vote).await.unwrap();
            disk.crash(Keep::Nothing);
            log = open(&disk);
            assert_eq!(log.read_vote().await.unwrap(), Some(vote));
        }
    }
}
