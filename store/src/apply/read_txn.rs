//! A txn of nothing but ranges, answered from a view: it changes nothing, so it needs no entry in
//! the log.

use std::ops::ControlFlow;

use crate::command::{Op, Range, Txn};
use crate::error::ReadError;
use crate::mvcc::interval::Interval;
use crate::mvcc::view::View;
use crate::response::{OpResponse, RangeResponse, TxnResponse};

use super::read::all_hold;
use super::txn::taken;

impl View {
    /// Answers a txn whose operations, in both branches, are ranges.
    ///
    /// # Errors
    /// A range of the branch that runs asks for a revision that cannot be read; or the store
    /// failed.
    ///
    /// # Panics
    /// When an operation is not a range: the caller tells such txns apart.
    pub fn read_txn(&self, txn: &Txn) -> Result<TxnResponse, ReadError> {
        let mut succeeded = true;
        for compare in &txn.compare {
            let interval = Interval::of(&compare.range);
            succeeded = succeeded && all_hold(self.snapshot(), compare, &interval)?;
        }
        let mut response =
            TxnResponse { revision: self.revision(), succeeded, ..TxnResponse::default() };
        for op in taken(txn, succeeded) {
            let Op::Range(range) = op else { panic!("a txn that only reads holds only ranges") };
            response.responses.push(OpResponse::Range(self.range_response(range)?));
        }
        Ok(response)
    }

    /// Inside a txn only 0 is the current revision; less is below any compacted one.
    fn range_response(&self, range: &Range) -> Result<RangeResponse, ReadError> {
        let asked = range.revision;
        if asked.0 != 0 && asked > self.revision() {
            return Err(ReadError::FutureRevision);
        }
        if asked.0 != 0 && asked < self.compacted() {
            return Err(ReadError::Compacted);
        }
        let mut kvs = Vec::new();
        let summary = self.range(range, &mut |row| {
            kvs.push(row.to_owned());
            ControlFlow::Continue(())
        })?;
        let revision = self.revision();
        Ok(RangeResponse { revision, kvs, more: summary.more, count: summary.count })
    }
}
