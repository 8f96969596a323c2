//! A transport that listens to what it is told: refusals are logged once, and a member that hears
//! that it was removed stops asking. It adds to each heartbeat whether the leader is without a
//! quorum, which Raft does not know.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;

use super::leadership::Heard;
use super::roster::Roster;
use super::types::MemberId;
use super::wire;
use crate::peer::{Answers, Call, PeerError, PeerTransport, Refusal, Requests};

/// The transport that Raft uses.
#[derive(Clone, Debug)]
pub(crate) struct Watched {
    transport: Arc<dyn PeerTransport>,
    roster: Arc<Roster>,
    heard: Arc<Heard>,
    /// Who has refused, and why, since it last took a message.
    refusing: Arc<Mutex<BTreeSet<(MemberId, Refusal)>>>,
}

impl Watched {
    pub(crate) fn new(
        transport: Arc<dyn PeerTransport>,
        roster: Arc<Roster>,
        heard: Arc<Heard>,
    ) -> Self {
        Self { transport, roster, heard, refusing: Arc::default() }
    }

    fn see(&self, to: MemberId, error: Option<&PeerError>) {
        let Some(PeerError::Refused { refused, .. }) = error else {
            if error.is_none() {
                self.refusing.lock().retain(|(who, _)| *who != to);
            }
            return;
        };
        if self.refusing.lock().insert((to, refused.why)) {
            tracing::warn!(%to, why = %refused.why, text = refused.text, "another member refuses");
        }
        if refused.why == Refusal::Removed {
            self.roster.expel();
        }
    }
}

type Opening = BoxFuture<'static, Result<Answers<PeerError>, PeerError>>;

impl Watched {
    fn seen(self, to: MemberId, opening: Opening) -> Opening {
        Box::pin(async move {
            let opened = opening.await;
            self.see(to, opened.as_ref().err());
            let answers: Answers<PeerError> =
                Box::pin(opened?.inspect(move |answer| self.see(to, answer.as_ref().err())));
            Ok(answers)
        })
    }
}

impl PeerTransport for Watched {
    fn know(&self, member: MemberId, peer_urls: &[String]) {
        self.transport.know(member, peer_urls);
    }

    fn call(
        &self,
        to: MemberId,
        call: Call,
        body: Bytes,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<Bytes, PeerError>> {
        let body = if call == Call::Heartbeat {
            wire::say_forsaken(&body, self.heard.is_forsaken())
        } else {
            body
        };
        let (this, answer) = (self.clone(), self.transport.call(to, call, body, timeout));
        Box::pin(async move {
            let answer = answer.await;
            this.see(to, answer.as_ref().err());
            answer
        })
    }

    fn append(
        &self,
        to: MemberId,
        requests: Requests,
    ) -> BoxFuture<'static, Result<Answers<PeerError>, PeerError>> {
        self.clone().seen(to, self.transport.append(to, requests))
    }

    fn snapshot(
        &self,
        to: MemberId,
        requests: Requests,
    ) -> BoxFuture<'static, Result<Answers<PeerError>, PeerError>> {
        self.clone().seen(to, self.transport.snapshot(to, requests))
    }
}
