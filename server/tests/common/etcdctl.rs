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
    let mut command = Command::new(etcd_program("etcdctl"));
    command.args(args).env_clear().env("ETCDCTL_ENDPOINTS", server.endpoint());
    run(command, stdin)
}

/// Runs etcdctl against several endpoints; named by a flag, because some commands that ask all
/// members refuse the variable.
pub fn etcdctl_on(endpoints: &str, args: &[String]) -> CtlOutput {
    let mut command = Command::new(etcd_program("etcdctl"));
    command.arg(format!("--endpoints={endpoints}")).args(args).env_clear();
    run(command, "")
}

fn run(mut command: Command, stdin: &str) -> CtlOutput {
    let mut child = command
        .env("ETCDCTL_API", "3")
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
