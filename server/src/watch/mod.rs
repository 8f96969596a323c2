//! Watch: who follows which keys, and what of it is where on its way.
//!
//! ```text
//!  store ─ applied ─▶ Feed ─ wakes ─▶ Hub (one per client runtime)
//!                                      │ events since its position, matched by Index
//!                                      ├─▶ outbox of each stream whose watcher matches ─▶ WatchBody ─▶ HTTP/2
//!                                      └─▶ behind: catch-up reads the store's slices, at its own pace
//! ```
//! A [`Hub`] has a position: every revision before it has been put into the outboxes of all streams
//! whose watchers it concerns, or the watcher is *behind*, which is a position of its own. A stream
//! whose outbox is full makes its watchers fall behind; nothing else happens to anybody. Whoever is
//! behind is caught up, from memory or from the store, as its outbox empties, and is *live* again
//! when it has reached the hub's position. So a slow reader costs its outbox and no event is ever
//! lost: a watcher gets each one in order, or is cancelled because what it wants is compacted.
//!
//! Outboxes are filled and emptied in order, so what is said of a position (progress, cancellation)
//! cannot overtake what happened before it. An event is encoded once for all watchers of a hub.

mod body;
mod catch_up;
mod encode;
mod feed;
mod hub;
mod index;
mod inside;
mod outbox;
mod watcher;

pub use body::WatchBody;
pub(crate) use feed::{Fed, Feed};
pub(crate) use hub::{Hub, HubOptions, StreamId};
pub(crate) use inside::Inside;

#[cfg(test)]
mod test;
