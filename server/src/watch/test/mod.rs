//! What watchers are told, against what happened. The names in front say which of the known ways to
//! be wrong a test is about.

mod model;
mod rig;

use keelson_api::etcdserverpb::WatchResponse;
use rig::{Rig, on, told};

/// Enough for everything, and next to nothing.
const MEMORY: usize = 1 << 20;
const NO_MEMORY: usize = 1;

fn event(key: &str, revision: i64, deletion: bool) -> (String, i64, bool) {
    (key.to_owned(), revision, deletion)
}

#[tokio::test]
async fn creation_comes_first_and_cancellation_last() {
    let mut rig = Rig::new(MEMORY);
    rig.put("a", "1");
    let mut client = rig.open();
    rig.create(&client, on("a", "", 0));
    rig.create(&client, on("a", "", 2));
    rig.put("a", "2");
    rig.cancel(&client, 0);
    rig.put("a", "3");
    rig.cancel(&client, 7);
    let responses = client.read_all(&rig).await;
    let of = |id: i64| responses.iter().filter(|r| r.watch_id == id).cloned().collect::<Vec<_>>();
    let (first, second) = (of(0), of(1));
    assert!(first[0].created && first[0].header.unwrap().revision == 2);
    assert_eq!((first.len(), first[1].canceled), (2, true), "asked for before it was delivered");
    assert!(second[0].created && second[0].events.is_empty());
    let all = [event("a", 2, false), event("a", 3, false), event("a", 4, false)];
    assert_eq!(told(&second), all);
    assert_eq!(responses.len(), first.len() + second.len(), "nothing about an unknown id");
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() {
    let mut rig = Rig::new(MEMORY);
    rig.put("a", "1");
    let mut client = rig.open();
    let refused = |response: &WatchResponse| {
        let WatchResponse { watch_id, created, canceled, .. } = *response;
        assert_eq!((watch_id, created, canceled), (-1, true, true));
        response.cancel_reason.clone()
    };
    rig.create(&client, on("b", "a", 0));
    rig.create(&client, on("a", "", -5));
    let mut with_id = on("a", "", 0);
    with_id.watch_id = 9;
    rig.create(&client, with_id.clone());
    rig.create(&client, with_id);
    let responses = client.read();
    assert_eq!(refused(&responses[0]), "mvcc: watcher range is empty");
    assert_eq!(refused(&responses[1]), "etcdserver: mvcc: required revision has been compacted");
    assert!(responses[2].created && !responses[2].canceled && responses[2].watch_id == 9);
    assert_eq!(refused(&responses[3]), "mvcc: duplicate watch ID provided on the WatchStream");
    // The server's choice steps around ids that are taken.
    for id in [0, 1] {
        rig.create(&client, on("a", "", 0));
        assert_eq!(client.read()[0].watch_id, id);
    }
}

#[tokio::test]
async fn w3_progress_never_overtakes_events() {
    let mut rig = Rig::new(NO_MEMORY);
    let mut client = rig.open();
    rig.create(&client, on("a", "", 1));
    for n in 0..100 {
        rig.put("a", &"v".repeat(3_000));
        if n % 10 == 0 {
            rig.ask_progress(&client);
        }
    }
    let responses = client.read_all(&rig).await;
    let mut last = 0;
    let mut progress = 0;
    for response in &responses {
        let revision = response.header.unwrap().revision;
        if response.watch_id == -1 {
            assert_eq!(last, revision, "everything up to it has been told");
            progress += 1;
        }
        last = response.events.last().map_or(last, |e| e.kv.as_ref().unwrap().mod_revision);
    }
    assert!(progress > 0 && last == 101, "{progress} {last}");
}

#[tokio::test]
async fn w4_a_snapshot_neither_repeats_nor_loses_anything() {
    let mut rig = Rig::new(MEMORY);
    let mut client = rig.open();
    rig.create(&client, on("\0", "\0", 0));
    rig.put("a", "1");
    rig.settle().await;
    rig.hold_back();
    rig.put("b", "1");
    rig.delete("a");
    rig.catch_up_by_snapshot();
    rig.put("c", "1");
    let all =
        [event("a", 2, false), event("b", 3, false), event("a", 4, true), event("c", 5, false)];
    assert_eq!(told(&client.read_all(&rig).await), all);
}

#[tokio::test]
async fn w5_a_slow_reader_gets_everything_or_is_told_what_is_gone() {
    for compact in [false, true] {
        let mut rig = Rig::new(NO_MEMORY);
        let mut client = rig.open();
        rig.create(&client, on("a", "", 0));
        for _ in 0..200 {
            rig.put("a", &"v".repeat(3_000));
            rig.settle().await;
        }
        if compact {
            rig.compact(150);
        }
        let responses = client.read_all(&rig).await;
        let events = told(&responses);
        let revisions: Vec<_> = events.iter().map(|(_, revision, _)| *revision).collect();
        let last = responses.last().unwrap();
        if compact {
            assert!(last.canceled && last.compact_revision == 150, "{last:?}");
            assert!(revisions.len() < 148);
        } else {
            assert_eq!(revisions.len(), 200);
        }
        assert!(revisions.windows(2).all(|pair| pair[0] + 1 == pair[1]), "no gap: {revisions:?}");
    }
}

#[tokio::test]
async fn w6_the_compacted_revision_itself_can_be_watched() {
    for (memory, deletion) in [(MEMORY, true), (NO_MEMORY, true), (NO_MEMORY, false)] {
        let mut rig = Rig::new(memory);
        rig.put("a", "1");
        rig.put("b", "1");
        if deletion {
            rig.delete("a")
        } else {
            rig.put("a", "2")
        }
        rig.compact(4);
        rig.put("c", "1");
        let mut before = rig.open();
        rig.create(&before, on("\0", "\0", 3));
        let responses = before.read_all(&rig).await;
        assert_eq!(responses.len(), 2);
        assert!(responses[0].created && !responses[0].canceled);
        assert!(responses[1].canceled && responses[1].compact_revision == 4);
        assert_eq!(responses[1].header.unwrap().revision, 0);
        for (start, first) in [(4, "a"), (5, "c")] {
            let mut client = rig.open();
            rig.create(&client, on("\0", "\0", start));
            let events = told(&client.read_all(&rig).await);
            assert_eq!(events[0], event(first, start, deletion && first == "a"));
            assert_eq!(events.len(), if start == 4 { 2 } else { 1 });
        }
    }
}

#[tokio::test]
async fn w8_the_future_begins_when_it_is_there() {
    let mut rig = Rig::new(MEMORY);
    rig.put("a", "1");
    let mut client = rig.open();
    rig.create(&client, on("a", "", 5));
    rig.ask_progress(&client);
    for n in 0..5 {
        rig.put("a", &n.to_string());
    }
    let responses = client.read_all(&rig).await;
    assert_eq!(
        told(&responses),
        [event("a", 5, false), event("a", 6, false), event("a", 7, false)]
    );
    assert!(responses.iter().all(|response| response.watch_id == 0), "it had not begun");
}

#[tokio::test]
async fn w10_a_revision_of_many_keys_is_told_whole() {
    for memory in [MEMORY, NO_MEMORY] {
        let mut rig = Rig::new(memory);
        let mut live = rig.open();
        rig.create(&live, on("k", "l", 0));
        let keys: Vec<_> = (0..50).map(|n| format!("k{n:02}")).collect();
        let all: Vec<_> = keys.iter().map(|key| (key.as_str(), Some("v"))).collect();
        rig.change(&all);
        rig.settle().await;
        let gone: Vec<_> = keys.iter().map(|key| (key.as_str(), None)).collect();
        rig.change(&gone);
        let mut late = rig.open();
        rig.create(&late, on("k", "l", 3));
        let of = |responses: &[WatchResponse]| {
            let sizes = responses.iter().map(|response| response.events.len());
            sizes.filter(|size| *size > 0).collect::<Vec<_>>()
        };
        assert_eq!(of(&live.read_all(&rig).await), [50, 50]);
        let late = late.read_all(&rig).await;
        assert_eq!(of(&late), [50]);
        assert!(
            told(&late).iter().all(|(_, revision, deletion)| (*revision, *deletion) == (3, true))
        );
    }
}

#[tokio::test]
async fn w11_revision_0_means_from_now_on() {
    let mut rig = Rig::new(MEMORY);
    rig.put("a", "1");
    let mut client = rig.open();
    rig.create(&client, on("a", "", 0));
    rig.put("a", "2");
    assert_eq!(told(&client.read_all(&rig).await), [event("a", 3, false)]);
}

#[tokio::test]
async fn a_client_that_only_asks_is_not_answered_without_end() {
    let rig = Rig::new(MEMORY);
    let mut client = rig.open();
    let mut asked = 0;
    while tokio::time::timeout(std::time::Duration::ZERO, rig.hub.room(client.id)).await.is_ok() {
        rig.create(&client, on("b", "a", 0));
        asked += 1;
        assert!(asked < 1_000_000, "there is always room");
    }
    assert_eq!(client.read().len(), asked);
    assert!(rig.hub.room(client.id).await, "and there is again");
}

#[tokio::test]
async fn a_stream_that_is_closed_leaves_nothing() {
    let mut rig = Rig::new(MEMORY);
    let client = rig.open();
    rig.create(&client, on("a", "", 0));
    rig.create(&client, on("a", "b", 0));
    let id = client.id;
    drop(client);
    assert!(!rig.hub.room(id).await);
    rig.put("a", "1");
    rig.settle().await;
    let state = rig.hub.state.lock();
    assert_eq!((state.streams.len(), state.watchers.len(), state.live.len()), (0, 0, 0));
}
