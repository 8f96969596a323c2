//! The generated service in terms of [`PeerHandler`].

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use keelson_api::peer::Frame;
use keelson_api::peer::peer_server::Peer;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};

use super::grpc::{CLUSTER_HEADER, FROM_HEADER, REFUSAL_HEADER, TO_HEADER};
use super::message::{Call, Envelope, Refusal, Refused};
use super::transport::{Answers, PeerHandler, Requests};
use crate::raft::{ClusterId, MemberId};

/// Hands calls on to the handler, once the handler talks to their sender.
#[derive(Clone)]
pub(super) struct PeerService {
    pub(super) handler: Arc<dyn PeerHandler>,
}

impl PeerService {
    fn admit(&self, headers: &MetadataMap) -> Result<MemberId, Status> {
        let envelope = envelope(headers).ok_or_else(|| {
            refused(&Refused::new(Refusal::Malformed, "the call does not say who sends it to whom"))
        })?;
        self.handler.admit(&envelope).map_err(|why| refused(&why))?;
        Ok(envelope.from)
    }

    async fn call(&self, call: Call, request: Request<Frame>) -> Result<Response<Frame>, Status> {
        let from = self.admit(request.metadata())?;
        let answer = self.handler.call(from, call, request.into_inner().body).await;
        answer.map(|body| Response::new(Frame { body })).map_err(|why| refused(&why))
    }
}

fn envelope(headers: &MetadataMap) -> Option<Envelope> {
    let id = |name: &str| {
        let text = headers.get(name)?.to_str().ok()?;
        u64::from_str_radix(text, 16).ok()
    };
    Some(Envelope {
        cluster: ClusterId(id(CLUSTER_HEADER)?),
        from: MemberId(id(FROM_HEADER)?),
        to: MemberId(id(TO_HEADER)?),
    })
}

fn refused(refused: &Refused) -> Status {
    let mut status = Status::failed_precondition(refused.text.clone());
    let word = refused.why.word().parse().expect("a refusal's word is a header value");
    status.metadata_mut().insert(REFUSAL_HEADER, word);
    status
}

type Frames = BoxStream<'static, Result<Frame, Status>>;

/// A stream that breaks ends: what came whole is answered.
fn bodies(request: Request<Streaming<Frame>>) -> Requests {
    let frames = request.into_inner().take_while(|frame| std::future::ready(frame.is_ok()));
    Box::pin(frames.filter_map(|frame| std::future::ready(frame.ok().map(|frame| frame.body))))
}

fn frames(answers: Answers<Refused>) -> Response<Frames> {
    let frames = answers.map(|answer| match answer {
        Ok(body) => Ok(Frame { body }),
        Err(why) => Err(refused(&why)),
    });
    Response::new(Box::pin(frames))
}

#[tonic::async_trait]
impl Peer for PeerService {
    type AppendStream = Frames;
    type SnapshotStream = Frames;

    async fn append(
        &self,
        request: Request<Streaming<Frame>>,
    ) -> Result<Response<Self::AppendStream>, Status> {
        let from = self.admit(request.metadata())?;
        Ok(frames(self.handler.append(from, bodies(request))))
    }

    async fn snapshot(
        &self,
        request: Request<Streaming<Frame>>,
    ) -> Result<Response<Self::SnapshotStream>, Status> {
        let from = self.admit(request.metadata())?;
        Ok(frames(self.handler.snapshot(from, bodies(request))))
    }

    async fn heartbeat(&self, request: Request<Frame>) -> Result<Response<Frame>, Status> {
        self.call(Call::Heartbeat, request).await
    }

    async fn vote(&self, request: Request<Frame>) -> Result<Response<Frame>, Status> {
        self.call(Call::Vote, request).await
    }

    async fn pre_vote(&self, request: Request<Frame>) -> Result<Response<Frame>, Status> {
        self.call(Call::PreVote, request).await
    }

    async fn transfer_leader(&self, request: Request<Frame>) -> Result<Response<Frame>, Status> {
        self.call(Call::TransferLeader, request).await
    }

    async fn read_index(&self, request: Request<Frame>) -> Result<Response<Frame>, Status> {
        self.call(Call::ReadIndex, request).await
    }

    async fn propose(&self, request: Request<Frame>) -> Result<Response<Frame>, Status> {
        self.call(Call::Propose, request).await
    }

    async fn reconfigure(&self, request: Request<Frame>) -> Result<Response<Frame>, Status> {
        self.call(Call::Reconfigure, request).await
    }

    async fn lease(&self, request: Request<Frame>) -> Result<Response<Frame>, Status> {
        self.call(Call::Lease, request).await
    }
}
