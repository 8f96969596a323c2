//! Secured connections: the files they rest on, what is demanded of the other side, the handshake.
//!
//! ```text
//! files ─▶ contents ─▶ state: a configuration to listen with and one to connect with
//!   ▲                    │ taken anew by each handshake
//!   └── every second ────┘ a new state takes the place of the old one, or the old one stays
//! ```
//! Nothing is remembered from one connection to the next (no sessions, no tickets): who was taken
//! once is checked again every time, against the files as they are then. Open connections stay.

mod certificate;
mod complaints;
mod error;
mod files;
mod handle;
mod handshake;
mod origin;
mod pem;
mod queue;
mod revoked;
mod rules;
mod self_signed;
mod state;
mod verifier;
mod why;

pub use error::TlsError;
pub use handle::{Fixtures, Side, Tls, TlsOptions};
pub use handshake::TlsListener;

pub(crate) use complaints::Complaints;
pub(crate) use handshake::HANDSHAKE_TIMEOUT;
pub(crate) use why::{Other, is_alert, why};

#[cfg(test)]
mod tests;
