//! The whole harness against real processes: a single node of ours, real etcd as a control, and a
//! store that forgets, which must be caught.
//!
//! `keelson` is looked for in `$KEELSON_BINARY` or beside the harness, where `cargo build` (or the
//! tests of keelson-server) puts it; etcd below `$KEELSON_ETCD_DIR`.

#![expect(clippy::unwrap_used, reason = "a test's helpers")]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const HARNESS: &str = env!("CARGO_BIN_EXE_keelson-jepsen");

fn keelson() -> PathBuf {
    let beside = Path::new(HARNESS).with_file_name("keelson");
    let program = std::env::var_os("KEELSON_BINARY").map_or(beside, PathBuf::from);
    assert!(
        program.is_file(),
        "there is no {}: run cargo build -p keelson-server first, or set KEELSON_BINARY",
        program.display()
    );
    program
}

fn run(arguments: &[&str], out: &Path) -> Output {
    Command::new(HARNESS)
        .args(arguments)
        .arg("--out")
        .arg(out)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// The report of a run that could be carried out, and its exit code.
fn report(output: &Output) -> (serde_json::Value, i32) {
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    let report = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}\n{errors}"));
    (report, output.status.code().unwrap())
}

fn kinds(report: &serde_json::Value) -> Vec<String> {
    let mut kinds = Vec::new();
    for round in report["rounds"].as_array().unwrap() {
        for verdict in round["verdicts"].as_array().unwrap() {
            kinds.extend(verdict["counts"].as_object().unwrap().keys().cloned());
        }
    }
    kinds
}

#[test]
fn a_single_node_survives_kills() {
    let out = tempfile::tempdir().unwrap();
    let program = keelson();
    let flags = ["run", "--subject", "keelson", "--nodes", "1", "--network", "loopback"];
    let rest = ["--mix", "kill", "--round", "8s", "--seed", "1", "-w", "json", "--binary"];
    let arguments = [&flags[..], &rest, &[program.to_str().unwrap()]].concat();
    let (report, code) = report(&run(&arguments, out.path()));
    assert_eq!((kinds(&report), code), (Vec::new(), 0), "{report:#}");
    let round = &report["rounds"][0];
    assert!(round["faults"].as_u64().unwrap() >= 2, "{round:#}");
    assert!(round["ops"]["ok"].as_u64().unwrap() > 500, "{round:#}");
    for verdict in round["verdicts"].as_array().unwrap() {
        assert!(verdict["undecided"].is_null() && verdict["examined"] != 0, "{verdict:#}");
    }
    let left: Vec<_> = out.path().read_dir().unwrap().collect();
    assert!(left.is_empty(), "a clean run leaves {left:?}");
}

#[test]
fn a_store_that_forgets_at_a_restart_is_caught_and_its_history_judged_again() {
    let out = tempfile::tempdir().unwrap();
    // Every start finds an empty data folder.
    let script = out.path().join("amnesiac");
    let text = format!(
        "#!/bin/sh\nfor flag; do case $flag in --data-dir=*) rm -rf \"${{flag#--data-dir=}}\";; esac; done\n\
         exec {} \"$@\"\n",
        keelson().display()
    );
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
    let flags = ["run", "--nodes", "1", "--network", "loopback", "--mix", "kill", "--seed", "3"];
    let rest = ["--round", "5s", "-w", "json", "--binary"];
    let arguments = [&flags[..], &rest, &[script.to_str().unwrap()]].concat();
    let (report, code) = report(&run(&arguments, out.path()));
    assert_eq!(code, 1, "{report:#}");
    let kinds = kinds(&report);
    for kind in ["stale-read", "not-linearizable", "lost-element"] {
        assert!(kinds.iter().any(|k| k == kind), "no {kind} among {kinds:?}");
    }
    let history = out.path().join("round-0001/history.jsonl");
    let again = Command::new(HARNESS).arg("check").arg(&history).output().unwrap();
    assert_eq!(again.status.code(), Some(1));
    let text = String::from_utf8_lossy(&again.stdout);
    assert!(text.contains("no order of these"), "{text}");
}

#[test]
fn an_ordinary_program_has_no_planted_defects() {
    let out = tempfile::tempdir().unwrap();
    let refused = run(&["defects", "--binary", keelson().to_str().unwrap()], out.path());
    assert_eq!(refused.status.code(), Some(2));
    let text = String::from_utf8_lossy(&refused.stderr);
    assert!(text.contains("has no planted defects"), "{text}");
}

#[test]
fn real_etcd_passes_where_namespaces_are_allowed() {
    let namespaces = Command::new("ip").args(["netns", "list"]).output();
    let allowed = rustix::process::geteuid().is_root() && namespaces.is_ok();
    if std::env::var_os("KEELSON_ETCD_DIR").is_none() || !allowed {
        return;
    }
    let out = tempfile::tempdir().unwrap();
    let flags = ["run", "--subject", "etcd", "--nodes", "3", "--mix", "partition,kill"];
    let rest = ["--round", "12s", "--seed", "4", "-w", "json"];
    let (report, code) = report(&run(&[&flags[..], &rest].concat(), out.path()));
    assert_eq!((kinds(&report), code), (Vec::new(), 0), "{report:#}");
    let faults: Vec<&str> = report["rounds"][0]["around_faults"]
        .as_array()
        .unwrap()
        .iter()
        .map(|fault| fault["fault"].as_str().unwrap())
        .collect();
    if report["network"] == "namespaces" {
        assert!(faults.contains(&"partition") && faults.contains(&"kill"), "{faults:?}");
    }
}

#[test]
fn what_cannot_run_says_so_with_its_own_exit_code() {
    let out = tempfile::tempdir().unwrap();
    let program = keelson();
    let program = program.to_str().unwrap();
    let loopback = ["run", "--network", "loopback", "--binary", program, "--mix", "partition"];
    let refused = run(&loopback, out.path());
    assert_eq!(refused.status.code(), Some(2));
    let text = String::from_utf8_lossy(&refused.stderr);
    assert!(text.contains("needs network namespaces"), "{text}");
    let nothing = run(&["run", "--binary", "/no/such/program"], out.path());
    assert_eq!(nothing.status.code(), Some(2));
    let dies = ["run", "--network", "loopback", "--nodes", "1", "--mix", "none", "--binary"];
    let dies = run(&[&dies[..], &["/bin/false"]].concat(), out.path());
    assert_eq!(dies.status.code(), Some(2));
    let text = String::from_utf8_lossy(&dies.stderr);
    assert!(text.contains("n1 ended with"), "{text}");
}

/// Namespaces of runs of this process id's children; a stopped run must leave none.
fn leftovers_of(pid: u32) -> Vec<String> {
    let output = Command::new("ip").args(["netns", "list"]).output();
    let text = output.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
    text.lines().filter(|line| line.starts_with(&format!("kj-{pid}-"))).map(str::to_owned).collect()
}

#[test]
fn an_interrupted_run_leaves_nothing_and_clean_removes_what_a_killed_one_left() {
    use rustix::process::{Pid, Signal, kill_process};
    let out = tempfile::tempdir().unwrap();
    let program = keelson();
    let wait_for = |what: &dyn Fn() -> bool| {
        // Bounded: two hundred looks, a tenth of a second apart.
        (0..200).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(100));
            what()
        })
    };
    for signal in [Signal::INT, Signal::KILL] {
        let data = out.path().join(format!("{signal:?}"));
        let mut harness = Command::new(HARNESS)
            .args(["run", "--nodes", "1", "--mix", "none", "--round", "60s", "--binary"])
            .arg(&program)
            .arg("--out")
            .arg(&data)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let members = || members_below(&data);
        assert!(wait_for(&|| !members().is_empty()), "no member was started");
        let pid = Pid::from_child(&harness);
        kill_process(pid, signal).unwrap();
        let status = harness.wait().unwrap();
        if signal == Signal::KILL {
            assert!(!members().is_empty(), "a killed harness cannot clean up");
            let cleaned = Command::new(HARNESS).arg("clean").output().unwrap();
            let text = String::from_utf8_lossy(&cleaned.stdout).into_owned();
            assert!(text.contains(&format!("kj-{}-", harness.id())), "{text}");
        } else {
            assert_eq!(status.code(), Some(130));
        }
        assert!(wait_for(&|| members().is_empty()), "{:?} are left", members());
        assert_eq!(leftovers_of(harness.id()), [""; 0]);
    }
}

/// Processes that have a data folder below this one.
fn members_below(folder: &Path) -> Vec<u32> {
    let flag = format!("--data-dir={}", folder.display());
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid: &u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(&flag)
    })
    .collect()
}
