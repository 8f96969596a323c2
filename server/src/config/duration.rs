//! Durations in the notation of etcd's flags: `100ms`, `1h30m`, `2.5s`.

use std::time::Duration;

/// The longest duration that can be written, as etcd's are 64-bit nanosecond counts (292 years).
const NANOS_MAX: u128 = i64::MAX as u128;

/// Digits of a fraction that are looked at; the smallest fraction of an hour in nanoseconds needs
/// 13, further ones cannot change the result.
const FRACTION_DIGITS: usize = 18;

/// Longest first, so that `ms` is not read as `m`.
const UNITS: [(&str, u128); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Reads a non-negative duration; the error says what is wrong with the text.
pub(super) fn parse(text: &str) -> Result<Duration, String> {
    let body = text.strip_prefix('+').unwrap_or(text);
    if body == "0" {
        return Ok(Duration::ZERO);
    }
    if body.starts_with('-') {
        return Err("a duration must not be negative".into());
    }
    if body.is_empty() {
        return Err("a duration is missing, such as 100ms or 1h30m".into());
    }
    let mut nanos: u128 = 0;
    let mut rest = body;
    while !rest.is_empty() {
        let (term, after) = take_term(rest)?;
        nanos += term; // both sides are at most NANOS_MAX
        if nanos > NANOS_MAX {
            return Err("a duration must be shorter than 292 years".into());
        }
        rest = after;
    }
    from_nanos(nanos)
}

/// A duration of that many nanoseconds, as YAML files of etcd give them.
pub(super) fn from_nanos(nanos: u128) -> Result<Duration, String> {
    let whole = u64::try_from(nanos).map_err(|_| "a duration must be shorter than 292 years")?;
    Ok(Duration::from_nanos(whole))
}

/// One `number unit` pair in nanoseconds, and what follows it.
fn take_term(text: &str) -> Result<(u128, &str), String> {
    let (whole, rest) = take_digits(text);
    let (fraction, rest) = match rest.strip_prefix('.') {
        Some(tail) => take_digits(tail),
        None => ("", rest),
    };
    if whole.is_empty() && fraction.is_empty() {
        return Err("a duration is a number with a unit, such as 100ms or 1h30m".into());
    }
    let Some((unit, rest)) = take_unit(rest) else {
        return Err("a duration needs a unit: ns, us, ms, s, m or h".into());
    };
    let too_long = || "a duration must be shorter than 292 years".to_owned();
    let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| too_long())? };
    let whole = whole.checked_mul(unit).filter(|n| *n <= NANOS_MAX).ok_or_else(too_long)?;
    let nanos = whole + fraction_nanos(fraction, unit);
    if nanos > NANOS_MAX { Err(too_long()) } else { Ok((nanos, rest)) }
}

fn take_digits(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text.split_at(end)
}

fn take_unit(text: &str) -> Option<(u128, &str)> {
    UNITS.iter().find_map(|(name, nanos)| text.strip_prefix(name).map(|rest| (*nanos, rest)))
}

/// The part after the point, cut (not rounded) to whole nanoseconds.
fn fraction_nanos(digits: &str, unit: u128) -> u128 {
    let mut value = 0;
    let mut scale = 1;
    for digit in digits.bytes().take(FRACTION_DIGITS) {
        value = value * 10 + u128::from(digit - b'0');
        scale *= 10;
    }
    value * unit / scale
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_notation_of_the_flags() {
        for (text, nanos) in [
            ("0", 0),
            ("+0", 0),
            ("0s", 0),
            ("100ms", 100_000_000),
            ("1h30m", 5_400_000_000_000),
            ("2.5s", 2_500_000_000),
            (".5s", 500_000_000),
            ("1.s", 1_000_000_000),
            ("7ns", 7),
            ("7us", 7_000),
            ("7\u{b5}s", 7_000),
            ("7\u{3bc}s", 7_000),
            ("+5m", 300_000_000_000),
            ("1m1ms", 60_001_000_000),
            ("0.0000000001s", 0),
            ("9223372036854775807ns", i64::MAX.unsigned_abs()),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_nanos(nanos)), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_duration() {
        for text in [
            "",
            "5",
            "ms",
            "-1s",
            "1x",
            "1 s",
            "s1",
            ".s",
            ".",
            "1h 30m",
            "1e3s",
            "+",
            "++1s",
            "9223372036854775808ns",
            "99999999999999999999999999999999999999999999h",
            "2562048h",
            "2562047h2562047h",
            "\u{0}",
            "１s",
        ] {
            assert!(parse(text).is_err(), "{text:?} was taken as {:?}", parse(text));
        }
    }
}
