//! Asks a running cluster who its members are, before this member belongs to it.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;

use super::connect::{Dialer, Speak};
use crate::raft::{ClusterId, MemberId, Version};

/// A list of members is small; more than this is something else.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// What a running cluster says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteCluster {
    /// Its id.
    pub id: ClusterId,
    /// Its members.
    pub members: Vec<RemoteMember>,
    /// The version that they have agreed on, if they have and say so.
    pub version: Option<Version>,
}

/// One of its members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteMember {
    /// Its id.
    pub id: MemberId,
    /// Where others reach it.
    pub peer_urls: Vec<String>,
    /// It has started at least once and told where clients reach it.
    pub published: bool,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// The other side cannot be reached.
    #[error("{url} does not answer")]
    Io {
        /// Whom was asked.
        url: String,
        /// What went wrong.
        #[source]
        source: io::Error,
    },
    /// It answers something else.
    #[error("{url} does not answer with a list of members: {what}")]
    Answer {
        /// Whom was asked.
        url: String,
        /// What is wrong with it.
        what: String,
    },
}

/// Asks the member at a peer URL.
///
/// # Errors
/// It does not answer within `timeout`, or not with a list of members.
pub async fn ask_members(
    dialer: &Dialer,
    url: &str,
    timeout: Duration,
) -> Result<RemoteCluster, RemoteError> {
    let io = |source| RemoteError::Io { url: url.to_owned(), source };
    let asking =
        async { Ok((get(dialer, url, "/members").await?, get(dialer, url, "/version").await?)) };
    let ((id, members), (_, version)) = match tokio::time::timeout(timeout, asking).await {
        Ok(answered) => answered.map_err(io)?,
        Err(_) => return Err(io(io::ErrorKind::TimedOut.into())),
    };
    parse(&id, &members, &version).map_err(|what| RemoteError::Answer { url: url.to_owned(), what })
}

/// The cluster's id and what a page says.
async fn get(dialer: &Dialer, url: &str, page: &str) -> io::Result<(String, Bytes)> {
    let socket = dialer.open(&[url.to_owned()], Speak::Http1).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket))
        .await
        .map_err(io::Error::other)?;
    let request = Request::get(page)
        .header(header::HOST, "peer")
        .body(Empty::<Bytes>::new())
        .map_err(io::Error::other)?;
    let answer = async move {
        let response = sender.send_request(request).await.map_err(io::Error::other)?;
        let id = response.headers().get("x-etcd-cluster-id");
        let id = id.and_then(|id| id.to_str().ok()).unwrap_or_default().to_owned();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        Ok((id, body.map_err(io::Error::other)?.to_bytes()))
    };
    tokio::pin!(answer);
    tokio::select! {
        answered = &mut answer => answered,
        ended = connection => {
            ended.map_err(io::Error::other)?;
            answer.await
        }
    }
}

fn parse(id: &str, body: &[u8], version: &[u8]) -> Result<RemoteCluster, String> {
    let id = u64::from_str_radix(id, 16).map_err(|_| format!("cluster id {id:?}"))?;
    let rows: serde_json::Value =
        serde_json::from_slice(body).map_err(|error| format!("malformed JSON: {error}"))?;
    let rows = rows.as_array().ok_or("not a list")?;
    let members = rows.iter().map(|row| member(row).ok_or_else(|| format!("member {row}")));
    let members = members.collect::<Result<_, _>>()?;
    Ok(RemoteCluster { id: ClusterId(id), members, version: cluster_version(version)? })
}

/// `None`: the cluster has not agreed on one yet.
fn cluster_version(body: &[u8]) -> Result<Option<Version>, String> {
    let page: serde_json::Value =
        serde_json::from_slice(body).map_err(|error| format!("malformed JSON: {error}"))?;
    match page.get("etcdcluster").and_then(serde_json::Value::as_str) {
        None => Err(format!("version {page}")),
        Some("not_decided") => Ok(None),
        Some(text) => Version::parse(text).map(Some).ok_or_else(|| format!("version {text:?}")),
    }
}

fn member(row: &serde_json::Value) -> Option<RemoteMember> {
    let urls = row.get("peerURLs")?.as_array()?;
    let client_urls = row.get("clientURLs").and_then(serde_json::Value::as_array);
    Some(RemoteMember {
        id: MemberId(row.get("id")?.as_u64()?),
        peer_urls: urls.iter().map(|url| url.as_str().map(str::to_owned)).collect::<Option<_>>()?,
        published: client_urls.is_some_and(|urls| !urls.is_empty()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_members_reads_as_etcd_writes_it() {
        let body = br#"[{"id":10276657743932975437,"peerURLs":["http://localhost:2380"],
            "name":"default","clientURLs":["http://localhost:2379"]},{"id":7,"peerURLs":[]}]"#;
        let version = br#"{"etcdserver":"3.5.1","etcdcluster":"3.5.0"}"#;
        let cluster = parse("cdf818194e3a8c32", body, version).unwrap();
        assert_eq!(cluster.version, Version::parse("3.5.0"));
        let young = br#"{"etcdserver":"3.5.1","etcdcluster":"not_decided"}"#;
        assert_eq!(parse("1", b"[]", young).unwrap().version, None);
        assert_eq!(cluster.id.to_string(), "cdf818194e3a8c32");
        let shown: Vec<_> =
            cluster.members.iter().map(|m| (m.id.to_string(), m.published)).collect();
        assert_eq!(shown, [("8e9e05c52164694d".to_owned(), true), ("7".to_owned(), false)]);
        assert_eq!(cluster.members[0].peer_urls, ["http://localhost:2380"]);
    }

    #[test]
    fn anything_else_is_refused() {
        for (id, body) in [
            ("", "[]"),
            ("zz", "[]"),
            ("1", ""),
            ("1", "{}"),
            ("1", "[1]"),
            ("1", r#"[{"id":-1,"peerURLs":[]}]"#),
            ("1", r#"[{"id":1,"peerURLs":[2]}]"#),
            ("1", r#"[{"id":1}]"#),
        ] {
            let version = br#"{"etcdcluster":"3.5.0"}"#;
            assert!(parse(id, body.as_bytes(), version).is_err(), "{id:?} {body:?}");
        }
        for version in ["", "[]", "{}", r#"{"etcdcluster":3}"#, r#"{"etcdcluster":"new"}"#] {
            assert!(parse("1", b"[]", version.as_bytes()).is_err(), "{version:?}");
        }
    }
}
