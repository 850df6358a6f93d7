//! Variables' names, compared with the names of the settings.

use super::table::Name;

/// The case of a name. Both are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NameCase {
    /// `REDIS_URL`.
    Upper,
    /// `redis_url`.
    Lower,
}

/// The result of comparing a variable's name with the settings' names.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NameMatch {
    /// The name of a setting: read.
    Exact(NameCase, Name),
    /// The name of a setting in mixed case: not read.
    OtherCase(Name),
    /// The name of a setting with a typing error: not read.
    Near(Name),
    /// The old name of a setting, in either case: refused.
    Renamed(NameCase, Name),
    /// The name of no setting.
    Foreign,
}

impl NameMatch {
    /// Compares the name of a variable.
    pub(super) fn of(variable: &str) -> Self {
        let lower = variable.to_ascii_lowercase();
        let find = |text: &str| Name::ALL.iter().copied().find(|name| name.as_str() == text);
        if let Some(name) = find(variable) {
            return Self::Exact(NameCase::Lower, name);
        }
        match find(&lower) {
            Some(name) if name.variable() == variable => Self::Exact(NameCase::Upper, name),
            Some(name) => Self::OtherCase(name),
            None => match Name::renamed(&lower) {
                Some(name) if variable == lower => Self::Renamed(NameCase::Lower, name),
                Some(name) if variable == lower.to_ascii_uppercase() => Self::Renamed(NameCase::Upper, name),
                Some(name) => Self::OtherCase(name),
                None => nearest(&lower, Name::ALL.iter().map(|name| name.as_str()))
                    .and_then(find)
                    .map_or(Self::Foreign, Self::Near),
            },
        }
    }
}

/// Typing errors that are forgiven: a letter missing, added, changed, or swapped with the next.
const TYPING_ERRORS_MAX: usize = 2;

/// Returns the candidate with the fewest typing errors, if it has few enough for the word's length.
pub(super) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let near_enough = TYPING_ERRORS_MAX.min(word.chars().count() / 3);
    candidates
        .into_iter()
        .map(|candidate| (typing_errors(word, candidate), candidate))
        .filter(|(errors, _)| *errors <= near_enough)
        .min_by_key(|(errors, _)| *errors)
        .map(|(_, candidate)| candidate)
}

/// Returns the optimal string alignment distance, without regard to case.
fn typing_errors(from: &str, to: &str) -> usize {
    strsim::osa_distance(&from.to_lowercase(), &to.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_matched() {
        for (variable, spelling) in [
            ("redis_url", NameMatch::Exact(NameCase::Lower, Name::RedisUrl)),
            ("REDIS_URL", NameMatch::Exact(NameCase::Upper, Name::RedisUrl)),
            ("Redis_URL", NameMatch::OtherCase(Name::RedisUrl)),
            ("REDIS_URI", NameMatch::Near(Name::RedisUrl)),
            ("redis-url", NameMatch::Near(Name::RedisUrl)),
            ("tags_shown", NameMatch::Renamed(NameCase::Lower, Name::TagHeadersVisible)),
            ("TAGS_SHOWN", NameMatch::Renamed(NameCase::Upper, Name::TagHeadersVisible)),
            ("Tags_Shown", NameMatch::OtherCase(Name::TagHeadersVisible)),
            ("PATH", NameMatch::Foreign),
            ("REDIS", NameMatch::Foreign),
            ("", NameMatch::Foreign),
        ] {
            assert_eq!(NameMatch::of(variable), spelling, "{variable}");
        }
    }

    #[test]
    fn counts_typing_errors() {
        for (from, to, want) in [
            ("", "", 0),
            ("json", "json", 0),
            ("JSON", "json", 0),
            ("jsn", "json", 1),
            ("jsson", "json", 1),
            ("jzon", "json", 1),
            ("josn", "json", 1),
            ("human", "json", 4),
            ("", "abc", 3),
            ("abc", "", 3),
        ] {
            assert_eq!(typing_errors(from, to), want, "{from} {to}");
        }
    }

    #[test]
    fn only_a_near_word_is_suggested() {
        let words = ["redis_url", "redis_timeout", "log_level"];
        assert_eq!(nearest("redis_ulr", words), Some("redis_url"));
        assert_eq!(nearest("redis_timout", words), Some("redis_timeout"));
        assert_eq!(nearest("PATH", words), None);
        assert_eq!(nearest("a", ["b"]), None);
    }
}
