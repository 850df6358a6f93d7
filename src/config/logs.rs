//! The settings of the log and of the access log.

use std::time::Duration;

use super::resolver::Resolver;
use super::table::Name;
use super::values;
use crate::limits::TIMEOUT_MAX;
use crate::telemetry::access::{AccessFormat, AccessLogOptions, LoggedPath};
use crate::telemetry::log;

impl Resolver<'_> {
    /// Resolves the options of the access log.
    pub(super) fn access_log(&mut self) -> Option<AccessLogOptions> {
        Some(AccessLogOptions {
            format: self.take(Name::AccessLog, |text| {
                let (json, text_lines) = (Some(AccessFormat::Json), Some(AccessFormat::Text));
                values::choice(text, &[("off", None), ("json", json), ("text", text_lines)])
            })?,
            path: self.take(Name::AccessLogPath, |text| {
                let (route, path) = (LoggedPath::Route, LoggedPath::Path);
                values::choice(text, &[("route", route), ("path", path), ("full", LoggedPath::Full)])
            })?,
            slow_threshold: Some(self.duration(Name::SlowLogThreshold, Duration::ZERO..=TIMEOUT_MAX)?)
                .filter(|threshold| !threshold.is_zero()),
        })
    }

    /// Resolves the options of the log.
    pub(super) fn log(&mut self) -> Option<log::Options> {
        Some(log::Options {
            format: self.take(Name::LogFormat, |text| {
                values::choice(text, &[("human", log::LogFormat::Human), ("json", log::LogFormat::Json)])
            })?,
            filter: self.take(Name::LogLevel, values::log_filter)?,
        })
    }
}
