//! Free loopback ports.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

/// Ports are taken from below the range that systems use for outgoing connections, so that nothing
/// grabs the port of a server that is being restarted.
const LOWEST: u16 = 12_000;
const COUNT: u16 = 20_000;

/// Two processes that run at the same time start their search apart.
static NEXT: AtomicU16 = AtomicU16::new(0);

/// A port that nobody listens on.
pub fn free_port() -> u16 {
    let spread = std::process::id().wrapping_mul(7919);
    for _ in 0..COUNT {
        let step = u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
        let offset = spread.wrapping_add(step) % u32::from(COUNT);
        let port = LOWEST + u16::try_from(offset).unwrap();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no port from {LOWEST} on is free");
}
