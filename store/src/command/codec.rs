//! The bytes of a batch of commands, as they travel through the log.
//!
//! ```text
//! batch    │ version = 1 │ count │ command … │
//! command  │ length │ tag │ body │          tags: 1 put, 2 delete, 3 txn, 4 compact, 6 to 8 leases
//! op       │ tag │ body │                   tags: 1 put, 2 delete, 3 txn, 5 range
//! bytes    │ length │ … │
//! ```
//! Numbers are LEB128, signed ones as their 64 bits zigzagged. Tags and flags only grow; a retired
//! one stays reserved. Decoding takes any bytes: it copies nothing, goes no deeper than
//! [`DEPTH_MAX`], and reserves no memory on the word of a length it has not checked.

mod lease;

use bytes::{Buf, Bytes, BytesMut};

use crate::types::{LeaseId, Revision};

use super::{
    Command, Compact, Compare, CompareResult, CompareTarget, DeleteRange, KeyRange, Op, Put, Range,
    SortOrder, SortTarget, Txn,
};

const VERSION: u8 = 1;

/// How deep txns may lie in each other. Protobuf's own limit of 100 messages, two to a level, keeps
/// any client below it.
pub const DEPTH_MAX: usize = 64;

const TAG_PUT: u8 = 1;
const TAG_DELETE_RANGE: u8 = 2;
const TAG_TXN: u8 = 3;
const TAG_COMPACT: u8 = 4;
const TAG_RANGE: u8 = 5;
const TAG_LEASE_GRANT: u8 = 6;
const TAG_LEASE_REVOKE: u8 = 7;
const TAG_LEASE_CHECKPOINT: u8 = 8;

const PREV_KV: u8 = 1;
const IGNORE_VALUE: u8 = 2;
const IGNORE_LEASE: u8 = 4;

const KEYS_ONLY: u8 = 1;
const COUNT_ONLY: u8 = 2;

/// Bytes that are not a batch of commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// They end inside a field.
    #[error("the batch of commands ends inside {0}")]
    Truncated(&'static str),
    /// A later version wrote them, or nobody did.
    #[error("batch of commands has version {0}, this code reads {VERSION}")]
    Version(u8),
    /// A field holds what it cannot hold.
    #[error("the batch of commands has a malformed {0}")]
    Malformed(&'static str),
    /// Txns lie deeper in each other than [`DEPTH_MAX`].
    #[error("txns nested deeper than {DEPTH_MAX}")]
    TooDeep,
    /// Bytes are left over.
    #[error("{0} bytes follow the batch of commands")]
    Trailing(usize),
}

/// The bytes of a batch.
#[must_use]
pub fn encode(commands: &[Command]) -> Bytes {
    let mut out = BytesMut::new();
    encode_to(&mut out, commands.iter());
    out.freeze()
}

/// Appends the bytes of a batch to `out`: for a caller who puts something in front.
pub fn encode_to<'a>(out: &mut BytesMut, commands: impl ExactSizeIterator<Item = &'a Command>) {
    let mut writer = Writer { out: std::mem::take(out) };
    writer.byte(VERSION);
    writer.length(commands.len());
    let mut body = Writer { out: BytesMut::new() };
    for command in commands {
        body.out.clear();
        body.command(command);
        writer.bytes(&body.out);
    }
    *out = writer.out;
}

/// The batch in `bytes`; keys and values are slices of it.
///
/// # Errors
/// The bytes are not a batch of commands.
pub fn decode(bytes: &Bytes) -> Result<Vec<Command>, DecodeError> {
    let mut reader = Reader { rest: bytes.clone() };
    let version = reader.byte("the version")?;
    if version != VERSION {
        return Err(DecodeError::Version(version));
    }
    let count = reader.varint("the count")?;
    let mut commands = Vec::new();
    for _ in 0..count {
        let mut body = Reader { rest: reader.bytes("a command")? };
        commands.push(body.command()?);
        body.end()?;
    }
    reader.end()?;
    Ok(commands)
}

const fn flag(on: bool, flag: u8) -> u8 {
    if on { flag } else { 0 }
}

struct Writer {
    out: BytesMut,
}

impl Writer {
    fn byte(&mut self, byte: u8) {
        self.out.extend_from_slice(&[byte]);
    }

    #[expect(clippy::cast_possible_truncation, reason = "only the seven low bits are kept")]
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.byte(value as u8 | 0x80);
            value >>= 7;
        }
        self.byte(value as u8);
    }

    fn length(&mut self, length: usize) {
        self.varint(length as u64);
    }

    fn signed(&mut self, value: i64) {
        self.varint(((value << 1) ^ (value >> 63)).cast_unsigned());
    }

    fn revision(&mut self, revision: Revision) {
        self.signed(revision.0);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.length(bytes.len());
        self.out.extend_from_slice(bytes);
    }

    fn command(&mut self, command: &Command) {
        match command {
            Command::Put(put) => self.put(put),
            Command::DeleteRange(delete) => self.delete_range(delete),
            Command::Txn(txn) => self.txn(txn),
            Command::Compact(compact) => {
                self.byte(TAG_COMPACT);
                self.revision(compact.revision);
            }
            Command::LeaseGrant(grant) => self.lease_grant(grant),
            Command::LeaseRevoke(revoke) => self.lease_revoke(revoke),
            Command::LeaseCheckpoint(checkpoint) => self.lease_checkpoint(checkpoint),
        }
    }

    fn op(&mut self, op: &Op) {
        match op {
            Op::Put(put) => self.put(put),
            Op::DeleteRange(delete) => self.delete_range(delete),
            Op::Txn(txn) => self.txn(txn),
            Op::Range(range) => self.range(range),
        }
    }

    fn key_range(&mut self, range: &KeyRange) {
        self.bytes(&range.key);
        self.bytes(&range.end);
    }

    fn put(&mut self, put: &Put) {
        self.byte(TAG_PUT);
        self.byte(
            flag(put.prev_kv, PREV_KV)
                | flag(put.ignore_value, IGNORE_VALUE)
                | flag(put.ignore_lease, IGNORE_LEASE),
        );
        self.signed(put.lease.0);
        self.bytes(&put.key);
        self.bytes(&put.value);
    }

    fn delete_range(&mut self, delete: &DeleteRange) {
        self.byte(TAG_DELETE_RANGE);
        self.byte(flag(delete.prev_kv, PREV_KV));
        self.key_range(&delete.range);
    }

    fn txn(&mut self, txn: &Txn) {
        self.byte(TAG_TXN);
        self.length(txn.compare.len());
        for compare in &txn.compare {
            self.compare(compare);
        }
        for branch in [&txn.success, &txn.failure] {
            self.length(branch.len());
            for op in branch {
                self.op(op);
            }
        }
    }

    fn compare(&mut self, compare: &Compare) {
        self.byte(match compare.result {
            CompareResult::Equal => 0,
            CompareResult::Greater => 1,
            CompareResult::Less => 2,
            CompareResult::NotEqual => 3,
        });
        self.key_range(&compare.range);
        match &compare.target {
            CompareTarget::Version(version) => self.target(0, *version),
            CompareTarget::Create(revision) => self.target(1, revision.0),
            CompareTarget::Mod(revision) => self.target(2, revision.0),
            CompareTarget::Value(value) => {
                self.byte(3);
                self.bytes(value);
            }
            CompareTarget::Lease(lease) => self.target(4, lease.0),
        }
    }

    fn target(&mut self, tag: u8, value: i64) {
        self.byte(tag);
        self.signed(value);
    }

    fn range(&mut self, range: &Range) {
        self.byte(TAG_RANGE);
        self.byte(flag(range.keys_only, KEYS_ONLY) | flag(range.count_only, COUNT_ONLY));
        self.byte(match range.sort_order {
            SortOrder::None => 0,
            SortOrder::Ascend => 1,
            SortOrder::Descend => 2,
        });
        self.byte(match range.sort_target {
            SortTarget::Key => 0,
            SortTarget::Version => 1,
            SortTarget::Create => 2,
            SortTarget::Mod => 3,
            SortTarget::Value => 4,
        });
        self.key_range(&range.range);
        self.signed(range.limit);
        self.revision(range.revision);
        self.revision(range.min_mod_revision);
        self.revision(range.max_mod_revision);
        self.revision(range.min_create_revision);
        self.revision(range.max_create_revision);
    }
}

struct Reader {
    rest: Bytes,
}

impl Reader {
    fn byte(&mut self, field: &'static str) -> Result<u8, DecodeError> {
        let byte = *self.rest.first().ok_or(DecodeError::Truncated(field))?;
        self.rest.advance(1);
        Ok(byte)
    }

    fn varint(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        let mut value = 0_u64;
        for shift in (0..70).step_by(7) {
            let byte = self.byte(field)?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(DecodeError::Malformed(field));
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(DecodeError::Malformed(field))
    }

    fn signed(&mut self, field: &'static str) -> Result<i64, DecodeError> {
        let value = self.varint(field)?;
        Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    fn revision(&mut self, field: &'static str) -> Result<Revision, DecodeError> {
        self.signed(field).map(Revision)
    }

    fn bytes(&mut self, field: &'static str) -> Result<Bytes, DecodeError> {
        let length = usize::try_from(self.varint(field)?);
        match length {
            Ok(length) if length <= self.rest.len() => Ok(self.rest.split_to(length)),
            Ok(_) | Err(_) => Err(DecodeError::Truncated(field)),
        }
    }

    fn flags(&mut self, known: u8, field: &'static str) -> Result<u8, DecodeError> {
        match self.byte(field)? {
            flags if flags & !known == 0 => Ok(flags),
            _ => Err(DecodeError::Malformed(field)),
        }
    }

    fn end(&self) -> Result<(), DecodeError> {
        if self.rest.is_empty() { Ok(()) } else { Err(DecodeError::Trailing(self.rest.len())) }
    }

    fn command(&mut self) -> Result<Command, DecodeError> {
        match self.byte("a command's tag")? {
            TAG_PUT => self.put().map(Command::Put),
            TAG_DELETE_RANGE => self.delete_range().map(Command::DeleteRange),
            TAG_TXN => self.txn(1).map(Command::Txn),
            TAG_COMPACT => {
                let revision = self.revision("a compaction")?;
                Ok(Command::Compact(Compact { revision }))
            }
            TAG_LEASE_GRANT => self.lease_grant().map(Command::LeaseGrant),
            TAG_LEASE_REVOKE => self.lease_revoke().map(Command::LeaseRevoke),
            TAG_LEASE_CHECKPOINT => self.lease_checkpoint().map(Command::LeaseCheckpoint),
            _ => Err(DecodeError::Malformed("command tag")),
        }
    }

    fn op(&mut self, depth: usize) -> Result<Op, DecodeError> {
        match self.byte("an operation's tag")? {
            TAG_PUT => self.put().map(Op::Put),
            TAG_DELETE_RANGE => self.delete_range().map(Op::DeleteRange),
            TAG_TXN => self.txn(depth + 1).map(Op::Txn),
            TAG_RANGE => self.range().map(Op::Range),
            _ => Err(DecodeError::Malformed("operation tag")),
        }
    }

    fn key_range(&mut self) -> Result<KeyRange, DecodeError> {
        Ok(KeyRange { key: self.bytes("a key")?, end: self.bytes("the end of an interval")? })
    }

    fn put(&mut self) -> Result<Put, DecodeError> {
        let flags = self.flags(PREV_KV | IGNORE_VALUE | IGNORE_LEASE, "put's flags")?;
        let lease = LeaseId(self.signed("a lease")?);
        Ok(Put {
            key: self.bytes("a key")?,
            value: self.bytes("a value")?,
            lease,
            prev_kv: flags & PREV_KV != 0,
            ignore_value: flags & IGNORE_VALUE != 0,
            ignore_lease: flags & IGNORE_LEASE != 0,
        })
    }

    fn delete_range(&mut self) -> Result<DeleteRange, DecodeError> {
        let flags = self.flags(PREV_KV, "delete's flags")?;
        Ok(DeleteRange { range: self.key_range()?, prev_kv: flags & PREV_KV != 0 })
    }

    fn txn(&mut self, depth: usize) -> Result<Txn, DecodeError> {
        if depth > DEPTH_MAX {
            return Err(DecodeError::TooDeep);
        }
        let mut txn = Txn::default();
        for _ in 0..self.varint("the number of compares")? {
            txn.compare.push(self.compare()?);
        }
        for _ in 0..self.varint("the number of operations")? {
            txn.success.push(self.op(depth)?);
        }
        for _ in 0..self.varint("the number of operations")? {
            txn.failure.push(self.op(depth)?);
        }
        Ok(txn)
    }

    fn compare(&mut self) -> Result<Compare, DecodeError> {
        let result = match self.byte("a compare")? {
            0 => CompareResult::Equal,
            1 => CompareResult::Greater,
            2 => CompareResult::Less,
            3 => CompareResult::NotEqual,
            _ => return Err(DecodeError::Malformed("compare result")),
        };
        let range = self.key_range()?;
        let target = match self.byte("a compare's target")? {
            0 => CompareTarget::Version(self.signed("a version")?),
            1 => CompareTarget::Create(self.revision("a create revision")?),
            2 => CompareTarget::Mod(self.revision("a mod revision")?),
            3 => CompareTarget::Value(self.bytes("a value")?),
            4 => CompareTarget::Lease(LeaseId(self.signed("a lease")?)),
            _ => return Err(DecodeError::Malformed("compare target")),
        };
        Ok(Compare { range, result, target })
    }

    fn range(&mut self) -> Result<Range, DecodeError> {
        let flags = self.flags(KEYS_ONLY | COUNT_ONLY, "range's flags")?;
        let sort_order = match self.byte("a sort order")? {
            0 => SortOrder::None,
            1 => SortOrder::Ascend,
            2 => SortOrder::Descend,
            _ => return Err(DecodeError::Malformed("sort order")),
        };
        let sort_target = match self.byte("a sort target")? {
            0 => SortTarget::Key,
            1 => SortTarget::Version,
            2 => SortTarget::Create,
            3 => SortTarget::Mod,
            4 => SortTarget::Value,
            _ => return Err(DecodeError::Malformed("sort target")),
        };
        Ok(Range {
            range: self.key_range()?,
            limit: self.signed("a limit")?,
            revision: self.revision("a revision")?,
            sort_order,
            sort_target,
            keys_only: flags & KEYS_ONLY != 0,
            count_only: flags & COUNT_ONLY != 0,
            min_mod_revision: self.revision("a revision filter")?,
            max_mod_revision: self.revision("a revision filter")?,
            min_create_revision: self.revision("a revision filter")?,
            max_create_revision: self.revision("a revision filter")?,
        })
    }
}

#[cfg(test)]
#[path = "codec_test.rs"]
mod tests;
