//! Snapshots between members: a checkpoint of the leader's store, copied file by file to a member
//! that needs entries which the leader's log has no more, and put in the place of that member's
//! store while it runs.
//!
//! ```text
//!  leader                                         follower
//!  hello(vote)                 ───────────▶       is the leader one to follow?
//!                              ◀───────────  ready
//!  checkpoint (hard links)
//!  offer(source, files)        ───────────▶       keeps finished files of the same source
//!                              ◀───────────  have(bytes of each file)
//!  pieces(file, offset, crc)   ──── … ────▶       incoming/: written, checked, synced
//!                                                 store-<n>/: opened, its position read from inside
//!                                                 openraft: install → pointer, Applier::replace
//!                              ◀───────────  done(vote)
//! ```
//! The checkpoint says itself how far it goes; what openraft describes as the snapshot is only an
//! earlier position. Nothing of it waits for writes or holds them up: the checkpoint costs a flush,
//! reading is paced, and the connection is its own. A transfer that breaks goes on where it was,
//! as long as the same process sends. Until it is done, the leader's log keeps what follows.

mod frame;
mod pace;
mod partial;
mod receive;
mod send;
mod stores;

pub(super) use receive::Incoming;
pub(super) use send::Outgoing;
pub(super) use stores::Candidate;
pub use stores::{OpenEngine, Stores, StoresError};
