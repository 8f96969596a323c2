//! Client connections: accept, tell the protocol, serve.
//!
//! One acceptor hands connections in turn to the client runtimes, each a thread of its own; a
//! connection stays where it was put, and so do its requests. Clear-text HTTP/2 is told from
//! HTTP/1.1 by its first bytes; anything else is closed.

mod accept;
mod cork;
mod serve;
mod sniff;
mod spin;

pub use accept::{Acceptor, Connections};
pub use serve::{ServeOptions, Server, run_plain};

// The peer listener is made of the same parts.
pub(crate) use cork::{ConnectionError, Cork, Corked};
pub(crate) use serve::run as run_connections;
pub(crate) use sniff::{Protocol, sniff};
