//! The text of a setting, read as the kind that its flag asks for.

use std::time::Duration;

use super::duration;
use super::flag::Kind;
use super::url::Url;

/// Longest text that an error repeats; beyond that it is cut, so that a list of mistakes stays
/// readable whatever was given.
const SHOWN_CHARS: usize = 80;

/// A setting that reads well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Of `Kind::Bool`.
    Bool(bool),
    /// Of `Kind::Uint`.
    Uint(u64),
    /// Of `Kind::Int`.
    Int(i64),
    /// Of `Kind::Duration` and `Kind::Millis`.
    Duration(Duration),
    /// Of `Kind::Text` and `Kind::OneOf`.
    Text(String),
    /// Of `Kind::List`.
    List(Vec<String>),
    /// Of `Kind::Urls`.
    Urls(Vec<Url>),
}

impl Value {
    /// Reads a text; the error says what was wanted.
    pub fn parse(kind: Kind, text: &str) -> Result<Value, String> {
        match kind {
            Kind::Bool => bool_of(text).map(Value::Bool),
            Kind::Uint { min, max } => uint_of(text, min, max).map(Value::Uint),
            Kind::Int => int_of(text).map(Value::Int),
            Kind::Millis => millis_of(text).map(Value::Duration),
            Kind::Duration => duration::parse(text)
                .map(Value::Duration)
                .map_err(|why| format!("{why}; got {}", shown(text))),
            Kind::Text => Ok(Value::Text(text.to_owned())),
            Kind::List => Ok(Value::List(parts(text).map(str::to_owned).collect())),
            Kind::Urls => parts(text).map(Url::parse).collect::<Result<_, _>>().map(Value::Urls),
            Kind::OneOf(words) => word_of(text, words).map(Value::Text),
        }
    }
}

/// A text as errors repeat it: quoted, escaped and not too long.
pub(super) fn shown(text: &str) -> String {
    if text.chars().count() <= SHOWN_CHARS {
        return format!("{text:?}");
    }
    let head: String = text.chars().take(SHOWN_CHARS).collect();
    format!("{head:?}...")
}

fn parts(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty())
}

fn bool_of(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        other => Err(format!("must be true or false; got {}", shown(other))),
    }
}

fn uint_of(text: &str, min: u64, max: u64) -> Result<u64, String> {
    let wanted = || format!("must be a whole number from {min} to {max}; got {}", shown(text));
    let number = text.parse::<u64>().map_err(|_| wanted())?;
    if (min..=max).contains(&number) { Ok(number) } else { Err(wanted()) }
}

fn int_of(text: &str) -> Result<i64, String> {
    text.parse().map_err(|_| format!("must be a whole number; got {}", shown(text)))
}

fn millis_of(text: &str) -> Result<Duration, String> {
    if let Ok(millis) = text.parse::<u32>() {
        return Ok(Duration::from_millis(u64::from(millis)));
    }
    duration::parse(text).map_err(|_| {
        format!("must be a number of milliseconds up to {}; got {}", u32::MAX, shown(text))
    })
}

fn word_of(text: &str, words: &[&str]) -> Result<String, String> {
    if words.contains(&text) {
        return Ok(text.to_owned());
    }
    let named: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
    Err(format!("must be one of {}; got {}", named.join(", "), shown(text)))
}
