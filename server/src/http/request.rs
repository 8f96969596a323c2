//! What is read from a request's head. Bodies are not looked at.

use http::{HeaderMap, Method, header, request::Parts};

/// A request's head.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// GET, mostly.
    pub method: &'a Method,
    /// As it was sent, without query.
    pub path: &'a str,
    /// What follows the question mark.
    pub query: Option<&'a str>,
    /// All headers.
    pub headers: &'a HeaderMap,
    /// Host and port of the request's target, which HTTP/2 sends instead of a Host header.
    pub authority: Option<&'a str>,
}

impl<'a> Request<'a> {
    /// From a request as hyper gives it.
    pub fn of(parts: &'a Parts) -> Request<'a> {
        Request {
            method: &parts.method,
            path: parts.uri.path(),
            query: parts.uri.query(),
            headers: &parts.headers,
            authority: parts.uri.authority().map(http::uri::Authority::as_str),
        }
    }

    pub(super) fn header(&self, name: header::HeaderName) -> Option<&'a str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The host that the client meant, without port and brackets; empty if it did not say.
    pub(super) fn host(&self) -> &'a str {
        let host = self.authority.or_else(|| self.header(header::HOST)).unwrap_or("");
        // An authority may carry user and password before the host.
        let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
        if let Some((inner, _)) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            return inner;
        }
        match host.split_once(':') {
            Some((name, port)) if !port.contains(':') => name,
            _ => host, // no port, or an IPv6 address without brackets
        }
    }
}
