//! Who has said what a setting is.

use std::fmt;

use super::table::Name;

/// Who said it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettingSource {
    /// A flag, such as `--redis-url`.
    Flag(Name),
    /// A variable of the environment, by the name that it has there.
    Environment(String),
    /// A line of `.env`, counted from 1.
    Dotenv(usize),
    /// Nobody.
    Default,
}

impl fmt::Display for SettingSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) => write!(f, "flag --{}", name.flag()),
            Self::Environment(variable) => write!(f, "environment {variable}"),
            Self::Dotenv(line) => write!(f, ".env line {line}"),
            Self::Default => f.write_str("default"),
        }
    }
}
