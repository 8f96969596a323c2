//! The seam between Raft and whatever carries its messages.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;

use super::message::{Call, Envelope, PeerError, Refused};
use crate::raft::MemberId;

/// What goes out on a stream.
pub type Requests = BoxStream<'static, Bytes>;

/// What comes back on a stream, in the order of the requests.
pub type Answers<E> = BoxStream<'static, Result<Bytes, E>>;

/// Takes messages to other members.
pub trait PeerTransport: Send + Sync + std::fmt::Debug + 'static {
    /// Says where members are reached; what is known of others stays.
    fn know(&self, member: MemberId, peer_urls: &[String]);

    /// One request, one answer, within `timeout`.
    fn call(
        &self,
        to: MemberId,
        call: Call,
        body: Bytes,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<Bytes, PeerError>>;

    /// A stream of requests. They are taken from `requests` as the connection has room for them,
    /// which is what bounds those under way.
    fn append(
        &self,
        to: MemberId,
        requests: Requests,
    ) -> BoxFuture<'static, Result<Answers<PeerError>, PeerError>>;

    /// The same for the parts of a snapshot, which never hold entries up.
    fn snapshot(
        &self,
        to: MemberId,
        requests: Requests,
    ) -> BoxFuture<'static, Result<Answers<PeerError>, PeerError>>;
}

/// Answers what other members ask.
pub trait PeerHandler: Send + Sync + 'static {
    /// Whether this member talks to whoever sent the call.
    ///
    /// # Errors
    /// The reason why not.
    fn admit(&self, envelope: &Envelope) -> Result<(), Refused>;

    /// Answers one call. Dropping the future gives up the answer, not what was asked for.
    fn call(
        &self,
        from: MemberId,
        call: Call,
        body: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, Refused>>;

    /// Answers a stream of appends.
    fn append(&self, from: MemberId, requests: Requests) -> Answers<Refused>;

    /// Takes a snapshot.
    fn snapshot(&self, from: MemberId, requests: Requests) -> Answers<Refused>;
}
