//! Shape of the lines, levels, and outputs that are stuck.

use std::io::{BufRead, BufReader, PipeReader, Read, pipe};
use std::os::fd::OwnedFd;
use std::time::UNIX_EPOCH;

use serde_json::Value;
use tracing::subscriber::with_default;

use super::*;

/// Far longer than any wait in these tests takes; they wait for a condition, not for this.
const LONG: Duration = Duration::from_secs(60);

fn clock() -> WallClock {
    Arc::new(|| UNIX_EPOCH + Duration::new(1_795_255_200, 42_000))
}

fn log_to_pipe(format: LogFormat, level: LogLevel) -> (Log, PipeReader) {
    let (reader, writer) = pipe().unwrap();
    let file = File::from(OwnedFd::from(writer));
    (Log::over(vec![file], format, level, clock()).unwrap(), reader)
}

/// All lines of a run, read after the log is closed.
fn lines(format: LogFormat, level: LogLevel, run: impl FnOnce()) -> Vec<String> {
    let (log, reader) = log_to_pipe(format, level);
    with_default(log.subscriber(), run);
    assert!(log.flush(LONG));
    drop(log);
    BufReader::new(reader).lines().map(Result::unwrap).collect()
}

#[test]
fn json_lines_have_etcds_shape() {
    let got = lines(LogFormat::Json, LogLevel::Info, || {
        tracing::info!(
            revision = 7_u64,
            delta = -3_i64,
            ratio = 0.5,
            nan = f64::NAN,
            ok = true,
            key = "a\"b\n",
            debug = ?Some(1),
            level = "taken",
            error = %"disk is full",
            "applied an entry"
        );
        tracing::error!("nothing else");
    });
    let line = line!();
    let (first, second) = (line - 14, line - 2);
    assert_eq!(
        got,
        [
            format!(
                "{{\"level\":\"info\",\"ts\":\"2026-11-21T10:00:00.000042Z\",\
                 \"caller\":\"log/tests.rs:{first}\",\"msg\":\"applied an entry\",\"revision\":7,\
                 \"delta\":-3,\"ratio\":0.5,\"nan\":\"NaN\",\"ok\":true,\"key\":\"a\\\"b\\n\",\
                 \"debug\":\"Some(1)\",\"field_level\":\"taken\",\"error\":\"disk is full\"}}"
            ),
            format!(
                "{{\"level\":\"error\",\"ts\":\"2026-11-21T10:00:00.000042Z\",\
                 \"caller\":\"log/tests.rs:{second}\",\"msg\":\"nothing else\"}}"
            ),
        ]
    );
    for line in got {
        assert!(serde_json::from_str::<Value>(&line).is_ok(), "{line}");
    }
}

#[test]
fn console_lines_have_columns_and_no_control_characters() {
    let got = lines(LogFormat::Console, LogLevel::Info, || {
        tracing::warn!(member = 1, "two\nlines");
        tracing::info!("plain");
    });
    let shown: Vec<Vec<&str>> = got.iter().map(|line| line.split('\t').collect()).collect();
    assert_eq!(shown.len(), 2);
    assert_eq!(shown[0][0], "2026-11-21T10:00:00.000042Z");
    assert_eq!((shown[0][1], &shown[0][3..]), ("warn", &["two\\nlines", "{\"member\":1}"][..]));
    assert_eq!((shown[1][1], &shown[1][3..]), ("info", &["plain"][..]));
}

#[test]
fn the_level_says_what_is_shown() {
    let all = || {
        tracing::debug!("debug");
        tracing::info!("info");
        tracing::warn!("warn");
        tracing::error!("error");
        tracing::info!(target: "hyper::proto", "library info");
        tracing::warn!(target: "hyper::proto", "library warn");
        tracing::warn!(target: "openraft::core", "chatty warn");
    };
    for (level, wanted) in [
        (LogLevel::Debug, "debug info warn error library info library warn chatty warn"),
        (LogLevel::Info, "info warn error library warn"),
        (LogLevel::Warn, "warn error library warn"),
        (LogLevel::Error, "error"),
    ] {
        let got: Vec<String> = lines(LogFormat::Json, level, all)
            .iter()
            .map(|line| {
                serde_json::from_str::<Value>(line).unwrap()["msg"].as_str().unwrap().into()
            })
            .collect();
        assert_eq!(got.join(" "), wanted, "{level:?}");
    }
}

#[test]
fn huge_values_are_cut() {
    let huge = "é".repeat(1 << 20);
    let got = lines(LogFormat::Json, LogLevel::Info, || {
        tracing::info!(text = huge, debug = ?vec![7_u8; 1 << 20], "{huge}");
    });
    assert_eq!(got.len(), 1);
    assert!(got[0].len() < 100_000, "the line has {} bytes", got[0].len());
    let line: Value = serde_json::from_str(&got[0]).unwrap();
    assert_eq!(line["text"].as_str().unwrap().len(), 8 << 10);
}

/// Nobody reads the pipe: whoever logs goes on, and later learns exactly what is missing.
#[test]
fn a_stuck_output_stops_nobody_and_loses_nothing_unsaid() {
    const LINES: u64 = 100_000;
    let (log, reader) = log_to_pipe(LogFormat::Json, LogLevel::Info);
    with_default(log.subscriber(), || {
        for number in 0..LINES {
            tracing::info!(number, "a line of the usual length, with a field or two",);
        }
    });
    // Coming here at all is the first half of the test.
    assert!(log.dropped() > 0, "the pipe took everything, so nothing was tested");
    assert!(!log.flush(Duration::ZERO), "the pipe is full, so it cannot be flushed");
    let missing = log.dropped();
    let reading = std::thread::spawn(move || {
        BufReader::new(reader).lines().map(Result::unwrap).collect::<Vec<_>>()
    });
    assert!(log.flush(LONG));
    with_default(log.subscriber(), || tracing::info!("room again"));
    assert!(log.flush(LONG));
    drop(log);
    let got: Vec<Value> =
        reading.join().unwrap().iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let numbers: Vec<u64> = got.iter().filter_map(|line| line["number"].as_u64()).collect();
    let told: u64 = got.iter().filter_map(|line| line["dropped"].as_u64()).sum();
    assert_eq!(told, missing);
    assert_eq!(u64::try_from(numbers.len()).unwrap() + told, LINES);
    assert!(numbers.is_sorted(), "lines keep their order");
    assert_eq!(got.last().unwrap()["msg"], "room again");
}

/// A stuck output does not hold up another one.
#[test]
fn outputs_do_not_wait_for_each_other() {
    let (stuck_reader, stuck) = pipe().unwrap();
    let (reader, free) = pipe().unwrap();
    let files = vec![File::from(OwnedFd::from(stuck)), File::from(OwnedFd::from(free))];
    let log = Log::over(files, LogFormat::Console, LogLevel::Info, clock()).unwrap();
    let long = "x".repeat(4 << 10);
    let reading = std::thread::spawn(move || BufReader::new(reader).lines().count());
    with_default(log.subscriber(), || {
        for _ in 0..100 {
            tracing::info!("{long}"); // 400 kB: more than a pipe holds, less than the queue
        }
    });
    assert!(!log.flush(Duration::from_millis(1)), "the first pipe is full");
    assert_eq!(log.dropped(), 0);
    drop(log);
    assert_eq!(reading.join().unwrap(), 100);
    drop(stuck_reader);
}

/// An output that fails (here: a pipe whose reader is gone) loses lines, which are counted.
#[test]
fn write_errors_are_counted() {
    let (log, reader) = log_to_pipe(LogFormat::Json, LogLevel::Info);
    drop(reader);
    with_default(log.subscriber(), || tracing::info!("gone"));
    assert!(log.flush(LONG));
    assert_eq!(log.dropped(), 1);
}

#[test]
fn files_are_appended_to_and_bad_paths_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keelson.log");
    std::fs::write(&path, "before\n").unwrap();
    let options = |path| Logging {
        level: LogLevel::Info,
        format: LogFormat::Console,
        outputs: vec![LogOutput::File(path)],
    };
    let log = Log::open(&options(path.clone()), clock()).unwrap();
    with_default(log.subscriber(), || tracing::info!("after"));
    assert!(log.flush(LONG));
    let mut text = String::new();
    File::open(&path).unwrap().read_to_string(&mut text).unwrap();
    assert!(text.starts_with("before\n2026-11-21T") && text.ends_with("\tafter\n"), "{text}");
    let error = Log::open(&options(dir.path().to_owned()), clock()).unwrap_err();
    assert!(matches!(error, LogError::Open { .. }), "{error}");
}
