//! What members say to each other: calls with one answer, and one stream of entries from the leader
//! to each follower.
//!
//! Raft reaches other members through [`PeerTransport`] and is reached through [`PeerHandler`];
//! both speak of members and bytes alone, so that simulation can put plain frames in the place of
//! gRPC. Nothing here knows what the bytes mean.
//!
//! ```text
//!  raft ─PeerTransport─▶ link ──gRPC──▶ listener ─▶ service ─PeerHandler─▶ raft
//! ```
//! A [`Link`](link) has a connection for each kind of traffic, so that a vote never queues behind
//! a megabyte of entries. The listener also answers `/version` and `/members`, which a member that
//! joins asks before it belongs to the cluster.

mod connect;
mod grpc;
mod link;
mod listener;
mod message;
mod remote;
mod service;
mod transport;

pub use connect::Dialer;
pub use grpc::GrpcTransport;
pub use listener::{PeerHttp, serve};
pub use message::{Call, Envelope, PeerError, Refusal, Refused};
pub use remote::{RemoteCluster, RemoteError, RemoteMember, ask_members};
pub use transport::{Answers, PeerHandler, PeerTransport, Requests};
