//! The HTTP/1.1 side of the client port: health, version, metrics and debugging.
//!
//! A request is a value, and so is its response: the listener hands in what it read and writes
//! what comes back. The state is seen through [`Probe`] alone. The JSON gateway under `/v3/` is
//! another module's; until it is there, its paths are not found.

mod access;
mod answer;
mod checks;
mod health;
mod probe;
mod query;
mod request;
mod router;
mod vars;

pub use answer::Response;
pub use probe::{
    Alarm, Consistency, PeerProgress, Probe, ProbeFuture, RaftRole, RaftStatus, Versions,
};
pub use request::Request;
pub use router::{HttpState, handle};

#[cfg(test)]
mod tests;
