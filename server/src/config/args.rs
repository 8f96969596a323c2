//! The command line, in the notation of Go's flag package.
//!
//! `--f v`, `--f=v`, `-f v` and `-f=v` are one and the same; a boolean takes no value but by `=`;
//! the last of several wins. Everything is read to the end, so that all mistakes are found.

use std::collections::BTreeMap;
use std::ffi::OsString;

use super::flag::{Flag, Kind};
use super::mistake::Mistake;
use super::table;
use super::value::shown;

/// What the command line says: texts by flag name.
#[derive(Debug, Default)]
pub(super) struct Arguments {
    pub(super) given: BTreeMap<&'static str, String>,
    pub(super) mistakes: Vec<Mistake>,
}

/// Reads everything after the program's name.
pub(super) fn parse(args: impl IntoIterator<Item = OsString>) -> Arguments {
    let mut out = Arguments::default();
    let mut words = args.into_iter().peekable();
    while let Some(word) = words.next() {
        let word = match word.into_string() {
            Ok(word) => word,
            Err(raw) => {
                let seen = shown(&raw.to_string_lossy());
                out.mistakes.push(Mistake::usage("", format!("{seen} is not valid UTF-8")));
                continue;
            }
        };
        let Some(body) = flag_body(&word) else {
            let hint = stray_hint(&word);
            out.mistakes.push(Mistake::usage("", format!("{} is not a flag{hint}", shown(&word))));
            continue;
        };
        let (name, inline) = match body.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (body, None),
        };
        let Some(flag) = find(name) else {
            out.mistakes.push(Mistake::usage(format!("--{}", clipped(name)), "unknown flag"));
            // What follows an unknown flag is probably its value, not a mistake of its own.
            if inline.is_none() {
                words.next_if(|next| next.to_str().is_some_and(|next| flag_body(next).is_none()));
            }
            continue;
        };
        match take_value(flag, inline, || words.next()) {
            Ok(value) => {
                out.given.insert(flag.name, value);
            }
            Err(mistake) => out.mistakes.push(mistake),
        }
    }
    out
}

/// The word without its one or two dashes, if it is a flag at all.
fn flag_body(word: &str) -> Option<&str> {
    let body = word.strip_prefix("--").or_else(|| word.strip_prefix('-'))?;
    (!body.is_empty() && !body.starts_with(['-', '='])).then_some(body)
}

fn find(name: &str) -> Option<&'static Flag> {
    table::find(if name == "h" { "help" } else { name })
}

fn take_value(
    flag: &'static Flag,
    inline: Option<String>,
    next: impl FnOnce() -> Option<OsString>,
) -> Result<String, Mistake> {
    if let Some(value) = inline {
        return Ok(value);
    }
    if flag.kind == Kind::Bool {
        return Ok("true".to_owned());
    }
    let setting = format!("--{}", flag.name);
    match next().map(OsString::into_string) {
        Some(Ok(value)) => Ok(value),
        Some(Err(_)) => Err(Mistake::usage(setting, "its value is not valid UTF-8")),
        None => Err(Mistake::usage(setting, "needs a value")),
    }
}

/// What a word that is no flag was probably meant to be.
fn stray_hint(word: &str) -> &'static str {
    match word {
        "true" | "false" => " (a boolean takes its value as --flag=false)",
        "gateway" | "grpc-proxy" => " (the proxies of etcd are not supported)",
        _ => "",
    }
}

fn clipped(name: &str) -> String {
    name.chars().take(80).map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(args: &[&str]) -> (Vec<(&'static str, String)>, Vec<String>) {
        let out = parse(args.iter().map(OsString::from));
        let mistakes = out.mistakes.iter().map(Mistake::to_string).collect();
        (out.given.into_iter().collect(), mistakes)
    }

    #[test]
    fn takes_every_notation_of_the_flag_package() {
        for (args, name, value) in [
            (&["--name", "a"][..], "name", "a"),
            (&["--name=a"], "name", "a"),
            (&["-name", "a"], "name", "a"),
            (&["-name=a"], "name", "a"),
            (&["--name", "--data-dir"], "name", "--data-dir"),
            (&["--name="], "name", ""),
            (&["--name=a=b"], "name", "a=b"),
            (&["--name", ""], "name", ""),
            (&["--name=a", "-name", "b"], "name", "b"),
            (&["--pre-vote"], "pre-vote", "true"),
            (&["-pre-vote=false"], "pre-vote", "false"),
            (&["-h"], "help", "true"),
        ] {
            assert_eq!(read(args), (vec![(name, value.to_owned())], vec![]), "{args:?}");
        }
    }

    #[test]
    fn finds_every_mistake() {
        let (given, mistakes) = read(&[
            "--nope",
            "value",
            "--name",
            "a",
            "stray",
            "--pre-vote",
            "false",
            "-",
            "--",
            "---x",
            "--=1",
            "--also-nope=1",
            "gateway",
            "--wal-dir",
        ]);
        assert_eq!(given, [("name", "a".to_owned()), ("pre-vote", "true".to_owned())]);
        assert_eq!(
            mistakes,
            [
                "--nope: unknown flag",
                "\"stray\" is not a flag",
                "\"false\" is not a flag (a boolean takes its value as --flag=false)",
                "\"-\" is not a flag",
                "\"--\" is not a flag",
                "\"---x\" is not a flag",
                "\"--=1\" is not a flag",
                "--also-nope: unknown flag",
                "\"gateway\" is not a flag (the proxies of etcd are not supported)",
                "--wal-dir: needs a value",
            ]
        );
    }
}
