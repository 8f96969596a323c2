//! The text of `--help`, made from the table of flags so that it cannot fall behind.

use std::fmt::Write;

use crate::config::{Flag, Kind, SECTIONS, Support};

/// Width of the text.
const WIDTH: usize = 96;

const INTRO: &str = "\
keelson: a strongly consistent key-value store that speaks etcd's protocol

Usage: keelson [flags]

Quick start, on this machine alone:
  keelson --data-dir /var/lib/keelson
  etcdctl --endpoints http://localhost:2379 put greeting hello
  etcdctl --endpoints http://localhost:2379 get greeting

For other machines, say where to listen and how to be reached:
  keelson --listen-client-urls http://0.0.0.0:2379 \\
          --advertise-client-urls http://10.0.0.5:2379

Flags are etcd's: --flag value, --flag=value, one or two dashes; a boolean is --flag or
--flag=false. Each flag is a variable too (ETCD_DATA_DIR for --data-dir) and a key of the YAML
file of --config-file; a flag and its variable must not be given together.
Durations are written 100ms, 5s, 1h30m.
";

/// The whole text.
pub fn help() -> String {
    let mut out = INTRO.to_owned();
    for section in SECTIONS {
        put(&mut out, &format!("\n{}:\n", section.title));
        for flag in section.flags {
            describe(&mut out, flag);
        }
    }
    out
}

fn put(out: &mut String, text: &str) {
    out.write_str(text).expect("writing to a string does not fail");
}

fn describe(out: &mut String, flag: &Flag) {
    let value = placeholder(flag.kind);
    put(out, &format!("  --{}{value}\n", flag.name));
    let mut meaning = match flag.support {
        Support::Alias(of) => format!("older name of --{of}"),
        Support::Gate(gate) => format!("older form of --feature-gates={gate}=..."),
        Support::Used | Support::Partly(_) | Support::Inert(_) | Support::Missing(_) => {
            flag.help.to_owned()
        }
    };
    match flag.support {
        Support::Inert(why) => meaning.push_str(&format!(" [no effect: {why}]")),
        Support::Missing(_) => meaning.push_str(" [not supported yet]"),
        Support::Used | Support::Partly(_) if shows_default(flag) => {
            meaning.push_str(&format!(" (default {})", flag.default));
        }
        Support::Used | Support::Partly(_) | Support::Alias(_) | Support::Gate(_) => {}
    }
    wrap(out, &meaning);
}

fn shows_default(flag: &Flag) -> bool {
    let is_off = flag.kind == Kind::Bool && flag.default == "false";
    !flag.default.is_empty() && !is_off
}

fn placeholder(kind: Kind) -> &'static str {
    match kind {
        Kind::Bool => "",
        Kind::Uint { .. } | Kind::Int => " <number>",
        Kind::Millis => " <ms>",
        Kind::Duration => " <duration>",
        Kind::Text => " <text>",
        Kind::List => " <a,b,...>",
        Kind::Urls => " <url,...>",
        Kind::OneOf(_) => " <word>",
    }
}

/// Breaks a line between words and indents it.
fn wrap(out: &mut String, text: &str) {
    const INDENT: &str = "        ";
    let mut line = INDENT.to_owned();
    for word in text.split(' ') {
        if line.len() > INDENT.len() && line.len() + 1 + word.len() > WIDTH {
            put(out, &line);
            put(out, "\n");
            line = INDENT.to_owned();
        }
        if line.len() > INDENT.len() {
            line.push(' ');
        }
        line.push_str(word);
    }
    put(out, &line);
    put(out, "\n");
}
