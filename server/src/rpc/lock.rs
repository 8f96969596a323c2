//! The Lock service.

use keelson_api::etcdserverpb as pb;
use keelson_api::v3lockpb::lock_server::Lock;
use keelson_api::v3lockpb::{LockRequest, LockResponse, UnlockRequest, UnlockResponse};
use keelson_store::command::{Command, DeleteRange, KeyRange};
use keelson_store::response::Response as Stored;
use tonic::{Request, Response, Status};

use super::queue::Queues;

/// The Lock service of one runtime.
#[derive(Clone)]
pub(super) struct LockService(pub(super) Queues);

#[tonic::async_trait]
impl Lock for LockService {
    /// Waits for its turn. Whoever goes away while waiting is not granted it.
    async fn lock(&self, request: Request<LockRequest>) -> Result<Response<LockResponse>, Status> {
        let LockRequest { name, lease } = request.into_inner();
        let place = self.0.join(&name, lease, bytes::Bytes::new()).await?.place;
        match self.0.reach_head(&name, &place).await? {
            Some(header) => {
                Ok(Response::new(LockResponse { header: Some(header), key: place.key }))
            }
            None => Err(Status::unknown("mutex: session is expired")),
        }
    }

    async fn unlock(
        &self,
        request: Request<UnlockRequest>,
    ) -> Result<Response<UnlockResponse>, Status> {
        let key = request.into_inner().key;
        let bytes = key.len();
        let range = KeyRange { key, end: bytes::Bytes::new() };
        let delete = Command::DeleteRange(DeleteRange { range, prev_kv: false });
        let (stored, term) = self.0.kv.propose(delete, bytes).await?;
        let Stored::DeleteRange(response) = stored else {
            unreachable!("a delete answers as a delete")
        };
        let header: Option<pb::ResponseHeader> = Some(self.0.kv.header_at(response.revision, term));
        Ok(Response::new(UnlockResponse { header }))
    }
}
