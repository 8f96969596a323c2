//! The queue that locks and elections are: keys under a name, one for each lease that waits, and
//! whichever was created first is at the head. Keys are etcd's, so that clients who queue by
//! themselves, etcdctl among them, and those who ask the server wait for each other.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use keelson_api::etcdserverpb as pb;
use keelson_api::etcdserverpb::watch_create_request::FilterType;
use keelson_store::View;
use keelson_store::command::{
    Command, Compare, CompareResult, CompareTarget, DeleteRange, KeyRange, Op, Put, Range,
    SortOrder, SortTarget, Txn,
};
use keelson_store::response::{OpResponse, Response as Stored, TxnResponse};
use keelson_store::types::{KeyValue, LeaseId, Revision};
use tonic::Status;

use super::errors;
use super::kv::{KvService, blocking};
use super::lease::LeaseService;
use crate::watch::{Hub, Inside};

/// About what a place in a queue takes in the log, beside its name and value.
const COMMAND_BYTES: usize = 128;

/// Seconds that a lease lives which the server makes for somebody who has none; etcd's.
const OWN_LEASE_TTL: i64 = 60;

/// What queues are made of.
#[derive(Clone)]
pub(super) struct Queues {
    pub(super) kv: KvService,
    pub(super) leases: LeaseService,
    pub(super) hub: Arc<Hub>,
}

/// A place in a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) key: Bytes,
    /// Its key's create revision, which orders the queue.
    pub(super) revision: Revision,
    pub(super) lease: LeaseId,
}

/// A place that has just been taken.
pub(super) struct Joined {
    pub(super) place: Place,
    /// What was there, if the lease had its place already.
    pub(super) before: Option<KeyValue>,
}

/// The interval of all places under a name.
pub(super) fn places(name: &[u8]) -> KeyRange {
    let with = |last: u8| Bytes::from([name, &[last]].concat());
    KeyRange { key: with(b'/'), end: with(b'/' + 1) }
}

fn key_of(name: &[u8], lease: LeaseId) -> Bytes {
    let mut key = BytesMut::with_capacity(name.len() + 17);
    key.extend_from_slice(name);
    key.put_u8(b'/');
    key.extend_from_slice(format!("{:x}", lease.0).as_bytes());
    key.freeze()
}

fn only(key: Bytes) -> KeyRange {
    KeyRange { key, end: Bytes::new() }
}

/// That a key is as old as a place says.
fn still(key: Bytes, revision: Revision) -> Compare {
    let target = CompareTarget::Create(revision);
    Compare { range: only(key), result: CompareResult::Equal, target }
}

impl Queues {
    /// Takes the lease's place under a name, a new lease's if there is none.
    pub(super) async fn join(
        &self,
        name: &[u8],
        lease: i64,
        value: Bytes,
    ) -> Result<Joined, Status> {
        let lease = match lease {
            0 => self.leases.grant_any(OWN_LEASE_TTL).await?.0,
            lease => LeaseId(lease),
        };
        let key = key_of(name, lease);
        let put = Put { key: key.clone(), value, lease, ..Put::default() };
        let read = Range { range: only(key.clone()), ..Range::default() };
        let txn = Txn {
            compare: vec![still(key.clone(), Revision(0))],
            success: vec![Op::Put(put)],
            failure: vec![Op::Range(read)],
        };
        let (response, _) = self.txn(txn).await?;
        let before = match response.responses.into_iter().next() {
            Some(OpResponse::Range(range)) => range.kvs.into_iter().next(),
            _ => None,
        };
        let revision = before.as_ref().map_or(response.revision, |kv| kv.create_revision);
        Ok(Joined { place: Place { key, revision, lease }, before })
    }

    /// Waits until the place is at the head; `None` if it is lost before, with its lease. Given up
    /// half-way, the place is given back.
    pub(super) async fn reach_head(
        &self,
        name: &[u8],
        place: &Place,
    ) -> Result<Option<pb::ResponseHeader>, Status> {
        let mut given_back = GivenBack { queues: self, place, armed: true };
        loop {
            let view = self.kv.view(false).await?;
            let (ahead, here) = look(&view, name, place).await?;
            if !here {
                given_back.armed = false;
                return Ok(None);
            }
            let Some(ahead) = ahead else {
                given_back.armed = false;
                return Ok(Some(self.kv.header(view.revision())));
            };
            self.change_of([ahead, place.key.clone()], view.revision()).await?;
        }
    }

    /// Returns when one of the keys has been deleted after `revision`, or may have been.
    async fn change_of(&self, keys: [Bytes; 2], revision: Revision) -> Result<(), Status> {
        let mut watching = Inside::open(&self.hub);
        for key in keys {
            watching.create(pb::WatchCreateRequest {
                key,
                start_revision: revision.0 + 1,
                filters: vec![FilterType::Noput.into()],
                ..Default::default()
            });
        }
        loop {
            let told = watching.next().await?;
            if told.canceled || !told.events.is_empty() {
                return Ok(());
            }
        }
    }

    /// Puts a value in a place that is still held; `None` if it is not.
    pub(super) async fn set(
        &self,
        place: &Place,
        value: Bytes,
    ) -> Result<Option<pb::ResponseHeader>, Status> {
        let Place { key, revision, lease } = place.clone();
        let put = Put { key: key.clone(), value, lease, ..Put::default() };
        let compare = vec![still(key, revision)];
        let txn = Txn { compare, success: vec![Op::Put(put)], failure: Vec::new() };
        let (response, header) = self.txn(txn).await?;
        Ok(response.succeeded.then_some(header))
    }

    /// Gives a place back; whoever has the key by now keeps it.
    pub(super) async fn leave(&self, place: &Place) -> Result<pb::ResponseHeader, Status> {
        let Place { key, revision, .. } = place.clone();
        let delete = DeleteRange { range: only(key.clone()), prev_kv: false };
        let compare = vec![still(key, revision)];
        let txn = Txn { compare, success: vec![Op::DeleteRange(delete)], failure: Vec::new() };
        Ok(self.txn(txn).await?.1)
    }

    /// Who is at the head, as of now.
    pub(super) async fn head(
        &self,
        name: &[u8],
    ) -> Result<(pb::ResponseHeader, Option<KeyValue>), Status> {
        let view = self.kv.view(false).await?;
        let header = self.kv.header(view.revision());
        let range = Range {
            range: places(name),
            sort_target: SortTarget::Create,
            sort_order: SortOrder::Ascend,
            limit: 1,
            ..Range::default()
        };
        let head = blocking(move || Ok(rows(&view, &range)?.into_iter().next())).await?;
        Ok((header, head))
    }

    async fn txn(&self, txn: Txn) -> Result<(TxnResponse, pb::ResponseHeader), Status> {
        let bytes = txn.success.iter().map(|op| match op {
            Op::Put(put) => put.key.len() + put.value.len(),
            Op::Range(_) | Op::DeleteRange(_) | Op::Txn(_) => 0,
        });
        let bytes = bytes.sum::<usize>() + COMMAND_BYTES;
        let (stored, term) = self.kv.propose(Command::Txn(txn), bytes).await?;
        let Stored::Txn(response) = stored else { unreachable!("a txn answers as a txn") };
        let header = self.kv.header_at(response.revision, term);
        Ok((response, header))
    }
}

/// The place right before this one, and whether this one is there.
async fn look(
    view: &Arc<View>,
    name: &[u8],
    place: &Place,
) -> Result<(Option<Bytes>, bool), Status> {
    let (view, place, range) = (Arc::clone(view), place.clone(), places(name));
    blocking(move || {
        let own = view.get(&place.key).map_err(|error| errors::not_read(&error.into()))?;
        let here = own.is_some_and(|kv| kv.create_revision == place.revision);
        let before = Range {
            range,
            max_create_revision: Revision(place.revision.0 - 1),
            sort_target: SortTarget::Create,
            sort_order: SortOrder::Descend,
            limit: 1,
            ..Range::default()
        };
        Ok((rows(&view, &before)?.into_iter().next().map(|kv| kv.key), here))
    })
    .await
}

/// What a range finds.
pub(super) fn rows(view: &View, range: &Range) -> Result<Vec<KeyValue>, Status> {
    let mut rows = Vec::new();
    let sink = &mut |row: keelson_store::types::KeyValueRef<'_>| {
        rows.push(row.to_owned());
        std::ops::ControlFlow::Continue(())
    };
    view.range(range, sink).map_err(|error| errors::not_read(&error))?;
    Ok(rows)
}

/// Gives a place back when whoever waited in it has gone away.
struct GivenBack<'a> {
    queues: &'a Queues,
    place: &'a Place,
    armed: bool,
}

impl Drop for GivenBack<'_> {
    fn drop(&mut self) {
        if self.armed {
            let (queues, place) = (self.queues.clone(), self.place.clone());
            tokio::spawn(async move {
                if let Err(status) = queues.leave(&place).await {
                    tracing::debug!(%status, "a place in a queue waits for its lease to end");
                }
            });
        }
    }
}
