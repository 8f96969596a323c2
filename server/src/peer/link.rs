//! The connections to one other member.

use std::sync::Arc;
use std::time::Duration;

use keelson_api::peer::peer_client::PeerClient;
use parking_lot::Mutex;
use tonic::transport::{Channel, Endpoint};

use super::connect::{Connector, Dialer};
use super::message::Call;

/// One message at the most: a piece of the log as replication reads it (4 MiB), which a single
/// entry of the largest admitted request (64 MiB) may exceed.
pub(super) const FRAME_BYTES_MAX: usize = 80 << 20;

/// Flow-control window of a stream: the entries that may be under way to one follower.
const STREAM_WINDOW_BYTES: u32 = 8 << 20;

/// What travels together. Each lane is a connection of its own, so that what is urgent never
/// waits behind what is large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    /// Heartbeats, votes, read indexes: small, and late ones cost an election.
    Urgent,
    /// Entries.
    Append,
    /// Forwarded commands.
    Forward,
    /// Snapshots.
    Snapshot,
}

impl Lane {
    const ALL: [Self; 4] = [Self::Urgent, Self::Append, Self::Forward, Self::Snapshot];

    pub(super) fn of(call: Call) -> Self {
        match call {
            Call::Propose | Call::Reconfigure | Call::Lease => Self::Forward,
            Call::Heartbeat
            | Call::Vote
            | Call::PreVote
            | Call::TransferLeader
            | Call::ReadIndex => Self::Urgent,
        }
    }
}

/// The connections to one member. They are opened when they are needed, and again after they broke;
/// how often is bounded by those who call, which all wait between two tries.
#[derive(Debug)]
pub(super) struct Link {
    peer_urls: Arc<Mutex<Vec<String>>>,
    lanes: [PeerClient<Channel>; Lane::ALL.len()],
}

impl Link {
    /// A silent connection is given up after twice `patience`: the other machine may be gone
    /// without a word.
    pub(super) fn new(dialer: Dialer, patience: Duration) -> Self {
        let peer_urls = Arc::new(Mutex::new(Vec::new()));
        let connector = Connector::new(dialer, Arc::clone(&peer_urls));
        let lanes = Lane::ALL.map(|_| {
            // The name stands for whichever of the member's URLs answers.
            let channel = Endpoint::from_static("http://peer")
                .connect_timeout(patience)
                .initial_stream_window_size(STREAM_WINDOW_BYTES)
                .initial_connection_window_size(STREAM_WINDOW_BYTES)
                .http2_keep_alive_interval(patience)
                .keep_alive_timeout(patience)
                .keep_alive_while_idle(true)
                .connect_with_connector_lazy(connector.clone());
            PeerClient::new(channel)
                .max_decoding_message_size(FRAME_BYTES_MAX)
                .max_encoding_message_size(FRAME_BYTES_MAX)
        });
        Self { peer_urls, lanes }
    }

    /// Has the next connection go to these URLs.
    pub(super) fn point_at(&self, peer_urls: &[String]) {
        let mut known = self.peer_urls.lock();
        if *known != peer_urls {
            known.clear();
            known.extend_from_slice(peer_urls);
        }
    }

    pub(super) fn lane(&self, lane: Lane) -> PeerClient<Channel> {
        self.lanes[lane as usize].clone()
    }
}
