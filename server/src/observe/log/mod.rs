//! Log lines in the shape of etcd's, which never hold up the one who logs.
//!
//! ```text
//! tracing event → layer → line (bytes) ─┬→ bounded queue → writer thread → stderr
//!                                       └→ bounded queue → writer thread → file
//! ```
//!
//! A line that finds no room is counted and left out; the count is logged when there is room
//! again. So a full disk, or a pipe that nobody reads, costs log lines and nothing else. (In etcd
//! a blocked stderr stops reads while the health check stays green.)

mod handle;
mod layer;
mod line;
mod queue;
mod timestamp;
mod writer;

pub use handle::{Log, LogError};
pub use layer::LogLayer;
pub use timestamp::WallClock;
