//! How the name of a variable stands to the names of the settings.

use super::nearest::nearest;
use super::table::Name;

/// In which of the two spellings that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NameCase {
    /// `REDIS_URL`
    Upper,
    /// `redis_url`
    Lower,
}

/// How a variable's name stands to ours.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NameMatch {
    /// Read.
    Exact(NameCase, Name),
    /// Ours but for its case: not read.
    OtherCase(Name),
    /// Ours but for a slip: not read.
    Near(Name),
    /// Somebody else's.
    Foreign,
}

impl NameMatch {
    /// That of a variable.
    pub(super) fn of(variable: &str) -> Self {
        let lower = variable.to_ascii_lowercase();
        let find = |text: &str| Name::ALL.iter().copied().find(|name| name.as_str() == text);
        if let Some(name) = find(variable) {
            return Self::Exact(NameCase::Lower, name);
        }
        match find(&lower) {
            Some(name) if name.variable() == variable => Self::Exact(NameCase::Upper, name),
            Some(name) => Self::OtherCase(name),
            None => nearest(&lower, Name::ALL.iter().map(|name| name.as_str()))
                .and_then(find)
                .map_or(Self::Foreign, Self::Near),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings() {
        for (variable, spelling) in [
            ("redis_url", NameMatch::Exact(NameCase::Lower, Name::RedisUrl)),
            ("REDIS_URL", NameMatch::Exact(NameCase::Upper, Name::RedisUrl)),
            ("Redis_URL", NameMatch::OtherCase(Name::RedisUrl)),
            ("REDIS_URI", NameMatch::Near(Name::RedisUrl)),
            ("redis-url", NameMatch::Near(Name::RedisUrl)),
            ("PATH", NameMatch::Foreign),
            ("REDIS", NameMatch::Foreign),
            ("", NameMatch::Foreign),
        ] {
            assert_eq!(NameMatch::of(variable), spelling, "{variable}");
        }
    }
}
