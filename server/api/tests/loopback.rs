//! The generated service and the thin client talk to each other over loopback.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use bytes::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use keelson_api::client::Client;
use keelson_api::errors::Error;
use keelson_api::etcdserverpb::kv_server::{Kv, KvServer};
use keelson_api::etcdserverpb::{
    CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse, PutRequest,
    PutResponse, RangeRequest, RangeResponse, RangeStreamResponse, ResponseHeader, TxnRequest,
    TxnResponse,
};
use keelson_api::mvccpb::KeyValue;
use tokio::net::TcpListener;
use tonic::{Request, Response, Status};

/// Answers a put with what it got, a range with one key per unit of limit.
struct Echo;

#[tonic::async_trait]
impl Kv for Echo {
    type RangeStreamStream =
        tokio_stream::Iter<std::vec::IntoIter<Result<RangeStreamResponse, Status>>>;

    async fn range(&self, r: Request<RangeRequest>) -> Result<Response<RangeResponse>, Status> {
        let r = r.into_inner();
        let kv = KeyValue { key: r.key, value: Bytes::from(vec![7; 1000]), ..Default::default() };
        let kvs = std::iter::repeat_n(kv, usize::try_from(r.limit).unwrap()).collect();
        Ok(Response::new(RangeResponse { kvs, count: r.limit, ..Default::default() }))
    }

    async fn range_stream(
        &self,
        r: Request<RangeRequest>,
    ) -> Result<Response<Self::RangeStreamStream>, Status> {
        let pieces = (0..r.into_inner().limit).map(|count| {
            let range_response = Some(RangeResponse { count, ..Default::default() });
            Ok(RangeStreamResponse { range_response })
        });
        Ok(Response::new(tokio_stream::iter(pieces.collect::<Vec<_>>())))
    }

    async fn put(&self, r: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        let PutRequest { key, value, lease, .. } = r.into_inner();
        let header = Some(ResponseHeader { revision: 9, ..Default::default() });
        let prev_kv = Some(KeyValue { key, value, lease, ..Default::default() });
        Ok(Response::new(PutResponse { header, prev_kv }))
    }

    async fn delete_range(
        &self,
        _: Request<DeleteRangeRequest>,
    ) -> Result<Response<DeleteRangeResponse>, Status> {
        Err(Error::EmptyKey.status())
    }

    async fn txn(&self, _: Request<TxnRequest>) -> Result<Response<TxnResponse>, Status> {
        Err(Error::TooManyOps.status())
    }

    async fn compact(
        &self,
        _: Request<CompactionRequest>,
    ) -> Result<Response<CompactionResponse>, Status> {
        Err(Error::Compacted.status())
    }
}

async fn client() -> Client {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = TowerToHyperService::new(KvServer::new(Echo));
            let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service);
            tokio::spawn(connection);
        }
    });
    Client::connect(&[address.to_string()]).await.unwrap()
}

#[tokio::test]
async fn a_put_arrives_whole() {
    let mut kv = client().await.kv();
    let value = Bytes::from(vec![3; 100_000]);
    let request =
        PutRequest { key: "a".into(), value: value.clone(), lease: 5, ..Default::default() };
    let response = kv.put(request).await.unwrap().into_inner();
    assert_eq!(response.header.unwrap().revision, 9);
    let echoed = response.prev_kv.unwrap();
    assert_eq!((echoed.key, echoed.value, echoed.lease), ("a".into(), value, 5));
}

#[tokio::test]
async fn a_response_may_pass_the_usual_four_megabytes() {
    let mut kv = client().await.kv();
    let request = RangeRequest { key: "k".into(), limit: 5000, ..Default::default() };
    let response = kv.range(request).await.unwrap().into_inner();
    assert_eq!(response.kvs.len(), 5000);
    assert!(response.kvs.iter().all(|kv| kv.key == "k" && kv.value.len() == 1000));
}

#[tokio::test]
async fn a_range_stream_arrives_in_order() {
    let mut kv = client().await.kv();
    let request = RangeRequest { key: "k".into(), limit: 3, ..Default::default() };
    let mut stream = kv.range_stream(request).await.unwrap().into_inner();
    let mut counts = Vec::new();
    while let Some(piece) = stream.message().await.unwrap() {
        counts.push(piece.range_response.unwrap().count);
    }
    assert_eq!(counts, [0, 1, 2]);
}

#[tokio::test]
async fn errors_keep_code_and_text() {
    let mut kv = client().await.kv();
    let deletion = kv.delete_range(DeleteRangeRequest::default()).await.unwrap_err();
    assert_eq!(Error::from_status(&deletion), Some(Error::EmptyKey));
    let txn = kv.txn(TxnRequest::default()).await.unwrap_err();
    assert_eq!(Error::from_status(&txn), Some(Error::TooManyOps));
    let compaction = kv.compact(CompactionRequest::default()).await.unwrap_err();
    assert_eq!(Error::from_status(&compaction), Some(Error::Compacted));
}
