//! What is asked of the server: kinds of load, and their requests, encoded before the run.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::ensure;
use bytes::{Bytes, BytesMut};
use keelson_api::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use keelson_api::etcdserverpb::request_op::Request as Op;
use keelson_api::etcdserverpb::{Compare, PutRequest, RangeRequest, RequestOp, TxnRequest};
use serde::{Deserialize, Serialize};

use crate::frame::{self, Scan};
use crate::grpc::{Error, Method};
use crate::random::Random;

/// Most memory for requests built before the run; a larger key space is encoded as it goes.
const PREBUILT_BYTES_MAX: u64 = 128 * 1024 * 1024;

/// Keys asked for by `range100`.
const PAGE_KEYS: u64 = 100;

/// Kinds of load.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Overwrite a random key of the key space.
    Put,
    /// Put keys that do not exist yet, in order.
    Insert,
    /// Read a random key, linearizable.
    Range,
    /// Read a random key from what the member has.
    RangeSerializable,
    /// Read 100 keys in order from a random one on, linearizable.
    Range100,
    /// Count the whole key space.
    Count,
    /// Compare a version, then put: the shape of an update by a controller.
    Txn,
    /// Reads and puts of random keys, mixed.
    Mixed,
}

impl Kind {
    /// Name on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Insert => "insert",
            Self::Range => "range",
            Self::RangeSerializable => "range-serializable",
            Self::Range100 => "range100",
            Self::Count => "count",
            Self::Txn => "txn",
            Self::Mixed => "mixed",
        }
    }

    /// Whether the keys must be there before the run.
    pub fn needs_keys(self) -> bool {
        match self {
            Self::Put | Self::Insert | Self::Txn => false,
            Self::Range | Self::RangeSerializable | Self::Range100 | Self::Count | Self::Mixed => {
                true
            }
        }
    }
}

/// The keys of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, clap::Args)]
pub struct KeySpace {
    /// Number of keys
    #[arg(long, default_value_t = 100_000)]
    pub keys: u64,
    /// Bytes of a key, prefix included
    #[arg(long, default_value_t = 32)]
    pub key_size: usize,
    /// Bytes of a value
    #[arg(long, default_value_t = 256)]
    pub val_size: usize,
    /// What all keys begin with
    #[arg(long, default_value = "/bench/")]
    pub prefix: String,
}

impl KeySpace {
    /// Refuses sizes that do not fit each other.
    pub fn validate(&self) -> anyhow::Result<()> {
        ensure!(self.keys > 0, "--keys must be at least 1");
        ensure!(!self.prefix.is_empty(), "--prefix must not be empty");
        ensure!(self.val_size <= 1024 * 1024, "--val-size must be at most 1 MiB, as in etcd");
        // Inserted keys go on where the key space ends, hence room for any number.
        let digits = self.key_size.saturating_sub(self.prefix.len());
        ensure!(digits >= 10, "--key-size must leave 10 digits after the prefix");
        Ok(())
    }

    /// Key number `i`; the order of numbers is the order of keys.
    pub fn key(&self, i: u64) -> Bytes {
        let width = self.key_size.saturating_sub(self.prefix.len());
        Bytes::from(format!("{}{i:0width$}", self.prefix))
    }

    /// First key behind all keys with the prefix.
    pub fn end(&self) -> Bytes {
        prefix_end(self.prefix.as_bytes())
    }
}

/// The interval end that makes a range out of a prefix.
pub fn prefix_end(prefix: &[u8]) -> Bytes {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if let Some(next) = last.checked_add(1) {
            end.push(next);
            return Bytes::from(end);
        }
    }
    // Nothing lies behind a prefix of 0xff alone: to the end of all keys.
    Bytes::from_static(b"\0")
}

/// What the answer must hold to count as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Success is enough.
    Anything,
    /// So many keys.
    Keys(u64),
    /// This count.
    Count(u64),
}

impl Expect {
    /// Compares an answer with what was expected.
    pub fn check(self, scan: &Scan) -> Result<(), Error> {
        let (what, want, got) = match self {
            Self::Anything => return Ok(()),
            Self::Keys(n) => ("keys", n, scan.kvs),
            Self::Count(n) => ("count", n, scan.count),
        };
        if want == got {
            return Ok(());
        }
        Err(Error::Answer(format!("answer has {what} {got}, expected {want}")))
    }
}

/// A request ready to be sent.
#[derive(Debug, Clone)]
pub struct Call {
    /// Where to.
    pub method: Method,
    /// The frame.
    pub body: Bytes,
    /// What to make of the answer.
    pub expect: Expect,
}

/// Builds the requests of one workload; shared by all threads of a run.
#[derive(Debug)]
pub struct Workload {
    kind: Kind,
    space: KeySpace,
    read_percent: u64,
    /// Pool that values are cut from, so that no two neighbours are alike.
    values: Bytes,
    /// Frames by key, for kinds and key spaces where that fits.
    writes: Option<Frames>,
    reads: Option<Frames>,
    inserted: AtomicU64,
}

/// Frames one after the other in one piece of memory.
#[derive(Debug)]
struct Frames {
    bytes: Bytes,
    ends: Vec<usize>,
}

impl Frames {
    fn build(keys: u64, frame: impl Fn(u64) -> Bytes) -> Option<Self> {
        let one = u64::try_from(frame(0).len()).ok()?;
        if one.checked_mul(keys)? > PREBUILT_BYTES_MAX {
            return None;
        }
        let mut bytes = BytesMut::new();
        let mut ends = Vec::new();
        for i in 0..keys {
            bytes.extend_from_slice(&frame(i));
            ends.push(bytes.len());
        }
        Some(Self { bytes: bytes.freeze(), ends })
    }

    fn get(&self, i: u64) -> Bytes {
        let i = usize::try_from(i).expect("frames are in memory");
        let begin = if i == 0 { 0 } else { self.ends[i - 1] };
        self.bytes.slice(begin..self.ends[i])
    }
}

impl Workload {
    /// Prepares the requests.
    pub fn new(kind: Kind, space: KeySpace, read_percent: u64) -> anyhow::Result<Arc<Self>> {
        space.validate()?;
        ensure!(read_percent <= 100, "--read-percent must be at most 100");
        let mut pool = vec![0; space.val_size + 64 * 1024];
        Random::new(0x6b65_656c).fill(&mut pool);
        let mut workload = Self {
            kind,
            space,
            read_percent,
            values: Bytes::from(pool),
            writes: None,
            reads: None,
            inserted: AtomicU64::new(0),
        };
        let keys = workload.space.keys;
        let writes = match kind {
            Kind::Put | Kind::Mixed => Frames::build(keys, |i| workload.put(i)),
            Kind::Txn => Frames::build(keys, |i| workload.update(i)),
            Kind::Insert | Kind::Range | Kind::RangeSerializable | Kind::Range100 | Kind::Count => {
                None
            }
        };
        let reads = match kind {
            Kind::Range | Kind::RangeSerializable | Kind::Mixed | Kind::Range100 => {
                Frames::build(keys, |i| workload.read(i))
            }
            Kind::Put | Kind::Insert | Kind::Count | Kind::Txn => None,
        };
        workload.writes = writes;
        workload.reads = reads;
        Ok(Arc::new(workload))
    }

    /// The next request.
    pub fn next(&self, random: &mut Random) -> Call {
        match self.kind {
            Kind::Put => self.write_call(Method::Put, random),
            Kind::Txn => self.write_call(Method::Txn, random),
            Kind::Insert => {
                let i = self.inserted.fetch_add(1, Ordering::Relaxed);
                Call { method: Method::Put, body: self.put(i), expect: Expect::Anything }
            }
            Kind::Range | Kind::RangeSerializable | Kind::Range100 => self.read_call(random),
            Kind::Mixed if random.below(100) < self.read_percent => self.read_call(random),
            Kind::Mixed => self.write_call(Method::Put, random),
            Kind::Count => {
                let range = RangeRequest {
                    key: Bytes::copy_from_slice(self.space.prefix.as_bytes()),
                    range_end: self.space.end(),
                    count_only: true,
                    ..Default::default()
                };
                let expect = Expect::Count(self.space.keys);
                Call { method: Method::Range, body: frame::encode(&range), expect }
            }
        }
    }

    fn write_call(&self, method: Method, random: &mut Random) -> Call {
        let i = random.below(self.space.keys);
        let body = match &self.writes {
            Some(frames) => frames.get(i),
            None if method == Method::Txn => self.update(i),
            None => self.put(i),
        };
        Call { method, body, expect: Expect::Anything }
    }

    fn read_call(&self, random: &mut Random) -> Call {
        let page = if self.kind == Kind::Range100 { PAGE_KEYS.min(self.space.keys) } else { 1 };
        let i = random.below(self.space.keys - page + 1);
        let body = match &self.reads {
            Some(frames) => frames.get(i),
            None => self.read(i),
        };
        Call { method: Method::Range, body, expect: Expect::Keys(page) }
    }

    fn put_request(&self, i: u64) -> PutRequest {
        let spare = self.values.len() - self.space.val_size;
        let spare = u64::try_from(spare).expect("a pool in memory");
        let begin = usize::try_from(i.wrapping_mul(97) % spare).expect("below the pool's length");
        let value = self.values.slice(begin..begin + self.space.val_size);
        PutRequest { key: self.space.key(i), value, ..Default::default() }
    }

    fn put(&self, i: u64) -> Bytes {
        frame::encode(&self.put_request(i))
    }

    /// A txn that always succeeds, so that every one costs the same.
    fn update(&self, i: u64) -> Bytes {
        let put = self.put_request(i);
        let exists = Compare {
            result: CompareResult::Greater.into(),
            target: CompareTarget::Version.into(),
            key: put.key.clone(),
            target_union: Some(TargetUnion::Version(-1)),
            ..Default::default()
        };
        let read = RangeRequest { key: put.key.clone(), ..Default::default() };
        frame::encode(&TxnRequest {
            compare: vec![exists],
            success: vec![RequestOp { request: Some(Op::RequestPut(put)) }],
            failure: vec![RequestOp { request: Some(Op::RequestRange(read)) }],
        })
    }

    fn read(&self, i: u64) -> Bytes {
        let page = self.kind == Kind::Range100;
        frame::encode(&RangeRequest {
            key: self.space.key(i),
            range_end: if page { self.space.end() } else { Bytes::new() },
            limit: if page { i64::try_from(PAGE_KEYS).expect("a small number") } else { 0 },
            serializable: self.kind == Kind::RangeSerializable,
            ..Default::default()
        })
    }

    /// A txn that puts keys `first..last`, for loading many keys.
    pub fn batch(&self, first: u64, last: u64) -> Bytes {
        let put = |i| RequestOp { request: Some(Op::RequestPut(self.put_request(i))) };
        frame::encode(&TxnRequest {
            success: (first..last).map(put).collect(),
            ..Default::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keelson_api::etcdserverpb::RangeResponse;
    use prost::Message;

    fn space() -> KeySpace {
        KeySpace { keys: 1000, key_size: 32, val_size: 100, prefix: "/bench/".to_owned() }
    }

    fn calls(kind: Kind, read_percent: u64) -> Vec<Call> {
        let workload = Workload::new(kind, space(), read_percent).unwrap();
        let mut random = Random::new(1);
        (0..200).map(|_| workload.next(&mut random)).collect()
    }

    #[test]
    fn prefix_ends() {
        assert_eq!(prefix_end(b"/a/"), &b"/a0"[..]);
        assert_eq!(prefix_end(b"a\xff\xff"), &b"b"[..]);
        assert_eq!(prefix_end(b"\xff"), &b"\0"[..]);
    }

    #[test]
    fn keys_have_their_size_and_order() {
        let space = space();
        assert_eq!(space.key(7).len(), 32);
        assert!(space.key(9) < space.key(10) && space.key(999) < space.end());
        assert!(space.key(0).starts_with(b"/bench/"));
    }

    #[test]
    fn puts_carry_keys_and_values_of_their_size() {
        for call in calls(Kind::Put, 0) {
            let put = PutRequest::decode(&call.body[frame::PREFIX_BYTES..]).unwrap();
            assert_eq!((put.key.len(), put.value.len()), (32, 100));
            assert_eq!(call.method, Method::Put);
        }
    }

    #[test]
    fn inserts_go_up() {
        let keys: Vec<_> = calls(Kind::Insert, 0)
            .iter()
            .map(|c| PutRequest::decode(&c.body[frame::PREFIX_BYTES..]).unwrap().key)
            .collect();
        assert_eq!(keys[0], space().key(0));
        assert!(keys.is_sorted() && keys.first() < keys.last());
    }

    #[test]
    fn pages_never_run_past_the_end_of_the_key_space() {
        for call in calls(Kind::Range100, 0) {
            let range = RangeRequest::decode(&call.body[frame::PREFIX_BYTES..]).unwrap();
            assert!(range.key <= space().key(900));
            assert_eq!((range.limit, call.expect), (100, Expect::Keys(100)));
        }
    }

    #[test]
    fn mixed_follows_its_share() {
        let reads = |p| calls(Kind::Mixed, p).iter().filter(|c| c.method == Method::Range).count();
        assert_eq!((reads(0), reads(100)), (0, 200));
        assert!((60..140).contains(&reads(50)));
    }

    #[test]
    fn a_txn_puts_only_after_its_compare() {
        let call = calls(Kind::Txn, 0).remove(0);
        let txn = TxnRequest::decode(&call.body[frame::PREFIX_BYTES..]).unwrap();
        assert_eq!((txn.compare.len(), txn.success.len(), txn.failure.len()), (1, 1, 1));
    }

    #[test]
    fn a_batch_puts_its_keys_and_no_other() {
        let workload = Workload::new(Kind::Insert, space(), 0).unwrap();
        let txn = TxnRequest::decode(&workload.batch(5, 8)[frame::PREFIX_BYTES..]).unwrap();
        let keys: Vec<_> = txn
            .success
            .into_iter()
            .map(|op| match op.request {
                Some(Op::RequestPut(put)) => put.key,
                other => panic!("not a put: {other:?}"),
            })
            .collect();
        assert_eq!(keys, [5, 6, 7].map(|i| space().key(i)));
    }

    #[test]
    fn missing_keys_fail_the_check() {
        let mut scan = Scan::default();
        scan.feed(&frame::encode(&RangeResponse { count: 3, ..Default::default() })).unwrap();
        assert!(Expect::Count(3).check(&scan).is_ok());
        assert!(Expect::Keys(0).check(&scan).is_ok());
        assert!(Expect::Keys(1).check(&scan).is_err());
        assert!(Expect::Count(4).check(&scan).is_err());
    }

    #[test]
    fn a_key_space_too_large_to_prebuild_is_encoded_as_it_goes() {
        let large = KeySpace { keys: 10_000_000, ..space() };
        let workload = Workload::new(Kind::Put, large, 0).unwrap();
        assert!(workload.writes.is_none());
        let call = workload.next(&mut Random::new(1));
        assert_eq!(PutRequest::decode(&call.body[frame::PREFIX_BYTES..]).unwrap().value.len(), 100);
    }
}
