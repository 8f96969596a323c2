//! The rules of membership changes as a table, and their bytes.

use super::super::change_wire::{
    Answer, decode_answer, decode_change, encode_answer, encode_change,
};
use super::*;

/// Three started, voting members that all answer.
fn three() -> Situation {
    let ids = || (1..=3).map(MemberId);
    Situation {
        members: ids().map(|id| row(id.0, true)).collect(),
        removed: BTreeSet::from([MemberId(9)]),
        active: ids().collect(),
        in_sync: BTreeSet::new(),
        agreed: Agreed::default(),
        strict: true,
        learners_max: 1,
    }
}

fn url(id: u64) -> String {
    format!("http://h{id}:2380")
}

fn row(id: u64, voting: bool) -> Row {
    let name = format!("m{id}");
    let member = Member { name, peer_urls: vec![url(id)], ..Member::default() };
    Row { id: MemberId(id), member, voting }
}

fn add(id: u64, learner: bool) -> Change {
    Change::Add { id: MemberId(id), learner, peer_urls: vec![url(id)] }
}

fn remove(id: u64) -> Change {
    Change::Remove(MemberId(id))
}

fn promote(id: u64) -> Change {
    Change::Promote(MemberId(id))
}

fn unstarted(situation: &mut Situation, id: u64) {
    let row = situation.members.iter_mut().find(|row| row.id.0 == id).unwrap();
    row.member.name.clear();
}

fn refused(situation: &Situation, change: &Change) -> Option<ChangeError> {
    situation.decide(change, false).err()
}

#[test]
fn a_healthy_cluster_takes_changes() {
    let mut three = three();
    three.members.push(row(4, false));
    three.in_sync.insert(MemberId(4));
    assert!(matches!(three.decide(&add(5, false), false), Ok(Step::Set(_, m)) if m.joining));
    assert_eq!(three.decide(&remove(3), false), Ok(Step::RemoveVoter(MemberId(3))));
    assert_eq!(three.decide(&remove(4), false), Ok(Step::RemoveLearner(MemberId(4))));
    assert_eq!(three.decide(&promote(4), false), Ok(Step::Vote(MemberId(4))));
    three.learners_max = 2;
    assert!(matches!(three.decide(&add(5, true), false), Ok(Step::Set(_, m)) if !m.joining));
}

#[test]
fn what_is_not_there_or_taken_is_refused() {
    let mut three = three();
    three.members.push(row(4, false));
    let taken = Change::Add { id: MemberId(5), learner: true, peer_urls: vec![url(2)] };
    let moved = |id, to| Change::Update { id: MemberId(id), peer_urls: vec![url(to)] };
    for (change, error) in [
        (add(2, false), ChangeError::MemberExists),
        (add(9, false), ChangeError::MemberExists), // it was removed once
        (taken, ChangeError::PeerUrlExists),
        (add(5, true), ChangeError::TooManyLearners),
        (remove(7), ChangeError::NotFound),
        (promote(7), ChangeError::NotFound),
        (promote(2), ChangeError::NotLearner),
        (promote(4), ChangeError::LearnerNotReady),
        (moved(7, 7), ChangeError::NotFound),
        (moved(1, 2), ChangeError::PeerUrlExists),
    ] {
        assert_eq!(refused(&three, &change), Some(error), "{change:?}");
    }
    assert_eq!(three.decide(&moved(1, 1), false), Ok(Step::Done));
}

#[test]
fn strict_checks_keep_a_quorum_of_started_members() {
    let mut three = three();
    unstarted(&mut three, 3);
    unstarted(&mut three, 2);
    assert_eq!(refused(&three, &add(4, false)), Some(ChangeError::NotEnoughStarted));
    assert_eq!(refused(&three, &remove(1)), Some(ChangeError::NotEnoughStarted));
    three.strict = false;
    assert_eq!(refused(&three, &add(4, false)), None);

    let mut one = self::three();
    one.members.truncate(1);
    assert_eq!(refused(&one, &add(2, false)), None, "the first companion");
    assert_eq!(refused(&one, &remove(1)), Some(ChangeError::NotEnoughStarted), "the last one");
}

#[test]
fn strict_checks_keep_a_quorum_of_answering_members() {
    let mut three = three();
    three.active.remove(&MemberId(3));
    // Four members need three that answer; who is down may go, who is up may not.
    assert_eq!(refused(&three, &add(4, false)), Some(ChangeError::Unhealthy));
    assert_eq!(refused(&three, &add(4, true)), Some(ChangeError::Unhealthy));
    assert_eq!(refused(&three, &remove(3)), None);
    assert_eq!(refused(&three, &remove(2)), Some(ChangeError::Unhealthy));
    three.strict = false;
    assert_eq!(refused(&three, &remove(2)), None);
}

/// A voter that answers does not make up for those that do not.
#[test]
fn who_is_to_vote_leaves_a_quorum_that_answers() {
    let mut three = three();
    three.members.push(row(4, false));
    three.in_sync.insert(MemberId(4));
    for (active, refusal) in [
        (vec![1, 2, 3], None),
        (vec![1, 2, 4], None),
        (vec![1, 2], Some(ChangeError::Unhealthy)),
        (vec![1, 4], Some(ChangeError::Unhealthy)),
    ] {
        three.active = active.iter().copied().map(MemberId).collect();
        assert_eq!(refused(&three, &promote(4)), refusal, "{active:?}");
    }
    three.strict = false;
    assert_eq!(refused(&three, &promote(4)), None);
}

#[test]
fn downgrades_begin_and_end_one_at_a_time() {
    let mut three = three();
    let (seven, six) = (Version::new(3, 7, 0), Version::new(3, 6, 0));
    let enable = |version: Version| Change::Downgrade(Some(version));
    let cancel = Change::Downgrade(None);
    assert_eq!(refused(&three, &enable(six)), Some(ChangeError::NoClusterVersion));
    three.agreed.version = Some(seven);
    assert_eq!(refused(&three, &enable(seven)), Some(ChangeError::BadDowngradeTarget));
    assert_eq!(refused(&three, &cancel), Some(ChangeError::NoDowngrade));
    let begins = Ok(Step::Agree(Agreement::Downgrade(Some(six))));
    assert_eq!(three.decide(&enable(Version::new(3, 6, 5)), false), begins);
    three.agreed.downgrade = Some(six);
    assert_eq!(refused(&three, &enable(six)), Some(ChangeError::DowngradeRuns));
    assert_eq!(three.decide(&enable(six), true), Ok(Step::Done));
    let ends = Ok(Step::Agree(Agreement::Downgrade(None)));
    assert_eq!(three.decide(&cancel, false), ends);
}

#[test]
fn a_change_that_was_made_already_may_be_asked_for_again() {
    let mut three = three();
    three.members.push(row(4, true));
    for change in [add(4, false), remove(9), promote(4)] {
        assert_eq!(three.decide(&change, true), Ok(Step::Done), "{change:?}");
        assert!(three.decide(&change, false).is_err(), "{change:?}");
    }
}

#[test]
fn changes_and_answers_come_back_as_they_were() {
    let id = MemberId(7);
    let urls = vec![url(1), url(2)];
    let version = Version::new(3, 7, 1);
    let publish = Change::Publish { id, name: "n".to_owned(), client_urls: urls.clone(), version };
    let update = Change::Update { id, peer_urls: urls };
    let (down, up) = (Change::Downgrade(Some(version)), Change::Downgrade(None));
    for change in [publish, add(1, true), remove(2), update, promote(3), down, up] {
        for again in [false, true] {
            let bytes = encode_change(&change, again);
            assert_eq!(decode_change(bytes.clone()).unwrap(), (change.clone(), again));
            for len in 0..bytes.len() {
                assert!(decode_change(bytes.slice(..len)).is_err(), "{change:?} cut to {len}");
            }
        }
    }
    let refusals = ChangeError::ALL.map(Answer::Refused);
    for answer in [Answer::Made(three().members), Answer::Again].into_iter().chain(refusals) {
        let bytes = encode_answer(&answer);
        assert_eq!(decode_answer(bytes.clone()).unwrap(), answer);
        for len in 0..bytes.len() {
            assert!(decode_answer(bytes.slice(..len)).is_err(), "{answer:?} cut to {len}");
        }
    }
}
