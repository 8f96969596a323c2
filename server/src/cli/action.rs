//! From arguments and environment to the one thing to do.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::config::{self, Config, FILE_BYTES_MAX, FileReader, Sources};

use super::{help, version};

/// What `main` has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Run the server. The notes say what was given without effect: log them as one line.
    Serve {
        /// Valid settings.
        config: Box<Config>,
        /// For the log.
        notes: Vec<String>,
    },
    /// Print this to stdout and exit with 0.
    Print(String),
    /// Print this to stderr and exit.
    Fail {
        /// All that is wrong, one per line.
        message: String,
        /// 2 if the command line does not read, else 1.
        exit_code: u8,
    },
}

/// Decides from the arguments (the program's name left out) and the environment; a configuration
/// file is read from disk.
pub fn decide(
    args: impl IntoIterator<Item = OsString>,
    vars: impl IntoIterator<Item = (OsString, OsString)>,
) -> Action {
    decide_with(args, vars, &read_file)
}

/// The same with the file handed in by the caller.
pub fn decide_with(
    args: impl IntoIterator<Item = OsString>,
    vars: impl IntoIterator<Item = (OsString, OsString)>,
    read_file: FileReader<'_>,
) -> Action {
    let sources = Sources::new(args, vars);
    if sources.asks("help") {
        return Action::Print(help());
    }
    if sources.asks("version") {
        return Action::Print(version());
    }
    match config::load(sources, read_file) {
        Ok(loaded) => Action::Serve { config: Box::new(loaded.config), notes: loaded.notes },
        Err(rejected) => Action::Fail {
            exit_code: rejected.exit_code(),
            message: format!("{rejected}\nRun with --help for all flags."),
        },
    }
}

/// Reads a configuration file, one byte further than what is allowed: the reader of its text
/// refuses it then.
fn read_file(path: &Path) -> io::Result<String> {
    let limit = u64::try_from(FILE_BYTES_MAX).unwrap_or(u64::MAX);
    let mut text = String::new();
    File::open(path)?.take(limit.saturating_add(1)).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(args: &[&str], vars: &[(&str, &str)]) -> Action {
        decide(args.iter().map(OsString::from), vars.iter().map(|(k, v)| (k.into(), v.into())))
    }

    #[test]
    fn no_flag_at_all_serves_the_defaults() {
        let config = Box::new(Config::default());
        assert_eq!(run(&[], &[]), Action::Serve { config, notes: vec![] });
    }

    #[test]
    fn version_has_the_lines_that_scripts_cut() {
        let Action::Print(text) = run(&["--version"], &[]) else { panic!("prints") };
        let keys: Vec<_> = text.lines().map(|line| line.split(": ").next().unwrap()).collect();
        assert_eq!(keys, ["etcd Version", "Git SHA", "Keelson Version", "OS/Arch"]);
        assert_eq!(text.lines().next(), Some("etcd Version: 3.7.1"));
        assert!(text.ends_with('\n'));
    }

    #[test]
    fn help_wins_over_mistakes_and_names_every_flag() {
        let Action::Print(text) = run(&["--nope", "-h"], &[]) else { panic!("prints") };
        for section in config::SECTIONS {
            for flag in section.flags {
                let row = format!("  --{}", flag.name);
                let found =
                    text.lines().any(|l| l.split(' ').take(3).collect::<Vec<_>>().join(" ") == row);
                assert!(found, "{} is missing in the help", flag.name);
            }
        }
        assert!(text.lines().all(|line| line.chars().count() <= 100), "help is too wide");
    }

    #[test]
    fn failures_say_everything_and_carry_the_exit_code() {
        for (args, code, wanted) in [
            (&["--nope"][..], 2, "--nope: unknown flag\nRun with --help for all flags."),
            (
                &["--name", "a", "--max-txn-ops=x", "--enable-log-rotation"],
                2,
                "2 settings are wrong:\n  \
                 --enable-log-rotation: log rotation is not supported yet\n  \
                 --max-txn-ops: must be a whole number from 1 to 1000000; got \"x\"\n\
                 Run with --help for all flags.",
            ),
            (
                &["--config-file=/nonexistent/keelson.yaml"],
                1,
                "--config-file: cannot read \"/nonexistent/keelson.yaml\": No such file or \
                 directory (os error 2)\nRun with --help for all flags.",
            ),
        ] {
            let message = wanted.to_owned();
            assert_eq!(run(args, &[]), Action::Fail { message, exit_code: code }, "{args:?}");
        }
    }

    #[test]
    fn a_file_on_disk_is_read_and_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keelson.yaml");
        std::fs::write(&path, "name: from-file\n").unwrap();
        let flag = format!("--config-file={}", path.display());
        let Action::Serve { config, .. } = run(&[&flag], &[]) else { panic!("serves") };
        assert_eq!(config.member.name, "from-file");
        std::fs::write(&path, "#".repeat(FILE_BYTES_MAX + 1)).unwrap();
        let Action::Fail { message, .. } = run(&[&flag], &[]) else { panic!("is too large") };
        assert!(message.contains("must not be larger than"), "{message}");
    }
}
