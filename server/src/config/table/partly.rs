//! Flags that work for some values: what each refuses, and why.

use super::super::suites;
use super::super::url::Scheme;
use super::super::value::Value;

/// TCP is what exists.
pub(super) fn listeners(value: &Value) -> Option<String> {
    let Value::Urls(urls) = value else { return None };
    urls.iter().find_map(|url| match url.scheme {
        Scheme::Http | Scheme::Https => None,
        Scheme::Unix | Scheme::Unixs => {
            Some(format!("{url}: Unix sockets are not supported yet: use http or https"))
        }
    })
}

/// No NUL may reach a system call.
pub(super) fn path(value: &Value) -> Option<String> {
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

/// Suites that the TLS library has.
pub(super) fn cipher_suites(value: &Value) -> Option<String> {
    let Value::List(names) = value else { return None };
    suites::refused(names)
}
