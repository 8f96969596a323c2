//! The YAML file of `--config-file`: keys are flag names, with a few nested groups as in etcd's.

use std::collections::BTreeMap;

use serde_yaml_ng::{Mapping, Value as Yaml};

use super::duration;
use super::flag::{Flag, Kind};
use super::mistake::Mistake;
use super::table;

/// Largest file that is read; etcd's sample has 5 KB.
pub const FILE_BYTES_MAX: usize = 1 << 20;

/// What the file says: texts by flag name.
#[derive(Debug, Default)]
pub(super) struct FileSettings {
    pub(super) given: BTreeMap<&'static str, String>,
    /// Keys that no flag has. etcd ignores them; they are noted here.
    pub(super) unknown: Vec<String>,
    pub(super) mistakes: Vec<Mistake>,
}

/// Nested groups, and what a key in them is called as a flag.
const GROUPS: [(&str, &[(&str, &str)]); 3] = [
    (
        "client-transport-security",
        &[
            ("cert-file", "cert-file"),
            ("key-file", "key-file"),
            ("client-cert-file", "client-cert-file"),
            ("client-key-file", "client-key-file"),
            ("client-cert-auth", "client-cert-auth"),
            ("trusted-ca-file", "trusted-ca-file"),
            ("client-crl-file", "client-crl-file"),
            ("auto-tls", "auto-tls"),
            ("allowed-hostname", "client-cert-allowed-hostname"),
        ],
    ),
    (
        "peer-transport-security",
        &[
            ("cert-file", "peer-cert-file"),
            ("key-file", "peer-key-file"),
            ("client-cert-file", "peer-client-cert-file"),
            ("client-key-file", "peer-client-key-file"),
            ("client-cert-auth", "peer-client-cert-auth"),
            ("trusted-ca-file", "peer-trusted-ca-file"),
            ("auto-tls", "peer-auto-tls"),
            ("allowed-cn", "peer-cert-allowed-cn"),
            ("allowed-hostname", "peer-cert-allowed-hostname"),
            ("skip-client-san-verification", "peer-skip-client-san-verification"),
        ],
    ),
    (
        "socket-options",
        &[("reuse-port", "socket-reuse-port"), ("reuse-address", "socket-reuse-address")],
    ),
];

/// Reads a file's text.
pub(super) fn parse(text: &str) -> FileSettings {
    let mut out = FileSettings::default();
    if text.len() > FILE_BYTES_MAX {
        out.wrong("", format!("must not be larger than {FILE_BYTES_MAX} bytes"));
        return out;
    }
    match serde_yaml_ng::from_str::<Yaml>(text) {
        Ok(Yaml::Mapping(map)) => out.take_all(&map),
        Ok(Yaml::Null) => {}
        Ok(_) => out.wrong("", "must be a mapping of flag names to values"),
        Err(error) => out.wrong("", format!("is not valid YAML: {error}")),
    }
    out
}

impl FileSettings {
    fn wrong(&mut self, key: &str, text: impl Into<String>) {
        let setting =
            if key.is_empty() { "the file".to_owned() } else { format!("{key} (in the file)") };
        self.mistakes.push(Mistake::new(setting, text));
    }

    fn take_all(&mut self, map: &Mapping) {
        for (key, value) in map {
            let Some(key) = key.as_str() else {
                self.wrong("", "has a key that is not a text");
                continue;
            };
            if matches!(value, Yaml::Null) {
                continue; // a key without a value is how the sample file leaves things out
            }
            let group = GROUPS.iter().find(|(name, _)| *name == key);
            match (group, value) {
                (Some((name, keys)), Yaml::Mapping(inner)) => self.take_group(name, keys, inner),
                (Some((name, _)), _) => self.wrong(name, "must be a mapping"),
                (None, _) => self.take_key(key, value),
            }
        }
    }

    fn take_group(&mut self, group: &str, keys: &[(&str, &str)], map: &Mapping) {
        for (key, value) in map {
            let shown = key.as_str().unwrap_or("?");
            if matches!(value, Yaml::Null) {
                continue;
            }
            match keys.iter().find(|(inner, _)| *inner == shown).and_then(|(_, n)| table::find(n)) {
                Some(flag) => self.take(&format!("{group}.{shown}"), flag, value),
                // Every switch of these groups is about trust: none may be passed over.
                None if is_off(value) => {}
                None => self.wrong(&format!("{group}.{shown}"), "is not supported"),
            }
        }
    }

    fn take_key(&mut self, key: &str, value: &Yaml) {
        if key == "discovery-config" {
            if !is_off(value) {
                self.wrong(key, "discovery of other members is not supported yet");
            }
            return;
        }
        match table::find(key) {
            Some(flag) => self.take(key, flag, value),
            None => self.unknown.push(key.to_owned()),
        }
    }

    fn take(&mut self, key: &str, flag: &'static Flag, value: &Yaml) {
        match text_of(flag, value) {
            Ok(text) => {
                self.given.insert(flag.name, text);
            }
            Err(why) => self.wrong(key, why),
        }
    }
}

/// Whether a value asks for nothing: false, empty, or a group of such values.
fn is_off(value: &Yaml) -> bool {
    match value {
        Yaml::Null => true,
        Yaml::Bool(on) => !on,
        Yaml::String(text) => text.is_empty(),
        Yaml::Sequence(items) => items.iter().all(is_off),
        Yaml::Mapping(map) => map.values().all(is_off),
        Yaml::Number(number) => number.as_f64() == Some(0.0),
        Yaml::Tagged(_) => false,
    }
}

/// The text that the same setting has as a flag.
fn text_of(flag: &Flag, value: &Yaml) -> Result<String, String> {
    match value {
        Yaml::Bool(on) => Ok(on.to_string()),
        Yaml::String(text) => Ok(text.clone()),
        // etcd's files give durations in nanoseconds; milliseconds stay bare numbers.
        Yaml::Number(number) if flag.kind == Kind::Duration => {
            let nanos = number.as_u64().ok_or("must be a number of nanoseconds")?;
            duration::from_nanos(u128::from(nanos)).map(|_| format!("{nanos}ns"))
        }
        Yaml::Number(number) => Ok(number.to_string()),
        Yaml::Sequence(items) => {
            let parts: Result<Vec<_>, _> = items.iter().map(|item| text_of(flag, item)).collect();
            Ok(parts?.join(","))
        }
        Yaml::Mapping(map) if flag.name == "feature-gates" => gates_text(map),
        Yaml::Null => Ok(String::new()),
        Yaml::Mapping(_) | Yaml::Tagged(_) => Err("must be a plain value".to_owned()),
    }
}

fn gates_text(map: &Mapping) -> Result<String, String> {
    let parts: Option<Vec<String>> = map
        .iter()
        .map(|(name, on)| Some(format!("{}={}", name.as_str()?, on.as_bool()?)))
        .collect();
    parts.map(|parts| parts.join(",")).ok_or_else(|| "must map names to true or false".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_keys_groups_and_lists() {
        let out = parse(
            "name: a\nheartbeat-interval: 50\nwarning-apply-duration: 200000000\nwal-dir:\n\
             grpc-keepalive-timeout: 30s\nlog-outputs: [stderr, stdout]\npre-vote: false\n\
             feature-gates: {InitialCorruptCheck: true}\nproxy: 'off'\n\
             client-transport-security: {cert-file: , auto-tls: true, allowed-cn: ''}\n\
             peer-transport-security:\n  allowed-cn: x\nsocket-options: {reuse-port: true}\n\
             discovery-config: {endpoints: []}\n",
        );
        let given: Vec<_> = out.given.iter().map(|(k, v)| (*k, v.as_str())).collect();
        assert_eq!(
            given,
            [
                ("auto-tls", "true"),
                ("feature-gates", "InitialCorruptCheck=true"),
                ("grpc-keepalive-timeout", "30s"),
                ("heartbeat-interval", "50"),
                ("log-outputs", "stderr,stdout"),
                ("name", "a"),
                ("peer-cert-allowed-cn", "x"),
                ("pre-vote", "false"),
                ("socket-reuse-port", "true"),
                ("warning-apply-duration", "200000000ns"),
            ]
        );
        assert_eq!(out.unknown, ["proxy"]);
        assert_eq!(out.mistakes, []);
    }

    #[test]
    fn names_what_cannot_be_read() {
        for (text, wanted) in [
            ("- a", "the file: must be a mapping of flag names to values"),
            ("1: a", "the file: has a key that is not a text"),
            ("name: {a: b}", "name (in the file): must be a plain value"),
            (
                "warning-apply-duration: -1",
                "warning-apply-duration (in the file): must be a number of nanoseconds",
            ),
            (
                "feature-gates: {a: b}",
                "feature-gates (in the file): must map names to true or false",
            ),
            ("socket-options: true", "socket-options (in the file): must be a mapping"),
            (
                "client-transport-security: {nope: x}",
                "client-transport-security.nope (in the file): is not supported",
            ),
            (
                "discovery-config: {token: x}",
                "discovery-config (in the file): discovery of other members is not supported yet",
            ),
        ] {
            let shown: Vec<_> = parse(text).mistakes.iter().map(Mistake::to_string).collect();
            assert_eq!(shown, [wanted], "{text}");
        }
        assert!(parse("a: [").mistakes[0].text.starts_with("is not valid YAML"));
        assert_eq!(parse(&" ".repeat(FILE_BYTES_MAX + 1)).mistakes.len(), 1);
        assert_eq!(parse("").mistakes, []);
    }
}
