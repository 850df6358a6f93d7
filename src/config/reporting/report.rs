//! Reports for the operator: all errors, or all settings.
//!
//! The line of an error has the setting, its value, its source, the error, and a hint.
//! `cachewarp check` prints every setting with its effective value and its source.

use std::fmt;

use crate::config::reporting::located::{LocatedError, shown};
use crate::config::reporting::warnings::ConfigWarning;
use crate::config::resolve::settings::Settings;
use crate::config::sources::raw::{RawSettings, RawValue};
use crate::config::table::Name;
use crate::telemetry::log::LogFormat;

/// All errors; at least one.
#[derive(Debug)]
pub struct ConfigErrors {
    /// The command that does not run; `None` if the program does not serve.
    pub command: Option<&'static str>,
    /// The format of the report: that of the log, if the program was to serve.
    pub format: LogFormat,
    /// The errors of the command line, the environment and `.env`, then those of values in the
    /// order of the table.
    pub errors: Vec<LocatedError>,
    /// Warnings, which may explain an error.
    pub warnings: Vec<ConfigWarning>,
}

impl std::error::Error for ConfigErrors {}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.errors.iter().all(LocatedError::is_of_command_line) {
            return self.usage(f);
        }
        writeln!(f, "invalid settings:")?;
        self.errors.iter().try_for_each(|error| writeln!(f, "  {error}"))?;
        self.warnings.iter().try_for_each(|warning| writeln!(f, "  (warning) {warning}"))?;
        write!(f, "`cachewarp --help` lists all settings; `cachewarp check` checks them without starting.")
    }
}

impl ConfigErrors {
    pub(in crate::config) fn of(errors: Vec<LocatedError>, warnings: Vec<ConfigWarning>) -> Self {
        Self { command: None, format: LogFormat::Human, errors, warnings }
    }

    /// Writes the errors of a command line. The settings are not at fault.
    fn usage(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.command {
            Some(command) => writeln!(f, "cannot run `cachewarp {command}`:")?,
            None => writeln!(f, "cannot read the command line:")?,
        }
        for error in &self.errors {
            write!(f, "  ")?;
            error.write(f)?;
            writeln!(f)?;
        }
        match self.command {
            Some(command) => write!(f, "`cachewarp {command} --help` describes the command."),
            None => write!(f, "`cachewarp --help` lists all commands and settings."),
        }
    }
}

/// A report of every setting with its value and its source, with secrets masked, and of the routes.
#[derive(Debug)]
pub struct SettingsReport {
    rows: Vec<[String; 3]>,
    routes: Option<String>,
}

impl SettingsReport {
    pub(in crate::config) fn of(raw: &RawSettings, settings: &Settings) -> Self {
        let row = |&name: &Name| {
            let RawValue { text, source } = raw.of(name);
            let value = match (name, text.as_str()) {
                (Name::WorkerThreads, "auto") => format!("auto ({})", settings.workers.len()),
                (Name::CacheNamespace, "auto") => format!("auto ({})", settings.store.namespace.as_str()),
                (Name::EntryKeyFile, path) if let Some(keys) = settings.store.entry_keys.get() => {
                    format!("{path} ({keys})")
                }
                (_, "") => "(none)".to_owned(),
                (_, text) => shown(name, text),
            };
            [name.to_string(), value, source.to_string()]
        };
        let routes = settings.routes.as_ref().map(|routes| routes.listing());
        Self { rows: Name::ALL.iter().map(row).collect(), routes }
    }
}

impl fmt::Display for SettingsReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let longest = |column: fn(&[String; 3]) -> &String| {
            self.rows.iter().map(|row| column(row).chars().count()).max().unwrap_or_default()
        };
        let (names, values) = (longest(|[name, ..]| name), longest(|[_, value, _]| value));
        for [name, value, source] in &self.rows {
            writeln!(f, "{name:names$}  {value:values$}  {source}")?;
        }
        self.routes.as_ref().map_or(Ok(()), |routes| write!(f, "\n{routes}"))
    }
}
