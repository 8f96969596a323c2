//! The gRPC surface: etcd's services in terms of Raft and the store.
//!
//! [`Router`] sends each request to its handler. KV is what a store lives by, so its unary calls
//! take the short way: one message read ([`frame`]), one response written ([`body`]), rows encoded
//! straight from the store's iterators ([`rows`]). The other services are the generated ones.
//!
//! This and the gateway are the only rooms where proto types stand next to store types.

mod body;
mod check;
mod cluster;
mod convert;
mod election;
mod errors;
mod frame;
mod health;
mod kv;
mod large;
mod lease;
mod lock;
mod maintenance;
mod pieces;
mod queue;
mod router;
mod rows;
mod stream;
mod watch;

pub use body::ResponseBody;
pub use kv::{KvLimits, KvService};
pub use lease::LeaseRoom;
pub use router::{KvCall, Router, Services};
