//! The keelson node: an etcd-compatible key-value store.
