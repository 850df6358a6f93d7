//! How the name of a variable stands to the names of the settings.

use super::nearest::nearest;
use super::table::Name;

/// In which of the two spellings that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Case {
    /// `REDIS_URL`
    Upper,
    /// `redis_url`
    Lower,
}

/// How a variable's name stands to ours.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Spelling {
    /// Read.
    Exact(Case, Name),
    /// Ours but for its case: not read.
    OtherCase(Name),
    /// Ours but for a slip: not read.
    Near(Name),
    /// Somebody else's.
    Foreign,
}

impl Spelling {
    /// That of a variable.
    pub(super) fn of(variable: &str) -> Self {
        let lower = variable.to_ascii_lowercase();
        let find = |text: &str| Name::ALL.iter().copied().find(|name| name.as_str() == text);
        if let Some(name) = find(variable) {
            return Self::Exact(Case::Lower, name);
        }
        match find(&lower) {
            Some(name) if name.variable() == variable => Self::Exact(Case::Upper, name),
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
            ("redis_url", Spelling::Exact(Case::Lower, Name::RedisUrl)),
            ("REDIS_URL", Spelling::Exact(Case::Upper, Name::RedisUrl)),
            ("Redis_URL", Spelling::OtherCase(Name::RedisUrl)),
            ("REDIS_URI", Spelling::Near(Name::RedisUrl)),
            ("redis-url", Spelling::Near(Name::RedisUrl)),
            ("PATH", Spelling::Foreign),
            ("REDIS", Spelling::Foreign),
            ("", Spelling::Foreign),
        ] {
            assert_eq!(Spelling::of(variable), spelling, "{variable}");
        }
    }
}
