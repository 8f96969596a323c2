//! What is wrong with the settings: every mistake, and the list that refuses the start.

use std::fmt;

/// Exit code when the arguments themselves cannot be read (unknown flag, value of the wrong kind).
const EXIT_USAGE: u8 = 2;
/// Exit code when each setting reads well but the start is refused.
const EXIT_REFUSED: u8 = 1;

/// One thing that is wrong, with the setting it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The setting as the user wrote it: `--flag`, `ETCD_FLAG`, or a key of the file.
    pub setting: String,
    /// What is wrong with it, in lower case.
    pub text: String,
    /// Whether the command line could not be read, as against a value that is not wanted.
    pub usage: bool,
}

impl Mistake {
    pub(super) fn new(setting: impl Into<String>, text: impl Into<String>) -> Mistake {
        Mistake { setting: setting.into(), text: text.into(), usage: false }
    }

    pub(super) fn usage(setting: impl Into<String>, text: impl Into<String>) -> Mistake {
        Mistake { setting: setting.into(), text: text.into(), usage: true }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.setting.is_empty() {
            return f.write_str(&self.text);
        }
        write!(f, "{}: {}", self.setting, self.text)
    }
}

/// All mistakes of one start. It is never empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.listed())]
pub struct Rejected {
    /// In the order in which they were found: arguments, sources, values, then the whole.
    pub mistakes: Vec<Mistake>,
}

impl Rejected {
    /// 2 when the command line cannot be read, as with etcd, else 1.
    pub fn exit_code(&self) -> u8 {
        if self.mistakes.iter().any(|m| m.usage) { EXIT_USAGE } else { EXIT_REFUSED }
    }

    fn listed(&self) -> String {
        match self.mistakes.as_slice() {
            [only] => only.to_string(),
            many => {
                let mut out = format!("{} settings are wrong:", many.len());
                for mistake in many {
                    out.push_str("\n  ");
                    out.push_str(&mistake.to_string());
                }
                out
            }
        }
    }
}
