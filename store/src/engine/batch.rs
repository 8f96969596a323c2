//! A batch of writes as one buffer, so that records are encoded where they will be read from and
//! a batch costs no allocation once its buffer has grown.

use crate::schema::Table;

/// Writes that take effect together, in order.
#[derive(Debug, Default)]
pub struct WriteBatch {
    bytes: Vec<u8>,
    writes: Vec<Span>,
}

/// One write, borrowed from its batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Write<'a> {
    /// The table written to.
    pub table: Table,
    /// The key written.
    pub key: &'a [u8],
    /// The new value, or `None` to delete.
    pub value: Option<&'a [u8]>,
}

#[derive(Clone, Copy, Debug)]
struct Span {
    table: Table,
    delete: bool,
    start: usize,
    value: usize,
    end: usize,
}

/// How much of a batch there was at some moment, to come back to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Savepoint {
    bytes: usize,
    writes: usize,
}

impl WriteBatch {
    /// Adds a write of `value`.
    pub fn put(&mut self, table: Table, key: &[u8], value: &[u8]) {
        self.put_with(table, key, |out| out.extend_from_slice(value));
    }

    /// Adds a write whose value `encode` appends to the buffer it is given.
    pub fn put_with(&mut self, table: Table, key: &[u8], encode: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(key);
        let value = self.bytes.len();
        encode(&mut self.bytes);
        let end = self.bytes.len();
        self.writes.push(Span { table, delete: false, start, value, end });
    }

    /// Adds a deletion.
    pub fn delete(&mut self, table: Table, key: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(key);
        let end = self.bytes.len();
        self.writes.push(Span { table, delete: true, start, value: end, end });
    }

    /// The writes, in order.
    pub fn iter(&self) -> impl Iterator<Item = Write<'_>> {
        self.writes.iter().map(|span| self.write_of(span))
    }

    /// How many writes there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.writes.len()
    }

    /// Whether there is nothing to write.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// Bytes of all keys and values.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Empties the batch; buffers above `keep` bytes are given back.
    pub fn clear(&mut self, keep: usize) {
        self.bytes.clear();
        self.bytes.shrink_to(keep);
        self.writes.clear();
        self.writes.shrink_to(keep / 64);
    }

    pub(crate) fn get(&self, index: usize) -> Write<'_> {
        self.write_of(&self.writes[index])
    }

    pub(crate) const fn savepoint(&self) -> Savepoint {
        Savepoint { bytes: self.bytes.len(), writes: self.writes.len() }
    }

    pub(crate) fn roll_back(&mut self, savepoint: Savepoint) {
        assert!(savepoint.writes <= self.writes.len(), "a savepoint lies behind");
        self.bytes.truncate(savepoint.bytes);
        self.writes.truncate(savepoint.writes);
    }

    fn write_of(&self, span: &Span) -> Write<'_> {
        Write {
            table: span.table,
            key: &self.bytes[span.start..span.value],
            value: (!span.delete).then(|| &self.bytes[span.value..span.end]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_back_what_was_put_and_forgets_what_was_rolled_back() {
        let mut batch = WriteBatch::default();
        batch.put(Table::Current, b"a", b"1");
        batch.delete(Table::Log, b"b");
        let savepoint = batch.savepoint();
        batch.put(Table::Meta, b"c", b"");
        batch.roll_back(savepoint);
        batch.put(Table::Deleted, b"d", b"2");
        let expected = [
            Write { table: Table::Current, key: b"a", value: Some(b"1") },
            Write { table: Table::Log, key: b"b", value: None },
            Write { table: Table::Deleted, key: b"d", value: Some(b"2") },
        ];
        assert_eq!(batch.iter().collect::<Vec<_>>(), expected);
        batch.clear(0);
        assert!(batch.is_empty());
        assert_eq!(batch.bytes(), 0);
    }
}
