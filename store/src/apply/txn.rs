//! Txns. Compares look at the state before the txn, nested ones included; each operation is then
//! checked against the state it will really see. etcd checks it against the state before the txn
//! instead and trusts the check, which lets one request stop every member for good.

use crate::command::{Compare, CompareResult, CompareTarget, Op, Txn};
use crate::mvcc::interval::Interval;
use crate::response::{OpResponse, RangeResponse, Rejection, TxnResponse};
use crate::types::{KeyMeta, LeaseId, Revision};

use super::machine::{Failure, Machine};

/// What the compares of a txn said, and those of the txns in the branch it will take, in order.
struct Path {
    succeeded: bool,
    nested: Vec<Path>,
}

/// The revisions between which the ranges of a txn may ask: those before it.
#[derive(Clone, Copy)]
pub(super) struct Readable {
    pub(super) revision: Revision,
    pub(super) compacted: Revision,
}

impl Machine {
    pub(super) fn txn(&mut self, txn: &Txn) -> Result<TxnResponse, Failure> {
        let path = self.path(txn)?;
        let readable = Readable { revision: self.state.revision, compacted: self.state.compacted };
        // etcd checks all puts before it checks any range, so a put's mistake is answered first.
        let mut refused = None;
        let response = self.branch(txn, &path, readable, &mut refused)?;
        refused.map_or(Ok(response), |rejection| Err(Failure::Rejected(rejection)))
    }

    fn path(&mut self, txn: &Txn) -> Result<Path, Failure> {
        let mut succeeded = true;
        for compare in &txn.compare {
            // All are looked at for their shape, as many as needed for their truth.
            if compare.range.key.is_empty() {
                return Err(Rejection::EmptyKey.into());
            }
            succeeded = succeeded && self.holds(compare)?;
        }
        let mut nested = Vec::new();
        for op in taken(txn, succeeded) {
            if let Op::Txn(txn) = op {
                nested.push(self.path(txn)?);
            }
        }
        Ok(Path { succeeded, nested })
    }

    fn branch(
        &mut self,
        txn: &Txn,
        path: &Path,
        readable: Readable,
        refused: &mut Option<Rejection>,
    ) -> Result<TxnResponse, Failure> {
        let mut nested = path.nested.iter();
        let mut response = TxnResponse { succeeded: path.succeeded, ..TxnResponse::default() };
        for op in taken(txn, path.succeeded) {
            response.responses.push(match op {
                Op::Range(range) => OpResponse::Range(match self.range_in_txn(range, readable) {
                    Err(Failure::Rejected(rejection)) => {
                        refused.get_or_insert(rejection);
                        RangeResponse::default()
                    }
                    done => done?,
                }),
                Op::Put(put) => OpResponse::Put(self.put_in_txn(put)?),
                Op::DeleteRange(delete) => OpResponse::DeleteRange(self.delete_range(delete)?),
                Op::Txn(txn) => {
                    let path = nested.next().expect("the path has every txn of the branch");
                    OpResponse::Txn(self.branch(txn, path, readable, refused)?)
                }
            });
        }
        response.revision = self.reached();
        Ok(response)
    }

    /// Whether every key of the compare's interval relates to the given value as asked; where
    /// there is no key, whether nothing does.
    fn holds(&mut self, compare: &Compare) -> Result<bool, Failure> {
        let interval = Interval::of(&compare.range);
        let Some(key) = interval.single() else { return self.all_hold(compare, &interval) };
        let by_value = matches!(compare.target, CompareTarget::Value(_));
        Ok(match self.prior(key, |_| by_value)? {
            Some(prior) => relates(compare, &prior.meta, prior.value.as_deref().unwrap_or(&[])),
            None => holds_for_nothing(compare),
        })
    }
}

pub(super) fn taken(txn: &Txn, succeeded: bool) -> &[Op] {
    if succeeded { &txn.success } else { &txn.failure }
}

/// A missing key has zeros for everything but the value, and no value is in no relation to any.
pub(super) fn holds_for_nothing(compare: &Compare) -> bool {
    match compare.target {
        CompareTarget::Value(_) => false,
        CompareTarget::Version(_)
        | CompareTarget::Create(_)
        | CompareTarget::Mod(_)
        | CompareTarget::Lease(_) => relates(compare, &KeyMeta::default(), &[]),
    }
}

pub(super) fn relates(compare: &Compare, meta: &KeyMeta, value: &[u8]) -> bool {
    let LeaseId(lease) = meta.lease;
    let order = match &compare.target {
        CompareTarget::Version(given) => meta.version.cmp(given),
        CompareTarget::Create(given) => meta.create.cmp(given),
        CompareTarget::Mod(given) => meta.at.main.cmp(given),
        CompareTarget::Value(given) => value.cmp(given),
        CompareTarget::Lease(given) => lease.cmp(&given.0),
    };
    match compare.result {
        CompareResult::Equal => order.is_eq(),
        CompareResult::NotEqual => order.is_ne(),
        CompareResult::Greater => order.is_gt(),
        CompareResult::Less => order.is_lt(),
    }
}
