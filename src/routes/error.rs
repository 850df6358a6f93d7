//! The errors of a routes file. Each has its place, and a correction if one is known.

use std::fmt;

use http::header::HeaderName;

use crate::label::OTHER;
use crate::limits::{
    ROUTE_LIST_ITEMS_MAX, ROUTE_NAME_BYTES_MAX, ROUTE_TAGS_MAX, ROUTES_FILE_BYTES_MAX, ROUTES_MAX,
};
use crate::quantity::QuantityError;

use crate::routes::pattern::PatternError;
use crate::routes::tags::TagTemplateError;

/// An error of a routes file, with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteError {
    /// The line, counted from 1.
    pub line: usize,
    /// The column in characters, counted from 1.
    pub column: usize,
    /// The name of the route, if it has one.
    pub route: Option<Box<str>>,
    /// The error.
    pub fault: RouteFault,
    /// A correction.
    pub hint: Option<String>,
}

impl std::error::Error for RouteError {}

impl fmt::Display for RouteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: ", self.line, self.column)?;
        if let Some(route) = &self.route {
            write!(f, "route {route:?}: ")?;
        }
        write!(f, "{}", self.fault)?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, "; {hint}"))
    }
}

/// The kind of an error in a routes file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteFault {
    /// A file that is too large.
    #[error("the file is larger than {ROUTES_FILE_BYTES_MAX} bytes")]
    TooLarge,
    /// Bytes that are not UTF-8.
    #[error("the file is not UTF-8")]
    NotUtf8,
    /// A byte order mark.
    #[error("the file begins with a byte order mark")]
    ByteOrderMark,
    /// A violation of TOML.
    #[error("{0}")]
    Syntax(String),
    /// A file without routes.
    #[error("the file has no `[[route]]`")]
    NoRoutes,
    /// More routes than the limit.
    #[error("the file has more than {ROUTES_MAX} routes")]
    TooManyRoutes,
    /// An unknown member.
    #[error("unknown member `{0}`")]
    UnknownMember(String),
    /// A member of a later version.
    #[error("`{0}` is not available yet")]
    Later(&'static str),
    /// A missing member.
    #[error("`{0}` is missing")]
    Missing(&'static str),
    /// A value of another type.
    #[error("`{member}` is not {expected}")]
    Type {
        /// The member.
        member: &'static str,
        /// The type that it has to have.
        expected: &'static str,
    },
    /// A malformed name.
    #[error("the name is not 1 to {ROUTE_NAME_BYTES_MAX} of a-z, 0-9 and `-`")]
    Name,
    /// A name that metrics use for the routes without their own series.
    #[error("the name `{OTHER}` is that of all further routes in metrics")]
    ReservedName,
    /// A second route of one name.
    #[error("the name is also that of the route on line {0}")]
    DuplicateName(usize),
    /// An unusable path.
    #[error("`path` {0}")]
    Path(PatternError),
    /// An unusable host.
    #[error("`host` {0}")]
    Host(PatternError),
    /// A second route for one method, host and path.
    #[error("`{method}` of this host and path is also matched by route {other:?} on line {line}")]
    DuplicatePattern {
        /// A method of both.
        method: String,
        /// The name of the other route.
        other: Box<str>,
        /// The line of the other route.
        line: usize,
    },
    /// A malformed method.
    #[error("{0:?} is not a method in upper case")]
    Method(String),
    /// A list without items.
    #[error("`{0}` is an empty list")]
    EmptyList(&'static str),
    /// A list with too many items.
    #[error("`{0}` has more than {ROUTE_LIST_ITEMS_MAX} items")]
    TooManyItems(&'static str),
    /// More tags or purged routes than the limit.
    #[error("`{0}` has more than {ROUTE_TAGS_MAX} items")]
    TooManyTags(&'static str),
    /// An item that occurs twice.
    #[error("`{member}` has {item:?} twice")]
    Repeated {
        /// The member.
        member: &'static str,
        /// The item.
        item: String,
    },
    /// A malformed duration or size.
    #[error("`{member}` {error}")]
    Quantity {
        /// The member.
        member: &'static str,
        /// The error.
        error: QuantityError,
    },
    /// A value below its minimum.
    #[error("`{member}` must be at least {bound}")]
    Below {
        /// The member.
        member: &'static str,
        /// The minimum.
        bound: String,
    },
    /// A value above its maximum.
    #[error("`{member}` must be at most {bound}")]
    Above {
        /// The member.
        member: &'static str,
        /// The maximum.
        bound: String,
    },
    /// A malformed item of a list.
    #[error("`{member}` has {item:?}, which is not {expected}")]
    Item {
        /// The member.
        member: &'static str,
        /// The item as given.
        item: String,
        /// The form of an item.
        expected: &'static str,
    },
    /// A field that cannot be in a list.
    #[error("`{member}` has {:?}, which is refused: {why}", .header.as_str())]
    Header {
        /// The member.
        member: &'static str,
        /// The field.
        header: HeaderName,
        /// The reason.
        why: &'static str,
    },
    /// A field in two lists that exclude each other.
    #[error("`{member}` has {:?}, which is also in `{other}`", .header.as_str())]
    InBoth {
        /// The member.
        member: &'static str,
        /// The field.
        header: HeaderName,
        /// The other member.
        other: &'static str,
    },
    /// A word that is not one of the choices.
    #[error("`{member}` has {word:?}, which is not one of {choices}")]
    Word {
        /// The member.
        member: &'static str,
        /// The word as given.
        word: String,
        /// The choices.
        choices: &'static str,
    },
    /// A `cache_control` that cannot be read.
    #[error("`cache_control` is malformed")]
    CacheControl,
    /// A `cache_control` without a lifetime.
    #[error("`cache_control` has no `max-age`")]
    NoMaxAge,
    /// A directive that does not set freshness.
    #[error("`cache_control` has `{0}`, which does not set freshness")]
    Directive(String),
    /// Both filters of a query.
    #[error("`query` has `ignore` and `only`")]
    IgnoreAndOnly,
    /// Query rules without an effect.
    #[error("`query` has no effect")]
    EmptyQuery,
    /// A malformed tag.
    #[error("the tag {tag:?} {error}")]
    Tag {
        /// The tag as given.
        tag: String,
        /// The error.
        error: TagTemplateError,
    },
    /// A capture that the route's path lacks.
    #[error("the path has no capture {capture:?}, which {needed_by} needs")]
    MissingCapture {
        /// The name of the capture.
        capture: String,
        /// The tag or the purged route.
        needed_by: String,
    },
    /// An unknown route in `purge`.
    #[error("`purge` names {0:?}, which is no route")]
    UnknownRoute(String),
    /// A route in `purge` that stores nothing.
    #[error("`purge` names {0:?}, whose responses are never stored")]
    PurgesNothing(String),
    /// A write that purges nothing.
    #[error("`on_write` has neither `purge` nor `purge_tags`")]
    EmptyWrite,
    /// A purge after a method that changes nothing.
    #[error("`on_write` is for unsafe methods, and `{0}` is safe")]
    SafeMethod(String),
    /// A member that needs a stored response, on a route without one.
    #[error("`{0}` has no effect: no response to these methods is stored")]
    NotStored(&'static str),
    /// A member that allows storing, beside one that forbids it.
    #[error("`{0}` has no effect beside `cache = false`")]
    WithoutCache(&'static str),
    /// A permissive member of a route without plain paths.
    #[error("`{0}` applies to plain paths only, and no path of this route is plain")]
    NeverPlain(&'static str),
    /// A `hold` without routes whose storing it delays.
    #[error("`hold` needs `wait = true`")]
    HoldWithoutWait,
}
