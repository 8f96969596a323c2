//! The model's own laws, each from the text of etcd's semantics and tried on etcd 3.5.1.

use super::*;

fn key(key: &'static str) -> KeyRange {
    KeyRange { key: Bytes::from_static(key.as_bytes()), end: Bytes::new() }
}

fn from(lo: &'static str, end: &'static str) -> KeyRange {
    KeyRange { end: Bytes::from_static(end.as_bytes()), ..key(lo) }
}

fn put(name: &'static str, value: &'static str) -> Put {
    Put { key: key(name).key, value: Bytes::from_static(value.as_bytes()), ..Put::default() }
}

fn delete(range: KeyRange) -> DeleteRange {
    DeleteRange { range, prev_kv: true }
}

fn all() -> Range {
    Range { range: from("\0", "\0"), ..Range::default() }
}

fn success(ops: Vec<Op>) -> Command {
    Command::Txn(Txn { success: ops, ..Txn::default() })
}

fn with(keys: &[(&'static str, &'static str)]) -> Model {
    let mut model = Model::default();
    for (name, value) in keys {
        model.apply(&Command::Put(put(name, value))).expect("a plain put");
    }
    model
}

fn names(response: &RangeResponse) -> Vec<&[u8]> {
    response.kvs.iter().map(|row| &row.key[..]).collect()
}

#[test]
fn versions_start_anew_after_a_deletion() {
    let mut model = with(&[("a", "1"), ("a", "2")]);
    model.apply(&Command::DeleteRange(delete(key("a")))).expect("deletes");
    model.apply(&Command::Put(put("a", "3"))).expect("puts");
    let at = |revision| {
        let rows = model.range(&Range { revision: Revision(revision), ..all() }).expect("kept").kvs;
        rows.first().map(|row| (row.create_revision.0, row.mod_revision.0, row.version))
    };
    assert_eq!([at(1), at(2), at(3)], [None, Some((2, 2, 1)), Some((2, 3, 2))]);
    assert_eq!([at(4), at(5)], [None, Some((5, 5, 1))]);
}

#[test]
fn a_delete_of_nothing_makes_no_revision() {
    let mut model = with(&[("a", "1")]);
    let nothing = model.apply(&Command::DeleteRange(delete(key("b"))));
    let expected = DeleteRangeResponse { revision: Revision(2), deleted: 0, prev_kvs: vec![] };
    assert_eq!(nothing, Ok(Response::DeleteRange(expected)));
    assert_eq!(model.revision(), Revision(2));
}

#[test]
fn compaction_refuses_what_is_below_and_keeps_what_is_at() {
    let mut model = with(&[("a", "1"), ("b", "2"), ("a", "3")]);
    let compact = |model: &mut Model, at| {
        model.apply(&Command::Compact(Compact { revision: Revision(at) })).map(|_| ())
    };
    assert_eq!(compact(&mut model, -1), Err(Rejection::Compacted));
    assert_eq!(compact(&mut model, 0), Ok(()));
    assert_eq!(compact(&mut model, 0), Err(Rejection::Compacted));
    assert_eq!(compact(&mut model, 5), Err(Rejection::FutureRevision));
    assert_eq!(compact(&mut model, 3), Ok(()));
    let at = |revision| model.range(&Range { revision: Revision(revision), ..all() });
    assert_eq!(at(2), Err(Rejection::Compacted));
    assert_eq!(at(3).expect("kept").kvs[0].value, "1");
    assert_eq!(at(5), Err(Rejection::FutureRevision));
}

#[test]
fn a_txn_sees_its_own_writes_and_compares_the_state_before() {
    let mut model = with(&[("a", "1")]);
    let is_new = |name| Compare {
        range: key(name),
        result: CompareResult::Equal,
        target: CompareTarget::Version(0),
    };
    let inner =
        Txn { compare: vec![is_new("b")], success: vec![Op::Range(all())], failure: vec![] };
    let outcome = model.apply(&success(vec![Op::Put(put("b", "2")), Op::Txn(inner)]));
    let Ok(Response::Txn(TxnResponse { responses, revision, .. })) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(revision, Revision(3));
    let [OpResponse::Put(_), OpResponse::Txn(inner)] = &responses[..] else {
        panic!("{responses:?}")
    };
    assert!(inner.succeeded, "b was missing before the txn");
    let OpResponse::Range(rows) = &inner.responses[0] else { panic!("{inner:?}") };
    assert_eq!((names(rows), rows.revision), (vec![&b"a"[..], b"b"], Revision(3)));
}

#[test]
fn a_missing_key_compares_as_zeros_and_never_by_value() {
    let model = with(&[]);
    let holds = |target, result| model.holds(&Compare { range: key("a"), result, target });
    assert!(holds(CompareTarget::Mod(Revision(0)), CompareResult::Equal));
    assert!(holds(CompareTarget::Lease(LeaseId(1)), CompareResult::Less));
    assert!(!holds(CompareTarget::Value(Bytes::new()), CompareResult::Equal));
    assert!(!holds(CompareTarget::Value(Bytes::from_static(b"x")), CompareResult::NotEqual));
}

#[test]
fn what_is_deleted_under_an_ignoring_put_refuses_the_whole_txn() {
    let mut model = with(&[("z", "1")]);
    let keep = Put { ignore_value: true, ..put("z", "") };
    let fatal = success(vec![
        Op::Put(put("a", "2")),
        Op::DeleteRange(delete(from("m", "\0"))),
        Op::Put(keep),
    ]);
    assert_eq!(model.apply(&fatal), Err(Rejection::KeyNotFound));
    let left = model.range(&all()).expect("readable");
    assert_eq!((names(&left), left.revision), (vec![&b"z"[..]], Revision(2)));
}

#[test]
fn a_limit_without_an_order_sorts_only_what_it_walked() {
    let model = with(&[("c", "1"), ("b", "2"), ("a", "3")]);
    let by_mod = Range { limit: 1, sort_target: SortTarget::Mod, ..all() };
    let quirk = model.range(&by_mod).expect("readable");
    assert_eq!((names(&quirk), quirk.more, quirk.count), (vec![&b"b"[..]], true, 3));
    let ascend = Range { sort_order: SortOrder::Ascend, ..by_mod.clone() };
    assert_eq!(names(&model.range(&ascend).expect("readable")), [b"c"]);
    // A filter lifts the quirk.
    let filtered = Range { min_mod_revision: Revision(1), ..by_mod };
    assert_eq!(names(&model.range(&filtered).expect("readable")), [b"c"]);
}

#[test]
fn count_knows_neither_limit_nor_filter() {
    let model = with(&[("a", "1"), ("b", "2"), ("c", "3")]);
    let few = Range { limit: 1, max_mod_revision: Revision(2), ..all() };
    let rows = model.range(&few).expect("readable");
    assert_eq!((names(&rows), rows.more, rows.count), (vec![&b"a"[..]], false, 3));
    let only = model.range(&Range { count_only: true, ..few }).expect("readable");
    assert_eq!((only.kvs.len(), only.more, only.count), (0, false, 3));
}

#[test]
fn revisions_inside_a_txn_are_held_against_the_state_before_it() {
    let mut model = with(&[("a", "1")]);
    let at = |revision| Op::Range(Range { revision: Revision(revision), ..all() });
    let mut run = |ops| model.apply(&success(ops)).map(|_| ());
    assert_eq!(run(vec![Op::Put(put("b", "2")), at(3)]), Err(Rejection::FutureRevision));
    assert_eq!(run(vec![Op::Put(put("b", "2")), at(2)]), Ok(()));
    assert_eq!(run(vec![at(-1)]), Ok(()));
    assert_eq!(run(vec![at(-2)]), Err(Rejection::Compacted));
    let unknown = Put { lease: LeaseId(9), ..put("c", "3") };
    assert_eq!(run(vec![at(99), Op::Put(unknown)]), Err(Rejection::LeaseNotFound));
}

#[test]
fn a_negative_revision_after_a_compaction_is_compacted_in_a_txn_and_current_outside() {
    let mut model = with(&[("a", "1")]);
    model.apply(&Command::Compact(Compact { revision: Revision(1) })).expect("compacts");
    let negative = Range { revision: Revision(-1), ..all() };
    assert_eq!(model.range(&negative).map(|rows| rows.count), Ok(1));
    assert_eq!(model.apply(&success(vec![Op::Range(negative)])), Err(Rejection::Compacted));
}
