//! A well-behaved client that must not notice what others do to the server.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use keelson_api::etcdserverpb::{PutRequest, RangeRequest};
use tokio::task::JoinHandle;

use super::server::Server;
use super::wait::{now, within};

/// Longest time one of its requests may take: a request that takes longer has been held up.
const REQUEST_BOUND: Duration = Duration::from_secs(10);

/// Puts and reads on a connection of its own until it is asked how it went.
#[derive(Debug)]
pub struct Bystander {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Bystander {
    pub async fn start(server: &Server) -> Self {
        let mut kv = server.client().await.kv();
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counter) = (Arc::clone(&stop), Arc::clone(&done));
        let task = tokio::spawn(async move {
            while !stopped.load(Ordering::Relaxed) {
                let value = format!("{}", counter.load(Ordering::Relaxed));
                let put = PutRequest {
                    key: "bystander".into(),
                    value: value.clone().into(),
                    ..Default::default()
                };
                within(REQUEST_BOUND, "bystander's put", kv.put(put)).await.unwrap();
                let get = RangeRequest { key: "bystander".into(), ..Default::default() };
                let got = within(REQUEST_BOUND, "bystander's get", kv.range(get)).await.unwrap();
                assert_eq!(got.into_inner().kvs[0].value, value);
                counter.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self { stop, done, task }
    }

    /// Returns when it has done this many more requests of each kind, started after the call.
    pub async fn does(&self, more: u64) {
        let from = self.done.load(Ordering::Relaxed);
        let start = now();
        // One of the requests that are counted may have begun before.
        while self.done.load(Ordering::Relaxed) <= from + more {
            assert!(!self.task.is_finished(), "the bystander was disturbed");
            assert!(start.elapsed() < 3 * REQUEST_BOUND, "the bystander is held up");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Ends it; fails if any of its requests failed.
    pub async fn finish(self) {
        self.does(1).await;
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.expect("all requests of the bystander succeed");
    }
}
