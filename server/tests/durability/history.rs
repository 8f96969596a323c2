//! The history of a store, read from outside: all keys at every revision.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use keelson_api::client::Client;
use keelson_api::etcdserverpb::RangeRequest;
use keelson_api::mvccpb::KeyValue;

use super::common::requests::all;

/// All keys at one revision.
pub(crate) type State = BTreeMap<Bytes, KeyValue>;

/// Reads in flight.
const CONCURRENT: i64 = 16;

/// What one revision changed.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Change {
    pub(crate) puts: BTreeMap<Bytes, Bytes>,
    pub(crate) deletes: BTreeSet<Bytes>,
}

/// The revisions after a known one.
pub(crate) struct History {
    /// Change and state of each revision, in order.
    pub(crate) revisions: Vec<(Change, State)>,
}

impl History {
    /// Reads all revisions after `from`, at which the state was `state`.
    pub(crate) async fn read(client: &Client, from: i64, state: &State) -> Self {
        let newest = client.kv().range(all()).await.unwrap().into_inner();
        let last = newest.header.unwrap().revision;
        assert!(last >= from, "the revision went back from {from} to {last}");
        let states = states(client, from + 1, last).await;
        let mut before = state;
        let mut revisions = Vec::new();
        for (revision, state) in (from + 1..).zip(&states) {
            revisions.push((change(revision, before, state), state.clone()));
            before = state;
        }
        let newest: State = newest.kvs.into_iter().map(|kv| (kv.key.clone(), kv)).collect();
        assert_eq!(&newest, before, "the newest state and the state at the newest revision {last}");
        Self { revisions }
    }
}

/// All keys at each of these revisions.
pub(crate) async fn states(client: &Client, first: i64, last: i64) -> Vec<State> {
    let mut readers = Vec::new();
    for reader in 0..CONCURRENT {
        let mut kv = client.kv();
        readers.push(tokio::spawn(async move {
            let mut states = Vec::new();
            let mut revision = first + reader;
            while revision <= last {
                let request = RangeRequest { revision, serializable: true, ..all() };
                let response =
                    kv.range(request).await.unwrap_or_else(|e| panic!("at {revision}: {e}"));
                let kvs = response.into_inner().kvs;
                let state: State = kvs.into_iter().map(|kv| (kv.key.clone(), kv)).collect();
                states.push((revision, state));
                revision += CONCURRENT;
            }
            states
        }));
    }
    let mut all = BTreeMap::new();
    for reader in readers {
        all.extend(reader.await.unwrap());
    }
    all.into_values().collect()
}

/// What led from one state to the next, which must be what etcd's numbering allows.
fn change(revision: i64, before: &State, after: &State) -> Change {
    let mut change = Change::default();
    for (key, kv) in after {
        let old = before.get(key);
        if kv.mod_revision != revision {
            assert_eq!(Some(kv), old, "changed at {revision} without saying so");
            continue;
        }
        let (version, create) =
            old.map_or((1, revision), |old| (old.version + 1, old.create_revision));
        assert_eq!(
            (kv.version, kv.create_revision),
            (version, create),
            "of {kv:?}, before: {old:?}"
        );
        change.puts.insert(key.clone(), kv.value.clone());
    }
    change.deletes = before.keys().filter(|key| !after.contains_key(*key)).cloned().collect();
    assert_ne!(change, Change::default(), "revision {revision} changed nothing");
    change
}
