//! Keelson's deterministic MVCC state machine on RocksDB.
