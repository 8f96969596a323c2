//! Keelson's black-box consistency harness.
//!
//! It starts a cluster of real processes, ours or etcd's, lets clients ask and record what they
//! are told while members are killed, paused and cut off, and then asks whether one correct store
//! could have told it all. In the order of a round: [`cluster`], [`nemesis`], [`workload`],
//! [`history`], [`checker`], [`report`]; [`run`] joins them, [`failover`] measures how long a lost
//! leader is missed. It sees the system from outside only.

pub mod checker;
pub mod cli;
pub mod clock;
pub mod cluster;
pub mod failover;
pub mod history;
pub mod nemesis;
pub mod output;
pub mod random;
pub mod report;
pub mod run;
pub mod workload;
