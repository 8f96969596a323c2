//! Load generator and paired runs against etcd.
//!
//! The generator shares its machine with the server it measures, so it is built to cost little: h2
//! without layers above it, request bodies encoded once, small writes gathered, one thread.

pub mod clock;
pub mod cork;
pub mod frame;
pub mod grpc;
pub mod random;

pub mod report;
pub mod workload;

pub mod load;

pub mod null;

pub mod children;
pub mod cluster;
pub mod proc;
pub mod server;

pub mod ratio;

pub mod fill;
pub mod large;
pub mod paired;
pub mod queue;
pub mod watch;

pub mod cli;
pub mod output;
