//! Metrics under etcd's names, so that its dashboards and alerts work unchanged.
//!
//! Every family has an owner file with its names and help; `Metrics` holds them all. What sits on
//! a request's path is a plain handle, resolved once: no label is looked up per request. Values
//! that are a view on some state (revision, sizes) are set by hooks when metrics are rendered.

mod all;
mod disk;
mod families;
mod mvcc;
mod network;
mod process;
mod rpc;
mod rpc_table;
mod server;

pub use all::Metrics;
pub use disk::DiskMetrics;
pub use mvcc::MvccMetrics;
pub use network::NetworkMetrics;
pub use rpc::{CODES, Rpc, RpcMetrics};
pub use rpc_table::{RPCS, RpcDef, RpcType};
pub use server::{Health, ServerMetrics};

#[cfg(test)]
mod tests;
