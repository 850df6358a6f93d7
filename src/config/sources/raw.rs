//! Raw settings: the text of every setting with its source, before it is resolved.
//!
//! A flag wins over the environment, the environment over `.env`, and `.env` over the default. A
//! variable counts in two spellings, `redis_url` and `REDIS_URL`. Any other spelling has no effect
//! and causes a warning: an operator could believe in it for months.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ffi::OsString;

use crate::config::reporting::error::ConfigError;
use crate::config::reporting::located::{ErrorLocation, LocatedError, SettingSource};
use crate::config::reporting::warnings::ConfigWarning;
use crate::config::sources::dotenv;
use crate::config::sources::spelling::{NameCase, NameMatch};
use crate::config::table::Name;

/// The text of one setting with its source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::config) struct RawValue {
    pub(in crate::config) text: String,
    pub(in crate::config) source: SettingSource,
}

/// The text of every setting that a source sets, with the errors and warnings of the sources.
#[derive(Debug, Default)]
pub(in crate::config) struct RawSettings {
    values: BTreeMap<Name, RawValue>,
    pub(in crate::config) errors: Vec<LocatedError>,
    pub(in crate::config) warnings: Vec<ConfigWarning>,
}

impl RawSettings {
    /// Returns the effective text of a setting.
    pub(in crate::config) fn of(&self, name: Name) -> RawValue {
        let default = || RawValue { text: name.setting().default.to_owned(), source: SettingSource::Default };
        self.values.get(&name).cloned().unwrap_or_else(default)
    }

    /// Replaces the default of a setting.
    pub(in crate::config) fn set_default(&mut self, name: Name, text: &str) {
        let value = RawValue { text: text.to_owned(), source: SettingSource::Default };
        self.values.entry(name).or_insert(value);
    }

    /// Reads the flags. The caller calls this and the next two methods in the order of precedence.
    pub(in crate::config) fn flags(&mut self, flags: Vec<(Name, String)>) {
        let mut layer = SourceLayer::default();
        for (name, text) in flags {
            self.put(&mut layer, NameCase::Lower, name, RawValue { text, source: SettingSource::Flag(name) });
        }
        self.merge(layer);
    }

    /// Reads the environment.
    pub(in crate::config) fn environment(
        &mut self,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) {
        let mut layer = SourceLayer::default();
        for (variable, text) in variables {
            // The names of all settings are ASCII.
            let Ok(variable) = variable.into_string() else { continue };
            let source = SettingSource::Environment(variable.clone());
            let value = text.to_string_lossy();
            let Some((case, name)) = self.find(variable, &value, &source, &mut layer) else { continue };
            match text.into_string() {
                Ok(text) => self.put(&mut layer, case, name, RawValue { text, source }),
                Err(bytes) => {
                    let text = bytes.to_string_lossy().into_owned();
                    let location = ErrorLocation::Setting { name, text, source };
                    self.errors.push(LocatedError { location, error: ConfigError::NotUtf8 });
                }
            }
        }
        self.merge(layer);
    }

    /// Reads `.env`.
    pub(in crate::config) fn dotenv(&mut self, file: std::io::Result<Vec<u8>>) {
        let dotenv::DotenvFile { pairs, errors } = dotenv::read(file);
        self.errors.extend(errors);
        let mut layer = SourceLayer::default();
        for dotenv::DotenvPair { name: spelling, text, line, substitutes } in pairs {
            let source = SettingSource::Dotenv(line);
            let Some((case, name)) = self.find(spelling, &text, &source, &mut layer) else { continue };
            if substitutes {
                let location = ErrorLocation::DotenvLine(line);
                self.errors.push(LocatedError { location, error: ConfigError::DotenvSubstitution });
                continue;
            }
            self.put(&mut layer, case, name, RawValue { text, source });
        }
        self.merge(layer);
    }

    /// Returns the setting with this name. It notes an old or misspelt name.
    fn find(
        &mut self,
        spelling: String,
        value: &str,
        source: &SettingSource,
        layer: &mut SourceLayer,
    ) -> Option<(NameCase, Name)> {
        let at = source.clone();
        match NameMatch::of(&spelling, value) {
            NameMatch::Exact(case, name) => return Some((case, name)),
            NameMatch::OtherCase(name) => self.warnings.push(ConfigWarning::OtherCase { spelling, at, name }),
            NameMatch::Renamed(case, name) => {
                let location = ErrorLocation::of_name(source);
                let name = match case {
                    NameCase::Upper => name.variable(),
                    NameCase::Lower => name.to_string(),
                };
                self.errors
                    .push(LocatedError { location, error: ConfigError::Renamed { given: spelling, name } });
            }
            NameMatch::Near(name) => layer.near.push((name, ConfigWarning::Near { spelling, at, name })),
            NameMatch::Unknown => self.warnings.push(ConfigWarning::Unknown { spelling, at }),
            NameMatch::Foreign => {}
        }
        None
    }

    fn put(&mut self, layer: &mut SourceLayer, case: NameCase, name: Name, value: RawValue) {
        let names = match case {
            NameCase::Upper => &mut layer.upper,
            NameCase::Lower => &mut layer.lower,
        };
        match names.entry(name) {
            Entry::Vacant(entry) => {
                entry.insert(value);
            }
            Entry::Occupied(_) => {
                let RawValue { text, source } = value;
                let location = ErrorLocation::Setting { name, text, source };
                self.errors.push(LocatedError { location, error: ConfigError::Repeated });
            }
        }
    }

    /// Takes from a source the settings that no source of higher precedence sets.
    fn merge(&mut self, layer: SourceLayer) {
        let SourceLayer { mut upper, lower, near } = layer;
        for (name, value) in lower {
            match upper.get(&name) {
                Some(wins) if wins.text != value.text => {
                    self.warnings.push(ConfigWarning::CasesDiffer { name, at: wins.source.clone() });
                }
                Some(_) => {}
                None => {
                    upper.insert(name, value);
                }
            }
        }
        for (name, value) in upper {
            self.values.entry(name).or_insert(value);
        }
        // An operator who sets the right name knows it, so the near one belongs to another program.
        let unset = near.into_iter().filter(|(name, _)| !self.values.contains_key(name));
        self.warnings.extend(unset.map(|(_, warning)| warning));
    }
}

/// The settings of one source, by the case of their names.
#[derive(Default)]
struct SourceLayer {
    upper: BTreeMap<Name, RawValue>,
    lower: BTreeMap<Name, RawValue>,
    near: Vec<(Name, ConfigWarning)>,
}

#[cfg(test)]
mod tests {
    use std::io;
    #[cfg(unix)]
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
        pairs.iter().map(|(name, text)| (name.into(), text.into())).collect()
    }

    fn raw_settings(flags: &[(Name, &str)], environment: &[(&str, &str)], file: &str) -> RawSettings {
        let mut raw = RawSettings::default();
        raw.flags(flags.iter().map(|(name, text)| (*name, (*text).to_owned())).collect());
        raw.environment(variables(environment));
        raw.dotenv(Ok(file.into()));
        raw
    }

    #[test]
    fn the_higher_source_wins() {
        let name = Name::CacheDefaultTtl;
        let (flag, variable, line) =
            ([(name, "1s")], [("CACHE_DEFAULT_TTL", "2s")], "\nCACHE_DEFAULT_TTL=3s");
        for (raw, text, source) in [
            (raw_settings(&flag, &variable, line), "1s", "flag --cache-default-ttl"),
            (raw_settings(&[], &variable, line), "2s", "environment CACHE_DEFAULT_TTL"),
            (raw_settings(&[], &[("cache_default_ttl", "2s")], line), "2s", "environment cache_default_ttl"),
            (raw_settings(&[], &[], line), "3s", ".env line 2"),
            (raw_settings(&[], &[], ""), "30s", "default"),
        ] {
            let value = raw.of(name);
            assert_eq!((value.text.as_str(), value.source.to_string().as_str()), (text, source));
            assert!(raw.errors.is_empty() && raw.warnings.is_empty());
        }
    }

    #[test]
    fn upper_case_wins_and_a_difference_is_warned_about() {
        for (lower, warnings) in [("1s", 0), ("2s", 1)] {
            let pairs = [("cache_default_ttl", lower), ("CACHE_DEFAULT_TTL", "1s")];
            let file = format!("cache_default_ttl={lower}\nCACHE_DEFAULT_TTL=1s\n");
            for raw in [raw_settings(&[], &pairs, ""), raw_settings(&[], &[], &file)] {
                assert_eq!(raw.of(Name::CacheDefaultTtl).text, "1s");
                assert_eq!(raw.warnings.len(), warnings, "{:?}", raw.warnings);
            }
        }
    }

    #[test]
    fn other_spellings_are_not_read() {
        let raw =
            raw_settings(&[], &[("Cache_Default_TTL", "1s"), ("PATH", "/bin")], "Redis_URL=off\nEDITOR=vi\n");
        assert_eq!(raw.of(Name::CacheDefaultTtl).source, SettingSource::Default);
        assert_eq!(raw.of(Name::RedisUrl).source, SettingSource::Default);
        let warnings: Vec<_> = raw.warnings.iter().map(ToString::to_string).collect();
        assert_eq!(
            warnings,
            [
                "Cache_Default_TTL (environment Cache_Default_TTL) is not read: names are case-sensitive, write CACHE_DEFAULT_TTL",
                "Redis_URL (.env line 1) is not read: names are case-sensitive, write REDIS_URL",
            ]
        );
    }

    #[test]
    fn typing_errors_are_warned_about_unless_the_right_name_is_set() {
        assert_eq!(raw_settings(&[], &[("REDIS_URI", "off")], "CACHE_MAX_BODDY=1\n").warnings.len(), 2);
        assert_eq!(raw_settings(&[], &[("REDIS_URI", "off"), ("REDIS_URL", "off")], "").warnings, []);
        assert_eq!(raw_settings(&[], &[("HOME", "/"), ("LS_COLORS", ""), ("LOGNAME", "a")], "").warnings, []);
    }

    #[test]
    fn a_second_value_in_one_source_is_an_error() {
        let name = Name::LogLevel;
        let raw = raw_settings(&[(name, "info"), (name, "warn")], &[], "log_level=a\nlog_level=b\n");
        let errors: Vec<_> = raw.errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            errors,
            [
                "log_level = \"warn\" (flag --log-level): is given twice; keep one of them",
                "log_level = \"b\" (.env line 2): is given twice; keep one of them",
            ]
        );
    }

    #[test]
    fn a_dollar_in_dotenv_is_an_error_for_a_setting_only() {
        let raw = raw_settings(&[], &[], "A=$HOME\nREDIS_URL=redis://:pa$word@h\nLOG_LEVEL='$'\n");
        let errors: Vec<_> = raw.errors.iter().map(ToString::to_string).collect();
        assert_eq!(errors.len(), 1);
        assert!(
            errors[0].starts_with(".env line 2: has a `$`") && !errors[0].contains("pa"),
            "{}",
            errors[0]
        );
    }

    #[test]
    #[cfg(unix)]
    fn invalid_utf8_is_an_error_for_a_setting_only() {
        let mut raw = RawSettings::default();
        let bytes = || OsString::from_vec(vec![b'a', 0xff]);
        raw.environment([("LOG_LEVEL".into(), bytes()), ("OTHER".into(), bytes()), (bytes(), bytes())]);
        let errors: Vec<_> = raw.errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            errors,
            ["log_level = \"a\u{fffd}\" (environment LOG_LEVEL): is not UTF-8; save it as UTF-8"]
        );
    }

    #[test]
    fn a_missing_dotenv_is_no_error() {
        let mut raw = RawSettings::default();
        raw.dotenv(Err(io::ErrorKind::NotFound.into()));
        assert!(raw.errors.is_empty());
        raw.dotenv(Err(io::ErrorKind::PermissionDenied.into()));
        assert_eq!(raw.errors[0].to_string(), ".env: cannot be read: permission denied");
    }
}
