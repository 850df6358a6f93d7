//! Asking for the meaning of one setting after the other.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::faults::{ErrorLocation, LocatedError};
use super::sayings::{RawSettings, RawValue};
use super::table::{Name, ValueForm};
use super::warnings::ConfigWarning;
use super::wrong::ConfigError;
use super::{FileChecks, units};

/// What was said, and what turned out to be wrong with it so far.
pub(super) struct Resolver<'a> {
    sayings: &'a RawSettings,
    pub(super) files: FileChecks,
    pub(super) faults: Vec<LocatedError>,
    pub(super) warnings: Vec<ConfigWarning>,
}

impl<'a> Resolver<'a> {
    pub(super) fn of(sayings: &'a RawSettings, files: FileChecks) -> Self {
        Self { sayings, files, faults: Vec::new(), warnings: Vec::new() }
    }

    pub(super) fn duration(&mut self, name: Name, bounds: RangeInclusive<Duration>) -> Option<Duration> {
        self.take(name, |text| units::duration(text, bounds.clone()))
    }

    pub(super) fn size(&mut self, name: Name, bounds: RangeInclusive<usize>) -> Option<usize> {
        self.take(name, |text| units::size(text, bounds.clone()))
    }

    pub(super) fn number(&mut self, name: Name, bounds: RangeInclusive<usize>) -> Option<usize> {
        self.take(name, |text| units::number(text, bounds.clone()))
    }

    /// A path, or nothing.
    pub(super) fn file(&mut self, name: Name) -> Option<Option<PathBuf>> {
        self.take(name, |text| Ok(Some(PathBuf::from(text)).filter(|path| !path.as_os_str().is_empty())))
    }

    /// What a setting means; where that is wrong, what its default means.
    pub(super) fn take<T>(
        &mut self,
        name: Name,
        meaning: impl Fn(&str) -> Result<T, ConfigError>,
    ) -> Option<T> {
        let text = self.sayings.of(name).text;
        let may_be_empty =
            matches!(name.setting().form, ValueForm::List | ValueForm::File | ValueForm::Secret);
        let read = if text.is_empty() && !may_be_empty { Err(ConfigError::Empty) } else { meaning(&text) };
        read.or_else(|wrong| {
            self.note(name, wrong);
            meaning(name.setting().default)
        })
        .ok()
    }

    /// Whether one of these is known to be wrong.
    pub(super) fn has_fault_in(&self, names: &[Name]) -> bool {
        let one_of_them = |fault: &LocatedError| match &fault.place {
            ErrorLocation::Setting { name, .. } => names.contains(name),
            ErrorLocation::DotenvLine(_) | ErrorLocation::Dotenv | ErrorLocation::CommandLine => false,
        };
        self.faults.iter().any(one_of_them)
    }

    /// Notes down what is wrong with a setting.
    pub(super) fn note(&mut self, name: Name, wrong: ConfigError) {
        let RawValue { text, source } = self.sayings.of(name);
        self.faults.push(LocatedError { place: ErrorLocation::Setting { name, text, source }, wrong });
    }
}
