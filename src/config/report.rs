//! What `cachewarp check` prints: every value that would hold, and who said so.

use std::fmt;

use super::faults::shown;
use super::sayings::{RawSettings, RawValue};
use super::settings::Settings;
use super::table::Name;

/// Every setting with its value and its source, without secrets.
#[derive(Debug)]
pub struct SettingsReport(Vec<[String; 3]>);

impl SettingsReport {
    pub(super) fn of(sayings: &RawSettings, settings: &Settings) -> Self {
        let row = |&name: &Name| {
            let RawValue { text, source } = sayings.of(name);
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
