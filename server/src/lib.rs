//! The keelson node: an etcd-compatible key-value store.

pub mod cli;
pub mod config;
pub mod http;
pub mod lease;
pub mod node;
pub mod observe;
pub mod peer;
pub mod raft;
pub mod rpc;
pub mod tls;
pub mod transport;
pub mod watch;
