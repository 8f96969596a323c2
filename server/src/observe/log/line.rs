//! One log line as bytes, in JSON or in columns.

use std::fmt::{self, Write as _};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata};

use crate::config::LogFormat;

use super::timestamp::Timestamp;

/// Longest text of one field or message; a longer one is cut. A line then stays well below the
/// queue's bound, whatever is logged.
const TEXT_BYTES_MAX: usize = 8 << 10;
/// Most fields of a line, for the same reason (tracing itself allows 32).
const FIELDS_MAX: usize = 32;

/// Keys that every line has; a field of that name gets a prefix, because a key must not repeat.
const OWN_KEYS: [&str; 4] = ["level", "ts", "caller", "msg"];

/// A line in the making: the message, and the other fields as the inside of a JSON object.
#[derive(Debug, Default)]
struct Fields {
    message: String,
    object: String,
    count: usize,
}

/// The line of an event, with its line feed.
pub(super) fn of_event(format: LogFormat, at: Timestamp, event: &Event<'_>) -> Vec<u8> {
    let mut fields = Fields::default();
    event.record(&mut fields);
    let caller = caller(event.metadata());
    assemble(format, at, level_word(*event.metadata().level()), &caller, &fields)
}

/// The line that says how many lines are missing before it.
pub(super) fn of_dropped(format: LogFormat, at: Timestamp, dropped: u64) -> Vec<u8> {
    let mut fields = Fields {
        message: "log lines were dropped: the output took too long".into(),
        ..Fields::default()
    };
    fields.put_plain("dropped", dropped);
    assemble(format, at, "warn", "log/writer.rs", &fields)
}

fn assemble(
    format: LogFormat,
    at: Timestamp,
    level: &str,
    caller: &str,
    fields: &Fields,
) -> Vec<u8> {
    let Fields { message, object, .. } = fields;
    let line = match format {
        LogFormat::Json => {
            let comma = if object.is_empty() { "" } else { "," };
            let (caller, message) = (json_text(caller), json_text(message));
            format!(
                "{{\"level\":\"{level}\",\"ts\":\"{at}\",\"caller\":{caller},\"msg\":{message}{comma}{object}}}\n"
            )
        }
        LogFormat::Console => {
            let message = one_line(message);
            if object.is_empty() {
                format!("{at}\t{level}\t{caller}\t{message}\n")
            } else {
                format!("{at}\t{level}\t{caller}\t{message}\t{{{object}}}\n")
            }
        }
    };
    line.into_bytes()
}

/// etcd's words; it has none below debug.
fn level_word(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        _ => "debug",
    }
}

/// Folder and file alone, as etcd shows it: `raft/driver.rs:42`.
fn caller(metadata: &Metadata<'_>) -> String {
    let file = metadata.file().unwrap_or_else(|| metadata.target());
    let start = file.rmatch_indices('/').nth(1).map_or(0, |(at, _)| at + 1);
    format!("{}:{}", file.get(start..).unwrap_or(file), metadata.line().unwrap_or(0))
}

/// A JSON string with its quotes.
fn json_text(text: &str) -> String {
    serde_json::to_string(cut(text)).expect("a str is always a JSON string")
}

fn one_line(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in cut(text).chars() {
        if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

fn cut(text: &str) -> &str {
    if text.len() <= TEXT_BYTES_MAX {
        return text;
    }
    let end = (0..=TEXT_BYTES_MAX).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    text.get(..end).unwrap_or("")
}

impl Fields {
    fn put_plain(&mut self, name: &str, value: impl fmt::Display) {
        if self.count == FIELDS_MAX {
            return;
        }
        self.count += 1;
        if !self.object.is_empty() {
            self.object.push(',');
        }
        let prefix = if OWN_KEYS.contains(&name) { "field_" } else { "" };
        let key = json_text(&format!("{prefix}{name}"));
        write!(self.object, "{key}:{value}").expect("writing to a string does not fail");
    }

    fn put_text(&mut self, name: &str, value: &str) {
        if name == "message" {
            cut(value).clone_into(&mut self.message);
        } else {
            self.put_plain(name, json_text(value));
        }
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        if value.is_finite() {
            self.put_plain(field.name(), value);
        } else {
            self.put_text(field.name(), &value.to_string());
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put_plain(field.name(), value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put_plain(field.name(), value);
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.put_plain(field.name(), value);
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.put_plain(field.name(), value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put_plain(field.name(), value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put_text(field.name(), value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = Bounded::default();
        // An error means that the text was cut, or that a Debug gave up: what there is is shown.
        let _unfinished = write!(text, "{value:?}");
        self.put_text(field.name(), &text.0);
    }
}

/// Takes text up to the bound and then stops the one who writes it, so that logging a huge value
/// costs no more than a small one.
#[derive(Debug, Default)]
struct Bounded(String);

impl fmt::Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.push_str(cut(text));
        if self.0.len() > TEXT_BYTES_MAX { Err(fmt::Error) } else { Ok(()) }
    }
}
