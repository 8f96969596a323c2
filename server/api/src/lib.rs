//! etcd's wire contract for Keelson: messages, services, error texts.
