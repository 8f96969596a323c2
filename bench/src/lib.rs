//! Load generator and paired runs against etcd.
