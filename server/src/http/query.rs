//! The part of a URL after the question mark.

/// All values of a key, in order and decoded. A key without `=` has an empty value.
pub(super) fn values(query: Option<&str>, key: &str) -> Vec<String> {
    let pairs = query.unwrap_or("").split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .filter(|(name, _)| decode(name) == key)
        .map(|(_, value)| decode(value))
        .collect()
}

/// Whether a key is there at all.
pub(super) fn has(query: Option<&str>, key: &str) -> bool {
    !values(query, key).is_empty()
}

/// Plus is a blank, `%41` is a byte; what is no valid escape or text stays readable.
fn decode(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'+' => out.push(b' '),
            b'%' => {
                let mut ahead = bytes.clone();
                match ahead.next().and_then(hex).zip(ahead.next().and_then(hex)) {
                    Some((high, low)) => {
                        out.push(high << 4 | low);
                        bytes = ahead;
                    }
                    None => out.push(byte),
                }
            }
            other => out.push(other),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn hex(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn finds_and_decodes_values() {
        for (query, wanted) in [
            (None, vec![]),
            (Some(""), vec![]),
            (Some("exclude"), vec![""]),
            (Some("exclude=a&x=1&exclude=b"), vec!["a", "b"]),
            (Some("ex%63lude=a%20b+c"), vec!["a b c"]),
            (Some("exclude=%4&exclude=%zz&exclude=%"), vec!["%4", "%zz", "%"]),
            (Some("exclude=a=b&&"), vec!["a=b"]),
            (Some("exclude=%ff"), vec!["\u{fffd}"]),
        ] {
            assert_eq!(values(query, "exclude"), wanted, "{query:?}");
        }
        assert!(has(Some("verbose"), "verbose") && !has(Some("verbosely=1"), "verbose"));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever is escaped comes back.
        #[test]
        fn escapes_round_trip(text in any::<String>(), noise in any::<String>()) {
            let escaped: String = text.bytes().map(|byte| format!("%{byte:02x}")).collect();
            prop_assert_eq!(values(Some(&format!("k={escaped}")), "k"), [text]);
            values(Some(&noise), "k"); // any text at all may come in
        }
    }
}
