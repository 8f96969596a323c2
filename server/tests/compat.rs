//! etcdctl against keelson and against real etcd: the same commands must give the same output.
//!
//! The commands are in `compat/*.txt`, one a line, with shell-like quotes. A line ending in ` <<`
//! takes the lines up to `EOF` as its input; `#` starts a comment.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic and tell")]

mod common;
#[path = "compat/normal.rs"]
mod normal;
#[path = "compat/script.rs"]
mod script;

use common::{CtlOutput, Kind, Server, etcdctl};
use normal::Names;
use script::{Command, parse};

/// Runs a script on both servers and shows all differences.
fn compare(script: &str) {
    let (keelson, etcd) = std::thread::scope(|scope| {
        let etcd = scope.spawn(Server::etcd);
        (Server::start(Kind::subject()), etcd.join().unwrap())
    });
    let commands = parse(script);
    assert!(!commands.is_empty(), "an empty script shows nothing");
    let mut differences = Vec::new();
    let (mut our_lease, mut their_lease) = (None, None);
    for command in &commands {
        let (ours, theirs) = std::thread::scope(|scope| {
            let theirs = scope.spawn(|| run(&etcd, command, &mut their_lease));
            (run(&keelson, command, &mut our_lease), theirs.join().unwrap())
        });
        println!("etcdctl {}\n{theirs}\n", command.text);
        if ours != theirs {
            differences.push(format!(
                "etcdctl {}\n--- etcd\n{theirs}\n--- {:?}\n{ours}",
                command.text, keelson.kind
            ));
        }
    }
    assert!(
        differences.is_empty(),
        "{} of {} commands differ:\n\n{}",
        differences.len(),
        commands.len(),
        differences.join("\n\n")
    );
}

/// The output of a command in the form that is compared. `$LEASE` stands for the last lease that
/// was granted, which is another on each server.
fn run(server: &Server, command: &Command, lease: &mut Option<String>) -> String {
    let known = lease.clone().unwrap_or_default();
    let args: Vec<_> = command.args.iter().map(|arg| arg.replace("$LEASE", &known)).collect();
    let CtlOutput { code, stdout, stderr } = etcdctl(server, &args, &command.stdin);
    if let Some(granted) = granted_lease(&String::from_utf8_lossy(&stdout)) {
        *lease = Some(granted);
    }
    let names = Names::new(server, lease.as_deref());
    let stdout = names.normal(command, &stdout);
    let stderr = names.normal_error(&stderr);
    format!("exit {code:?}\n{stdout}\n[stderr] {stderr}")
}

/// The id in "lease ID granted with TTL(60s)".
fn granted_lease(stdout: &str) -> Option<String> {
    let (id, rest) = stdout.strip_prefix("lease ")?.split_once(' ')?;
    (rest.starts_with("granted with") && !rest.contains("remaining")).then(|| id.to_owned())
}

macro_rules! scripts {
    ($($name:ident;)*) => {
        $(#[test]
        fn $name() {
            compare(include_str!(concat!("compat/", stringify!($name), ".txt")));
        })*
    };
}

scripts! {
    put;
    get;
    get_formats;
    del;
    txn;
    compaction;
    lease;
    endpoint;
    errors;
}
