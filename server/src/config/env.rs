//! The environment: `ETCD_` and the flag's name in upper case.

use std::collections::BTreeMap;
use std::ffi::OsString;

use super::flag::env_name;
use super::mistake::Mistake;
use super::table;

/// What the environment says: texts by flag name.
#[derive(Debug, Default)]
pub(super) struct Environment {
    pub(super) given: BTreeMap<&'static str, String>,
    /// Variables with our prefix that no flag has. etcd warns of them and goes on, because other
    /// programs set such names too.
    pub(super) unknown: Vec<String>,
    pub(super) mistakes: Vec<Mistake>,
}

/// Reads all variables; an empty one counts as not set.
pub(super) fn parse(vars: impl IntoIterator<Item = (OsString, OsString)>) -> Environment {
    let names: BTreeMap<String, &'static str> =
        table::all().map(|flag| (env_name(flag), flag.name)).collect();
    let mut out = Environment::default();
    for (key, value) in vars {
        let Ok(key) = key.into_string() else { continue };
        let is_ours = key.starts_with("ETCD_") || key.starts_with("KEELSON_");
        if !is_ours || value.is_empty() {
            continue;
        }
        match (names.get(&key), value.into_string()) {
            (None, _) => out.unknown.push(key),
            (Some(_), Err(_)) => out.mistakes.push(Mistake::new(key, "is not valid UTF-8")),
            (Some(name), Ok(value)) => {
                out.given.insert(name, value);
            }
        }
    }
    out.unknown.sort();
    out
}
