//! From the three sources to a `Config`, or to all that is wrong with them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use super::args::Arguments;
use super::env::Environment;
use super::flag::{Flag, Support, env_name};
use super::member_config::Config;
use super::mistake::{Mistake, Rejected};
use super::read::Settings;
use super::value::{Value, shown};
use super::{args, env, file, gates, table, validate};

/// How the file of `--config-file` is read; a test hands in its own. The real one must not read
/// without bound.
pub type FileReader<'a> = &'a dyn Fn(&Path) -> std::io::Result<String>;

/// Where settings come from.
#[derive(Debug)]
pub struct Sources {
    arguments: Arguments,
    environment: Environment,
}

/// A start that may go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The settings, valid.
    pub config: Config,
    /// What was given and has no effect, and other things to know, to be logged in one line.
    pub notes: Vec<String>,
}

/// Which source a setting came from, for the messages about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    Argument,
    Variable,
    File,
}

/// A setting's text and where it came from.
type Given = BTreeMap<&'static str, (String, Origin)>;

impl Sources {
    /// Takes the arguments (without the program's name) and the environment apart.
    pub fn new(
        args: impl IntoIterator<Item = OsString>,
        vars: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Sources {
        Sources { arguments: args::parse(args), environment: env::parse(vars) }
    }

    /// Whether a boolean such as `help` was asked for on the command line.
    pub fn asks(&self, name: &str) -> bool {
        let text = self.arguments.given.get(name);
        text.is_some_and(|text| {
            table::find(name).is_some_and(|f| Value::parse(f.kind, text) == Ok(Value::Bool(true)))
        })
    }
}

/// Reads and checks everything; `Rejected` holds all mistakes, not the first.
pub fn load(sources: Sources, read_file: FileReader<'_>) -> Result<Loaded, Rejected> {
    let mut loader = Loader::default();
    let given = loader.gather(sources, read_file);
    let given = loader.older_names(given);
    let settings = loader.values(given);
    loader.gates(&settings);
    let config = settings.config(&mut loader.mistakes);
    // A value that does not read stands at its default, so rules between settings may still be
    // checked without blaming it twice.
    loader.mistakes.extend(validate::config(&config));
    loader.mistakes.extend(validate::given_together(&settings));
    let Loader { notes, mut mistakes } = loader;
    dedup(&mut mistakes);
    if mistakes.is_empty() { Ok(Loaded { config, notes }) } else { Err(Rejected { mistakes }) }
}

/// One mistake may be found by a value's own check and by the whole's.
fn dedup(mistakes: &mut Vec<Mistake>) {
    let mut seen = std::collections::BTreeSet::new();
    mistakes.retain(|mistake| seen.insert((mistake.setting.clone(), mistake.text.clone())));
}

#[derive(Debug, Default)]
struct Loader {
    notes: Vec<String>,
    mistakes: Vec<Mistake>,
}

impl Loader {
    fn gather(&mut self, sources: Sources, read_file: FileReader<'_>) -> Given {
        let Sources { arguments, environment } = sources;
        self.mistakes.extend(arguments.mistakes);
        self.mistakes.extend(environment.mistakes);
        for name in &environment.unknown {
            self.notes.push(format!("variable {name} belongs to no flag"));
        }
        let mut given = Given::new();
        for (name, text) in environment.given {
            if arguments.given.contains_key(name) {
                let text = format!("is also given as --{name}: remove one of them");
                self.mistakes.push(Mistake::new(env_of(name), text));
            }
            given.insert(name, (text, Origin::Variable));
        }
        given.extend(arguments.given.into_iter().map(|(n, text)| (n, (text, Origin::Argument))));
        match given.remove("config-file") {
            Some((path, _)) if !path.is_empty() => self.gather_file(&path, &given, read_file),
            _ => given,
        }
    }

    /// The file replaces all other sources, as with etcd.
    fn gather_file(&mut self, path: &str, others: &Given, read_file: FileReader<'_>) -> Given {
        let ignored: Vec<_> = others.iter().map(|(name, (_, o))| setting(name, *o)).collect();
        if !ignored.is_empty() {
            let list = ignored.join(", ");
            self.notes.push(format!("--config-file is given, so these are ignored: {list}"));
        }
        if path.contains('\0') {
            self.mistakes.push(Mistake::new("--config-file", "must not contain a zero byte"));
            return Given::new();
        }
        let text = match read_file(Path::new(path)) {
            Ok(text) => text,
            Err(error) => {
                let text = format!("cannot read {}: {error}", shown(path));
                self.mistakes.push(Mistake::new("--config-file", text));
                return Given::new();
            }
        };
        let read = file::parse(&text);
        self.mistakes.extend(read.mistakes);
        for key in read.unknown {
            self.notes.push(format!("key {} of the file belongs to no flag", shown(&key)));
        }
        read.given.into_iter().map(|(name, text)| (name, (text, Origin::File))).collect()
    }

    /// Moves older names to what they are called now.
    fn older_names(&mut self, given: Given) -> Given {
        let mut out = Given::new();
        let mut renamed = Vec::new();
        for (name, (text, origin)) in given {
            let Some(flag) = table::find(name) else { continue };
            match flag.support {
                Support::Alias(of) => renamed.push((flag, of, text, origin)),
                Support::Gate(gate) => match Value::parse(flag.kind, &text) {
                    Ok(Value::Bool(on)) => {
                        renamed.push((flag, "feature-gates", format!("{gate}={on}"), origin));
                    }
                    Ok(_) | Err(_) => self.bad_value(flag, origin, &text),
                },
                Support::Used | Support::Partly(_) | Support::Inert(_) | Support::Missing(_) => {
                    out.insert(name, (text, origin));
                }
            }
        }
        for (flag, of, text, origin) in renamed {
            self.rename(&mut out, flag, of, text, origin);
        }
        out
    }

    fn rename(
        &mut self,
        out: &mut Given,
        flag: &'static Flag,
        of: &'static str,
        text: String,
        origin: Origin,
    ) {
        let old = setting(flag.name, origin);
        match out.get_mut(of) {
            // Several gates make one list; the same gate twice with two values is not detected
            // by the list itself, so the later, older-named one wins.
            Some((list, _)) if of == "feature-gates" => {
                list.push(',');
                list.push_str(&text);
            }
            Some(_) => {
                let text = format!("is an older name of --{of}, which is given too: remove it");
                self.mistakes.push(Mistake::new(old, text));
                return;
            }
            None => {
                out.insert(of, (text, origin));
            }
        }
        self.notes.push(format!("{old} is an older name of --{of}"));
    }

    /// Reads every text as its flag's kind, and looks whether the flag does something.
    fn values(&mut self, given: Given) -> Settings {
        let mut settings = Settings::default();
        for (name, (text, origin)) in given {
            let Some(flag) = table::find(name) else { continue };
            // etcd takes an empty text for "not given" wherever a text is no answer.
            if text.is_empty() && flag.default.is_empty() {
                continue;
            }
            match Value::parse(flag.kind, &text) {
                Ok(value) => {
                    self.support(flag, origin, &value);
                    settings.set(flag, value, setting(name, origin));
                }
                Err(_) => self.bad_value(flag, origin, &text),
            }
        }
        settings
    }

    fn support(&mut self, flag: &Flag, origin: Origin, value: &Value) {
        let is_default = Value::parse(flag.kind, flag.default).as_ref() == Ok(value);
        let name = setting(flag.name, origin);
        match flag.support {
            Support::Partly(refuse) => {
                if let Some(why) = refuse(value) {
                    self.mistakes.push(Mistake::new(name, why));
                }
            }
            Support::Missing(why) if !is_default => self.mistakes.push(Mistake::new(name, why)),
            Support::Inert(why) if !is_default => {
                self.notes.push(format!("{name} has no effect: {why}"));
            }
            Support::Used
            | Support::Missing(_)
            | Support::Inert(_)
            | Support::Alias(_)
            | Support::Gate(_) => {}
        }
    }

    fn gates(&mut self, settings: &Settings) {
        let wrong = gates::check(&settings.text("feature-gates"), &mut self.notes);
        let setting = settings.setting("feature-gates");
        self.mistakes.extend(wrong.into_iter().map(|why| Mistake::new(setting.clone(), why)));
    }

    fn bad_value(&mut self, flag: &Flag, origin: Origin, text: &str) {
        let name = setting(flag.name, origin);
        let why = Value::parse(flag.kind, text).err().unwrap_or_default();
        self.mistakes.push(match origin {
            Origin::Argument => Mistake::usage(name, why),
            Origin::Variable | Origin::File => Mistake::new(name, why),
        });
    }
}

/// A setting as the user wrote it.
fn setting(name: &str, origin: Origin) -> String {
    match origin {
        Origin::Argument => format!("--{name}"),
        Origin::Variable => env_of(name),
        Origin::File => format!("{name} (in the file)"),
    }
}

fn env_of(name: &str) -> String {
    table::find(name).map(env_name).unwrap_or_default()
}
