//! What the program does with its command line; `main` only carries it out.
//!
//! `keelson` with etcd's flags is the server, so that a link named `etcd` is a drop-in.

mod action;
mod help;
mod version;

pub use action::{Action, decide, decide_with};
pub use help::help;
pub use version::{ETCD_VERSION, KEELSON_VERSION, git_sha, os_arch, version};
