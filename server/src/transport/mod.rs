//! Connections: accept, secure, tell the protocol, serve.
//!
//! One acceptor hands connections in turn to the client runtimes, each a thread of its own; a
//! connection stays where it was put, and so do its requests. HTTP/2 is told from HTTP/1.1 by its
//! first bytes, whatever the handshake of TLS has settled on; anything else is closed.

mod accept;
mod cork;
mod http;
mod serve;
mod sniff;
mod socket;
mod spin;

pub use accept::{Acceptor, Connections, Listen};
pub use serve::{ServeOptions, Server, run_plain};

// The peer listener is made of the same parts.
pub(crate) use http::{AtStop, Http, HttpOptions};
pub(crate) use serve::serve;
pub(crate) use socket::Socket;
