//! What is wrong with the settings, as an operator reads it: one line a fault, all of them at once.
//!
//! A line says which setting, what it was, who said so, what is wrong with it, and what to write
//! instead.

use std::fmt;

use super::source::SettingSource;
use super::table::{Name, ValueForm};
use super::urls::{MASK, masked};
use super::warnings::ConfigWarning;
use super::wrong::ConfigError;

/// How much of a value is shown.
const SHOWN_CHARS_MAX: usize = 120;

/// Everything that is wrong. Never empty.
#[derive(Debug)]
pub struct ConfigErrors {
    /// In the order of the table; those of the command line and of `.env` first.
    pub faults: Vec<LocatedError>,
    /// What may explain them.
    pub warnings: Vec<ConfigWarning>,
}

impl std::error::Error for ConfigErrors {}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "cachewarp does not start, because of its settings:")?;
        self.faults.iter().try_for_each(|fault| writeln!(f, "  {fault}"))?;
        self.warnings.iter().try_for_each(|warning| writeln!(f, "  (warning) {warning}"))?;
        write!(f, "`cachewarp --help` lists every setting; `cachewarp check` checks them and starts nothing.")
    }
}

/// One thing that is wrong, and where.
#[derive(Debug)]
pub struct LocatedError {
    /// Where.
    pub place: ErrorLocation,
    /// What.
    pub wrong: ConfigError,
}

/// Where something is wrong.
#[derive(Debug)]
pub enum ErrorLocation {
    /// In the value of a setting.
    Setting {
        /// Which.
        name: Name,
        /// What it was, as it was given; shown without its secrets.
        text: String,
        /// Who said so.
        source: SettingSource,
    },
    /// In a line of `.env`, counted from 1.
    DotenvLine(usize),
    /// In `.env` as a whole.
    Dotenv,
    /// In the arguments.
    CommandLine,
}

impl fmt::Display for LocatedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            ErrorLocation::Setting { name, text, source } => {
                write!(f, "{name} = {} ({source}): ", quoted(&shown(*name, text)))?;
            }
            ErrorLocation::DotenvLine(line) => write!(f, ".env line {line}: ")?,
            ErrorLocation::Dotenv => write!(f, ".env: ")?,
            ErrorLocation::CommandLine => write!(f, "command line: ")?,
        }
        write!(f, "{}", self.wrong)?;
        let hint = match &self.place {
            ErrorLocation::Setting { text, .. } => self.wrong.hint(text),
            ErrorLocation::DotenvLine(_) | ErrorLocation::Dotenv | ErrorLocation::CommandLine => {
                self.wrong.hint("")
            }
        };
        hint.map_or(Ok(()), |hint| write!(f, "; {hint}"))
    }
}

/// A value without its secrets.
pub(super) fn shown(name: Name, text: &str) -> String {
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

/// A value between quotes, control characters escaped, the end cut off where it is too long.
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
    fn long_and_strange_values_are_shown_in_a_line() {
        assert_eq!(quoted("a\nb\x1b[31m\"c"), r#""a\nb\u{1b}[31m\"c""#);
        assert_eq!(quoted(&"ü".repeat(SHOWN_CHARS_MAX)).chars().count(), SHOWN_CHARS_MAX + 2);
        assert!(quoted(&"ü".repeat(SHOWN_CHARS_MAX + 1)).ends_with("ü\"…"));
    }
}
