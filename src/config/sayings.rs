//! What was said, and by whom: the text of every setting, before anybody asks what it means.
//!
//! Flag over environment over `.env` over default. A name is read in two spellings, `redis_url` and
//! `REDIS_URL`. Any other spelling of it is not, and is warned about: what looks like a setting and
//! is none misleads for months.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ffi::OsString;

use super::dotenv;
use super::faults::{ErrorLocation, LocatedError};
use super::source::SettingSource;
use super::spelling::{NameCase, NameMatch};
use super::table::Name;
use super::warnings::ConfigWarning;
use super::wrong::ConfigError;

/// The text of one setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RawValue {
    pub(super) text: String,
    pub(super) source: SettingSource,
}

/// Everything that was said.
#[derive(Debug, Default)]
pub(super) struct RawSettings {
    said: BTreeMap<Name, RawValue>,
    pub(super) faults: Vec<LocatedError>,
    pub(super) warnings: Vec<ConfigWarning>,
}

impl RawSettings {
    /// What holds for a setting.
    pub(super) fn of(&self, name: Name) -> RawValue {
        let default = || RawValue { text: name.setting().default.to_owned(), source: SettingSource::Default };
        self.said.get(&name).cloned().unwrap_or_else(default)
    }

    /// Listens to the flags. This and the next two are called in the order of their authority.
    pub(super) fn flags(&mut self, flags: Vec<(Name, String)>) {
        let mut layer = SourceLayer::default();
        for (name, text) in flags {
            self.put(&mut layer, NameCase::Lower, name, RawValue { text, source: SettingSource::Flag(name) });
        }
        self.settle(layer);
    }

    /// Listens to the environment.
    pub(super) fn environment(&mut self, variables: impl IntoIterator<Item = (OsString, OsString)>) {
        let mut layer = SourceLayer::default();
        for (variable, text) in variables {
            // No name of ours is anything but ASCII.
            let Ok(variable) = variable.into_string() else { continue };
            let source = SettingSource::Environment(variable.clone());
            let Some((case, name)) = self.named(variable, &source, &mut layer) else { continue };
            match text.into_string() {
                Ok(text) => self.put(&mut layer, case, name, RawValue { text, source }),
                Err(bytes) => {
                    let text = bytes.to_string_lossy().into_owned();
                    let place = ErrorLocation::Setting { name, text, source };
                    self.faults.push(LocatedError { place, wrong: ConfigError::NotUtf8 });
                }
            }
        }
        self.settle(layer);
    }

    /// Listens to `.env`.
    pub(super) fn dotenv(&mut self, file: std::io::Result<Vec<u8>>) {
        let dotenv::DotenvFile { pairs, faults } = dotenv::read(file);
        self.faults.extend(faults);
        let mut layer = SourceLayer::default();
        for dotenv::DotenvPair { name: spelling, text, line, substitutes } in pairs {
            let source = SettingSource::Dotenv(line);
            let Some((case, name)) = self.named(spelling, &source, &mut layer) else { continue };
            if substitutes {
                let place = ErrorLocation::DotenvLine(line);
                self.faults.push(LocatedError { place, wrong: ConfigError::DotenvSubstitution });
                continue;
            }
            self.put(&mut layer, case, name, RawValue { text, source });
        }
        self.settle(layer);
    }

    /// The setting of that spelling. What is nearly one is noted down.
    fn named(
        &mut self,
        spelling: String,
        source: &SettingSource,
        layer: &mut SourceLayer,
    ) -> Option<(NameCase, Name)> {
        let at = source.clone();
        match NameMatch::of(&spelling) {
            NameMatch::Exact(case, name) => return Some((case, name)),
            NameMatch::OtherCase(name) => self.warnings.push(ConfigWarning::OtherCase { spelling, at, name }),
            NameMatch::Near(name) => layer.near.push((name, ConfigWarning::Near { spelling, at, name })),
            NameMatch::Foreign => {}
        }
        None
    }

    fn put(&mut self, layer: &mut SourceLayer, case: NameCase, name: Name, said: RawValue) {
        let names = match case {
            NameCase::Upper => &mut layer.upper,
            NameCase::Lower => &mut layer.lower,
        };
        match names.entry(name) {
            Entry::Vacant(entry) => {
                entry.insert(said);
            }
            Entry::Occupied(_) => {
                let RawValue { text, source } = said;
                let place = ErrorLocation::Setting { name, text, source };
                self.faults.push(LocatedError { place, wrong: ConfigError::Twice });
            }
        }
    }

    /// Takes from a layer what no higher one has said.
    fn settle(&mut self, layer: SourceLayer) {
        let SourceLayer { mut upper, lower, near } = layer;
        for (name, said) in lower {
            match upper.get(&name) {
                Some(wins) if wins.text != said.text => {
                    self.warnings.push(ConfigWarning::CasesDiffer { name, at: wins.source.clone() });
                }
                Some(_) => {}
                None => {
                    upper.insert(name, said);
                }
            }
        }
        for (name, said) in upper {
            self.said.entry(name).or_insert(said);
        }
        // Somebody who has set the right one knows its name.
        let unset = near.into_iter().filter(|(name, _)| !self.said.contains_key(name));
        self.warnings.extend(unset.map(|(_, warning)| warning));
    }
}

/// What one source says, by the case of the names.
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

    fn heard(flags: &[(Name, &str)], environment: &[(&str, &str)], file: &str) -> RawSettings {
        let mut sayings = RawSettings::default();
        sayings.flags(flags.iter().map(|(name, text)| (*name, (*text).to_owned())).collect());
        sayings.environment(variables(environment));
        sayings.dotenv(Ok(file.into()));
        sayings
    }

    #[test]
    fn the_higher_source_wins() {
        let name = Name::CacheDefaultTtl;
        let (flag, variable, line) =
            ([(name, "1s")], [("CACHE_DEFAULT_TTL", "2s")], "\nCACHE_DEFAULT_TTL=3s");
        for (sayings, text, source) in [
            (heard(&flag, &variable, line), "1s", "flag --cache-default-ttl"),
            (heard(&[], &variable, line), "2s", "environment CACHE_DEFAULT_TTL"),
            (heard(&[], &[("cache_default_ttl", "2s")], line), "2s", "environment cache_default_ttl"),
            (heard(&[], &[], line), "3s", ".env line 2"),
            (heard(&[], &[], ""), "30s", "default"),
        ] {
            let said = sayings.of(name);
            assert_eq!((said.text.as_str(), said.source.to_string().as_str()), (text, source));
            assert!(sayings.faults.is_empty() && sayings.warnings.is_empty());
        }
    }

    #[test]
    fn upper_case_wins_and_a_difference_is_warned_about() {
        for (lower, warnings) in [("1s", 0), ("2s", 1)] {
            let pairs = [("cache_default_ttl", lower), ("CACHE_DEFAULT_TTL", "1s")];
            let file = format!("cache_default_ttl={lower}\nCACHE_DEFAULT_TTL=1s\n");
            for sayings in [heard(&[], &pairs, ""), heard(&[], &[], &file)] {
                assert_eq!(sayings.of(Name::CacheDefaultTtl).text, "1s");
                assert_eq!(sayings.warnings.len(), warnings, "{:?}", sayings.warnings);
            }
        }
    }

    #[test]
    fn other_spellings_are_not_read() {
        let sayings =
            heard(&[], &[("Cache_Default_TTL", "1s"), ("PATH", "/bin")], "Redis_URL=off\nEDITOR=vi\n");
        assert_eq!(sayings.of(Name::CacheDefaultTtl).source, SettingSource::Default);
        assert_eq!(sayings.of(Name::RedisUrl).source, SettingSource::Default);
        let warnings: Vec<_> = sayings.warnings.iter().map(ToString::to_string).collect();
        assert_eq!(
            warnings,
            [
                "Cache_Default_TTL (environment Cache_Default_TTL) is not read: names are case-sensitive, write CACHE_DEFAULT_TTL",
                "Redis_URL (.env line 1) is not read: names are case-sensitive, write REDIS_URL",
            ]
        );
    }

    #[test]
    fn slips_are_pointed_out_unless_the_right_one_is_set() {
        assert_eq!(heard(&[], &[("REDIS_URI", "off")], "CACHE_MAX_BODDY=1\n").warnings.len(), 2);
        assert_eq!(heard(&[], &[("REDIS_URI", "off"), ("REDIS_URL", "off")], "").warnings, []);
        assert_eq!(heard(&[], &[("HOME", "/"), ("LS_COLORS", ""), ("LOGNAME", "a")], "").warnings, []);
    }

    #[test]
    fn twice_is_a_fault() {
        let name = Name::LogLevel;
        let sayings = heard(&[(name, "info"), (name, "warn")], &[], "log_level=a\nlog_level=b\n");
        let faults: Vec<_> = sayings.faults.iter().map(ToString::to_string).collect();
        assert_eq!(
            faults,
            [
                "log_level = \"warn\" (flag --log-level): is given twice; keep one",
                "log_level = \"b\" (.env line 2): is given twice; keep one",
            ]
        );
    }

    #[test]
    fn a_dollar_in_dotenv_is_a_fault_for_a_setting_only() {
        let sayings = heard(&[], &[], "A=$HOME\nREDIS_URL=redis://:pa$word@h\nLOG_LEVEL='$'\n");
        let faults: Vec<_> = sayings.faults.iter().map(ToString::to_string).collect();
        assert_eq!(faults.len(), 1);
        assert!(
            faults[0].starts_with(".env line 2: has a `$`") && !faults[0].contains("pa"),
            "{}",
            faults[0]
        );
    }

    #[test]
    #[cfg(unix)]
    fn bytes_that_are_no_text_are_a_fault_in_a_setting_only() {
        let mut sayings = RawSettings::default();
        let bytes = || OsString::from_vec(vec![b'a', 0xff]);
        sayings.environment([("LOG_LEVEL".into(), bytes()), ("OTHER".into(), bytes()), (bytes(), bytes())]);
        let faults: Vec<_> = sayings.faults.iter().map(ToString::to_string).collect();
        assert_eq!(
            faults,
            ["log_level = \"a\u{fffd}\" (environment LOG_LEVEL): is not UTF-8; save it as UTF-8"]
        );
    }

    #[test]
    fn no_dotenv_is_no_fault() {
        let mut sayings = RawSettings::default();
        sayings.dotenv(Err(io::ErrorKind::NotFound.into()));
        assert!(sayings.faults.is_empty());
        sayings.dotenv(Err(io::ErrorKind::PermissionDenied.into()));
        assert_eq!(sayings.faults[0].to_string(), ".env: cannot be read: permission denied");
    }
}
