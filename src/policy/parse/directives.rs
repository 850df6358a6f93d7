//! What the `Cache-Control` fields of one head say, taken together (RFC 9111 §5.2).
//!
//! Requests and responses are read into the same plain value: names that both know mean different
//! things only to the gate that asks. It is `Copy`, and reading it allocates nothing; the field
//! names of `no-cache="a, b"` are not in it, they are read again by [`named_fields`] in the rare
//! response that has them.
//!
//! **Invariant:** adding a directive never turns a restriction off. Of two values the stricter
//! stays, and whatever cannot be read is kept as [`Directives::malformed`] or
//! [`DirectiveSeconds::Invalid`] for the gates to refuse.

use http::HeaderMap;
use http::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderName, HeaderValue,
    VARY,
};

use crate::policy::parse::seconds::DeltaSeconds;
use crate::policy::parse::syntax::{
    DirectiveArgument, RawDirective, {self},
};

/// What the `Cache-Control` fields of one head say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Directives {
    /// §5.2.2.5, §5.2.1.5: nothing of this exchange may be stored.
    pub no_store: bool,
    /// §5.2.2.4, §5.2.1.4: not to be used without asking the origin.
    pub no_cache: DirectiveScope,
    /// §5.2.2.7: for one user only.
    pub private: DirectiveScope,
    /// §5.2.2.9: may be shared, also where another rule would forbid it.
    pub public: bool,
    /// §5.2.2.2: once stale, not to be used without asking the origin.
    pub must_revalidate: bool,
    /// §5.2.2.8: the same, for shared caches.
    pub proxy_revalidate: bool,
    /// §5.2.2.3: only for a cache that knows what the status asks of it.
    pub must_understand: bool,
    /// RFC 8246: does not change while it is fresh.
    pub immutable: bool,
    /// §5.2.1.7: the client wants a stored response or none.
    pub only_if_cached: bool,
    /// §5.2.2.1, §5.2.1.1: the freshness lifetime; of a request, the greatest age.
    pub max_age: DirectiveSeconds,
    /// §5.2.2.10: the freshness lifetime in shared caches.
    pub s_maxage: DirectiveSeconds,
    /// §5.2.1.3: how much longer it has to stay fresh.
    pub min_fresh: DirectiveSeconds,
    /// §5.2.1.2: how stale it may be.
    pub max_stale: DirectiveSeconds,
    /// RFC 5861 §3: how long past its lifetime it may be served while it is being refreshed.
    pub stale_while_revalidate: DirectiveSeconds,
    /// RFC 5861 §4: how long past its lifetime it may be served instead of an error.
    pub stale_if_error: DirectiveSeconds,
    /// Some part could not be read, and so might have said anything.
    pub malformed: bool,
    /// Where they stood.
    pub source: DirectiveSource,
}

/// Where the directives of a response stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DirectiveSource {
    /// In `Cache-Control`, which speaks to every cache.
    #[default]
    CacheControl,
    /// RFC 9213: in a field for caches like us, beside which `Cache-Control` and `Expires` mean
    /// nothing to us.
    Targeted,
}

/// How much of a response a directive is about. A later variant is the stricter one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum DirectiveScope {
    /// The directive is absent.
    #[default]
    Nothing,
    /// Only the fields that its argument names.
    Fields,
    /// All of it.
    Whole,
}

/// The number of seconds that a directive gives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DirectiveSeconds {
    /// The directive is absent.
    #[default]
    Unsaid,
    /// Given once, or several times alike.
    Seconds(DeltaSeconds),
    /// No number, or several that differ (RFC 9111 §4.2.1).
    Invalid,
}

/// Fields without which a stored body cannot be understood or chosen. A directive that takes one of
/// them out of the store takes everything out.
static ESSENTIAL: [HeaderName; 6] =
    [CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, VARY];

/// The directives that are read below.
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
    /// Reads field lines. Takes any bytes.
    pub fn parse<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut directives = Self::default();
        for line in lines {
            directives.read_line(line);
        }
        directives
    }

    /// Adds one field line. A quoted string does not go on in the next line.
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
            // §5.2.3: of a directive that is not known, the argument means nothing.
            self.malformed |= is_known(name) || may_hide_another(value);
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
            b"immutable" => self.flag(argument).immutable = true,
            b"only-if-cached" => self.flag(argument).only_if_cached = true,
            b"no-cache" => self.no_cache = self.no_cache.max(DirectiveScope::of(argument)),
            b"private" => self.private = self.private.max(DirectiveScope::of(argument)),
            b"max-age" => self.max_age.tighten(argument),
            b"s-maxage" => self.s_maxage.tighten(argument),
            b"min-fresh" => self.min_fresh.tighten(argument),
            // §5.2.1.2: without a number, a client takes a response however stale.
            b"max-stale" if argument == DirectiveArgument::None => {
                self.max_stale.join(Some(DeltaSeconds::MAX))
            }
            b"max-stale" => self.max_stale.tighten(argument),
            b"stale-while-revalidate" => self.stale_while_revalidate.tighten(argument),
            b"stale-if-error" => self.stale_if_error.tighten(argument),
            // §5.2.3: a cache ignores what it does not know.
            _ => {}
        }
    }

    /// A directive that takes no argument: with one, who knows what was meant.
    fn flag(&mut self, argument: DirectiveArgument<'_>) -> &mut Self {
        self.malformed |= argument != DirectiveArgument::None;
        self
    }
}

fn is_known(name: &[u8]) -> bool {
    KNOWN.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// Whether an argument without a grammar may have another directive in it: behind a quote, which
/// hides commas, or behind white space or a semicolon that were meant for one.
fn may_hide_another(value: &[u8]) -> bool {
    let is_break = |byte: &u8| matches!(byte, b' ' | b'\t' | b';');
    let mut pieces = value.split(is_break).filter_map(|piece| piece.split(|byte| *byte == b'=').next());
    value.contains(&b'"') || pieces.any(is_known)
}

impl DirectiveScope {
    /// A list that names nothing, something that is no field, or an essential field, is about the
    /// whole response.
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
    /// What was said, with `invalid` for what was said and could not be read.
    pub fn or(self, invalid: DeltaSeconds) -> Option<DeltaSeconds> {
        match self {
            Self::Unsaid => None,
            Self::Seconds(seconds) => Some(seconds),
            Self::Invalid => Some(invalid),
        }
    }

    fn tighten(&mut self, argument: DirectiveArgument<'_>) {
        self.join(DeltaSeconds::parse(argument.octets()));
    }

    /// §4.2.1 lets a cache take the first of several values, or call the response stale: a conflict
    /// is the latter.
    fn join(&mut self, said: Option<DeltaSeconds>) {
        let said = said.map_or(Self::Invalid, Self::Seconds);
        *self = if *self == Self::Unsaid || *self == said { said } else { Self::Invalid };
    }
}

/// The fields that the qualified forms of `no-cache` and `private` name in `Cache-Control`.
pub(in crate::policy) fn named_fields(response: &HeaderMap) -> impl Iterator<Item = HeaderName> {
    response
        .get_all(CACHE_CONTROL)
        .into_iter()
        .flat_map(|line| syntax::directives(line.as_bytes()))
        .filter_map(Result::ok)
        .filter(|directive| {
            [&b"no-cache"[..], b"private"].iter().any(|name| directive.name.eq_ignore_ascii_case(name))
        })
        .flat_map(|directive| directive.argument.members())
        .filter_map(field_name)
}

/// Whether a `Pragma` field line lists `no-cache`.
pub(in crate::policy) fn says_no_cache(pragma: &HeaderValue) -> bool {
    syntax::members(pragma.as_bytes()).any(|member| member.eq_ignore_ascii_case(b"no-cache"))
}

fn field_name(text: &[u8]) -> Option<HeaderName> {
    HeaderName::from_bytes(text).ok()
}
