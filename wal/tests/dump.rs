//! wal-dump as people meet it.

#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::wildcard_enum_match_arm,
    reason = "a test that can't go on may stop at once, and its numbers are small"
)]

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use bytes::Bytes;
use keelson_wal::disk::RealDisk;
use keelson_wal::{Entry, EntryId, Options, Wal, WriterMode};

fn run(args: &[&str], dir: &Path) -> Output {
    let command = env!("CARGO_BIN_EXE_wal-dump");
    Command::new(command).args(args).arg(dir).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn write_log(dir: &Path, close: bool) {
    let options = Options {
        segment_bytes: 8 << 10,
        nonce_seed: 1,
        writer: WriterMode::Inline,
        ..Options::default()
    };
    let (wal, _) = Wal::open(Arc::new(RealDisk), dir, options).unwrap();
    let entry = |index| Entry {
        id: EntryId::new(3, index),
        payload: Bytes::from(format!("payload {index}\n")),
    };
    wal.append(vec![entry(1), entry(2), entry(3)], Box::new(|_| ())).unwrap();
    wal.save_committed(Bytes::from_static(b"mark")).unwrap();
    wal.save_vote(Bytes::from_static(b"me"), Box::new(|_| ())).unwrap();
    wal.truncate_after(Some(EntryId::new(3, 2)), Box::new(|_| ())).unwrap();
    wal.purge(EntryId::new(3, 1), Box::new(|_| ())).unwrap();
    if close {
        wal.close().unwrap();
    }
}

#[test]
fn every_record_is_shown_in_order() {
    let dir = tempfile::tempdir().unwrap();
    write_log(dir.path(), true);
    let output = run(&["--records", "--payload", "9"], dir.path());
    assert!(output.status.success());
    let want = "\
segment 1 at lsn 0, 8192 bytes: next index 0, purged none, last none
  @4096 frame 1, lsn 0, durable up to 0, 3 records in 512 bytes
    @4160 entry 3/1, 10 bytes \"payload 1\"...
    @4208 entry 3/2, 10 bytes \"payload 2\"...
    @4256 entry 3/3, 10 bytes \"payload 3\"...
  @4608 frame 2, lsn 512, durable up to 512, 2 records in 512 bytes
    @4672 vote, 2 bytes \"me\"
    @4712 committed, 4 bytes \"mark\"
  @5120 frame 3, lsn 1024, durable up to 1024, 1 records in 512 bytes
    @5184 truncate after 3/2
  @5632 frame 4, lsn 1536, durable up to 1536, 1 records in 512 bytes
    @5696 purge up to 3/1
  @6144 frame 5, lsn 2048, durable up to 2048, 1 records in 512 bytes
    @6208 clean shutdown
frames 5, records 8, bytes 2560
purged up to 3/1, last entry 3/2
vote \"me\"
committed \"mark\"
closed cleanly
";
    assert_eq!(text(&output.stdout), want);
}

#[test]
fn damage_is_named_and_the_log_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    write_log(dir.path(), false);
    let output = run(&[], dir.path());
    assert!(output.status.success());
    assert!(text(&output.stdout).ends_with("not closed: in use, or its process died\n"));

    let name = "0000000000000001-0000000000000000.wal";
    let path = dir.path().join(name);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[4170] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let output = run(&["--records"], dir.path());
    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr);
    assert!(error.contains(name) && error.contains("corrupt at offset 4096"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
}

#[test]
fn help_teaches_and_an_empty_folder_is_no_error() {
    let dir = tempfile::tempdir().unwrap();
    let output = run(&[], dir.path());
    assert!(output.status.success() && text(&output.stdout).starts_with("no log in "));
    let help = run(&["--help"], dir.path());
    for word in ["Examples:", "Exit status:", "torn tail", "--records"] {
        assert!(text(&help.stdout).contains(word), "{word}");
    }
    let missing = run(&[], &dir.path().join("missing"));
    assert_eq!(missing.status.code(), Some(1));
}
