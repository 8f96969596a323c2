//! The shape of the tree, held by a test: who may use whom, and which names stay in which room.

#![expect(clippy::unwrap_used, reason = "a test's helpers")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The arrows between our crates; everything else is a mistake. Dependencies for tests count too,
/// but for the two listed below.
const ARROWS: [(&str, &[&str]); 6] = [
    ("keelson-wal", &[]),
    ("keelson-store", &[]),
    ("keelson-api", &[]),
    ("keelson-server", &["keelson-api", "keelson-store", "keelson-wal"]),
    ("keelson-bench", &["keelson-api"]),
    ("keelson-jepsen", &["keelson-api"]),
];

/// Names that may stand only below one folder: (name, folder, where it is looked for).
const ROOMS: [(&str, &str, &str); 4] = [
    ("openraft::", "server/src/raft", "server/src"),
    ("rocksdb::", "store/src/engine", "store/src"),
    ("tokio::", "nowhere", "store/src"),
    ("tokio::", "nowhere", "wal/src"),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

#[test]
fn crates_use_only_whom_they_may() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let names: BTreeSet<_> = packages.iter().map(|p| p["name"].as_str().unwrap()).collect();
    let allowed: BTreeMap<_, _> = ARROWS.into_iter().collect();
    for package in packages {
        let name = package["name"].as_str().unwrap();
        let may = allowed.get(name).unwrap_or_else(|| panic!("{name} has no row in ARROWS"));
        for dependency in package["dependencies"].as_array().unwrap() {
            let used = dependency["name"].as_str().unwrap();
            let itself_for_tests = used == name && dependency["kind"] == "dev";
            assert!(
                !names.contains(used) || may.contains(&used) || itself_for_tests,
                "{name} must not use {used}"
            );
        }
    }
}

#[test]
fn names_stay_in_their_rooms() {
    let mut looked_at = 0;
    for (name, room, searched) in ROOMS {
        for file in sources(&root().join(searched)) {
            // A test may name a library whose log lines it imitates.
            if file.starts_with(root().join(room)) || file.ends_with("tests.rs") {
                continue;
            }
            let text = std::fs::read_to_string(&file).unwrap();
            looked_at += 1;
            for (number, line) in text.lines().enumerate() {
                let code = line.split("//").next().unwrap();
                let place = file.strip_prefix(root()).unwrap().display();
                assert!(!code.contains(name), "{place}:{}: {name} belongs to {room}", number + 1);
            }
        }
    }
    assert!(looked_at > 50, "only {looked_at} files were looked at");
}

#[test]
fn every_source_file_says_what_it_is() {
    for folder in ["wal", "store", "server", "bench", "jepsen"] {
        for file in sources(&root().join(folder)) {
            let text = std::fs::read_to_string(&file).unwrap();
            assert!(text.starts_with("//!"), "{} does not begin with //!", file.display());
        }
    }
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}
