//! The watchers of one client runtime.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use keelson_api::errors::{Error as Etcd, cancel_reason};
use keelson_api::etcdserverpb::watch_request::RequestUnion;
use keelson_api::etcdserverpb::{ResponseHeader, WatchCreateRequest, WatchRequest, WatchResponse};
use keelson_store::events::{Event, Since};
use keelson_store::types::Revision;
use keelson_store::{Error as StoreError, Store, View};
use parking_lot::Mutex;
use slab::Slab;
use tokio::sync::{Notify, watch};
use tokio::time::MissedTickBehavior;
use tonic::Status;

use super::body::WatchBody;
use super::encode;
use super::feed::Fed;
use super::index::Index;
use super::outbox::{Next, Stream};
use super::watcher::{Wanted, Watcher};
use crate::observe::metrics::Metrics;

/// Responses that are made before the runtime gets to do something else: about a millisecond.
const DELIVERIES_MAX: usize = 4096;

/// Looks without a leader after which streams that want one end; etcd's.
const LEADERLESS_LOOKS_MAX: u32 = 3;

/// What a hub is made of.
pub(crate) struct HubOptions {
    pub(crate) store: Store,
    /// Makes the header of a response as of a revision.
    pub(crate) header: Box<dyn Fn(Revision) -> ResponseHeader + Send + Sync>,
    /// Whether there is a leader.
    pub(crate) has_leader: Box<dyn Fn() -> bool + Send + Sync>,
    /// How often that is looked at.
    pub(crate) leader_interval: Duration,
    /// How often watchers that ask for it are told of progress.
    pub(crate) progress_interval: Duration,
    /// Responses of more than this are cut where clients allow it.
    pub(crate) fragment_bytes: usize,
    pub(crate) metrics: Arc<Metrics>,
}

/// See the module.
pub(crate) struct Hub {
    pub(super) options: HubOptions,
    pub(super) state: Mutex<State>,
    /// The first watcher has come.
    populated: Notify,
    /// Somebody who is behind can be caught up.
    pub(super) lagging: Notify,
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub").finish_non_exhaustive()
    }
}

/// A stream: slots are used again, serials are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StreamId {
    slot: usize,
    serial: u64,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) streams: Slab<(u64, Stream)>,
    pub(super) watchers: Slab<Watcher>,
    pub(super) live: Index,
    /// Everything before it has been delivered to all that are live.
    pub(super) position: Revision,
    /// Watchers that are behind, by slot.
    pub(super) behind: std::collections::BTreeSet<usize>,
    /// Numbers streams and watchers.
    serial: u64,
    leaderless: u32,
}

impl Hub {
    /// A hub at the store's position. [`run`](Self::run) and
    /// [`catch_up`](super::catch_up) are to be spawned on its runtime.
    pub(crate) fn new(options: HubOptions) -> Arc<Self> {
        let position = Revision(options.store.view().revision().0 + 1);
        let state = Mutex::new(State { position, ..State::default() });
        Arc::new(Self { options, state, populated: Notify::new(), lagging: Notify::new() })
    }

    /// Delivers what happens until the node stops.
    pub(crate) async fn run(self: Arc<Self>, mut fed: Fed, mut stopping: watch::Receiver<bool>) {
        let interval = |every: Duration| {
            let mut interval = tokio::time::interval(every);
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            interval
        };
        let mut progress = interval(self.options.progress_interval);
        let mut leader = interval(self.options.leader_interval);
        loop {
            // Without watchers nothing that happens wakes this task.
            let idle = self.state.lock().watchers.is_empty();
            tokio::select! {
                () = self.populated.notified() => {}
                moved = fed.moved(), if !idle => if !moved { return },
                _ = progress.tick() => self.tell_progress(),
                _ = leader.tick() => self.look_for_leader(),
                _ = stopping.wait_for(|stopping| *stopping) => {
                    self.end_all(&Etcd::Stopped.status());
                    return;
                }
            }
            while self.dispatch() {
                tokio::task::yield_now().await;
            }
        }
    }

    /// Opens a stream.
    pub(crate) fn open(self: &Arc<Self>, requires_leader: bool) -> (StreamId, WatchBody) {
        self.options.metrics.mvcc.watch_streams.inc();
        let mut state = self.state.lock();
        state.serial += 1;
        let serial = state.serial;
        let mut stream = Stream::default();
        stream.requires_leader = requires_leader;
        let slot = state.streams.insert((serial, stream));
        (StreamId { slot, serial }, WatchBody::new(Arc::clone(self), slot))
    }

    /// Ends a stream once its client has got what was put into it.
    pub(crate) fn end(&self, id: StreamId, status: Status) {
        let mut state = self.state.lock();
        if let Some(stream) = state.stream(id) {
            stream.end(status);
        }
    }

    /// Returns when the stream's client has taken enough for more to be said, or `false` when
    /// nothing is any more.
    pub(crate) async fn room(&self, id: StreamId) -> bool {
        poll_fn(|cx| match self.state.lock().stream(id) {
            Some(stream) => stream.poll_room(cx),
            None => Poll::Ready(false),
        })
        .await
    }

    /// Carries out what a client asks for on its stream.
    pub(crate) fn request(&self, id: StreamId, request: WatchRequest) {
        match request.request_union {
            Some(RequestUnion::CreateRequest(create)) => self.create(id, create),
            Some(RequestUnion::CancelRequest(cancel)) => self.cancel(id, cancel.watch_id),
            Some(RequestUnion::ProgressRequest(_)) => self.progress(id),
            None => {}
        }
    }

    pub(super) fn take(&self, slot: usize, cx: &Context<'_>) -> Poll<Next> {
        let mut state = self.state.lock();
        let (_, stream) = &mut state.streams[slot];
        let next = stream.take(cx);
        if stream.behind > 0 && stream.is_low() {
            self.lagging.notify_one();
        }
        next
    }

    pub(super) fn close(&self, slot: usize) {
        let mut state = self.state.lock();
        let (_, stream) = &state.streams[slot];
        let watchers: Vec<_> = stream.watchers.values().copied().collect();
        for watcher in watchers {
            self.remove(&mut state, watcher);
        }
        let (_, mut stream) = state.streams.remove(slot);
        // Whoever still reads its requests learns that it is gone.
        stream.end(Status::cancelled("closed"));
        self.options.metrics.mvcc.watch_streams.dec();
    }

    fn create(&self, id: StreamId, request: WatchCreateRequest) {
        let view = self.options.store.view();
        let state = &mut *self.state.lock();
        if state.stream(id).is_none() {
            return;
        }
        if state.watchers.is_empty() {
            // Nobody was told of anything, so nobody misses what happened since.
            state.position = state.position.max(Revision(view.revision().0 + 1));
        }
        let (asked_id, start) = (request.watch_id, request.start_revision);
        let header = Some((self.options.header)(view.revision()));
        let wanted = match Wanted::of(request) {
            _ if start < 0 => Err(Etcd::Compacted.text()),
            None => Err(cancel_reason::EMPTY_RANGE),
            Some(wanted) => Ok(wanted),
        };
        let (_, stream) = &mut state.streams[id.slot];
        let wanted = wanted.and_then(|wanted| match stream.watchers.contains_key(&asked_id) {
            true if asked_id != 0 => Err(cancel_reason::DUPLICATE_WATCH_ID),
            _ => Ok(wanted),
        });
        let wanted = match wanted {
            Ok(wanted) => wanted,
            Err(reason) => {
                let refused = WatchResponse {
                    header,
                    watch_id: -1,
                    created: true,
                    canceled: true,
                    cancel_reason: reason.to_owned(),
                    ..Default::default()
                };
                encode::put_response(stream.outbox(), &refused);
                stream.wake();
                return;
            }
        };
        let watch_id = if asked_id == 0 { stream.free_id() } else { asked_id };
        let created = WatchResponse { header, watch_id, created: true, ..Default::default() };
        encode::put_response(stream.outbox(), &created);
        if start > 0 && Revision(start) < view.compacted() {
            let canceled = self.compacted(watch_id, view.compacted());
            encode::put_response(stream.outbox(), &canceled);
            stream.wake();
            return;
        }
        stream.wake();
        let next = if start == 0 { Revision(view.revision().0 + 1) } else { Revision(start) };
        self.add(state, id.slot, watch_id, wanted, next);
    }

    fn add(&self, state: &mut State, slot: usize, id: i64, wanted: Wanted, next: Revision) {
        let (behind, active) = (next < state.position, false);
        let keys = wanted.keys.clone();
        state.serial += 1;
        let serial = state.serial;
        let watcher = Watcher { serial, stream: slot, id, wanted, next, behind, active };
        let watcher = state.watchers.insert(watcher);
        let (_, stream) = &mut state.streams[slot];
        stream.watchers.insert(id, watcher);
        if behind {
            stream.behind += 1;
            state.behind.insert(watcher);
            self.options.metrics.mvcc.slow_watchers.inc();
            self.lagging.notify_one();
        } else {
            state.live.insert(&keys, watcher);
        }
        self.options.metrics.mvcc.watchers.inc();
        if state.watchers.len() == 1 {
            self.populated.notify_one();
        }
    }

    /// What a watcher is told whose next revision is gone.
    pub(super) fn compacted(&self, watch_id: i64, compacted: Revision) -> WatchResponse {
        WatchResponse {
            header: Some((self.options.header)(Revision(0))),
            watch_id,
            canceled: true,
            compact_revision: compacted.0,
            ..Default::default()
        }
    }

    fn cancel(&self, id: StreamId, watch_id: i64) {
        let revision = self.options.store.view().revision();
        let mut state = self.state.lock();
        let Some(stream) = state.stream(id) else { return };
        let Some(watcher) = stream.watchers.get(&watch_id).copied() else { return };
        self.remove(&mut state, watcher);
        let header = Some((self.options.header)(revision));
        let canceled = WatchResponse { header, watch_id, canceled: true, ..Default::default() };
        let (_, stream) = &mut state.streams[id.slot];
        encode::put_response(stream.outbox(), &canceled);
        stream.wake();
    }

    pub(super) fn remove(&self, state: &mut State, slot: usize) {
        let watcher = state.watchers.remove(slot);
        let (_, stream) = &mut state.streams[watcher.stream];
        stream.watchers.remove(&watcher.id);
        if watcher.behind {
            stream.behind -= 1;
            state.behind.remove(&slot);
            self.options.metrics.mvcc.slow_watchers.dec();
        } else {
            state.live.remove(&watcher.wanted.keys, slot);
        }
        self.options.metrics.mvcc.watchers.dec();
    }

    /// Answered once all watchers of the stream have caught up, with the position that they have
    /// all been told everything before.
    fn progress(&self, id: StreamId) {
        while self.dispatch() {}
        let state = &mut *self.state.lock();
        if let Some(stream) = state.stream(id) {
            stream.progress_wanted = true;
            self.answer_progress(state, id.slot);
        }
    }

    pub(super) fn answer_progress(&self, state: &mut State, slot: usize) {
        let (_, stream) = &mut state.streams[slot];
        if !stream.progress_wanted || stream.behind > 0 {
            return;
        }
        stream.progress_wanted = false;
        let (watchers, position) = (&state.watchers, state.position);
        let begun = |watcher: &usize| watchers[*watcher].next <= position;
        if stream.watchers.is_empty() || !stream.watchers.values().all(begun) {
            return;
        }
        let header = Some((self.options.header)(Revision(position.0 - 1)));
        let response = WatchResponse { header, watch_id: -1, ..Default::default() };
        encode::put_response(stream.outbox(), &response);
        stream.wake();
    }

    /// Tells watchers that ask for it, and that nothing has been sent to since the last time.
    fn tell_progress(&self) {
        while self.dispatch() {}
        let state = &mut *self.state.lock();
        let header = (self.options.header)(Revision(state.position.0 - 1));
        for (_, watcher) in &mut state.watchers {
            let active = std::mem::replace(&mut watcher.active, false);
            let (_, stream) = &mut state.streams[watcher.stream];
            let begun = !watcher.behind && watcher.next <= state.position;
            if watcher.wanted.progress && !active && begun && stream.has_room() {
                let (header, watch_id) = (Some(header), watcher.id);
                let response = WatchResponse { header, watch_id, ..Default::default() };
                encode::put_response(stream.outbox(), &response);
                stream.wake();
            }
        }
    }

    fn look_for_leader(&self) {
        let has_leader = (self.options.has_leader)();
        let mut state = self.state.lock();
        state.leaderless = if has_leader { 0 } else { state.leaderless + 1 };
        if state.leaderless >= LEADERLESS_LOOKS_MAX {
            for (_, (_, stream)) in &mut state.streams {
                if stream.requires_leader {
                    stream.end(Etcd::NoLeader.status());
                }
            }
        }
    }

    fn end_all(&self, status: &Status) {
        for (_, (_, stream)) in &mut self.state.lock().streams {
            stream.end(status.clone());
        }
    }

    /// The store cannot be read: nobody may believe that nothing happens.
    pub(super) fn fail(&self, error: &StoreError) {
        tracing::error!(%error, "watchers cannot be told of events");
        self.end_all(&Status::internal(error.to_string()));
    }

    /// Puts events into outboxes; `true` if there are more.
    pub(super) fn dispatch(&self) -> bool {
        let state = &mut *self.state.lock();
        let since = self.options.store.events().since(state.position);
        // After the events: an older view may lack what one of them superseded.
        let view = self.options.store.view();
        let (batches, next) = match since {
            Since::Batches(batches, next) => (batches, next),
            Since::Gone => {
                self.all_fall_behind(state);
                state.position = Revision(view.revision().0 + 1);
                return false;
            }
        };
        if state.live.len() > 0 {
            let mut delivered = 0;
            for batch in &batches {
                for events in batch.events().chunk_by(|a, b| a.revision() == b.revision()) {
                    let revision = events.first().expect("chunks are not empty").revision();
                    if revision < state.position {
                        continue;
                    }
                    match self.deliver(state, &view, revision, events) {
                        Ok(responses) => delivered += responses,
                        Err(error) => {
                            self.fail(&error);
                            return false;
                        }
                    }
                    state.position = Revision(revision.0 + 1);
                    if delivered > DELIVERIES_MAX {
                        return true;
                    }
                }
            }
        }
        state.position = state.position.max(next);
        false
    }

    /// Delivers one revision to all that are live.
    fn deliver(
        &self,
        state: &mut State,
        view: &View,
        revision: Revision,
        events: &[Event],
    ) -> Result<usize, StoreError> {
        let mut found = Vec::new();
        for (number, event) in events.iter().enumerate() {
            state.live.each(&event.kv.key, &mut |watcher| found.push((watcher, number)));
        }
        if found.is_empty() {
            return Ok(0);
        }
        if events.len() > 1 {
            found.sort_unstable();
        }
        let mut encoded = Encoded::new(view, events);
        let header = encode::header(&(self.options.header)(revision));
        let mut responses = 0;
        for matches in found.chunk_by(|a, b| a.0 == b.0) {
            let (slot, _) = *matches.first().expect("chunks are not empty");
            let watcher = &mut state.watchers[slot];
            if watcher.next > revision {
                continue;
            }
            let wanted = matches.iter().map(|(_, number)| *number);
            let wanted = wanted.filter(|number| watcher.wanted.wants(&events[*number]));
            let (_, stream) = &mut state.streams[watcher.stream];
            let parts = encoded.get(wanted, watcher.wanted.prev_kv)?;
            if parts.is_empty() {
                continue;
            }
            if !stream.has_room() {
                watcher.next = revision;
                self.fall_behind(state, slot);
                continue;
            }
            watcher.active = true;
            self.put(stream, &header, watcher.id, watcher.wanted.fragment, &parts);
            responses += 1;
        }
        Ok(responses)
    }

    /// Puts a response into an outbox, in parts if it is large and may be cut.
    pub(super) fn put(
        &self,
        stream: &mut Stream,
        header: &Bytes,
        id: i64,
        fragment: bool,
        events: &[Bytes],
    ) {
        self.options.metrics.mvcc.events.inc_by(events.len() as u64);
        let limit = if fragment { self.options.fragment_bytes } else { usize::MAX };
        let mut rest = events;
        loop {
            let mut len = header.len();
            let fits = rest.iter().take_while(|event| {
                len = len.saturating_add(event.len());
                len < limit
            });
            let (part, later) = rest.split_at(fits.count().max(1).min(rest.len()));
            rest = later;
            encode::put_events(stream.outbox(), header, id, !rest.is_empty(), part.iter());
            if rest.is_empty() {
                break;
            }
        }
        stream.wake();
    }

    /// A live watcher whose `next` has been set is left to catch up.
    fn fall_behind(&self, state: &mut State, slot: usize) {
        let watcher = &mut state.watchers[slot];
        watcher.behind = true;
        state.live.remove(&watcher.wanted.keys, slot);
        state.behind.insert(slot);
        state.streams[watcher.stream].1.behind += 1;
        self.options.metrics.mvcc.slow_watchers.inc();
        self.lagging.notify_one();
    }

    fn all_fall_behind(&self, state: &mut State) {
        let position = state.position;
        let live: Vec<_> =
            state.watchers.iter().filter(|(_, w)| !w.behind).map(|(slot, _)| slot).collect();
        for slot in live {
            let watcher = &mut state.watchers[slot];
            watcher.next = watcher.next.max(position);
            self.fall_behind(state, slot);
        }
    }
}

impl State {
    fn stream(&mut self, id: StreamId) -> Option<&mut Stream> {
        let (serial, stream) = self.streams.get_mut(id.slot)?;
        (*serial == id.serial).then_some(stream)
    }
}

/// The events of one revision, encoded when they are first wanted, with and without what was
/// before.
struct Encoded<'a> {
    view: &'a View,
    events: &'a [Event],
    made: Vec<[Option<Bytes>; 2]>,
}

impl<'a> Encoded<'a> {
    fn new(view: &'a View, events: &'a [Event]) -> Self {
        Self { view, events, made: vec![[None, None]; events.len()] }
    }

    fn get(
        &mut self,
        numbers: impl Iterator<Item = usize>,
        prev_kv: bool,
    ) -> Result<Vec<Bytes>, StoreError> {
        let mut parts = Vec::new();
        for number in numbers {
            let event = &self.events[number];
            let made = &mut self.made[number][usize::from(prev_kv)];
            let part = match made {
                Some(part) => part,
                None => {
                    let before = if prev_kv { self.view.before(event)? } else { None };
                    made.insert(encode::event(event, before))
                }
            };
            parts.push(part.clone());
        }
        Ok(parts)
    }
}
