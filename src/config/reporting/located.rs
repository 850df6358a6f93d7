//! The sources of settings, and errors with the source that they come from.

use std::fmt;

use crate::config::reporting::error::ConfigError;
use crate::config::table::{Name, ValueForm};
use crate::config::urls::{MASK, masked};

/// The number of characters of a value that a report shows.
const SHOWN_CHARS_MAX: usize = 120;

/// The source of a setting's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettingSource {
    /// A flag, such as `--redis-url`.
    Flag(Name),
    /// A variable of the environment, with its name as given.
    Environment(String),
    /// A line of `.env`, counted from 1.
    Dotenv(usize),
    /// The table of settings: no other source has a value.
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

/// An error with its location.
#[derive(Debug)]
pub struct LocatedError {
    /// The location.
    pub location: ErrorLocation,
    /// The error.
    pub error: ConfigError,
}

/// The location of an error.
#[derive(Debug)]
pub enum ErrorLocation {
    /// The value of a setting.
    Setting {
        /// The setting.
        name: Name,
        /// The value as given. The report masks its secrets.
        text: String,
        /// The source of the value.
        source: SettingSource,
    },
    /// A line of `.env`, counted from 1.
    DotenvLine(usize),
    /// The file `.env` as a whole.
    Dotenv,
    /// The environment.
    Environment,
    /// The arguments.
    CommandLine,
}

impl fmt::Display for LocatedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.location {
            ErrorLocation::Setting { name, text, source } => {
                write!(f, "{name} = {} ({source}): ", quoted(&shown(*name, text)))?;
            }
            ErrorLocation::DotenvLine(line) => write!(f, ".env line {line}: ")?,
            ErrorLocation::Dotenv => write!(f, ".env: ")?,
            ErrorLocation::Environment => write!(f, "environment: ")?,
            ErrorLocation::CommandLine => write!(f, "command line: ")?,
        }
        self.write(f)
    }
}

impl ErrorLocation {
    /// Returns the location of a name that is not a setting's.
    pub(in crate::config) fn of_name(source: &SettingSource) -> Self {
        match source {
            SettingSource::Dotenv(line) => Self::DotenvLine(*line),
            SettingSource::Environment(_) => Self::Environment,
            SettingSource::Flag(_) | SettingSource::Default => Self::CommandLine,
        }
    }
}

impl LocatedError {
    /// Returns whether the command line is at fault, and not a setting.
    pub(in crate::config) fn is_of_command_line(&self) -> bool {
        matches!(self.location, ErrorLocation::CommandLine)
    }

    /// Writes the error and its hint, without the location.
    pub(in crate::config) fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.error)?;
        let hint = match &self.location {
            ErrorLocation::Setting { text, .. } => self.error.hint(text),
            ErrorLocation::DotenvLine(_)
            | ErrorLocation::Dotenv
            | ErrorLocation::Environment
            | ErrorLocation::CommandLine => self.error.hint(""),
        };
        hint.map_or(Ok(()), |hint| write!(f, "; {hint}"))
    }
}

/// Returns a value with its secrets masked.
pub(in crate::config) fn shown(name: Name, text: &str) -> String {
    match name.setting().form {
        ValueForm::Url => masked(text),
        ValueForm::Secret if !text.is_empty() => MASK.to_owned(),
        ValueForm::Address
        | ValueForm::Duration
        | ValueForm::Size
        | ValueForm::Number
        | ValueForm::Percent
        | ValueForm::Switch
        | ValueForm::List
        | ValueForm::File
        | ValueForm::Path
        | ValueForm::Text
        | ValueForm::Secret
        | ValueForm::Choice(_) => text.to_owned(),
    }
}

/// Returns a value in quotes with control characters escaped, cut if it is too long.
fn quoted(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS_MAX).and_then(|(end, _)| text.get(..end)) {
        Some(beginning) => format!("{beginning:?}…"),
        None => format!("{text:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_shown_in_one_short_line() {
        assert_eq!(quoted("a\nb\x1b[31m\"c"), r#""a\nb\u{1b}[31m\"c""#);
        assert_eq!(quoted(&"ü".repeat(SHOWN_CHARS_MAX)).chars().count(), SHOWN_CHARS_MAX + 2);
        assert!(quoted(&"ü".repeat(SHOWN_CHARS_MAX + 1)).ends_with("ü\"…"));
    }
}
