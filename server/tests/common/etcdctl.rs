//! Runs etcd's own command line client.

use std::io::Write;
use std::process::{Command, Stdio};

use super::server::{Server, etcd_program};

/// What a command did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CtlOutput {
    pub code: Option<i32>,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

/// Runs etcdctl against a server.
pub fn etcdctl(server: &Server, args: &[String], stdin: &str) -> CtlOutput {
    let mut child = Command::new(etcd_program("etcdctl"))
        .args(args)
        .env_clear()
        .env("ETCDCTL_API", "3")
        .env("ETCDCTL_ENDPOINTS", server.endpoint())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that reads no input may be gone already.
    child.stdin.take().unwrap().write_all(stdin.as_bytes()).ok();
    let output = child.wait_with_output().unwrap();
    CtlOutput {
        code: output.status.code(),
        stdout: output.stdout,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
