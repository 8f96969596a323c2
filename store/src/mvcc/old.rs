//! Reading the past: from a version that is too new back along the chain of the versions it
//! superseded.
//!
//! A read at revision R, which is not below the compacted revision C, only ever looks at records
//! above R and at the first one at or below it. Records above C are never cut. The one at or below
//! R is reached by a pointer only if it was above the compacted revision when the pointer was
//! written, and then it is still there; otherwise it is embedded.

use std::cell::RefCell;

use crate::engine::{Bounds, Direction};
use crate::error::{Error, corrupt, corrupt_because};
use crate::schema::log::Prev;
use crate::schema::{Malformed, Table, current, deleted, log};
use crate::types::{KeyMeta, KeyValueRef, Revision, SubRevision};

use super::reader::Reader;

/// What one look at a log record leads to.
enum Step {
    /// Further back.
    To(SubRevision),
    /// The record at this place is the answer.
    Found(SubRevision),
    /// The answer was embedded, and has been handed out.
    Done,
}

impl Reader<'_> {
    /// Hands the version of `key` that was alive at `revision` to `read`, if there was one.
    pub(crate) fn version_at(
        &self,
        key: &[u8],
        revision: Revision,
        read: &mut dyn FnMut(KeyValueRef<'_>),
    ) -> Result<bool, Error> {
        let mut alive = None;
        let mut decoded = Ok(());
        self.snapshot
            .get_with(Table::Current, key, &mut |record| match current::decode(record) {
                Ok(version) if version.meta.at.main <= revision => read(version.row(key)),
                Ok(version) => alive = Some(version.meta),
                Err(malformed) => decoded = Err(malformed),
            })
            .map_err(Error::from)
            .and_then(|found| {
                decoded.map_err(corrupt(Table::Current, key))?;
                match alive {
                    None if found => Ok(true),
                    Some(meta) if meta.create <= revision => {
                        self.walk(key, chain_start(&meta, revision), revision, read)?;
                        Ok(true)
                    }
                    _ => match self.deletion_after(key, revision)? {
                        Some(deletion) => {
                            self.walk(key, deletion, revision, read)?;
                            Ok(true)
                        }
                        None => Ok(false),
                    },
                }
            })
    }

    /// The deletion that ended the generation of `key` that was alive at `revision`, if one was.
    fn deletion_after(&self, key: &[u8], revision: Revision) -> Result<Option<SubRevision>, Error> {
        let mut lower = Vec::new();
        let after = SubRevision { main: Revision(revision.0 + 1), sub: 0 };
        deleted::put_key(key, after, &mut lower);
        let upper = deleted::upper_bound_of(key);
        let bounds = Bounds { lower: &lower, upper: Some(&upper) };
        let cursor =
            self.snapshot.cursor(Table::Deleted, bounds, Direction::Forward, self.blocks)?;
        let Some((at_key, record)) = cursor.row() else { return Ok(None) };
        // Later generations were created later still.
        let generation = || {
            let at = deleted::decode_place(at_key)?;
            Ok((at, deleted::decode(at, record)?))
        };
        let (at, create) = generation().map_err(corrupt(Table::Deleted, at_key))?;
        Ok((create <= revision).then_some(at))
    }

    /// Follows the chain of `key` from the log record at `place`, which is above `revision`, to
    /// the version that was alive at `revision`. There must be one.
    pub(super) fn walk(
        &self,
        key: &[u8],
        mut place: SubRevision,
        revision: Revision,
        read: &mut dyn FnMut(KeyValueRef<'_>),
    ) -> Result<(), Error> {
        loop {
            assert!(place.main > revision, "a walk stays above the revision it looks for");
            match self.at(place, |record| step(record, key, revision, read))? {
                Step::To(next) if next < place => place = next,
                Step::To(_) => return Err(broken(place, "a pointer that does not lead back")),
                Step::Done => return Ok(()),
                Step::Found(found) => {
                    return self.at(found, |record| {
                        if record.deletion || record.key != key {
                            return Err(Malformed("chain of versions"));
                        }
                        read(record.row());
                        Ok(())
                    });
                }
            }
        }
    }

    /// Hands the log record at `place` to `look`. It must be there.
    pub(crate) fn at<T>(
        &self,
        place: SubRevision,
        look: impl FnOnce(&log::Record<'_>) -> Result<T, Malformed>,
    ) -> Result<T, Error> {
        let key = log::key(place);
        let look = RefCell::new(Some(look));
        let mut seen = None;
        self.snapshot.get_with(Table::Log, &key, &mut |record| {
            let look = look.take().expect("a key has one record");
            seen = Some(log::decode(place, record).and_then(|record| look(&record)));
        })?;
        let seen = seen.ok_or_else(|| broken(place, "a record that is pointed to is missing"))?;
        seen.map_err(corrupt(Table::Log, &key))
    }
}

/// Where the walk from a living version that is too new begins: at its own record, or further back
/// by one of its far pointers.
pub(super) fn chain_start(meta: &KeyMeta, revision: Revision) -> SubRevision {
    meta.far.furthest_above(revision).unwrap_or(meta.at)
}

fn step(
    record: &log::Record<'_>,
    key: &[u8],
    revision: Revision,
    read: &mut dyn FnMut(KeyValueRef<'_>),
) -> Result<Step, Malformed> {
    if record.key != key {
        return Err(Malformed("chain of versions"));
    }
    if let Some(next) = record.meta.far.furthest_above(revision) {
        return Ok(Step::To(next));
    }
    match record.prev {
        Prev::None => Err(Malformed("chain of versions, which ends too early")),
        Prev::Pointer(prev) if prev.main > revision => Ok(Step::To(prev)),
        Prev::Pointer(prev) => Ok(Step::Found(prev)),
        Prev::Embedded(old) => {
            let version = current::decode(old)?;
            if version.meta.at.main > revision {
                return Err(Malformed("embedded version, which is too new"));
            }
            read(version.row(key));
            Ok(Step::Done)
        }
    }
}

fn broken(place: SubRevision, what: &str) -> Error {
    corrupt_because(Table::Log, &log::key(place), what)
}
