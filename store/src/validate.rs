//! etcd's checks of a request before it enters the log. They are about the request alone, never
//! about the store's state; apply does not rely on them.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::command::codec::DEPTH_MAX;
use crate::command::{Compare, DeleteRange, KeyRange, Op, Put, Range, Txn};
use crate::types::LeaseId;

/// What is wrong with a request; each is one of etcd's errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// A key is empty.
    #[error("key is not provided")]
    EmptyKey,
    /// `ignore_value` together with a value.
    #[error("value is provided")]
    ValueProvided,
    /// `ignore_lease` together with a lease.
    #[error("lease is provided")]
    LeaseProvided,
    /// More compares or operations than allowed, or txns deeper in each other than the log takes.
    #[error("too many operations in txn request")]
    TooManyOps,
    /// One list of operations puts a key twice, or puts a key that it also deletes.
    #[error("duplicate key given in txn request")]
    DuplicateKey,
}

/// Checks a range.
///
/// # Errors
/// What is wrong with it.
pub fn range(range: &Range) -> Result<(), Invalid> {
    key_range(&range.range)
}

/// Checks a put.
///
/// # Errors
/// What is wrong with it.
pub fn put(put: &Put) -> Result<(), Invalid> {
    if put.key.is_empty() {
        return Err(Invalid::EmptyKey);
    }
    if put.ignore_value && !put.value.is_empty() {
        return Err(Invalid::ValueProvided);
    }
    if put.ignore_lease && put.lease != LeaseId::NONE {
        return Err(Invalid::LeaseProvided);
    }
    Ok(())
}

/// Checks a delete.
///
/// # Errors
/// What is wrong with it.
pub fn delete_range(delete: &DeleteRange) -> Result<(), Invalid> {
    key_range(&delete.range)
}

/// Checks a txn that may hold `ops_max` compares, or operations in a branch. A txn inside it may
/// hold what its parent's own largest list leaves over.
///
/// # Errors
/// What is wrong with it; requests first, then the keys they put and delete.
pub fn txn(txn: &Txn, ops_max: usize) -> Result<(), Invalid> {
    requests(txn, ops_max, 1)?;
    for branch in [&txn.success, &txn.failure] {
        Intervals::of(branch)?;
    }
    Ok(())
}

fn key_range(range: &KeyRange) -> Result<(), Invalid> {
    if range.key.is_empty() { Err(Invalid::EmptyKey) } else { Ok(()) }
}

fn requests(txn: &Txn, ops_max: usize, depth: usize) -> Result<(), Invalid> {
    let largest = txn.compare.len().max(txn.success.len()).max(txn.failure.len());
    if largest > ops_max || depth > DEPTH_MAX {
        return Err(Invalid::TooManyOps);
    }
    for Compare { range, .. } in &txn.compare {
        key_range(range)?;
    }
    for op in txn.success.iter().chain(&txn.failure) {
        match op {
            Op::Range(op) => range(op)?,
            Op::Put(op) => put(op)?,
            Op::DeleteRange(op) => delete_range(op)?,
            Op::Txn(op) => requests(op, ops_max - largest, depth + 1)?,
        }
    }
    Ok(())
}

/// What one list of operations puts and deletes, nested txns included.
#[derive(Default)]
struct Intervals {
    puts: BTreeSet<Bytes>,
    /// Half-open intervals, start to end, none touching another: a request of many thousand small
    /// operations must not cost their product. One that ends at or before its start covers
    /// nothing, and a delete from a key on is such a one: etcd overlooks it, so a put may follow
    /// it in the same list.
    deletes: BTreeMap<Bytes, Bytes>,
}

impl Intervals {
    fn of(ops: &[Op]) -> Result<Self, Invalid> {
        let mut all = Self::default();
        for op in ops {
            if let Op::DeleteRange(delete) = op {
                let (start, end) = half_open(&delete.range);
                all.delete(start, end);
            }
        }
        for op in ops {
            if let Op::Txn(txn) = op {
                all.join(Self::of_txn(txn)?)?;
            }
        }
        for op in ops {
            if let Op::Put(put) = op {
                all.put(put.key.clone())?;
            }
        }
        Ok(all)
    }

    /// Only one branch will run, so the two may put and delete the same keys.
    fn of_txn(txn: &Txn) -> Result<Self, Invalid> {
        let mut either = Self::of(&txn.success)?;
        let failure = Self::of(&txn.failure)?;
        either.puts.extend(failure.puts);
        for (start, end) in failure.deletes {
            either.delete(start, end);
        }
        Ok(either)
    }

    fn put(&mut self, key: Bytes) -> Result<(), Invalid> {
        if self.deletes(&key) || !self.puts.insert(key) {
            return Err(Invalid::DuplicateKey);
        }
        Ok(())
    }

    fn delete(&mut self, mut start: Bytes, mut end: Bytes) {
        if end <= start {
            return;
        }
        while let Some((before, until)) = self.deletes.range::<Bytes, _>(..=&end).next_back() {
            if *until < start {
                break;
            }
            let before = before.clone();
            end = end.max(until.clone());
            start = start.min(before.clone());
            self.deletes.remove(&before);
        }
        self.deletes.insert(start, end);
    }

    fn deletes(&self, key: &Bytes) -> bool {
        self.deletes.range::<Bytes, _>(..=key).next_back().is_some_and(|(_, end)| key < end)
    }

    /// Takes in what a nested txn puts and deletes. Its deletes are held against the puts that
    /// come after it, not against those of an earlier nested txn: etcd lets that pass.
    fn join(&mut self, nested: Self) -> Result<(), Invalid> {
        for key in nested.puts {
            self.put(key)?;
        }
        for (start, end) in nested.deletes {
            self.delete(start, end);
        }
        Ok(())
    }
}

fn half_open(range: &KeyRange) -> (Bytes, Bytes) {
    if range.end.is_empty() {
        let mut end = Vec::with_capacity(range.key.len() + 1);
        end.extend_from_slice(&range.key);
        end.push(0);
        return (range.key.clone(), Bytes::from(end));
    }
    (range.key.clone(), range.end.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn b(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    fn op_put(key: &'static str) -> Op {
        Op::Put(Put { key: b(key), ..Put::default() })
    }

    fn op_delete(key: &'static str, end: &'static str) -> Op {
        let range = KeyRange { key: b(key), end: b(end) };
        Op::DeleteRange(DeleteRange { range, prev_kv: false })
    }

    fn op_txn(success: Vec<Op>, failure: Vec<Op>) -> Op {
        Op::Txn(Txn { compare: vec![], success, failure })
    }

    fn check(success: Vec<Op>) -> Result<(), Invalid> {
        txn(&Txn { success, ..Txn::default() }, 128)
    }

    #[test]
    fn single_requests() {
        let full = Put { key: b("k"), value: b("v"), lease: LeaseId(1), ..Put::default() };
        assert_eq!(put(&full), Ok(()));
        assert_eq!(put(&Put { key: b(""), ..full.clone() }), Err(Invalid::EmptyKey));
        let ignore = Put { ignore_value: true, ..full.clone() };
        assert_eq!(put(&ignore), Err(Invalid::ValueProvided));
        assert_eq!(put(&Put { ignore_lease: true, ..full }), Err(Invalid::LeaseProvided));
        assert_eq!(range(&Range::default()), Err(Invalid::EmptyKey));
        assert_eq!(delete_range(&DeleteRange::default()), Err(Invalid::EmptyKey));
    }

    #[test]
    fn budgets_are_handed_down() {
        let ops = |n| (0..n).map(|_| op_delete("k", "")).collect::<Vec<_>>();
        let bounded = |success, max| txn(&Txn { success, ..Txn::default() }, max);
        assert_eq!(bounded(ops(128), 128), Ok(()));
        assert_eq!(bounded(ops(129), 128), Err(Invalid::TooManyOps));
        let mut parent = vec![op_txn(ops(3), vec![])];
        assert_eq!(bounded(parent.clone(), 4), Ok(()));
        parent.push(op_delete("k", ""));
        assert_eq!(bounded(parent, 4), Err(Invalid::TooManyOps));
    }

    #[test]
    fn txns_deeper_than_the_log_takes_are_refused() {
        let deepen = |txn, _| Txn { success: vec![Op::Txn(txn)], ..Txn::default() };
        let nested = |depth| (1..depth).fold(Txn::default(), deepen);
        assert_eq!(txn(&nested(DEPTH_MAX), 1000), Ok(()));
        assert_eq!(txn(&nested(DEPTH_MAX + 1), 1000), Err(Invalid::TooManyOps));
    }

    #[test]
    fn duplicate_keys() {
        let twice = Err(Invalid::DuplicateKey);
        assert_eq!(check(vec![op_put("a"), op_put("a")]), twice);
        assert_eq!(check(vec![op_put("a"), op_delete("a", "")]), twice);
        assert_eq!(check(vec![op_delete("a", "c"), op_put("b")]), twice);
        assert_eq!(check(vec![op_delete("a", "b"), op_put("b")]), Ok(()));
        assert_eq!(check(vec![op_delete("a", "c"), op_delete("b", "d")]), Ok(()));
        assert_eq!(check(vec![op_delete("a", "\0"), op_put("z")]), Ok(()));
        let both = Txn { compare: vec![], success: vec![op_put("a")], failure: vec![op_put("a")] };
        assert_eq!(txn(&both, 128), Ok(()));
        assert_eq!(check(vec![op_txn(vec![op_put("a")], vec![op_put("a")])]), Ok(()));
        assert_eq!(check(vec![op_put("a"), op_txn(vec![op_put("a")], vec![])]), twice);
        assert_eq!(check(vec![op_put("a"), op_txn(vec![], vec![op_delete("a", "b")])]), twice);
        assert_eq!(check(vec![op_delete("a", "b"), op_txn(vec![op_put("a")], vec![])]), twice);
        let nested = || op_txn(vec![op_put("a")], vec![]);
        assert_eq!(check(vec![nested(), nested()]), twice);
    }
}
