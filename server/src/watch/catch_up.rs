//! Catching up: whoever is behind is told what it has missed, from memory or from the store, a
//! slice at a time, until it has reached the hub's position.

use std::sync::Arc;

use bytes::Bytes;
use keelson_store::events::{Event, Since, Slice};
use keelson_store::types::Revision;
use keelson_store::{ReadError, View};

use super::encode;
use super::hub::{Hub, State};
use super::index::Index;

/// Bytes of the store that are looked at for one slice: some milliseconds, and what a stream may
/// exceed its outbox by.
const SLICE_BYTES: usize = 256 << 10;

/// Revisions in one response at the most; etcd's.
const REVISIONS_MAX: usize = 1000;

/// Who is caught up together, from one position on.
struct Round {
    from: Revision,
    /// All of them, by what they watch.
    all: Index,
    /// Those who want to know what was before.
    with_prev: Index,
    /// Their slots and serials.
    watchers: Vec<(usize, u64)>,
}

/// An event that somebody wants, ready to be sent.
struct Ready {
    revision: Revision,
    event: Event,
    plain: Option<Bytes>,
    with_prev: Option<Bytes>,
}

/// A slice, ready to be sent.
struct Read {
    events: Vec<Ready>,
    next: Revision,
    /// The store's revision when it was read.
    revision: Revision,
}

impl Hub {
    /// Catches up whoever is behind, as long as the runtime lives.
    pub(crate) async fn catch_up(self: Arc<Self>) {
        loop {
            self.lagging.notified().await;
            while self.round().await {
                tokio::task::yield_now().await;
            }
        }
    }

    /// One slice for all that have room; `false` if nobody has.
    pub(super) async fn round(self: &Arc<Self>) -> bool {
        let Some(round) = Round::of(&self.state.lock()) else { return false };
        let store = self.options.store.clone();
        let read = tokio::task::spawn_blocking(move || {
            let recent = match store.events().since(round.from) {
                Since::Batches(batches, next) => Some((batches, next)),
                Since::Gone => None,
            };
            // After the events: an older view may lack what one of them superseded.
            let view = store.view();
            let slice = match &recent {
                Some((batches, next)) => {
                    let events = batches.iter().flat_map(|batch| batch.events());
                    Ok(recent_slice(events, &round, *next))
                }
                None => view.events(round.from, SLICE_BYTES, &mut |key| round.all.any(key)),
            };
            let read = slice.and_then(|slice| Ok(ready(&view, &round, slice)?));
            (round, view.compacted(), read)
        });
        let Ok((round, compacted, read)) = read.await else { return false };
        match read {
            Ok(read) => self.hand_out(&round, &read),
            Err(ReadError::Compacted) => self.cancel_compacted(&round, compacted),
            Err(ReadError::Store(error)) => self.fail(&error),
            Err(ReadError::FutureRevision) => unreachable!("events are read up to what there is"),
        }
        true
    }

    fn hand_out(&self, round: &Round, read: &Read) {
        let mut found = Vec::new();
        for (number, ready) in read.events.iter().enumerate() {
            round.all.each(&ready.event.kv.key, &mut |nth| found.push((nth, number)));
        }
        found.sort_unstable();
        let header = encode::header(&(self.options.header)(read.revision));
        let state = &mut *self.state.lock();
        let mut found = &found[..];
        for nth in 0..round.watchers.len() {
            let (mine, others) = found.split_at(found.partition_point(|(n, _)| *n <= nth));
            found = others;
            let matches = mine.iter().map(|(_, number)| &read.events[*number]);
            if let Some(slot) = round.still_there(state, nth) {
                self.tell(state, slot, &header, matches, read.next);
            }
        }
    }

    /// Tells one watcher of what it wants of a slice, if its stream has room.
    fn tell<'a>(
        &self,
        state: &mut State,
        slot: usize,
        header: &Bytes,
        matches: impl Iterator<Item = &'a Ready>,
        next: Revision,
    ) {
        let watcher = &mut state.watchers[slot];
        let (_, stream) = &mut state.streams[watcher.stream];
        if !stream.has_room() {
            return;
        }
        let wanted =
            |ready: &&Ready| ready.revision >= watcher.next && watcher.wanted.wants(&ready.event);
        let wanted: Vec<_> = matches.filter(wanted).collect();
        let revisions: Vec<_> =
            wanted.chunk_by(|a, b| a.revision == b.revision).map(<[_]>::to_vec).collect();
        for some in revisions.chunks(REVISIONS_MAX) {
            let part = |ready: &&Ready| {
                let made = if watcher.wanted.prev_kv { &ready.with_prev } else { &ready.plain };
                made.clone().expect("made for whoever wants it")
            };
            let parts: Vec<_> = some.iter().flatten().map(part).collect();
            watcher.active = true;
            self.put(stream, header, watcher.id, watcher.wanted.fragment, &parts);
        }
        watcher.next = watcher.next.max(next);
        if watcher.next >= state.position {
            watcher.behind = false;
            stream.behind -= 1;
            let stream = watcher.stream;
            state.behind.remove(&slot);
            state.live.insert(&state.watchers[slot].wanted.keys, slot);
            self.options.metrics.mvcc.slow_watchers.dec();
            self.answer_progress(state, stream);
        }
    }

    /// Those who want what is gone are told so, and end.
    fn cancel_compacted(&self, round: &Round, compacted: Revision) {
        let state = &mut *self.state.lock();
        for nth in 0..round.watchers.len() {
            let Some(slot) = round.still_there(state, nth) else { continue };
            let watcher = &state.watchers[slot];
            let (stream, id, next) = (watcher.stream, watcher.id, watcher.next);
            if next < compacted {
                let canceled = self.compacted(id, compacted);
                self.remove(state, slot);
                let (_, stream) = &mut state.streams[stream];
                encode::put_response(stream.outbox(), &canceled);
                stream.wake();
            }
        }
    }
}

impl Round {
    /// Everybody who is behind and whose stream is low; from where the furthest back of them is.
    fn of(state: &State) -> Option<Self> {
        let mut round = Self {
            from: Revision(i64::MAX),
            all: Index::default(),
            with_prev: Index::default(),
            watchers: Vec::new(),
        };
        for slot in &state.behind {
            let watcher = &state.watchers[*slot];
            let (_, stream) = &state.streams[watcher.stream];
            if !stream.is_low() {
                continue;
            }
            let nth = round.watchers.len();
            round.from = round.from.min(watcher.next);
            round.all.insert(&watcher.wanted.keys, nth);
            if watcher.wanted.prev_kv {
                round.with_prev.insert(&watcher.wanted.keys, nth);
            }
            round.watchers.push((*slot, watcher.serial));
        }
        (!round.watchers.is_empty()).then_some(round)
    }

    /// The slot of one of its watchers, if that is there still.
    fn still_there(&self, state: &State, nth: usize) -> Option<usize> {
        let (slot, serial) = self.watchers[nth];
        let watcher = state.watchers.get(slot)?;
        (watcher.serial == serial && watcher.behind).then_some(slot)
    }
}

/// A slice of what is in memory.
fn recent_slice<'a>(
    events: impl Iterator<Item = &'a Event>,
    round: &Round,
    next: Revision,
) -> Slice {
    let mut slice = Slice { events: Vec::new(), next };
    let (mut reached, mut bytes) = (round.from, 0);
    for event in events.skip_while(|event| event.revision() < round.from) {
        if event.revision() > reached && bytes >= SLICE_BYTES {
            slice.next = event.revision();
            break;
        }
        reached = event.revision();
        bytes += event.kv.key.len() + event.kv.value.len();
        if round.all.any(&event.kv.key) {
            slice.events.push(event.clone());
        }
    }
    slice
}

/// Encodes what is wanted, as it is wanted.
fn ready(view: &View, round: &Round, slice: Slice) -> Result<Read, keelson_store::Error> {
    let mut events = Vec::with_capacity(slice.events.len());
    for event in slice.events {
        let key = &event.kv.key;
        let (mut all, mut prev) = (0, 0);
        round.all.each(key, &mut |_| all += 1);
        round.with_prev.each(key, &mut |_| prev += 1);
        let with_prev = match prev {
            0 => None,
            _ => Some(encode::event(&event, view.before(&event)?)),
        };
        let plain = (all > prev).then(|| encode::event(&event, None));
        events.push(Ready { revision: event.revision(), event, plain, with_prev });
    }
    Ok(Read { events, next: slice.next, revision: view.revision() })
}
