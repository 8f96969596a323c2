//! Random commands against keelson and real etcd side by side: the same response, or the same error
//! with the same text, to every one of them, also across crashes of keelson.
//!
//! `KEELSON_DIFF_SEED` and `KEELSON_DIFF_STEPS` choose another run; a failure names its seed.

#![allow(clippy::unwrap_used, reason = "a test may panic and tell")]

mod common;
#[path = "differential/generate.rs"]
mod generate;

use common::requests::{all, delete_range, get, op, put, txn};
use common::{Kind, Outcome, Reply, Request, Rng, Server, canonical, send, setting};
use generate::Generator;
use keelson_api::client::Client;
use keelson_api::etcdserverpb::PutRequest;
use tonic::Code;

/// Commands of one run. Both runs together take about 20 s.
const STEPS: u64 = 6_000;

/// Commands between two crashes of keelson.
const CRASH_EVERY: u64 = 1_500;

/// Commands between two comparisons of everything that is there.
const SWEEP_EVERY: u64 = 500;

/// Old revisions that a comparison of everything looks at.
const SWEEP_REVISIONS: usize = 20;

/// How many of the last commands a failure shows.
const SHOWN: usize = 8;

struct Pair {
    keelson: Client,
    etcd: Client,
    seed: u64,
    step: u64,
    last: Vec<String>,
}

impl Pair {
    /// Sends to both and compares; gives the outcome.
    async fn check(&mut self, request: &Request) -> Outcome {
        let (ours, theirs) = tokio::join!(send(&self.keelson, request), send(&self.etcd, request));
        let (ours, theirs) = (canonical(request, ours), canonical(request, theirs));
        self.last.push(format!("{request:?}\n    -> {theirs:?}"));
        if self.last.len() > SHOWN {
            self.last.remove(0);
        }
        assert!(
            ours == theirs,
            "seed {} step {}: {request:?}\n--- etcd\n{theirs:?}\n--- keelson\n{ours:?}\n--- the last commands\n{}",
            self.seed,
            self.step,
            self.last.join("\n")
        );
        theirs
    }

    /// Compares everything there is, now and at some revisions since the last compaction.
    async fn sweep(&mut self, rng: &mut Rng, revisions: (i64, i64)) {
        self.check(&Request::Range(all())).await.expect("everything is readable");
        for _ in 0..SWEEP_REVISIONS {
            let revision = rng.between(revisions.0.max(1), revisions.1);
            let request =
                Request::Range(keelson_api::etcdserverpb::RangeRequest { revision, ..all() });
            self.check(&request).await.expect("what is not compacted is readable");
        }
    }
}

async fn run(seed: u64) {
    let steps = setting("KEELSON_DIFF_STEPS", STEPS);
    let etcd = tokio::task::spawn_blocking(Server::etcd);
    let mut keelson = tokio::task::spawn_blocking(|| Server::start(Kind::subject())).await.unwrap();
    let etcd = etcd.await.unwrap();
    let mut pair = Pair {
        keelson: keelson.client().await,
        etcd: etcd.client().await,
        seed,
        step: 0,
        last: Vec::new(),
    };
    let mut generator = Generator::new(Rng::new(seed));
    let mut sweeps = Rng::new(!seed);
    let mut errors = 0u64;
    for step in 1..=steps {
        pair.step = step;
        let request = generator.next();
        match pair.check(&request).await {
            Ok(reply) => generator.learn(&request, reply.header().revision),
            Err(_) => errors += 1,
        }
        if step % SWEEP_EVERY == 0 {
            pair.sweep(&mut sweeps, (generator.compacted, generator.revision)).await;
        }
        if step % CRASH_EVERY == 0 {
            keelson.kill();
            keelson.launch();
            pair.keelson = keelson.client().await;
            pair.sweep(&mut sweeps, (generator.compacted, generator.revision)).await;
        }
    }
    // A run that changes nothing, or is refused all the time, or never, shows little.
    let changes = u64::try_from(generator.revision).unwrap();
    assert!(changes > steps / 4, "only {changes} revisions in {steps} steps");
    assert!(errors > steps / 20 && errors < steps / 2, "{errors} errors in {steps} steps");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_are_etcds() {
    run(setting("KEELSON_DIFF_SEED", 1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_are_etcds_with_another_seed() {
    run(setting("KEELSON_DIFF_SEED", 1) + 1_000_000).await;
}

/// One list that deletes everything from a key on and then puts one of these keys with the value or
/// the lease it "has". etcd checks the put against the state before the transaction, applies it to
/// the state after the deletion, panics, and does so again at each restart.
fn lethal(ignore_value: bool, nested: bool) -> Request {
    let keep = PutRequest {
        ignore_value,
        ignore_lease: !ignore_value,
        ..put("victim", if ignore_value { "" } else { "new" })
    };
    let ops = vec![op(delete_range("a", common::requests::OPEN)), op(keep)];
    let inner = txn(vec![], ops, vec![]);
    Request::Txn(if nested { txn(vec![], vec![op(inner)], vec![]) } else { inner })
}

#[tokio::test]
async fn the_transaction_that_ends_etcd_is_refused() {
    let mut server = Server::start(Kind::subject());
    let client = server.client().await;
    let first = send(&client, &Request::Put(put("victim", "v"))).await.unwrap();
    let before = send(&client, &Request::Range(all())).await;
    for (ignore_value, nested) in [(true, false), (false, false), (true, true), (false, true)] {
        let outcome = send(&client, &lethal(ignore_value, nested)).await;
        let refused = (Code::InvalidArgument, "etcdserver: key not found".to_owned());
        assert_eq!(outcome, Err(refused), "ignore_value {ignore_value}, nested {nested}");
        assert_eq!(send(&client, &Request::Range(all())).await, before, "the state is unchanged");
    }
    let next = send(&client, &Request::Put(put("other", "v"))).await.unwrap();
    assert_eq!(next.header().revision, first.header().revision + 1, "no revision was used");
    server.kill();
    server.launch();
    let client = server.client().await;
    let Ok(Reply::Range(after)) = send(&client, &Request::Range(get("victim"))).await else {
        panic!("the node does not answer after its restart");
    };
    assert_eq!(after.kvs[0].value, "v");
}
