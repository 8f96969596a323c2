//! A cluster of real processes: where it runs, how its members start, stop, pause and are cut off.
//!
//! [`Network`] gives each member a network namespace of its own, or ports on loopback where that
//! is not allowed; [`Cluster`] holds the processes; [`leftovers`] sees to it that nothing stays
//! behind, also after Ctrl-C, and that what a killed run left can be removed later.

pub mod leftovers;
mod members;
mod network;
mod node;
mod status;
mod subject;

pub use members::{Cluster, Endpoints};
pub use network::{Mode, Network, Reason};
pub use node::Node;
pub use status::{Probe, status};
pub use subject::{Kind, Subject};
