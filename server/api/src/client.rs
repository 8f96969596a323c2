//! A thin client: a channel to one or more endpoints and the generated stubs on it.
//!
//! It adds no retries, no tokens and no caching: tools and tests want to see what the server said.

use std::time::Duration;

use tonic::transport::{Channel, Endpoint};

use crate::etcdserverpb::auth_client::AuthClient;
use crate::etcdserverpb::cluster_client::ClusterClient;
use crate::etcdserverpb::kv_client::KvClient;
use crate::etcdserverpb::lease_client::LeaseClient;
use crate::etcdserverpb::maintenance_client::MaintenanceClient;
use crate::etcdserverpb::watch_client::WatchClient;
use crate::health::health_client::HealthClient;
use crate::v3electionpb::election_client::ElectionClient;
use crate::v3lockpb::lock_client::LockClient;

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The list of endpoints is empty.
    #[error("no endpoint given")]
    NoEndpoint,
    /// An endpoint is not a URL.
    #[error("endpoint {endpoint:?} is not a url")]
    BadEndpoint {
        /// What was given.
        endpoint: String,
        /// What is wrong with it.
        #[source]
        source: tonic::transport::Error,
    },
    /// The only endpoint did not answer.
    #[error("connecting to {endpoint}")]
    Connect {
        /// Where to.
        endpoint: String,
        /// Why not.
        #[source]
        source: tonic::transport::Error,
    },
}

/// What a [`Client`] may be told besides its endpoints.
#[derive(Debug, Clone)]
pub struct Options {
    /// Longest wait for a connection. Default 5 s.
    pub connect_timeout: Duration,
    /// Largest response in bytes. Unlimited by default, as in etcd's own client: a range may be as
    /// large as the store.
    pub response_bytes_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { connect_timeout: Duration::from_secs(5), response_bytes_max: usize::MAX }
    }
}

/// Stubs of all services over one channel; clones share the connections.
#[derive(Debug, Clone)]
pub struct Client {
    channel: Channel,
    response_bytes_max: usize,
}

impl Client {
    /// Connects to endpoints (`host:port` or a URL) with default options.
    ///
    /// With one endpoint it waits until the connection stands; with more, requests are spread over
    /// those that answer.
    pub async fn connect<S: AsRef<str>>(endpoints: &[S]) -> Result<Self, Error> {
        Self::connect_with(endpoints, Options::default()).await
    }

    /// Connects with the options given.
    pub async fn connect_with<S: AsRef<str>>(
        endpoints: &[S],
        options: Options,
    ) -> Result<Self, Error> {
        let parsed = endpoints
            .iter()
            .map(|e| parse(e.as_ref(), &options))
            .collect::<Result<Vec<Endpoint>, Error>>()?;
        let channel = match parsed.as_slice() {
            [] => return Err(Error::NoEndpoint),
            [one] => one
                .connect()
                .await
                .map_err(|source| Error::Connect { endpoint: one.uri().to_string(), source })?,
            _ => Channel::balance_list(parsed.into_iter()),
        };
        Ok(Self { channel, response_bytes_max: options.response_bytes_max })
    }

    /// The channel below, for stubs that are set up in another way.
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Keys and transactions.
    pub fn kv(&self) -> KvClient<Channel> {
        KvClient::new(self.channel()).max_decoding_message_size(self.response_bytes_max)
    }

    /// Watches.
    pub fn watch(&self) -> WatchClient<Channel> {
        WatchClient::new(self.channel()).max_decoding_message_size(self.response_bytes_max)
    }

    /// Leases.
    pub fn lease(&self) -> LeaseClient<Channel> {
        LeaseClient::new(self.channel()).max_decoding_message_size(self.response_bytes_max)
    }

    /// Members.
    pub fn cluster(&self) -> ClusterClient<Channel> {
        ClusterClient::new(self.channel())
    }

    /// Status, alarms, hashes, backups.
    pub fn maintenance(&self) -> MaintenanceClient<Channel> {
        MaintenanceClient::new(self.channel()).max_decoding_message_size(self.response_bytes_max)
    }

    /// Users and roles.
    pub fn auth(&self) -> AuthClient<Channel> {
        AuthClient::new(self.channel())
    }

    /// Locks.
    pub fn lock(&self) -> LockClient<Channel> {
        LockClient::new(self.channel())
    }

    /// Elections.
    pub fn election(&self) -> ElectionClient<Channel> {
        ElectionClient::new(self.channel())
    }

    /// Health.
    pub fn health(&self) -> HealthClient<Channel> {
        HealthClient::new(self.channel())
    }
}

fn parse(endpoint: &str, options: &Options) -> Result<Endpoint, Error> {
    let url =
        if endpoint.contains("://") { endpoint.to_owned() } else { format!("http://{endpoint}") };
    Endpoint::from_shared(url)
        .map(|e| e.connect_timeout(options.connect_timeout).tcp_nodelay(true))
        .map_err(|source| Error::BadEndpoint { endpoint: endpoint.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn no_endpoint_is_an_error() {
        assert!(matches!(Client::connect::<&str>(&[]).await, Err(Error::NoEndpoint)));
    }

    #[tokio::test]
    async fn a_bad_endpoint_is_named() {
        let error = Client::connect(&["127.0.0.1:1", "http://a b"]).await.unwrap_err();
        assert_eq!(error.to_string(), "endpoint \"http://a b\" is not a url");
    }

    #[tokio::test]
    async fn a_dead_endpoint_is_named() {
        // Port 1 is never served on loopback.
        let error = Client::connect(&["127.0.0.1:1"]).await.unwrap_err();
        assert_eq!(error.to_string(), "connecting to http://127.0.0.1:1/");
    }
}
