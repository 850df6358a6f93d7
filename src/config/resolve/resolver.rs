//! The resolver, which turns the text of one setting after the other into a value.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::reporting::error::ConfigError;
use crate::config::reporting::located::{ErrorLocation, LocatedError};
use crate::config::reporting::warnings::ConfigWarning;
use crate::config::resolve::values;
use crate::config::sources::raw::{RawSettings, RawValue};
use crate::config::table::{Name, ValueForm};

/// A choice whether the files that settings name are opened to find errors in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileChecks {
    /// Each file is opened.
    Opened,
    /// No file is opened.
    Unopened,
}

/// The raw settings, with the errors and warnings found so far.
pub(in crate::config) struct Resolver<'a> {
    pub(in crate::config::resolve) raw: &'a RawSettings,
    pub(in crate::config) files: FileChecks,
    pub(in crate::config) errors: Vec<LocatedError>,
    pub(in crate::config) warnings: Vec<ConfigWarning>,
}

impl<'a> Resolver<'a> {
    pub(in crate::config) fn of(raw: &'a RawSettings, files: FileChecks) -> Self {
        Self { raw, files, errors: Vec::new(), warnings: Vec::new() }
    }

    pub(in crate::config) fn duration(
        &mut self,
        name: Name,
        bounds: RangeInclusive<Duration>,
    ) -> Option<Duration> {
        self.take(name, |text| values::duration(text, bounds.clone()))
    }

    pub(in crate::config) fn size(&mut self, name: Name, bounds: RangeInclusive<usize>) -> Option<usize> {
        self.take(name, |text| values::size(text, bounds.clone()))
    }

    pub(in crate::config) fn number(&mut self, name: Name, bounds: RangeInclusive<usize>) -> Option<usize> {
        self.take(name, |text| values::number(text, bounds.clone()))
    }

    /// Reads a path; empty text is none.
    pub(in crate::config) fn file(&mut self, name: Name) -> Option<Option<PathBuf>> {
        self.take(name, |text| Ok(Some(PathBuf::from(text)).filter(|path| !path.as_os_str().is_empty())))
    }

    /// Returns the value of a setting. If the value is invalid, it notes the error and returns the
    /// default.
    pub(in crate::config) fn take<T>(
        &mut self,
        name: Name,
        parse: impl Fn(&str) -> Result<T, ConfigError>,
    ) -> Option<T> {
        let text = self.raw.of(name).text;
        let may_be_empty = matches!(
            name.setting().form,
            ValueForm::List | ValueForm::File | ValueForm::Path | ValueForm::Secret
        );
        let read = if text.is_empty() && !may_be_empty { Err(ConfigError::Empty) } else { parse(&text) };
        read.or_else(|error| {
            self.note(name, error);
            parse(name.setting().default)
        })
        .ok()
    }

    /// Tells whether one of these settings has an error.
    pub(in crate::config) fn has_error_in(&self, names: &[Name]) -> bool {
        let one_of_them = |error: &LocatedError| match &error.location {
            ErrorLocation::Setting { name, .. } => names.contains(name),
            ErrorLocation::DotenvLine(_)
            | ErrorLocation::Dotenv
            | ErrorLocation::Environment
            | ErrorLocation::CommandLine => false,
        };
        self.errors.iter().any(one_of_them)
    }

    /// Notes an error of a setting.
    pub(in crate::config) fn note(&mut self, name: Name, error: ConfigError) {
        let RawValue { text, source } = self.raw.of(name);
        self.errors.push(LocatedError { location: ErrorLocation::Setting { name, text, source }, error });
    }
}
