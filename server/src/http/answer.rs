//! Responses in the few shapes that are sent.

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, HeaderName, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

/// A whole response.
pub type Response = http::Response<Bytes>;

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const METRICS: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
const NO_SNIFF: HeaderValue = HeaderValue::from_static("nosniff");

fn with(status: StatusCode, headers: &[(HeaderName, HeaderValue)], body: String) -> Response {
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    for (name, value) in headers {
        response.headers_mut().insert(name, value.clone());
    }
    response
}

/// 200 in plain text.
pub(super) fn text(body: String) -> Response {
    with(StatusCode::OK, &[(CONTENT_TYPE, TEXT), (X_CONTENT_TYPE_OPTIONS, NO_SNIFF)], body)
}

/// 200 in JSON.
pub(super) fn json(body: String) -> Response {
    with(StatusCode::OK, &[(CONTENT_TYPE, JSON)], body)
}

/// 200 in the text format of Prometheus.
pub(super) fn metrics(body: String) -> Response {
    with(StatusCode::OK, &[(CONTENT_TYPE, METRICS)], body)
}

/// 200 without anything.
pub(super) fn empty() -> Response {
    with(StatusCode::OK, &[], String::new())
}

/// An error in plain text. Go ends such bodies with a line feed of its own, and scripts compare.
pub(super) fn error(status: StatusCode, reason: &str) -> Response {
    let headers = [(CONTENT_TYPE, TEXT), (X_CONTENT_TYPE_OPTIONS, NO_SNIFF)];
    with(status, &headers, format!("{reason}\n"))
}

/// 404 as the gateway words it.
pub(super) fn no_route() -> Response {
    let body = "{\"code\":5,\"message\":\"Not Found\"}".to_owned();
    with(StatusCode::NOT_FOUND, &[(CONTENT_TYPE, JSON)], body)
}

/// 405, unless the method is one of `allowed`.
pub(super) fn wrong_method(method: &Method, allowed: &'static [Method]) -> Option<Response> {
    if allowed.contains(method) {
        return None;
    }
    let mut response = error(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed");
    let names: Vec<&str> = allowed.iter().map(Method::as_str).collect();
    let value = HeaderValue::from_str(&names.join(", ")).expect("method names are header text");
    response.headers_mut().insert(ALLOW, value);
    Some(response)
}

/// Adds headers to whatever is answered.
pub(super) fn add(response: &mut Response, more: HeaderMap) {
    response.headers_mut().extend(more);
}
