//! One client's connection to one member: sends, waits no longer than its deadline, and says what
//! is known of the outcome.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use keelson_api::client::{Client, Options};
use keelson_api::etcdserverpb::HashKvRequest;
use tonic::{Code, Status};

use super::convert;
use crate::cluster::Endpoints;
use crate::history::{Action, Answer, Hash, Header, Outcome, Recorder, Request, Response};

/// Longest waits for an answer.
#[derive(Debug, Clone, Copy)]
pub struct Deadlines {
    /// Of a read. Short: a client of a paused member must have a fresh read waiting in it when it
    /// wakes up.
    pub read: Duration,
    /// Of a write. Longer, since each that runs out is one more unknown outcome.
    pub write: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self { read: Duration::from_millis(1000), write: Duration::from_millis(3000) }
    }
}

/// A connection to one member.
#[derive(Debug)]
pub struct Session {
    process: u64,
    node: usize,
    endpoints: Arc<Endpoints>,
    recorder: Arc<Recorder>,
    deadlines: Deadlines,
    client: Option<Client>,
}

impl Session {
    /// A client that is not connected yet.
    pub fn new(
        process: u64,
        node: usize,
        endpoints: Arc<Endpoints>,
        recorder: Arc<Recorder>,
        deadlines: Deadlines,
    ) -> Self {
        Self { process, node, endpoints, recorder, deadlines, client: None }
    }

    /// The member.
    pub fn node(&self) -> usize {
        self.node
    }

    /// Sends a request and records it. `None` if there is no connection: then nothing was sent,
    /// nothing is recorded, and the caller should wait a little.
    pub async fn ask(&mut self, request: Request) -> Option<Outcome> {
        let client = self.connected().await?;
        let recorder = Arc::clone(&self.recorder);
        let ticket = recorder.invoke(
            self.process,
            self.node,
            self.endpoints.life(self.node),
            request.clone(),
        );
        let is_write = request.is_write();
        let deadline = if is_write { self.deadlines.write } else { self.deadlines.read };
        let outcome = match tokio::time::timeout(deadline, send(&client, &request)).await {
            Ok(Ok(response)) => Outcome::Ok(response),
            Ok(Err(status)) => {
                if is_broken(&status) {
                    self.client = None;
                }
                refused(&status, is_write)
            }
            Err(_) if is_write => Outcome::Unknown("no answer in time".to_owned()),
            Err(_) => Outcome::Fail("no answer in time".to_owned()),
        };
        recorder.complete(ticket, self.endpoints.life(self.node), outcome.clone());
        if is_write && matches!(outcome, Outcome::Ok(_)) {
            recorder.wrote();
        }
        Some(outcome)
    }

    /// The member's hash up to a revision.
    pub async fn hash(&mut self, revision: i64) -> Result<Hash, String> {
        let client = self.connected().await.ok_or("no connection")?;
        let answer = client.maintenance().hash_kv(HashKvRequest { revision }).await;
        let hash = answer.map_err(|status| status.message().to_owned())?.into_inner();
        Ok(Hash { node: self.node, revision, compacted: hash.compact_revision, hash: hash.hash })
    }

    async fn connected(&mut self) -> Option<Client> {
        if self.client.is_none() {
            let address = &self.endpoints.addresses[self.node];
            let options = Options { connect_timeout: self.deadlines.read, ..Options::default() };
            let endpoint = [address];
            let connecting = Client::connect_with(&endpoint, options);
            let connected = tokio::time::timeout(self.deadlines.read, connecting).await;
            self.client = connected.ok()?.ok();
        }
        self.client.clone()
    }
}

/// Whether the connection is no good any more. A timeout is no reason to leave it: the clients of
/// a paused member must still be there when it wakes up.
fn is_broken(status: &Status) -> bool {
    use std::error::Error;
    status.source().is_some() || status.code() == Code::Unavailable
}

/// What is known of a request that was answered by an error. Only errors that etcd gives before it
/// proposes anything prove that a write has no effect; everything else stays open.
fn refused(status: &Status, is_write: bool) -> Outcome {
    let text = format!("{:?}: {}", status.code(), status.message());
    let proven = matches!(
        status.code(),
        Code::InvalidArgument
            | Code::FailedPrecondition
            | Code::NotFound
            | Code::OutOfRange
            | Code::Unimplemented
            | Code::PermissionDenied
    );
    if proven || !is_write { Outcome::Fail(text) } else { Outcome::Unknown(text) }
}

async fn send(client: &Client, request: &Request) -> Result<Response, Status> {
    match request {
        Request::Single(Action::Range(range)) => {
            let mut kv = client.kv();
            let call = kv.range(convert::range(range));
            answered(call, |r| (convert::header(r.header), Some(convert::from_range(r)))).await
        }
        Request::Single(Action::Put { key, value }) => {
            let mut kv = client.kv();
            let call = kv.put(convert::put(key, value));
            answered(call, |r| (convert::header(r.header), Some(convert::from_put(r)))).await
        }
        Request::Single(Action::Delete { key }) => {
            let mut kv = client.kv();
            let call = kv.delete_range(convert::delete(key));
            answered(call, |r| (convert::header(r.header), Some(convert::from_delete(r)))).await
        }
        Request::Txn { compares, success, failure } => {
            let mut kv = client.kv();
            let call = kv.txn(convert::txn(compares, success, failure));
            answered(call, |r| (convert::header(r.header), convert::from_txn(r))).await
        }
    }
}

async fn answered<T>(
    call: impl Future<Output = Result<tonic::Response<T>, Status>>,
    convert: impl FnOnce(T) -> (Header, Option<Answer>),
) -> Result<Response, Status> {
    let (header, answer) = convert(call.await?.into_inner());
    let answer = answer.ok_or_else(|| Status::unknown("the answer does not fit the request"))?;
    Ok(Response { header, answer })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_refusals_before_a_proposal_prove_that_nothing_happened() {
        let outcome = |code, is_write| refused(&Status::new(code, "x"), is_write);
        assert!(matches!(outcome(Code::InvalidArgument, true), Outcome::Fail(_)));
        for code in [Code::Unavailable, Code::Unknown, Code::Internal, Code::DeadlineExceeded] {
            assert!(matches!(outcome(code, true), Outcome::Unknown(_)), "{code:?}");
            assert!(matches!(outcome(code, false), Outcome::Fail(_)), "{code:?}");
        }
    }
}
