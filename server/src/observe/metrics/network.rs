//! `etcd_network_*`: bytes on client connections.

use prometheus::IntCounter;

use super::families::Families;

/// Handles of `etcd_network_*`.
#[derive(Debug)]
pub struct NetworkMetrics {
    /// Bytes received from clients.
    pub client_received_bytes: IntCounter,
    /// Bytes sent to clients.
    pub client_sent_bytes: IntCounter,
}

impl NetworkMetrics {
    pub(super) fn new(f: &Families<'_>) -> NetworkMetrics {
        NetworkMetrics {
            client_received_bytes: f.counter(
                "etcd_network_client_grpc_received_bytes_total",
                "bytes received from gRPC clients",
            ),
            client_sent_bytes: f
                .counter("etcd_network_client_grpc_sent_bytes_total", "bytes sent to gRPC clients"),
        }
    }
}
