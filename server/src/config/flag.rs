//! What one row of the table of flags says.

use super::value::Value;

/// What a flag's value looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `--flag`, `--flag=false`.
    Bool,
    /// A whole number from `min` to `max`, both allowed.
    Uint {
        /// Smallest value that is taken.
        min: u64,
        /// Largest value that is taken.
        max: u64,
    },
    /// A whole number of either sign.
    Int,
    /// A bare number of milliseconds, as etcd writes it; `100ms` is taken too.
    Millis,
    /// Go's notation: `100ms`, `1h30m`.
    Duration,
    /// Any text.
    Text,
    /// Texts with commas between them.
    List,
    /// URLs with commas between them.
    Urls,
    /// One of these words.
    OneOf(&'static [&'static str]),
}

/// Whether Keelson does what a flag asks for. Later work flips a row here and nowhere else.
#[derive(Debug, Clone, Copy)]
pub enum Support {
    /// Read into `Config`.
    Used,
    /// Read into `Config`, but some values are refused; the function says why, or that all is well.
    Partly(fn(&Value) -> Option<String>),
    /// Accepted and noted: it has no meaning here, and leaving it out harms nobody. The text says
    /// why there is nothing to do.
    Inert(&'static str),
    /// Refused unless it has its default value. The text says what does not exist yet.
    Missing(&'static str),
    /// An older name of another flag: taken as that one, and noted.
    Alias(&'static str),
    /// An older flag of etcd that became this feature gate: taken as that one, and noted.
    Gate(&'static str),
}

/// One setting: the same name serves as flag, as environment variable and as key of the YAML file.
#[derive(Debug, Clone, Copy)]
pub struct Flag {
    /// Without dashes.
    pub name: &'static str,
    /// What its value looks like.
    pub kind: Kind,
    /// The text that stands for not giving it.
    pub default: &'static str,
    /// One line of meaning and unit.
    pub help: &'static str,
    /// Whether it is read, noted or refused.
    pub support: Support,
}

/// Flags that belong together, for `--help`.
#[derive(Debug, Clone, Copy)]
pub struct Section {
    /// Heading in `--help`.
    pub title: &'static str,
    /// In the order in which they are shown.
    pub flags: &'static [Flag],
}

/// The environment variable of a flag: `ETCD_` and the name in upper case. Keelson's own flags
/// start with their prefix already: `KEELSON_MEMORY_BUDGET_BYTES`.
pub fn env_name(flag: &Flag) -> String {
    let upper = flag.name.to_ascii_uppercase().replace('-', "_");
    if flag.name.starts_with("keelson-") { upper } else { format!("ETCD_{upper}") }
}
