//! What the black-box tests share: servers as processes, clients, chance from a seed, waiting.
//!
//! The tests see a server from outside only: flags, ports, files, exit codes, log lines. The server
//! under test is keelson; `KEELSON_TEST_SUBJECT=etcd` puts a real etcd in its place, which shows
//! whether a test asks for what etcd does. Tests that compare need etcd and etcdctl in the folder
//! `KEELSON_ETCD_DIR`, which `.ci/setup` provides.

#![allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "each test file uses its own part, and a test may panic and tell"
)]

mod bystander;
mod cluster;
mod etcdctl;
mod http1;
mod outcome;
mod ports;
mod raw_grpc;
pub mod requests;
mod rng;
mod server;
mod wait;

pub use bystander::Bystander;
pub use cluster::{Cluster, status};
pub use etcdctl::{CtlOutput, etcdctl, etcdctl_on};
pub use http1::{HttpResponse, http_request};
pub use outcome::{Outcome, Reply, Request, canonical, send};
pub use raw_grpc::{RawReply, grpc_frame, open_h2, raw_grpc};
pub use rng::Rng;
pub use server::{Kind, Refused, Server, etcd_program};
pub use wait::{START_BOUND, now, poll, setting, within};
