//! Reports for the operator: all errors, or all settings.
//!
//! The line of an error has the setting, its value, its source, the error, and a hint.
//! `cachewarp check` prints every setting with its effective value and its source.

use std::fmt;

use super::error::ConfigError;
use super::raw::{RawSettings, RawValue, SettingSource};
use super::settings::Settings;
use super::table::{Name, ValueForm};
use super::urls::{MASK, masked};
use super::warnings::ConfigWarning;

/// The number of characters of a value that a report shows.
const SHOWN_CHARS_MAX: usize = 120;

/// All errors; at least one.
#[derive(Debug)]
pub struct ConfigErrors {
    /// The errors of the command line, the environment and `.env`, then those of values in the
    /// order of the table.
    pub errors: Vec<LocatedError>,
    /// Warnings, which may explain an error.
    pub warnings: Vec<ConfigWarning>,
}

impl std::error::Error for ConfigErrors {}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "invalid settings:")?;
        self.errors.iter().try_for_each(|error| writeln!(f, "  {error}"))?;
        self.warnings.iter().try_for_each(|warning| writeln!(f, "  (warning) {warning}"))?;
        write!(f, "`cachewarp --help` lists all settings; `cachewarp check` checks them without starting.")
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

/// A report of every setting with its value and its source, with secrets masked.
#[derive(Debug)]
pub struct SettingsReport(Vec<[String; 3]>);

impl SettingsReport {
    pub(super) fn of(raw: &RawSettings, settings: &Settings) -> Self {
        let row = |&name: &Name| {
            let RawValue { text, source } = raw.of(name);
            let value = match (name, text.as_str()) {
                (Name::WorkerThreads, "auto") => format!("auto ({})", settings.workers.len()),
                (Name::CacheNamespace, "auto") => format!("auto ({})", settings.store.namespace.as_str()),
                (_, "") => "(none)".to_owned(),
                (_, text) => shown(name, text),
            };
            [name.to_string(), value, source.to_string()]
        };
        Self(Name::ALL.iter().map(row).collect())
    }
}

impl fmt::Display for SettingsReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let longest = |column: fn(&[String; 3]) -> &String| {
            self.0.iter().map(|row| column(row).chars().count()).max().unwrap_or_default()
        };
        let (names, values) = (longest(|[name, ..]| name), longest(|[_, value, _]| value));
        for [name, value, source] in &self.0 {
            writeln!(f, "{name:names$}  {value:values$}  {source}")?;
        }
        Ok(())
    }
}

/// Returns a value with its secrets masked.
fn shown(name: Name, text: &str) -> String {
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
