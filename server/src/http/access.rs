//! Who may ask at all: host names, and pages of other origins.

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ORIGIN,
};
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::config::AllowList;

use super::answer::{Response, error};
use super::request::Request;

/// 421 if the request names a host that is not on the list. A page that rebinds its own name to
/// this machine's address would otherwise reach the store through the reader's browser.
pub(super) fn refuse_host(hosts: &AllowList, request: &Request<'_>) -> Option<Response> {
    let host = request.host();
    if hosts.allows(host) {
        return None;
    }
    let reason = format!(
        "The host {host:?} of this request is not on the list of known hosts.\n\
         Start the server with that name in --host-whitelist, or ask by a name that is in it."
    );
    Some(error(StatusCode::MISDIRECTED_REQUEST, &reason))
}

/// The headers that let a page of another origin read the answer; none if it may not.
pub(super) fn cors(origins: &AllowList, request: &Request<'_>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let origin = match origins {
        AllowList::Any => Some(HeaderValue::from_static("*")),
        AllowList::Only(_) => request
            .header(ORIGIN)
            .filter(|origin| origins.allows(origin))
            .and_then(|_| request.headers.get(ORIGIN).cloned()),
    };
    if let Some(origin) = origin {
        let methods = HeaderValue::from_static("POST, GET, OPTIONS, PUT, DELETE");
        let names = HeaderValue::from_static("accept, content-type, authorization");
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, methods);
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, names);
    }
    headers
}
