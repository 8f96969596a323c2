//! Random watchers, slow and fast readers, compactions, lags and snapshots, against what happened.

use std::collections::BTreeMap;

use keelson_api::etcdserverpb::watch_create_request::FilterType;
use keelson_api::etcdserverpb::{WatchCreateRequest, WatchResponse};
use keelson_api::mvccpb;
use keelson_store::types::KeyValue;

use super::rig::{Client, Happened, Rig, on};

const KEYS: [&str; 7] = ["a", "a/1", "a/2", "b", "c", "c/9", "d"];
const STEPS: usize = 1_500;

/// A watcher as its client knows it.
struct Watching {
    asked: WatchCreateRequest,
    /// The first revision that it has not seen yet.
    next: i64,
    /// Parts of the revision it is being told come as fragments.
    fragments: Vec<mvccpb::Event>,
    canceled: bool,
}

struct Reader {
    client: Client,
    watching: BTreeMap<i64, Watching>,
    /// What it asked for and has not been answered, in order.
    asked: Vec<WatchCreateRequest>,
    slow: bool,
    progress: usize,
}

struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((self.0 >> 33) % end as u64).unwrap()
    }

    fn one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }
}

fn wants(asked: &WatchCreateRequest, happened: &Happened) -> bool {
    let key = &happened.kv.key;
    let inside = match &asked.range_end[..] {
        [] => *key == asked.key,
        [0] => *key >= asked.key,
        end => *key >= asked.key && &key[..] < end,
    };
    let filter = if happened.deletion { FilterType::Nodelete } else { FilterType::Noput };
    inside && !asked.filters.contains(&i32::from(filter))
}

fn wire(kv: &KeyValue) -> mvccpb::KeyValue {
    mvccpb::KeyValue {
        key: kv.key.clone(),
        create_revision: kv.create_revision.0,
        mod_revision: kv.mod_revision.0,
        version: kv.version,
        value: kv.value.clone(),
        lease: kv.lease.0,
    }
}

impl Reader {
    fn take(&mut self, rig: &Rig, responses: Vec<WatchResponse>) {
        for response in responses {
            if response.created {
                let asked = self.asked.remove(0);
                let revision = response.header.unwrap().revision;
                let start = asked.start_revision;
                let next = if start == 0 { revision + 1 } else { start };
                let new = Watching { asked, next, fragments: Vec::new(), canceled: false };
                assert!(self.watching.insert(response.watch_id, new).is_none());
                continue;
            }
            if response.watch_id == -1 {
                self.progress(rig, response.header.unwrap().revision);
                continue;
            }
            let watching = self.watching.get_mut(&response.watch_id).expect("created before");
            assert!(!watching.canceled, "nothing after the end: {response:?}");
            if response.canceled {
                assert!(watching.next < response.compact_revision, "{response:?}");
                assert!(response.compact_revision <= rig.compacted);
                watching.canceled = true;
                continue;
            }
            watching.take(rig, response);
        }
    }

    /// At a revision of progress everybody knows everything up to it.
    fn progress(&mut self, rig: &Rig, revision: i64) {
        self.progress += 1;
        for watching in self.watching.values_mut().filter(|watching| !watching.canceled) {
            let missed = rig.happened.iter().find(|happened| {
                (watching.next..=revision).contains(&happened.revision)
                    && wants(&watching.asked, happened)
            });
            assert_eq!(missed, None, "progress at {revision} before it");
            watching.next = watching.next.max(revision + 1);
        }
    }
}

impl Watching {
    fn take(&mut self, rig: &Rig, response: WatchResponse) {
        self.fragments.extend(response.events);
        if response.fragment {
            assert!(self.asked.fragment);
            return;
        }
        let events = std::mem::take(&mut self.fragments);
        let last = events.last().unwrap().kv.as_ref().unwrap().mod_revision;
        assert!(response.header.unwrap().revision >= last);
        let due = rig.happened.iter().filter(|happened| {
            (self.next..=last).contains(&happened.revision) && wants(&self.asked, happened)
        });
        let due: Vec<_> = due.collect();
        assert_eq!(
            events.len(),
            due.len(),
            "all up to {last} and nothing else, from {}",
            self.next
        );
        for (event, happened) in events.iter().zip(due) {
            assert_eq!(event.r#type == 1, happened.deletion);
            assert_eq!(event.kv.as_ref(), Some(&wire(&happened.kv)));
            // It may be compacted away by the time it is told.
            let known = event.prev_kv.is_some() || happened.revision > rig.compacted;
            let before = happened.before.as_ref().filter(|_| self.asked.prev_kv && known);
            assert_eq!(event.prev_kv, before.map(wire), "before {happened:?}");
        }
        self.next = last + 1;
    }
}

fn create(chance: &mut Chance, rig: &Rig) -> WatchCreateRequest {
    let key = KEYS[chance.below(KEYS.len())];
    let end = ["", "", "\0", "c", "z"][chance.below(5)];
    let end = if end.is_empty() || end == "\0" || end > key { end } else { "" };
    let now = usize::try_from(rig.revision).unwrap();
    let start = match chance.below(4) {
        0 => 0,
        1 => i64::try_from(now + chance.below(20)).unwrap(),
        _ => rig.compacted + i64::try_from(chance.below(now) / 4).unwrap(),
    };
    let mut asked = on(key, end, start.max(0));
    asked.prev_kv = chance.one_in(2);
    asked.fragment = chance.one_in(3);
    match chance.below(6) {
        0 => asked.filters.push(FilterType::Noput.into()),
        1 => asked.filters.push(FilterType::Nodelete.into()),
        _ => {}
    }
    asked
}

fn write(chance: &mut Chance, rig: &mut Rig) {
    let value = "v".repeat([1, 20, 4_000][chance.below(3)]);
    let key = KEYS[chance.below(KEYS.len())];
    match chance.below(10) {
        0..6 => rig.put(key, &value),
        6..8 => rig.delete(key),
        8 => {
            let put = |key: &&'static str| (*key, Some(value.as_str()));
            rig.change(&KEYS.iter().take(1 + chance.below(6)).map(put).collect::<Vec<_>>());
        }
        _ if chance.one_in(4) && rig.revision - rig.compacted > 40 => {
            let back = i64::try_from(chance.below(40)).unwrap();
            rig.compact(rig.revision - back);
        }
        _ => {}
    }
}

/// How many watchers were cancelled.
async fn run(seed: u64, event_log_bytes: usize) -> usize {
    let (mut chance, mut rig) = (Chance(seed), Rig::new(event_log_bytes));
    let mut readers = Vec::new();
    let (mut told, mut progress, mut canceled) = (0, 0, 0);
    let mut count = |reader: &Reader| {
        told += reader.watching.values().map(|watching| watching.next).sum::<i64>();
        progress += reader.progress;
        canceled += reader.watching.values().filter(|watching| watching.canceled).count();
    };
    for step in 0..STEPS {
        match chance.below(20) {
            0 if readers.len() < 8 => {
                let (client, slow) = (rig.open(), chance.one_in(2));
                let (watching, asked) = (BTreeMap::new(), Vec::new());
                readers.push(Reader { client, watching, asked, slow, progress: 0 });
            }
            1 if readers.len() > 4 && chance.one_in(5) => {
                let gone = chance.below(readers.len());
                count(&readers.swap_remove(gone));
            }
            2..4 if !readers.is_empty() => {
                let nth = chance.below(readers.len());
                let asked = create(&mut chance, &rig);
                rig.create(&readers[nth].client, asked.clone());
                readers[nth].asked.push(asked);
            }
            4 if !readers.is_empty() => {
                rig.ask_progress(&readers[chance.below(readers.len())].client);
            }
            5 if chance.one_in(3) => rig.hold_back(),
            6 => match chance.one_in(2) {
                true => rig.catch_up_by_log(),
                false => rig.catch_up_by_snapshot(),
            },
            7 => drop(rig.hub.round().await),
            8..11 => drop(rig.hub.dispatch()),
            _ => write(&mut chance, &mut rig),
        }
        for reader in &mut readers {
            if !reader.slow || step % 97 == 0 {
                let responses = reader.client.read();
                reader.take(&rig, responses);
            }
        }
    }
    rig.catch_up_by_log();
    for reader in &mut readers {
        let responses = reader.client.read_all(&rig).await;
        reader.take(&rig, responses);
        assert!(reader.client.ended.is_none() && reader.asked.is_empty());
        count(reader);
        for watching in reader.watching.values().filter(|watching| !watching.canceled) {
            let missed = rig.happened.iter().find(|happened| {
                happened.revision >= watching.next && wants(&watching.asked, happened)
            });
            assert_eq!(missed, None, "in the end everybody knows everything");
        }
    }
    assert!(told > 0 && progress > 0, "seed {seed}: {told} {progress}");
    canceled
}

#[tokio::test]
async fn everybody_is_told_everything_once_and_in_order() {
    let mut canceled = 0;
    for seed in 0..40 {
        for event_log_bytes in [1, 10_000, 1 << 20] {
            canceled += run(seed, event_log_bytes).await;
        }
    }
    assert!(canceled > 0, "some must be overtaken by a compaction");
}
