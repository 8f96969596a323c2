//! An engine of ordered maps that models what was flushed and forgets the rest in a crash. Each row
//! keeps the versions that a snapshot or the flushed state may still want, by sequence number.
//!
//! It is as unkind as RocksDB may be: cutting the log and sweeping deletions take effect at once,
//! whatever snapshots are open, but only on rows that are flushed.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};

use crate::schema::{Table, deleted, log};
use crate::types::Revision;

use super::{Blocks, Bounds, Cursor, Direction, Engine, Error, Sizes, Snapshot, WriteBatch};

/// File that a checkpoint consists of.
const CHECKPOINT_FILE: &str = "tables";

type Row = Vec<(u64, Option<Bytes>)>;
type Rows = BTreeMap<Bytes, Row>;

/// See the module.
#[derive(Debug)]
pub struct MemoryEngine {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: RwLock<State>,
    /// Open snapshots by sequence number.
    open: Mutex<BTreeMap<u64, usize>>,
}

#[derive(Debug, Default)]
struct State {
    tables: [Rows; Table::ALL.len()],
    /// The last batch written.
    sequence: u64,
    /// The last batch that a crash would leave.
    flushed: u64,
    deleted_floor: Revision,
}

#[derive(Debug)]
struct MemorySnapshot {
    shared: Arc<Shared>,
    sequence: u64,
}

#[derive(Debug)]
struct MemoryCursor<'a> {
    snapshot: &'a MemorySnapshot,
    table: Table,
    lower: Bytes,
    upper: Option<Bytes>,
    direction: Direction,
    row: Option<(Bytes, Bytes)>,
    stepped_over: u64,
}

impl Default for MemoryEngine {
    fn default() -> Self {
        Self::with(State::default())
    }
}

impl MemoryEngine {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What is left after a crash at this moment.
    #[must_use]
    pub fn crash(&self) -> Self {
        let state = self.shared.state.read();
        let survivors = |rows: &Rows| {
            let row = |(key, row): (&Bytes, &Row)| {
                let value = visible(row, state.flushed)?;
                Some((key.clone(), vec![(state.flushed, Some(value))]))
            };
            rows.iter().filter_map(row).collect()
        };
        let tables = state.tables.each_ref().map(survivors);
        let State { flushed, .. } = *state;
        Self::with(State { tables, sequence: flushed, flushed, deleted_floor: Revision(0) })
    }

    /// Opens what [`Engine::checkpoint`] left in `dir`.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn open_checkpoint(dir: &Path) -> Result<Self, Error> {
        let failed = |cause: String| Error { doing: "reading a checkpoint", cause };
        let bytes = std::fs::read(dir.join(CHECKPOINT_FILE)).map_err(|e| failed(e.to_string()))?;
        let tables = read_tables(&bytes).ok_or_else(|| failed("malformed file".into()))?;
        Ok(Self::with(State { tables, sequence: 1, flushed: 1, deleted_floor: Revision(0) }))
    }

    /// How many rows of a table a reader of the newest state finds.
    #[must_use]
    pub fn rows(&self, table: Table) -> usize {
        let state = self.shared.state.read();
        let rows = &state.tables[table as usize];
        rows.values().filter(|row| visible(row, state.sequence).is_some()).count()
    }

    fn with(state: State) -> Self {
        let state = RwLock::new(state);
        Self { shared: Arc::new(Shared { state, open: Mutex::default() }) }
    }

    /// Takes flushed rows of a table away from everybody, where `gone` says so.
    fn drop_flushed(&self, table: Table, gone: impl Fn(&State, &[u8]) -> bool) {
        let mut state = self.shared.state.write();
        let mut rows = std::mem::take(&mut state.tables[table as usize]);
        rows.retain(|key, row| {
            let flushed = row.iter().all(|(sequence, _)| *sequence <= state.flushed);
            !(flushed && gone(&state, key))
        });
        state.tables[table as usize] = rows;
    }
}

impl Engine for MemoryEngine {
    fn write(&self, batch: &WriteBatch) -> Result<(), Error> {
        let mut state = self.shared.state.write();
        let sequence = state.sequence + 1;
        let oldest = self.shared.open.lock().keys().next().copied().unwrap_or(sequence);
        let keep = oldest.min(state.flushed);
        for write in batch.iter() {
            let value = write.value.map(Bytes::copy_from_slice);
            let rows = &mut state.tables[write.table as usize];
            if !rows.contains_key(write.key) {
                rows.insert(Bytes::copy_from_slice(write.key), Row::new());
            }
            let row = rows.get_mut(write.key).expect("just put there");
            if row.last().is_some_and(|(last, _)| *last == sequence) {
                row.pop();
            }
            row.push((sequence, value));
            // The newest version at or below `keep` is still wanted, those before it are not.
            let wanted = row.iter().rposition(|(at, _)| *at <= keep).unwrap_or(0);
            row.drain(..wanted);
        }
        state.sequence = sequence;
        Ok(())
    }

    fn get_with(
        &self,
        table: Table,
        key: &[u8],
        read: &mut dyn FnMut(&[u8]),
    ) -> Result<bool, Error> {
        let value = {
            let state = self.shared.state.read();
            state.tables[table as usize].get(key).and_then(|row| visible(row, state.sequence))
        };
        Ok(hand_out(value, read))
    }

    fn persisted_meta(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        let state = self.shared.state.read();
        let row = state.tables[Table::Meta as usize].get(key);
        Ok(row.and_then(|row| visible(row, state.flushed)))
    }

    fn snapshot(&self) -> Arc<dyn Snapshot> {
        let state = self.shared.state.read();
        let sequence = state.sequence;
        *self.shared.open.lock().entry(sequence).or_insert(0) += 1;
        Arc::new(MemorySnapshot { shared: Arc::clone(&self.shared), sequence })
    }

    fn flush(&self) -> Result<(), Error> {
        let mut state = self.shared.state.write();
        state.flushed = state.sequence;
        Ok(())
    }

    fn checkpoint(&self, dir: &Path) -> Result<(), Error> {
        self.flush()?;
        let failed =
            |cause: std::io::Error| Error { doing: "checkpointing", cause: cause.to_string() };
        std::fs::create_dir(dir).map_err(failed)?;
        let state = self.shared.state.read();
        std::fs::write(dir.join(CHECKPOINT_FILE), write_tables(&state)).map_err(failed)
    }

    fn cut_log_below(&self, revision: Revision) -> Result<(), Error> {
        let below = log::first_key_of(revision);
        self.drop_flushed(Table::Log, |_, key| key < below.as_slice());
        Ok(())
    }

    fn set_deleted_floor(&self, revision: Revision) {
        self.shared.state.write().deleted_floor = revision;
    }

    fn sweep_deleted(&self) -> Result<(), Error> {
        self.drop_flushed(Table::Deleted, |state, key| {
            deleted::decode_place(key).is_ok_and(|at| at.main <= state.deleted_floor)
        });
        Ok(())
    }

    fn is_read(&self) -> bool {
        !self.shared.open.lock().is_empty()
    }

    fn sizes(&self) -> Result<Sizes, Error> {
        let state = self.shared.state.read();
        let of_row = |(key, row): (&Bytes, &Row)| {
            let values = row.iter().map(|(_, value)| value.as_ref().map_or(0, Bytes::len));
            (key.len() + values.sum::<usize>()) as u64
        };
        let allocated = state.tables.iter().flatten().map(of_row).sum();
        Ok(Sizes { allocated, in_use: allocated })
    }
}

impl Snapshot for MemorySnapshot {
    fn get_with(
        &self,
        table: Table,
        key: &[u8],
        read: &mut dyn FnMut(&[u8]),
    ) -> Result<bool, Error> {
        let value = {
            let state = self.shared.state.read();
            state.tables[table as usize].get(key).and_then(|row| visible(row, self.sequence))
        };
        Ok(hand_out(value, read))
    }

    fn cursor<'a>(
        &'a self,
        table: Table,
        bounds: Bounds<'_>,
        direction: Direction,
        _blocks: Blocks,
    ) -> Result<Box<dyn Cursor + 'a>, Error> {
        let mut cursor = MemoryCursor {
            snapshot: self,
            table,
            lower: Bytes::copy_from_slice(bounds.lower),
            upper: bounds.upper.map(Bytes::copy_from_slice),
            direction,
            row: None,
            stepped_over: 0,
        };
        let lower = Bound::Included(cursor.lower.clone());
        let upper = cursor.upper.clone().map_or(Bound::Unbounded, Bound::Excluded);
        cursor.find(lower, upper);
        Ok(Box::new(cursor))
    }
}

impl Drop for MemorySnapshot {
    fn drop(&mut self) {
        let mut open = self.shared.open.lock();
        let count = open.get_mut(&self.sequence).expect("an open snapshot is registered");
        *count -= 1;
        if *count == 0 {
            open.remove(&self.sequence);
        }
    }
}

impl MemoryCursor<'_> {
    /// Stands on the first visible row between the bounds.
    fn find(&mut self, lower: Bound<Bytes>, upper: Bound<Bytes>) {
        self.row = None;
        if is_empty(&lower, &upper) {
            return;
        }
        let state = self.snapshot.shared.state.read();
        let sequence = self.snapshot.sequence;
        let mut rows = state.tables[self.table as usize].range((lower, upper));
        let stepped_over = &mut self.stepped_over;
        let live = |(key, row): (&Bytes, &Row)| {
            let value = visible(row, sequence);
            *stepped_over += u64::from(value.is_none());
            Some((key.clone(), value?))
        };
        self.row = match self.direction {
            Direction::Forward => rows.find_map(live),
            Direction::Backward => rows.rev().find_map(live),
        };
    }

    fn upper_bound(&self) -> Bound<Bytes> {
        self.upper.clone().map_or(Bound::Unbounded, Bound::Excluded)
    }
}

impl Cursor for MemoryCursor<'_> {
    fn row(&self) -> Option<(&[u8], &[u8])> {
        self.row.as_ref().map(|(key, value)| (&key[..], &value[..]))
    }

    fn advance(&mut self) -> Result<(), Error> {
        let Some((key, _)) = self.row.take() else { return Ok(()) };
        match self.direction {
            Direction::Forward => self.find(Bound::Excluded(key), self.upper_bound()),
            Direction::Backward => {
                self.find(Bound::Included(self.lower.clone()), Bound::Excluded(key));
            }
        }
        Ok(())
    }

    fn stepped_over(&self) -> u64 {
        self.stepped_over
    }

    fn seek(&mut self, key: &[u8]) -> Result<(), Error> {
        let Some((at, _)) = &self.row else { return Ok(()) };
        match self.direction {
            Direction::Forward if key > &at[..] => {
                self.find(Bound::Included(Bytes::copy_from_slice(key)), self.upper_bound());
            }
            Direction::Backward if key < &at[..] => {
                let lower = Bound::Included(self.lower.clone());
                self.find(lower, Bound::Included(Bytes::copy_from_slice(key)));
            }
            Direction::Forward | Direction::Backward => {}
        }
        Ok(())
    }
}

/// `BTreeMap::range` panics where there is nothing to find.
fn is_empty(lower: &Bound<Bytes>, upper: &Bound<Bytes>) -> bool {
    match (lower, upper) {
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        (Bound::Included(lower), Bound::Included(upper)) => lower > upper,
        (Bound::Included(lower) | Bound::Excluded(lower), Bound::Excluded(upper))
        | (Bound::Excluded(lower), Bound::Included(upper)) => lower >= upper,
    }
}

fn visible(row: &Row, sequence: u64) -> Option<Bytes> {
    row.iter().rev().find(|(at, _)| *at <= sequence).and_then(|(_, value)| value.clone())
}

fn hand_out(value: Option<Bytes>, read: &mut dyn FnMut(&[u8])) -> bool {
    value.is_some_and(|value| {
        read(&value);
        true
    })
}

fn write_tables(state: &State) -> Vec<u8> {
    let mut out = Vec::new();
    let mut put_run = |bytes: &[u8]| {
        out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        out.extend_from_slice(bytes);
    };
    for table in Table::ALL {
        for (key, row) in &state.tables[table as usize] {
            if let Some(value) = visible(row, state.sequence) {
                put_run(&[table as u8]);
                put_run(key);
                put_run(&value);
            }
        }
    }
    out
}

fn read_tables(mut bytes: &[u8]) -> Option<[Rows; Table::ALL.len()]> {
    fn run<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
        let (len, rest) = bytes.split_first_chunk::<8>()?;
        let (run, rest) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*len)).ok()?)?;
        *bytes = rest;
        Some(run)
    }
    let mut tables: [Rows; Table::ALL.len()] = Default::default();
    while !bytes.is_empty() {
        let table = *run(&mut bytes)?.first()?;
        let rows = tables.get_mut(usize::from(table))?;
        let key = Bytes::copy_from_slice(run(&mut bytes)?);
        let value = Bytes::copy_from_slice(run(&mut bytes)?);
        rows.insert(key, vec![(1, Some(value))]);
    }
    Some(tables)
}
