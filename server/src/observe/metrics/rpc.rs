//! `grpc_server_*`: calls by service and method, every label set there from the start.

use std::collections::HashMap;

use prometheus::{Histogram, IntCounter};

use super::families::{Families, doubling};
use super::rpc_table::{RPCS, RpcDef};

/// gRPC's status codes by number, as `grpc_code` shows them.
pub const CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

/// The position of `Unknown` in [`CODES`].
const UNKNOWN: usize = 2;

/// The handles of one RPC.
#[derive(Debug)]
pub struct Rpc {
    /// Which one.
    pub def: RpcDef,
    /// Calls that came in.
    pub started: IntCounter,
    /// Messages received, one for each call of a unary RPC.
    pub msg_received: IntCounter,
    /// Messages sent.
    pub msg_sent: IntCounter,
    /// Time of a call; only with `--metrics=extensive`.
    pub handling_seconds: Option<Histogram>,
    handled: [IntCounter; CODES.len()],
}

impl Rpc {
    /// Calls that ended with a status code, given by its number.
    pub fn handled(&self, code: i32) -> &IntCounter {
        let by_number = usize::try_from(code).ok().and_then(|code| self.handled.get(code));
        by_number.unwrap_or(&self.handled[UNKNOWN])
    }
}

/// All RPCs.
#[derive(Debug)]
pub struct RpcMetrics {
    rpcs: Vec<Rpc>,
    by_path: HashMap<String, usize>,
}

impl RpcMetrics {
    pub(super) fn new(f: &Families<'_>, extensive: bool) -> RpcMetrics {
        let labels = ["grpc_type", "grpc_service", "grpc_method"];
        let with_code = ["grpc_type", "grpc_service", "grpc_method", "grpc_code"];
        let started = f.counters("grpc_server_started_total", "calls that came in", &labels);
        let handled = f.counters("grpc_server_handled_total", "calls that ended", &with_code);
        let received =
            f.counters("grpc_server_msg_received_total", "messages received in calls", &labels);
        let sent = f.counters("grpc_server_msg_sent_total", "messages sent in calls", &labels);
        let seconds = extensive.then(|| {
            f.histograms(
                "grpc_server_handling_seconds",
                "time from a call's start to its end",
                doubling(0.0001, 18),
                &labels,
            )
        });
        let make = |def: &RpcDef| {
            let values = [def.kind.label(), def.service, def.method];
            Rpc {
                def: *def,
                started: started.with_label_values(&values),
                msg_received: received.with_label_values(&values),
                msg_sent: sent.with_label_values(&values),
                handling_seconds: seconds.as_ref().map(|all| all.with_label_values(&values)),
                handled: CODES.map(|code| {
                    handled.with_label_values(&[def.kind.label(), def.service, def.method, code])
                }),
            }
        };
        let rpcs: Vec<Rpc> = RPCS.iter().map(make).collect();
        let path = |def: &RpcDef| format!("/{}/{}", def.service, def.method);
        let by_path = rpcs.iter().enumerate().map(|(at, rpc)| (path(&rpc.def), at)).collect();
        RpcMetrics { rpcs, by_path }
    }

    /// The handles of the RPC with that path, `/package.Service/Method`. Resolve it once per
    /// service where possible; it is one hash look-up otherwise.
    pub fn by_path(&self, path: &str) -> Option<&Rpc> {
        self.by_path.get(path).and_then(|at| self.rpcs.get(*at))
    }

    /// All, in the order of [`RPCS`], so that a position there is a position here.
    pub fn all(&self) -> &[Rpc] {
        &self.rpcs
    }
}
