//! The small subset of URLs that etcd takes for listeners and members: `scheme://host:port`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// How to talk to the other side of a [`Url`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    /// TCP in clear text.
    Http,
    /// TCP with TLS.
    Https,
    /// A Unix socket in clear text.
    Unix,
    /// A Unix socket with TLS.
    Unixs,
}

impl Scheme {
    /// The word before `://`.
    pub fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
            Scheme::Unix => "unix",
            Scheme::Unixs => "unixs",
        }
    }

    fn parse(word: &str) -> Option<Scheme> {
        [Scheme::Http, Scheme::Https, Scheme::Unix, Scheme::Unixs]
            .into_iter()
            .find(|scheme| scheme.as_str().eq_ignore_ascii_case(word))
    }

    fn is_socket_file(self) -> bool {
        matches!(self, Scheme::Unix | Scheme::Unixs)
    }
}

/// Where a member listens, or where it says that it can be reached.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Url {
    /// How to talk to it.
    pub scheme: Scheme,
    /// IP address (without brackets) or name; for Unix sockets everything after `://`.
    pub host: String,
    /// TCP port; 0 for Unix sockets, and for a listener that takes any free port.
    pub port: u16,
}

impl Url {
    /// Reads one URL; the error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Url, String> {
        let text = text.trim();
        let Some((word, rest)) = text.split_once("://") else {
            return Err(format!("{text:?} is not a URL of the form http://host:port"));
        };
        let Some(scheme) = Scheme::parse(word) else {
            return Err(format!("{text:?} must start with http, https, unix or unixs"));
        };
        if rest.contains(|c: char| c.is_control() || c.is_whitespace()) {
            return Err(format!("{text:?} must not contain blanks or control characters"));
        }
        if scheme.is_socket_file() {
            if rest.is_empty() {
                return Err(format!("{text:?} names no socket"));
            }
            return Ok(Url { scheme, host: rest.to_owned(), port: 0 });
        }
        if rest.contains(['/', '?', '#', '@']) {
            return Err(format!("{text:?} must be host and port alone, without a path"));
        }
        let (host, port) = split_host_port(rest)
            .ok_or_else(|| format!("{text:?} does not have the form http://host:port"))?;
        Ok(Url { scheme, host: host.to_ascii_lowercase(), port })
    }

    /// The address to bind, if the host is an IP address or `localhost` (which is 127.0.0.1).
    pub fn bind_address(&self) -> Option<SocketAddr> {
        if self.scheme.is_socket_file() {
            return None;
        }
        let ip = match self.host.as_str() {
            "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
            host => host.parse().ok()?,
        };
        Some(SocketAddr::new(ip, self.port))
    }
}

/// Splits `host:port` or `[v6]:port`; none if either half is missing or odd.
fn split_host_port(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let host = match host.strip_prefix('[') {
        Some(inner) => {
            let inner = inner.strip_suffix(']')?;
            inner.parse::<std::net::Ipv6Addr>().ok()?;
            inner
        }
        None if host.contains([':', '[', ']']) => return None,
        None => host,
    };
    if host.is_empty() || port.is_empty() || !port.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some((host, port.parse().ok()?))
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.scheme.as_str();
        if self.scheme.is_socket_file() {
            write!(f, "{scheme}://{}", self.host)
        } else if self.host.contains(':') {
            write!(f, "{scheme}://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{scheme}://{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_urls() {
        for (text, shown, bound) in [
            ("http://localhost:2379", "http://localhost:2379", Some("127.0.0.1:2379")),
            (" http://0.0.0.0:0 ", "http://0.0.0.0:0", Some("0.0.0.0:0")),
            ("HTTPS://Example.ORG:1", "https://example.org:1", None),
            ("http://[::1]:2379", "http://[::1]:2379", Some("[::1]:2379")),
            ("unix:///run/etcd.sock", "unix:///run/etcd.sock", None),
            ("unixs://localhost:99", "unixs://localhost:99", None),
        ] {
            let url = Url::parse(text).unwrap();
            assert_eq!(url.to_string(), shown);
            assert_eq!(url.bind_address(), bound.map(|b| b.parse().unwrap()), "{text}");
            assert_eq!(Url::parse(shown), Ok(url), "round trip of {text}");
        }
    }

    #[test]
    fn refuses_what_is_no_member_url() {
        for text in [
            "",
            "localhost:2379",
            "http://",
            "http://localhost",
            "http://:2379",
            "http://a:",
            "ftp://a:1",
            "http://a:1/",
            "http://a:1/path",
            "http://a:1?q",
            "http://u@a:1",
            "http://a:65536",
            "http://a:-1",
            "http://a:+1",
            "http://::1:2379",
            "http://[::1:2379",
            "http://[a]:1",
            "unix://",
            "http://a b:1",
            "http://a\u{0}:1",
            "://a:1",
        ] {
            assert!(Url::parse(text).is_err(), "{text:?} was taken as {:?}", Url::parse(text));
        }
    }
}
