//! The `Cache-Control` fields of one head, taken together (RFC 9111 §5.2).
//!
//! Requests and responses share one type; each gate reads the members that apply to it. The type is
//! `Copy`, and parsing allocates nothing. It does not hold the field names of `no-cache="a, b"`:
//! [`named_fields`] reads them again in the rare response that has them.
//!
//! **Invariant:** adding a directive never removes a restriction. The stricter one of two values
//! wins. A directive that cannot be read is recorded as [`Directives::malformed`] or
//! [`DirectiveSeconds::Invalid`], and the gates refuse it.

use http::HeaderMap;
use http::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderName, HeaderValue,
    VARY,
};

use crate::policy::parse::seconds::DeltaSeconds;
use crate::policy::parse::syntax::{self, DirectiveArgument, RawDirective};

/// The directives of the `Cache-Control` fields of one head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Directives {
    /// §5.2.2.5, §5.2.1.5: a cache must not store any part of this exchange.
    pub no_store: bool,
    /// §5.2.2.4, §5.2.1.4: a cache must validate the response before each use.
    pub no_cache: DirectiveScope,
    /// §5.2.2.7: the response is for one user.
    pub private: DirectiveScope,
    /// §5.2.2.9: a shared cache may store the response even if another rule forbids it.
    pub public: bool,
    /// §5.2.2.2: a cache must validate the response once it is stale.
    pub must_revalidate: bool,
    /// §5.2.2.8: a shared cache must validate the response once it is stale.
    pub proxy_revalidate: bool,
    /// §5.2.2.3: only a cache that knows the caching requirements of the status may store the
    /// response.
    pub must_understand: bool,
    /// RFC 8246: the response does not change while it is fresh.
    pub immutable: bool,
    /// §5.2.1.7: the client accepts only a stored response.
    pub only_if_cached: bool,
    /// §5.2.2.1, §5.2.1.1: in a response the freshness lifetime, in a request the greatest
    /// acceptable age.
    pub max_age: DirectiveSeconds,
    /// §5.2.2.10: the freshness lifetime in shared caches.
    pub s_maxage: DirectiveSeconds,
    /// §5.2.1.3: the time for which the response must still be fresh.
    pub min_fresh: DirectiveSeconds,
    /// §5.2.1.2: the staleness that the client accepts.
    pub max_stale: DirectiveSeconds,
    /// RFC 5861 §3: the time past its lifetime in which a cache may serve the response while
    /// refreshing it.
    pub stale_while_revalidate: DirectiveSeconds,
    /// RFC 5861 §4: the time past its lifetime in which a cache may serve the response instead of
    /// an error.
    pub stale_if_error: DirectiveSeconds,
    /// A part of a field could not be read, so it may contain any directive.
    pub malformed: bool,
    /// The field that the directives come from.
    pub source: DirectiveSource,
}

/// The field that the directives of a response come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DirectiveSource {
    /// `Cache-Control`, which is for every cache.
    #[default]
    CacheControl,
    /// A targeted field (RFC 9213). Next to it, CacheWarp ignores `Cache-Control` and `Expires`.
    Targeted,
}

/// The part of a response that a directive applies to. Later variants are stricter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum DirectiveScope {
    /// The directive is absent.
    #[default]
    Nothing,
    /// The fields that the argument names.
    Fields,
    /// The whole response.
    Whole,
}

/// The number of seconds in a directive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DirectiveSeconds {
    /// The directive is absent.
    #[default]
    Absent,
    /// One number, given once or repeated with equal values.
    Seconds(DeltaSeconds),
    /// Not a number, or several numbers that differ (RFC 9111 §4.2.1).
    Invalid,
}

/// Fields without which a cache cannot interpret or select a stored body. If `no-cache` or
/// `private` names one of them, it counts for the whole response.
static ESSENTIAL: [HeaderName; 6] =
    [CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, VARY];

/// The directives that [`Directives`] reads.
const KNOWN: [&[u8]; 15] = [
    b"no-store",
    b"public",
    b"must-revalidate",
    b"proxy-revalidate",
    b"must-understand",
    b"immutable",
    b"only-if-cached",
    b"no-cache",
    b"private",
    b"max-age",
    b"s-maxage",
    b"min-fresh",
    b"max-stale",
    b"stale-while-revalidate",
    b"stale-if-error",
];

/// The longest of these names, `stale-while-revalidate`, in bytes.
const NAME_BYTES_MAX: usize = 22;

impl Directives {
    /// Returns the directives of a request without `no-cache`, `max-age` and `min-fresh`, by which
    /// a client refuses a fresh stored response (§5.2.1.1, §5.2.1.3, §5.2.1.4). The result also
    /// drops `malformed`, because the malformed part may be one of these three.
    #[must_use]
    pub(in crate::policy) fn without_client_limits(self) -> Self {
        Self {
            no_cache: DirectiveScope::Nothing,
            max_age: DirectiveSeconds::Absent,
            min_fresh: DirectiveSeconds::Absent,
            malformed: false,
            ..self
        }
    }

    /// Reads field lines, which may contain any bytes.
    pub fn parse<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut directives = Self::default();
        for line in lines {
            directives.read_line(line);
        }
        directives
    }

    /// Adds one field line. A quoted string ends with its line.
    pub(in crate::policy) fn read_line(&mut self, line: &[u8]) {
        for directive in syntax::directives(line) {
            match directive {
                Ok(directive) => self.read(directive),
                Err(syntax::FieldSyntaxError) => self.malformed = true,
            }
        }
    }

    fn read(&mut self, RawDirective { name, argument }: RawDirective<'_>) {
        if let DirectiveArgument::Other(value) = argument {
            // §5.2.3: the argument of an unknown directive has no meaning.
            let is_immutable = name.eq_ignore_ascii_case(b"immutable");
            self.immutable |= is_immutable;
            self.malformed |= (is_known(name) && !is_immutable) || may_hide_another(value);
            return;
        }
        let mut buffer = [0; NAME_BYTES_MAX];
        let Some(lower) = buffer.get_mut(..name.len()) else { return };
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        match &*lower {
            b"no-store" => self.flag(argument).no_store = true,
            b"public" => self.flag(argument).public = true,
            b"must-revalidate" => self.flag(argument).must_revalidate = true,
            b"proxy-revalidate" => self.flag(argument).proxy_revalidate = true,
            b"must-understand" => self.flag(argument).must_understand = true,
            // RFC 8246 §2: an argument of `immutable` has no meaning.
            b"immutable" => self.immutable = true,
            b"only-if-cached" => self.flag(argument).only_if_cached = true,
            b"no-cache" => self.no_cache = self.no_cache.max(DirectiveScope::of(argument)),
            b"private" => self.private = self.private.max(DirectiveScope::of(argument)),
            b"max-age" => self.max_age.tighten(argument),
            b"s-maxage" => self.s_maxage.tighten(argument),
            b"min-fresh" => self.min_fresh.tighten(argument),
            // §5.2.1.2: without a number, the client accepts any staleness.
            b"max-stale" if argument == DirectiveArgument::None => {
                self.max_stale.join(Some(DeltaSeconds::MAX))
            }
            b"max-stale" => self.max_stale.tighten(argument),
            b"stale-while-revalidate" => self.stale_while_revalidate.tighten(argument),
            b"stale-if-error" => self.stale_if_error.tighten(argument),
            // §5.2.3: a cache ignores unknown directives.
            _ => {}
        }
    }

    /// Returns `self` for setting a directive without an argument. An argument marks the field as
    /// malformed, since its meaning is unknown.
    fn flag(&mut self, argument: DirectiveArgument<'_>) -> &mut Self {
        self.malformed |= argument != DirectiveArgument::None;
        self
    }
}

fn is_known(name: &[u8]) -> bool {
    KNOWN.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// Returns whether an argument without a grammar may hide another directive: after a quote, which
/// hides commas, or after white space or a semicolon that the origin used as a separator.
fn may_hide_another(value: &[u8]) -> bool {
    let is_break = |byte: &u8| matches!(byte, b' ' | b'\t' | b';');
    let mut pieces = value.split(is_break).filter_map(|piece| piece.split(|byte| *byte == b'=').next());
    value.contains(&b'"') || pieces.any(is_known)
}

impl DirectiveScope {
    /// Returns the scope of a `no-cache` or `private` argument. A list that is empty, or that
    /// contains an invalid name or an essential field, applies to the whole response. For a
    /// response, [`Directives::of`] decides about names that it does not have.
    pub(in crate::policy) fn of(argument: DirectiveArgument<'_>) -> Self {
        let mut names = argument.members().map(field_name).peekable();
        let named = names.peek().is_some();
        if named && names.all(|name| name.is_some_and(|name| !ESSENTIAL.contains(&name))) {
            Self::Fields
        } else {
            Self::Whole
        }
    }
}

impl DirectiveSeconds {
    /// Returns the number, or `invalid` for a directive that could not be read.
    pub fn or(self, invalid: DeltaSeconds) -> Option<DeltaSeconds> {
        match self {
            Self::Absent => None,
            Self::Seconds(seconds) => Some(seconds),
            Self::Invalid => Some(invalid),
        }
    }

    fn tighten(&mut self, argument: DirectiveArgument<'_>) {
        self.join(DeltaSeconds::parse(argument.octets()));
    }

    /// Adds another value. §4.2.1 lets a cache use the first one of several values or treat the
    /// response as stale; values that differ make it stale here.
    fn join(&mut self, value: Option<DeltaSeconds>) {
        let value = value.map_or(Self::Invalid, Self::Seconds);
        *self = if *self == Self::Absent || *self == value { value } else { Self::Invalid };
    }
}

/// Returns the fields that the qualified forms of these directives name in `Cache-Control`.
pub(in crate::policy) fn named_fields<'a>(
    response: &'a HeaderMap,
    names: &'a [&str],
) -> impl Iterator<Item = HeaderName> + 'a {
    response
        .get_all(CACHE_CONTROL)
        .into_iter()
        .flat_map(|line| syntax::directives(line.as_bytes()))
        .filter_map(Result::ok)
        .filter(|directive| names.iter().any(|name| directive.name.eq_ignore_ascii_case(name.as_bytes())))
        .flat_map(|directive| directive.argument.members())
        .filter_map(field_name)
}

/// Returns whether a `Pragma` field line lists `no-cache`.
pub(in crate::policy) fn lists_no_cache(pragma: &HeaderValue) -> bool {
    syntax::members(pragma.as_bytes()).any(|member| member.eq_ignore_ascii_case(b"no-cache"))
}

fn field_name(text: &[u8]) -> Option<HeaderName> {
    HeaderName::from_bytes(text).ok()
}
