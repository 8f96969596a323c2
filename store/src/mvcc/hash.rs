//! HashKV: a hash of history that members compare to find out that they differ.
//!
//! It covers, for a revision R not below the compacted revision C, every version and deletion made
//! in (C, R], and every version that was alive at C. That is decided by the logical C alone, so
//! members agree however far each has come with physical removal. Each version is hashed by itself
//! and the hashes are summed, so that the order in which they are met does not matter:
//!
//! * the log above C, in one pass, has the versions and deletions of (C, R];
//! * the same pass, taken to its end, has every version that was alive at C and has been
//!   superseded since: it is the `prev` of a record above C and itself at or below C;
//! * `current` has those that were alive at C and still are.

use xxhash_rust::xxh3::Xxh3;

use crate::engine::{Blocks, Bounds, Direction};
use crate::error::{Error, ReadError, corrupt};
use crate::schema::log::{Prev, Record};
use crate::schema::{Table, current, log};
use crate::types::{KeyValueRef, Revision};

use super::reader::Reader;
use super::view::View;

/// Bytes that are not an etcd hash and not another version's.
const SEED: u64 = 0x6b65_656c_736f_6e01;

/// The answer to HashKV.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashKv {
    /// The hash. Only comparable for equal revision and compacted revision.
    pub hash: u32,
    /// The revision hashed up to.
    pub revision: Revision,
    /// The compacted revision hashed from, or [`Revision::NEVER`].
    pub compacted: Revision,
}

impl View {
    /// Hashes history up to `revision`; 0 or less is the current one. Takes the time to read all
    /// keys and the log above the compacted revision, little memory, and holds up no writer.
    ///
    /// # Errors
    /// The revision cannot be read, or the store failed.
    pub fn hash_kv(&self, revision: Revision) -> Result<HashKv, ReadError> {
        let reader = self.reader();
        let revision = reader.resolve(revision)?;
        let compacted = reader.compacted;
        let sum = in_log(&reader, revision)?.wrapping_add(alive_since(&reader)?);
        Ok(HashKv { hash: fold(sum), revision, compacted })
    }
}

/// What the log above the compacted revision says.
fn in_log(reader: &Reader<'_>, revision: Revision) -> Result<u64, Error> {
    let compacted = reader.compacted;
    let lower = log::first_key_of(Revision(compacted.0 + 1));
    let bounds = Bounds { lower: &lower, upper: None };
    let mut cursor =
        reader.snapshot.cursor(Table::Log, bounds, Direction::Forward, Blocks::Pass)?;
    let mut sum = 0_u64;
    while let Some((key, bytes)) = cursor.row() {
        let record = log::decode_key(key).and_then(|at| log::decode(at, bytes));
        let record = record.map_err(corrupt(Table::Log, key))?;
        if record.meta.at.main <= revision {
            sum = sum.wrapping_add(hash(record.row(), record.deletion));
        }
        sum = sum.wrapping_add(superseded(reader, &record)?);
        cursor.advance()?;
    }
    Ok(sum)
}

/// The version that `record` superseded, if that was alive at the compacted revision.
fn superseded(reader: &Reader<'_>, record: &Record<'_>) -> Result<u64, Error> {
    match record.prev {
        Prev::Pointer(prev) if prev.main <= reader.compacted => {
            reader.at(prev, |prev| Ok(hash(prev.row(), false)))
        }
        Prev::Embedded(old) => {
            let old =
                current::decode(old).map_err(corrupt(Table::Log, &log::key(record.meta.at)))?;
            Ok(hash(old.row(record.key), false))
        }
        Prev::None | Prev::Pointer(_) => Ok(0),
    }
}

/// The versions that were alive at the compacted revision and are still.
fn alive_since(reader: &Reader<'_>) -> Result<u64, Error> {
    let bounds = Bounds { lower: &[], upper: None };
    let mut cursor =
        reader.snapshot.cursor(Table::Current, bounds, Direction::Forward, Blocks::Pass)?;
    let mut sum = 0_u64;
    while let Some((key, record)) = cursor.row() {
        let version = current::decode(record).map_err(corrupt(Table::Current, key))?;
        if version.meta.at.main <= reader.compacted {
            sum = sum.wrapping_add(hash(version.row(key), false));
        }
        cursor.advance()?;
    }
    Ok(sum)
}

/// One version. Lengths go in before what they measure, so that no two differ only in where a
/// field ends.
fn hash(row: KeyValueRef<'_>, deletion: bool) -> u64 {
    let mut state = Xxh3::with_seed(SEED);
    let version =
        [i64::from(deletion), row.mod_revision.0, row.create_revision.0, row.version, row.lease.0];
    for number in version {
        state.update(&number.to_le_bytes());
    }
    for bytes in [row.key, row.value] {
        state.update(&(bytes.len() as u64).to_le_bytes());
        state.update(bytes);
    }
    state.digest()
}

#[expect(clippy::cast_possible_truncation, reason = "folded to the width that the API has")]
const fn fold(sum: u64) -> u32 {
    (sum ^ (sum >> 32)) as u32
}
