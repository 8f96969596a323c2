//! TLS among members and for clients: who is let in, who is kept out and told why, and certificates
//! that change under load.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test may panic and tell")]

mod common;

#[path = "tls/channel.rs"]
mod channel;
#[path = "tls/pki.rs"]
mod pki;

#[path = "tls/clients.rs"]
mod clients;
#[path = "tls/ctl.rs"]
mod ctl;
#[path = "tls/handshakes.rs"]
mod handshakes;
#[path = "tls/members.rs"]
mod members;
#[path = "tls/outsiders.rs"]
mod outsiders;
#[path = "tls/rotation.rs"]
mod rotation;
#[path = "tls/start.rs"]
mod start;

use tokio::sync::{Mutex, MutexGuard};

/// A cluster needs most of a small machine: one at a time.
static ALONE: Mutex<()> = Mutex::const_new(());

async fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().await
}
