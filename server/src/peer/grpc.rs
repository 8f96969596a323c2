//! [`PeerTransport`] over gRPC.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{Stream, StreamExt};
use keelson_api::peer::Frame;
use parking_lot::Mutex;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::{Request, Response, Status, Streaming};

use super::connect::Dialer;
use super::link::{Lane, Link};
use super::message::{Call, PeerError, Refusal, Refused};
use super::transport::{Answers, PeerTransport, Requests};
use crate::raft::{ClusterId, MemberId};

pub(super) const CLUSTER_HEADER: &str = "keelson-cluster-id";
pub(super) const FROM_HEADER: &str = "keelson-from";
pub(super) const TO_HEADER: &str = "keelson-to";
pub(super) const REFUSAL_HEADER: &str = "keelson-refusal";

/// A gRPC transport; one for the process.
#[derive(Debug)]
pub struct GrpcTransport {
    cluster: ClusterId,
    own: MemberId,
    dialer: Dialer,
    patience: Duration,
    links: Mutex<BTreeMap<MemberId, Arc<Link>>>,
}

impl GrpcTransport {
    /// A transport for a member. Connecting takes `patience` at the most, and a connection that is
    /// silent for twice that long is given up.
    #[must_use]
    pub fn new(cluster: ClusterId, own: MemberId, dialer: Dialer, patience: Duration) -> Self {
        Self { cluster, own, dialer, patience, links: Mutex::default() }
    }

    fn link(&self, to: MemberId) -> Arc<Link> {
        let mut links = self.links.lock();
        let link = || Arc::new(Link::new(self.dialer.clone(), self.patience));
        Arc::clone(links.entry(to).or_insert_with(link))
    }

    fn request<T>(&self, to: MemberId, body: T) -> Request<T> {
        let mut request = Request::new(body);
        let id = |id: u64| -> MetadataValue<Ascii> {
            format!("{id:x}").parse().expect("hexadecimal digits are a header value")
        };
        let headers = request.metadata_mut();
        headers.insert(CLUSTER_HEADER, id(self.cluster.0));
        headers.insert(FROM_HEADER, id(self.own.0));
        headers.insert(TO_HEADER, id(to.0));
        request
    }
}

impl PeerTransport for GrpcTransport {
    fn know(&self, member: MemberId, peer_urls: &[String]) {
        self.link(member).point_at(peer_urls);
    }

    fn call(
        &self,
        to: MemberId,
        call: Call,
        body: Bytes,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<Bytes, PeerError>> {
        let mut client = self.link(to).lane(Lane::of(call));
        let request = self.request(to, Frame { body });
        Box::pin(async move {
            let answer = async {
                match call {
                    Call::Heartbeat => client.heartbeat(request).await,
                    Call::Vote => client.vote(request).await,
                    Call::PreVote => client.pre_vote(request).await,
                    Call::TransferLeader => client.transfer_leader(request).await,
                    Call::ReadIndex => client.read_index(request).await,
                    Call::Propose => client.propose(request).await,
                    Call::Reconfigure => client.reconfigure(request).await,
                    Call::Lease => client.lease(request).await,
                }
            };
            match tokio::time::timeout(timeout, answer).await {
                Ok(answered) => answered
                    .map(Response::into_inner)
                    .map(|frame| frame.body)
                    .map_err(|status| error(to, &status)),
                Err(_) => Err(PeerError::NoAnswer { to, why: "timed out".to_owned() }),
            }
        })
    }

    fn append(
        &self,
        to: MemberId,
        requests: Requests,
    ) -> BoxFuture<'static, Result<Answers<PeerError>, PeerError>> {
        let mut client = self.link(to).lane(Lane::Append);
        let request = self.request(to, Frames(requests));
        Box::pin(async move {
            let answers = client.append(request).await.map_err(|status| error(to, &status))?;
            Ok(bodies(to, answers.into_inner()))
        })
    }

    fn snapshot(
        &self,
        to: MemberId,
        requests: Requests,
    ) -> BoxFuture<'static, Result<Answers<PeerError>, PeerError>> {
        let mut client = self.link(to).lane(Lane::Snapshot);
        let request = self.request(to, Frames(requests));
        Box::pin(async move {
            let answers = client.snapshot(request).await.map_err(|status| error(to, &status))?;
            Ok(bodies(to, answers.into_inner()))
        })
    }
}

/// Bodies as messages; a type with a name, which the compiler can follow through the client.
struct Frames(Requests);

impl Stream for Frames {
    type Item = Frame;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Frame>> {
        self.0.as_mut().poll_next(cx).map(|body| body.map(|body| Frame { body }))
    }
}

fn bodies(to: MemberId, answers: Streaming<Frame>) -> Answers<PeerError> {
    Box::pin(answers.map(move |answer| match answer {
        Ok(frame) => Ok(frame.body),
        Err(status) => Err(error(to, &status)),
    }))
}

/// What a status says of the fate of its call.
fn error(to: MemberId, status: &Status) -> PeerError {
    let word = status.metadata().get(REFUSAL_HEADER).and_then(|word| word.to_str().ok());
    if let Some(why) = word.and_then(Refusal::of) {
        return PeerError::Refused { to, refused: Refused::new(why, status.message()) };
    }
    let why = status.message().to_owned();
    if never_sent(status) {
        PeerError::NotSent { to, why }
    } else {
        PeerError::NoAnswer { to, why }
    }
}

/// There was no connection, or it closed before it took the request: hyper calls only that
/// cancelled. Everything else that can break leaves it open whether the request got through.
fn never_sent(status: &Status) -> bool {
    let first = std::error::Error::source(status);
    std::iter::successors(first, |error| error.source()).any(|error| {
        error.is::<tonic::ConnectError>()
            || error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_canceled)
    })
}
