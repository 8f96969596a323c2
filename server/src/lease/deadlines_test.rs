//! The laws of deadlines, along a clock that the tests move.

use super::*;

const ID: LeaseId = LeaseId(7);
const NONE: [i64; 0] = [];

fn lease(id: i64, ttl: i64) -> Lease {
    Lease { id: LeaseId(id), ttl, remaining: 0, granted: LogIndex(3) }
}

fn one(ttl: i64, now: Millis) -> Deadlines {
    let mut deadlines = Deadlines::default();
    deadlines.granted(&lease(ID.0, ttl), now);
    deadlines
}

fn left(remaining: i64, granted: i64) -> Look {
    Look::Lives(TimeLeft { remaining, granted })
}

fn expired(deadlines: &mut Deadlines, now: Millis) -> Vec<i64> {
    deadlines.expired(now, usize::MAX).into_iter().map(|(id, _)| id.0).collect()
}

#[test]
fn a_lease_lives_its_ttl_and_no_less() {
    let mut deadlines = one(10, 1000);
    assert_eq!(deadlines.time_left(ID, 1000), left(10, 10));
    assert_eq!(deadlines.time_left(ID, 1001), left(9, 10));
    assert_eq!(expired(&mut deadlines, 10_999), NONE);
    assert_eq!(deadlines.time_left(ID, 10_999), left(0, 10));
    assert_eq!(deadlines.time_left(ID, 11_000), Look::Gone);
    assert_eq!(expired(&mut deadlines, 11_000), [7]);
    assert_eq!(expired(&mut deadlines, 99_000), NONE, "once is enough while it is under way");
}

#[test]
fn a_renewal_begins_anew_and_leaves_one_hint() {
    let mut deadlines = one(10, 0);
    for now in (9000..900_000).step_by(9000) {
        assert_eq!(deadlines.renew(ID, now), left(10, 10));
        assert_eq!(expired(&mut deadlines, now + 9999), NONE);
    }
    assert_eq!(deadlines.expiries.len(), 1);
    assert_eq!(expired(&mut deadlines, 891_000 + 10_000), [7]);
    assert_eq!(deadlines.renew(LeaseId(8), 0), Look::Gone);
}

/// L2: whoever asks for a lease that has run out waits for its end, and is never told that it lives.
#[test]
fn what_has_run_out_is_not_renewed() {
    let mut deadlines = one(10, 0);
    assert_eq!(deadlines.renew(ID, 10_000), Look::Again, "nobody has looked yet");
    assert_eq!(expired(&mut deadlines, 10_000), [7]);
    assert_eq!(deadlines.renew(ID, 10_001), Look::Again);
    deadlines.not_revoked(ID, LogIndex(3), 11_000);
    assert_eq!(deadlines.renew(ID, 10_500), Look::Again, "another try is to come");
    assert_eq!(deadlines.time_left(ID, 10_500), Look::Gone);
    assert_eq!(expired(&mut deadlines, 10_999), NONE);
    assert_eq!(expired(&mut deadlines, 11_000), [7]);
    deadlines.revoked(ID);
    assert_eq!(deadlines.renew(ID, 11_001), Look::Gone);
}

#[test]
fn an_id_that_is_granted_again_is_another_lease() {
    let mut deadlines = one(10, 0);
    assert_eq!(expired(&mut deadlines, 10_000), [7]);
    deadlines.revoked(ID);
    deadlines.granted(&Lease { granted: LogIndex(9), ..lease(ID.0, 20) }, 10_000);
    deadlines.not_revoked(ID, LogIndex(3), 10_000);
    assert_eq!(deadlines.renew(ID, 10_001), left(20, 20), "the old one's fate is not its own");
    assert_eq!(deadlines.expired(40_000, 9), [(ID, LogIndex(9))]);
}

#[test]
fn few_at_a_time_and_the_earliest_first() {
    let mut deadlines = Deadlines::default();
    for id in 1..=100 {
        deadlines.granted(&lease(id, 200 - id), 0);
    }
    let first: Vec<_> = deadlines.expired(1_000_000, 30).into_iter().map(|(id, _)| id.0).collect();
    assert_eq!(first, (71..=100).rev().collect::<Vec<_>>());
    assert_eq!(deadlines.next(), Some(50_000), "the next checkpoint");
    assert_eq!(expired(&mut deadlines, 1_000_000).len(), 70);
}

#[test]
fn hints_of_leases_that_are_gone_do_not_pile_up() {
    let mut deadlines = Deadlines::default();
    for id in 1..=20_000 {
        deadlines.granted(&lease(id, 3600), 0);
        deadlines.revoked(LeaseId(id));
        let granted = Lease { granted: LogIndex(9), ..lease(5, 3600) };
        deadlines.granted(&granted, 0);
    }
    assert_eq!(deadlines.leases.len(), 1);
    assert!(deadlines.expiries.len() <= STALE_HINTS_MAX + 3, "{}", deadlines.expiries.len());
    assert!(deadlines.checkpoints.len() <= STALE_HINTS_MAX + 3, "{}", deadlines.checkpoints.len());
    assert_eq!(expired(&mut deadlines, 3_600_000), [5]);
}

#[test]
fn a_new_leader_gives_what_was_left_and_never_less() {
    let noted = Lease { remaining: 40, ..lease(1, 100) };
    let odd = Lease { remaining: 400, ..lease(2, 100) };
    let negative = Lease { remaining: -1, ..lease(3, -5) };
    let mut deadlines = Deadlines::begin(&[noted, odd, negative, lease(4, 100)], 1000, 500);
    let at = |id| deadlines.deadline(LeaseId(id)).unwrap();
    assert_eq!([at(1), at(2), at(3), at(4)], [41_500, 101_500, 2500, 101_500]);
    assert_eq!(deadlines.time_left(LeaseId(1), 1000), left(40, 100));
    assert_eq!(expired(&mut deadlines, 41_499), [3]);
    assert_eq!(expired(&mut deadlines, 41_500), [1]);
}

#[test]
fn what_would_end_together_after_an_election_is_spread() {
    let count = i64::try_from(SPREAD_PER_SECOND).unwrap();
    let leases: Vec<_> = (0..count * 3).map(|id| lease(id + 1, 60)).collect();
    let mut deadlines = Deadlines::begin(&leases, 0, 0);
    let mut ends = Vec::new();
    for now in [59_999, 60_000, 61_000, 62_000] {
        ends.push(expired(&mut deadlines, now).len());
    }
    assert_eq!(ends, [0, SPREAD_PER_SECOND, SPREAD_PER_SECOND, SPREAD_PER_SECOND]);
}

#[test]
fn a_lease_that_nobody_renews_is_noted_ever_more_often() {
    let mut deadlines = one(100, 0);
    let mut notes = Vec::new();
    for now in (0..100_000).step_by(100) {
        for note in deadlines.due_checkpoints(now, 9) {
            notes.push((now / 1000, note.ttl));
            deadlines.noted(note.id, note.granted);
        }
    }
    assert_eq!(notes, [(50, 50), (75, 25), (87, 13), (93, 7)]);
}

#[test]
fn what_is_renewed_in_time_or_short_is_not_noted() {
    let mut deadlines = one(100, 0);
    deadlines.granted(&lease(8, 9), 0);
    for now in (0..3_600_000).step_by(1000) {
        assert_eq!(deadlines.due_checkpoints(now, 9), []);
        if now % 33_000 == 0 {
            assert_eq!(deadlines.renew(ID, now), left(100, 100));
        }
        deadlines.renew(LeaseId(8), now);
    }
    let mut long = one(86_400, 0);
    assert_eq!(long.due_checkpoints(299_999, 9), []);
    assert_eq!(long.due_checkpoints(300_000, 9)[0].ttl, 86_100);
}

/// A renewal that is answered is never undone by a note: the note is taken back first.
#[test]
fn a_note_is_taken_back_before_a_renewal() {
    let mut deadlines = one(100, 0);
    let note = deadlines.due_checkpoints(50_000, 9).remove(0);
    assert_eq!(note, Remaining { id: ID, granted: LogIndex(3), ttl: 50 });
    assert_eq!(deadlines.renew(ID, 50_001), Look::Again, "it is being written");
    deadlines.noted(ID, LogIndex(3));
    assert_eq!(deadlines.renew(ID, 50_002), Look::Clear(LogIndex(3)));
    assert_eq!(deadlines.renew(ID, 50_003), Look::Again, "it is being taken back");
    assert_eq!(deadlines.due_checkpoints(80_000, 9), [], "and none is written meanwhile");
    deadlines.cleared(ID, LogIndex(3), false);
    assert_eq!(deadlines.renew(ID, 80_001), Look::Clear(LogIndex(3)), "maybe it was not");
    deadlines.cleared(ID, LogIndex(3), true);
    assert_eq!(deadlines.renew(ID, 80_002), left(100, 100));
    assert_eq!(deadlines.time_left(ID, 80_002), left(100, 100));
}

#[test]
fn a_new_leader_takes_back_what_the_last_one_noted() {
    let noted = Lease { remaining: 40, ..lease(7, 100) };
    let mut deadlines = Deadlines::begin(&[noted], 0, 500);
    assert_eq!(deadlines.renew(ID, 1), Look::Clear(LogIndex(3)));
    deadlines.cleared(ID, LogIndex(3), true);
    assert_eq!(deadlines.renew(ID, 2), left(100, 100));
}

#[test]
fn the_longest_ttl_and_odd_ones_are_counted_without_overflow() {
    for (ttl, ends) in [(TTL_MAX, 9_000_000_000_000), (i64::MAX, 9_000_000_000_000), (0, 1000)] {
        let mut deadlines = one(ttl, 0);
        assert_eq!(deadlines.deadline(ID), Some(ends));
        assert_eq!(expired(&mut deadlines, ends), [7]);
    }
}
