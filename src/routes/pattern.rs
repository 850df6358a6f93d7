//! Patterns of hosts and paths.
//!
//! A path pattern is a list of segments: a literal, `{name}` for one segment that is not empty, or
//! `{*name}` for the remainder, which may be empty and is the last. A host pattern is a name, or
//! `*.` and a name for every host below it.

use crate::limits::{ROUTE_CAPTURES_MAX, ROUTE_PATTERN_BYTES_MAX, ROUTE_SEGMENTS_MAX};

use crate::routes::bytes::{canonical, decode, encoded, is_plain_when_encoded, is_unreserved};

/// The name of a capture, such as `id` of `{id}`.
pub type CaptureName = Box<str>;

/// A pattern of paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPattern {
    text: Box<str>,
    segments: Box<[PatternSegment]>,
    /// A plain path can match.
    is_plain: bool,
}

/// A segment of a path pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PatternSegment {
    /// A segment with this text.
    Literal {
        /// The text, equal for equal URIs (RFC 3986 §6.2.2).
        canonical: Box<[u8]>,
        /// The text that a decoding origin sees.
        decoded: Box<[u8]>,
    },
    /// Any segment that is not empty.
    One(CaptureName),
    /// The remainder of the path, which may be empty.
    Rest(CaptureName),
}

/// An error in a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// A path that does not begin with `/`.
    #[error("does not begin with `/`")]
    NoSlash,
    /// A pattern that is too long.
    #[error("is longer than {ROUTE_PATTERN_BYTES_MAX} bytes")]
    TooLong,
    /// A path with too many segments.
    #[error("has more than {ROUTE_SEGMENTS_MAX} segments")]
    Segments,
    /// A path with too many captures.
    #[error("has more than {ROUTE_CAPTURES_MAX} captures")]
    Captures,
    /// An empty segment inside of the path.
    #[error("has an empty segment (`//`)")]
    EmptySegment,
    /// A segment that servers resolve.
    #[error("has a `.` or `..` segment")]
    DotSegment,
    /// A byte that origins read in different ways.
    #[error("has {0:?}, which origins read in different ways")]
    Ambiguous(char),
    /// A byte that no path has.
    #[error("has {0:?}, which no path has; percent-encode it")]
    NotInPaths(char),
    /// A percent sign without two hexadecimal digits.
    #[error("has a `%` without two hexadecimal digits")]
    Percent,
    /// A brace that is not the whole segment.
    #[error("has a brace inside of a segment; a capture is a whole segment")]
    PartOfSegment,
    /// A malformed name.
    #[error("has a capture whose name is not [a-z0-9_-]")]
    CaptureName,
    /// Two captures of one name.
    #[error("has two captures of one name")]
    RepeatedCapture,
    /// A remainder before the end.
    #[error("has segments behind a remainder `{{*name}}`")]
    BehindRest,
    /// A host that is no name.
    #[error("is neither a host nor `*.` and a host, in lower case and without a port")]
    Host,
}

impl PathPattern {
    /// Reads a pattern.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if text.len() > ROUTE_PATTERN_BYTES_MAX {
            return Err(PatternError::TooLong);
        }
        let path = text.strip_prefix('/').ok_or(PatternError::NoSlash)?;
        let count = path.split('/').count();
        if count > ROUTE_SEGMENTS_MAX {
            return Err(PatternError::Segments);
        }
        let mut segments = Vec::with_capacity(count);
        for (at, segment) in path.split('/').enumerate() {
            let is_last = at + 1 == count;
            let segment = PatternSegment::parse(segment)?;
            match &segment {
                PatternSegment::Literal { canonical, .. } if canonical.is_empty() && !is_last => {
                    return Err(PatternError::EmptySegment);
                }
                PatternSegment::Rest(_) if !is_last => return Err(PatternError::BehindRest),
                PatternSegment::Literal { .. } | PatternSegment::One(_) | PatternSegment::Rest(_) => {}
            }
            segments.push(segment);
        }
        let is_plain = segments.iter().all(PatternSegment::matches_plain_segments);
        let pattern = Self { text: text.into(), segments: segments.into(), is_plain };
        let names: Vec<_> = pattern.captures().collect();
        if names.len() > ROUTE_CAPTURES_MAX {
            return Err(PatternError::Captures);
        }
        let is_repeated =
            |(at, name): (usize, &&str)| names.get(..at).is_some_and(|before| before.contains(name));
        if names.iter().enumerate().any(is_repeated) {
            return Err(PatternError::RepeatedCapture);
        }
        Ok(pattern)
    }

    /// Returns the pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the segments.
    pub fn segments(&self) -> &[PatternSegment] {
        &self.segments
    }

    /// Returns the names of the captures, in the order of the path.
    pub fn captures(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(PatternSegment::capture)
    }

    /// Returns whether the pattern ends with `/`.
    pub(super) fn ends_with_slash(&self) -> bool {
        self.segments.len() > 1 && self.text.ends_with('/')
    }

    /// Returns whether a plain path can match the pattern. Permissive members need one.
    pub(super) const fn matches_plain_paths(&self) -> bool {
        self.is_plain
    }
}

impl PatternSegment {
    fn parse(text: &str) -> Result<Self, PatternError> {
        if let Some(name) = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) {
            let (name, of): (_, fn(CaptureName) -> Self) = match name.strip_prefix('*') {
                Some(name) => (name, Self::Rest),
                None => (name, Self::One),
            };
            let is_of_name =
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte);
            return if !name.is_empty() && name.bytes().all(is_of_name) {
                Ok(of(name.into()))
            } else if name.contains(['{', '}']) {
                Err(PatternError::PartOfSegment)
            } else {
                Err(PatternError::CaptureName)
            };
        }
        if text.contains(['{', '}']) {
            return Err(PatternError::PartOfSegment);
        }
        check_literal(text)?;
        let decoded: Box<[u8]> = decode(text.as_bytes()).into();
        if matches!(&*decoded, b"." | b"..") {
            return Err(PatternError::DotSegment);
        }
        Ok(Self::Literal { canonical: canonical(text.as_bytes()).into(), decoded })
    }

    fn capture(&self) -> Option<&str> {
        match self {
            Self::Literal { .. } => None,
            Self::One(name) | Self::Rest(name) => Some(name),
        }
    }

    fn matches_plain_segments(&self) -> bool {
        match self {
            Self::Literal { canonical, .. } => {
                canonical.iter().all(|byte| is_unreserved(*byte) || *byte == b'%')
            }
            Self::One(_) | Self::Rest(_) => true,
        }
    }
}

/// Refuses a literal segment that no request can have, or that origins read in different ways.
fn check_literal(text: &str) -> Result<(), PatternError> {
    for (at, letter) in text.char_indices() {
        match letter {
            '%' => {
                let byte = text.as_bytes().get(at..).and_then(encoded).ok_or(PatternError::Percent)?;
                if !is_plain_when_encoded(byte) {
                    return Err(PatternError::Ambiguous(char::from(byte)));
                }
            }
            ';' | '\\' => return Err(PatternError::Ambiguous(letter)),
            ':' | '@' | '!' | '$' | '&' | '\'' | '(' | ')' | '*' | '+' | ',' | '=' => {}
            _ if u8::try_from(letter).is_ok_and(is_unreserved) => {}
            _ => return Err(PatternError::NotInPaths(letter)),
        }
    }
    Ok(())
}

/// A pattern of hosts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPattern {
    text: Box<str>,
}

impl HostPattern {
    /// Reads a pattern.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if text.len() > ROUTE_PATTERN_BYTES_MAX {
            return Err(PatternError::TooLong);
        }
        let name = text.strip_prefix("*.").unwrap_or(text);
        let is_of_label =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
        let is_name = name.split('.').all(|label| !label.is_empty() && label.bytes().all(is_of_label));
        let is_literal = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
        let is_literal = is_literal.is_some_and(|inside| inside.parse::<std::net::Ipv6Addr>().is_ok());
        if is_name || is_literal { Ok(Self { text: text.into() }) } else { Err(PatternError::Host) }
    }

    /// Returns the pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns whether a host without port, in lower case, matches. A wildcard matches one label
    /// or more.
    pub(super) fn matches(&self, host: &str) -> bool {
        match self.text.strip_prefix('*') {
            Some(end) => host.len() > end.len() && host.ends_with(end),
            None => host == &*self.text,
        }
    }

    /// Returns the rank among patterns that match one host: the longer one precedes, and a name
    /// precedes a wildcard.
    pub(super) fn rank(&self) -> (usize, u8) {
        (self.text.len(), u8::from(!self.text.starts_with('*')))
    }
}

/// Returns the host of an authority: without its port, and without the dot of an absolute name.
pub(super) fn host_of(authority: &str) -> &str {
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        Some(_) | None => authority,
    };
    host.strip_suffix('.').unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_patterns() {
        for text in [
            "/",
            "/v1",
            "/v1/",
            "/v1/rates/{pair}",
            "/v1/{a}/{b-2}/{*rest}",
            "/{*rest}",
            "/v1/caf%C3%A9",
            "/v1/users:batch",
            "/~a/b.c",
        ] {
            assert_eq!(PathPattern::parse(text).as_ref().map(PathPattern::as_str), Ok(text));
        }
        for (text, error) in [
            ("", PatternError::NoSlash),
            ("v1", PatternError::NoSlash),
            ("//", PatternError::EmptySegment),
            ("/a//b", PatternError::EmptySegment),
            ("/./b", PatternError::DotSegment),
            ("/a/..", PatternError::DotSegment),
            ("/a/%2e%2E", PatternError::DotSegment),
            ("/a;b", PatternError::Ambiguous(';')),
            ("/a\\b", PatternError::Ambiguous('\\')),
            ("/a%2Fb", PatternError::Ambiguous('/')),
            ("/a%5cb", PatternError::Ambiguous('\\')),
            ("/a%00", PatternError::Ambiguous('\0')),
            ("/a%25", PatternError::Ambiguous('%')),
            ("/a%", PatternError::Percent),
            ("/a%4", PatternError::Percent),
            ("/a%+1", PatternError::Percent),
            ("/ü", PatternError::NotInPaths('ü')),
            ("/a b", PatternError::NotInPaths(' ')),
            ("/a?b", PatternError::NotInPaths('?')),
            ("/a#b", PatternError::NotInPaths('#')),
            ("/{id}.json", PatternError::PartOfSegment),
            ("/{a}{b}", PatternError::PartOfSegment),
            ("/{a", PatternError::PartOfSegment),
            ("/a}", PatternError::PartOfSegment),
            ("/{}", PatternError::CaptureName),
            ("/{*}", PatternError::CaptureName),
            ("/{Id}", PatternError::CaptureName),
            ("/{a}/{a}", PatternError::RepeatedCapture),
            ("/{*a}/b", PatternError::BehindRest),
            ("/{a}/{b}/{c}/{d}/{e}/{f}/{g}/{h}/{i}", PatternError::Captures),
        ] {
            assert_eq!(PathPattern::parse(text), Err(error), "{text}");
        }
        assert_eq!(PathPattern::parse(&"/a".repeat(33)), Err(PatternError::Segments));
        assert_eq!(PathPattern::parse(&format!("/{}", "a".repeat(512))), Err(PatternError::TooLong));
    }

    #[test]
    fn host_patterns() {
        for (pattern, host, want) in [
            ("api.example.com", "api.example.com", true),
            ("api.example.com", "xapi.example.com", false),
            ("*.example.com", "api.example.com", true),
            ("*.example.com", "a.b.example.com", true),
            ("*.example.com", "example.com", false),
            ("*.example.com", ".example.com", false),
            ("*.example.com", "evilexample.com", false),
            ("[::1]", "[::1]", true),
            ("localhost", "localhost", true),
        ] {
            assert_eq!(
                HostPattern::parse(pattern).map(|pattern| pattern.matches(host)),
                Ok(want),
                "{pattern} {host}"
            );
        }
        for text in
            ["", "*", "*.", "a.*", "*.*.a", "a:80", "A.com", "a..b", ".a", "a.", "a/b", "[::1", "*.[::1]"]
        {
            assert_eq!(HostPattern::parse(text), Err(PatternError::Host), "{text}");
        }
    }

    #[test]
    fn a_host_is_without_port_and_final_dot() {
        for (authority, host) in [
            ("a.com", "a.com"),
            ("a.com:8080", "a.com"),
            ("a.com.", "a.com"),
            ("a.com.:80", "a.com"),
            ("[::1]:80", "[::1]"),
            ("[::1]", "[::1]"),
        ] {
            assert_eq!(host_of(authority), host, "{authority}");
        }
    }
}
