//! Round trips, and what is refused.

use super::*;
use crate::command::{Expiry, LeaseCheckpoint, LeaseGrant, LeaseRevoke, Remaining};
use crate::types::{LogIndex, Term};

fn b(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

fn everything() -> Vec<Command> {
    let put = Put {
        key: b("k"),
        value: b("a value"),
        lease: LeaseId(i64::MIN),
        prev_kv: true,
        ignore_value: false,
        ignore_lease: true,
    };
    let delete = DeleteRange { range: KeyRange { key: b("a"), end: b("\0") }, prev_kv: true };
    let range = Range {
        range: KeyRange { key: b("x"), end: b("y") },
        limit: -3,
        revision: Revision(i64::MAX),
        sort_order: SortOrder::Descend,
        sort_target: SortTarget::Value,
        keys_only: true,
        count_only: true,
        min_mod_revision: Revision(1),
        max_mod_revision: Revision(2),
        min_create_revision: Revision(3),
        max_create_revision: Revision(-4),
    };
    let compare =
        |result, target| Compare { range: KeyRange { key: b("c"), end: b("") }, result, target };
    let txn = Txn {
        compare: vec![
            compare(CompareResult::Equal, CompareTarget::Version(1)),
            compare(CompareResult::Greater, CompareTarget::Create(Revision(2))),
            compare(CompareResult::Less, CompareTarget::Mod(Revision(3))),
            compare(CompareResult::NotEqual, CompareTarget::Value(b("v"))),
            compare(CompareResult::Equal, CompareTarget::Lease(LeaseId(4))),
        ],
        success: vec![Op::Put(put.clone()), Op::Range(range), Op::Txn(Txn::default())],
        failure: vec![Op::DeleteRange(delete.clone())],
    };
    let expiry = Expiry { term: Term(u64::MAX), granted: LogIndex(400) };
    let left = Remaining { id: LeaseId(-4), granted: LogIndex(7), ttl: 1 << 40 };
    vec![
        Command::Put(put),
        Command::DeleteRange(delete),
        Command::Txn(txn),
        Command::Compact(Compact { revision: Revision(300) }),
        Command::LeaseGrant(LeaseGrant { id: LeaseId(i64::MAX), ttl: -1 }),
        Command::LeaseRevoke(LeaseRevoke { id: LeaseId(9), expiry: None }),
        Command::LeaseRevoke(LeaseRevoke { id: LeaseId(9), expiry: Some(expiry) }),
        Command::LeaseCheckpoint(LeaseCheckpoint { term: Term(3), leases: vec![left, left] }),
    ]
}

fn nested(depth: usize) -> Command {
    let deepen = |txn, _| Txn { success: vec![Op::Txn(txn)], ..Txn::default() };
    Command::Txn((1..depth).fold(Txn::default(), deepen))
}

#[test]
fn round_trips_without_copying() {
    let commands = everything();
    let bytes = encode(&commands);
    let back = decode(&bytes).unwrap();
    assert_eq!(back, commands);
    let Command::Put(put) = &back[0] else { panic!("a put comes first") };
    assert!(bytes.as_ptr_range().contains(&put.value.as_ptr()));
    assert_eq!(decode(&encode(&[])), Ok(vec![]));
}

/// Logs and snapshots of earlier versions hold these bytes.
#[test]
fn old_bytes_keep_their_meaning() {
    let old = Bytes::from_static(&[1, 2, 6, 1, 0, 14, 1, b'k', 0, 3, 4, 0xd8, 4]);
    let put = Put { key: b("k"), lease: LeaseId(7), ..Put::default() };
    let compact = Compact { revision: Revision(300) };
    assert_eq!(decode(&old), Ok(vec![Command::Put(put), Command::Compact(compact)]));
    let grant = Bytes::from_static(&[1, 1, 3, 6, 14, 120]);
    let granted = LeaseGrant { id: LeaseId(7), ttl: 60 };
    assert_eq!(decode(&grant), Ok(vec![Command::LeaseGrant(granted)]));
}

#[test]
fn every_prefix_and_every_longer_one_is_refused() {
    let bytes = encode(&everything());
    for cut in 0..bytes.len() {
        assert!(decode(&bytes.slice(..cut)).is_err(), "cut at {cut}");
    }
    let longer = Bytes::from([&bytes[..], b"x"].concat());
    assert_eq!(decode(&longer), Err(DecodeError::Trailing(1)));
}

#[test]
fn any_changed_byte_decodes_or_is_refused_but_never_panics() {
    let bytes = encode(&everything());
    let mut refused = 0;
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut changed = bytes.to_vec();
            changed[at] ^= 1 << bit;
            refused += usize::from(decode(&Bytes::from(changed)).is_err());
        }
    }
    assert!(refused > bytes.len());
}

#[test]
fn nesting_and_lengths_are_bounded() {
    let deepest = [nested(DEPTH_MAX)];
    assert_eq!(decode(&encode(&deepest)).unwrap(), deepest);
    assert_eq!(decode(&encode(&[nested(DEPTH_MAX + 1)])), Err(DecodeError::TooDeep));
    let huge = [VERSION, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
    assert!(matches!(decode(&Bytes::from(huge.to_vec())), Err(DecodeError::Truncated(_))));
    let newer = Bytes::from_static(&[VERSION + 1, 0]);
    assert_eq!(decode(&newer), Err(DecodeError::Version(2)));
}
