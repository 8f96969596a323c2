//! Flags that work for some values: what each refuses, and why.

use super::super::flag::Support;
use super::super::url::Scheme;
use super::super::value::Value;

/// Clear text over TCP is what exists.
pub(super) fn client_listeners(value: &Value) -> Option<String> {
    let Value::Urls(urls) = value else { return None };
    urls.iter().find_map(|url| match url.scheme {
        Scheme::Http => None,
        Scheme::Https => Some(format!("{url}: TLS is not supported yet: use http")),
        Scheme::Unix | Scheme::Unixs => {
            Some(format!("{url}: Unix sockets are not supported yet: use http"))
        }
    })
}

/// The peer side has the same limits.
pub(super) fn peer_listeners(value: &Value) -> Option<String> {
    client_listeners(value)
}

/// The metrics side has the same limits.
pub(super) fn metrics_listeners(value: &Value) -> Option<String> {
    client_listeners(value)
}

/// No NUL may reach a system call.
pub(super) fn data_folder(value: &Value) -> Option<String> {
    let Value::Text(text) = value else { return None };
    text.contains('\0').then(|| "a path must not contain a zero byte".to_owned())
}

/// `simple` tokens are what exists.
pub(super) fn auth_token(value: &Value) -> Option<String> {
    let Value::Text(text) = value else { return None };
    match text.split(',').next() {
        Some("simple") if !text.contains(',') => None,
        Some("jwt") => Some("JWT tokens are not supported yet: use simple".to_owned()),
        _ => Some("must be \"simple\"".to_owned()),
    }
}

/// Retention `0`, in any spelling, is off.
pub(super) fn auto_compaction(value: &Value) -> Option<String> {
    let Value::Text(text) = value else { return None };
    let off = text.is_empty()
        || text.trim_matches('0').is_empty()
        || super::super::duration::parse(text).is_ok_and(|d| d.is_zero());
    (!off).then(|| "automatic compaction is not supported yet: leave it at 0".to_owned())
}

/// Journald is not written to directly.
pub(super) fn log_outputs(value: &Value) -> Option<String> {
    let Value::List(outputs) = value else { return None };
    outputs.iter().find(|output| output.starts_with("systemd/")).map(|output| {
        format!("{output} is not supported yet: write to stderr, which journald keeps as well")
    })
}

pub(super) const TLS_MISSING: Support =
    Support::Missing("TLS is not supported yet: use http URLs and leave it out");
