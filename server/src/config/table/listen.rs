//! Where the member listens, and what it tells others.

use super::super::flag::{Section, Support};
use super::partly::listeners;
use super::{BOOL, DURATION, LIST, URLS, row, uint, used};

pub(super) const CLIENTS: Section = Section {
    title: "Client connections",
    flags: &[
        row(
            "listen-client-urls",
            URLS,
            "http://localhost:2379",
            "where clients are served; host is an IP address or localhost",
            Support::Partly(listeners),
        ),
        used(
            "advertise-client-urls",
            URLS,
            "http://localhost:2379",
            "what the member list tells clients; needed with --listen-client-urls",
        ),
        row(
            "listen-client-http-urls",
            URLS,
            "",
            "where HTTP is served apart from gRPC",
            Support::Missing(
                "a listener for HTTP alone is not supported yet: both share \
                              --listen-client-urls",
            ),
        ),
        used(
            "max-concurrent-streams",
            uint(1, u32::MAX as u64),
            "4294967295",
            "open calls that one client connection may have",
        ),
        used(
            "grpc-keepalive-min-time",
            DURATION,
            "5s",
            "clients that ping more often than this are disconnected",
        ),
        used(
            "grpc-keepalive-interval",
            DURATION,
            "2h",
            "silence after which a client is pinged; 0: never",
        ),
        used(
            "grpc-keepalive-timeout",
            DURATION,
            "20s",
            "time a client has for the answer to a ping; 0: never gives up",
        ),
        used("socket-reuse-port", BOOL, "false", "let several processes listen on one port"),
        used("socket-reuse-address", BOOL, "false", "listen on a port in TIME_WAIT"),
        used("enable-grpc-gateway", BOOL, "true", "serve the JSON gateway under /v3/"),
        used("cors", LIST, "*", "origins whose pages may call the HTTP API; *: all"),
        used("host-whitelist", LIST, "*", "Host names that plain HTTP requests may use; *: all"),
    ],
};

pub(super) const PEERS: Section = Section {
    title: "Peer connections",
    flags: &[
        row(
            "listen-peer-urls",
            URLS,
            "http://localhost:2380",
            "where other members are served",
            Support::Partly(listeners),
        ),
        used(
            "initial-advertise-peer-urls",
            URLS,
            "http://localhost:2380",
            "what other members are told at the founding",
        ),
        used("raft-read-timeout", DURATION, "5s", "silence that ends a peer connection"),
        used("raft-write-timeout", DURATION, "5s", "stuck write that ends a peer connection"),
    ],
};

/// Shown under metrics, but a listener like the others.
pub(super) const LISTEN_METRICS: super::Flag = row(
    "listen-metrics-urls",
    URLS,
    "",
    "where /metrics, /health, /livez and /readyz are served besides the client URLs",
    Support::Partly(listeners),
);
