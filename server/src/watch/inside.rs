//! A stream whose client is this server: what waits for changes of keys on behalf of others.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use keelson_api::errors::Error as Etcd;
use keelson_api::etcdserverpb::watch_request::RequestUnion;
use keelson_api::etcdserverpb::{WatchCreateRequest, WatchRequest, WatchResponse};
use prost::Message as _;
use tonic::Status;

use super::body::WatchBody;
use super::hub::{Hub, StreamId};

/// A flag byte and a length.
const PREFIX_BYTES: usize = 5;

/// See the module. Its watchers end with it.
pub(crate) struct Inside {
    hub: Arc<Hub>,
    id: StreamId,
    body: WatchBody,
    arrived: VecDeque<WatchResponse>,
}

impl Inside {
    pub(crate) fn open(hub: &Arc<Hub>) -> Self {
        let (id, body) = hub.open(false);
        Self { hub: Arc::clone(hub), id, body, arrived: VecDeque::new() }
    }

    pub(crate) fn create(&self, create: WatchCreateRequest) {
        let request_union = Some(RequestUnion::CreateRequest(create));
        self.hub.request(self.id, WatchRequest { request_union });
    }

    /// The next response.
    ///
    /// # Errors
    /// The stream has ended: the node is stopping.
    pub(crate) async fn next(&mut self) -> Result<WatchResponse, Status> {
        loop {
            if let Some(response) = self.arrived.pop_front() {
                return Ok(response);
            }
            match poll_fn(|cx| self.body.poll(cx)).await {
                Some(Ok(frames)) => self.take(frames),
                Some(Err(status)) => return Err(status),
                None => return Err(Etcd::Stopped.status()),
            }
        }
    }

    /// An outbox is filled in whole frames, and taken whole.
    fn take(&mut self, mut frames: Bytes) {
        while frames.len() > PREFIX_BYTES {
            frames.advance(1);
            let len = frames.get_u32() as usize;
            let response = WatchResponse::decode(frames.split_to(len));
            self.arrived.push_back(response.expect("the hub encodes what it says"));
        }
    }
}
