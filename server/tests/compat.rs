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
    for command in &commands {
        let (ours, theirs) = std::thread::scope(|scope| {
            let theirs = scope.spawn(|| run(&etcd, command));
            (run(&keelson, command), theirs.join().unwrap())
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

/// The output of a command in the form that is compared.
fn run(server: &Server, command: &Command) -> String {
    let CtlOutput { code, stdout, stderr } = etcdctl(server, &command.args, &command.stdin);
    let names = Names::new(server);
    let stdout = names.normal(command, &stdout);
    let stderr = names.normal_error(&stderr);
    format!("exit {code:?}\n{stdout}\n[stderr] {stderr}")
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
    endpoint;
    errors;
}
