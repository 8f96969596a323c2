//! One watcher, as it was asked for and as far as it has come.

use bytes::Bytes;
use keelson_api::etcdserverpb::WatchCreateRequest;
use keelson_api::etcdserverpb::watch_create_request::FilterType;
use keelson_store::events::Event;
use keelson_store::types::Revision;

/// A set of keys.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Keys {
    /// One key.
    One(Bytes),
    /// From a key on, up to another one, exclusive, or to the last.
    From(Bytes, Option<Bytes>),
}

impl Keys {
    /// By etcd's rules; `None` if no key can be in it.
    pub(crate) fn of(key: Bytes, end: Bytes) -> Option<Self> {
        let key = if key.is_empty() { Bytes::from_static(b"\0") } else { key };
        match &end[..] {
            [] => Some(Self::One(key)),
            [0] => Some(Self::From(key, None)),
            _ if key < end => Some(Self::From(key, Some(end))),
            _ => None,
        }
    }
}

/// What a client wants to see.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) keys: Keys,
    pub(crate) puts: bool,
    pub(crate) deletions: bool,
    pub(crate) prev_kv: bool,
    /// Empty responses now and then.
    pub(crate) progress: bool,
    /// Large responses may come in parts.
    pub(crate) fragment: bool,
}

impl Wanted {
    /// What a request asks for; `None` if no key can match.
    pub(crate) fn of(request: WatchCreateRequest) -> Option<Self> {
        let filtered = |filter: FilterType| request.filters.contains(&i32::from(filter));
        let (puts, deletions) = (!filtered(FilterType::Noput), !filtered(FilterType::Nodelete));
        Some(Self {
            puts,
            deletions,
            prev_kv: request.prev_kv,
            progress: request.progress_notify,
            fragment: request.fragment,
            keys: Keys::of(request.key, request.range_end)?,
        })
    }

    pub(crate) fn wants(&self, event: &Event) -> bool {
        if event.deletion { self.deletions } else { self.puts }
    }
}

/// A watcher.
#[derive(Debug)]
pub(crate) struct Watcher {
    /// Tells it from others in the same slot, before and after it.
    pub(crate) serial: u64,
    pub(crate) stream: usize,
    /// Its id on the stream.
    pub(crate) id: i64,
    pub(crate) wanted: Wanted,
    /// The first revision that has not been put into the outbox; for a live one, only the first
    /// that it wants.
    pub(crate) next: Revision,
    /// It is not told of what happens until it has caught up.
    pub(crate) behind: bool,
    /// Something was sent to it since the last look.
    pub(crate) active: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_of_keys_follow_etcds_rules() {
        let keys = |key: &'static str, end: &'static str| {
            Keys::of(Bytes::from_static(key.as_bytes()), Bytes::from_static(end.as_bytes()))
        };
        let bytes = |text: &'static str| Bytes::from_static(text.as_bytes());
        assert_eq!(keys("a", ""), Some(Keys::One(bytes("a"))));
        assert_eq!(keys("", ""), Some(Keys::One(bytes("\0"))));
        assert_eq!(keys("", "\0"), Some(Keys::From(bytes("\0"), None)));
        assert_eq!(keys("a", "b"), Some(Keys::From(bytes("a"), Some(bytes("b")))));
        assert_eq!((keys("b", "a"), keys("a", "a")), (None, None));
    }
}
