//! Every way in which what an operator has written can be wrong, in the words that he reads behind
//! its place.

use std::io;

use http::header::HeaderName;

use super::table::Name;
use super::urls::SettingUrlError;
use crate::telemetry::log::LogError;

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Said, and nothing said.
    #[error("is empty")]
    Empty,
    /// Bytes that are no text.
    #[error("is not UTF-8")]
    NotUtf8,
    /// The same flag, or the same line of `.env`, again.
    #[error("is given twice")]
    Twice,
    /// Not a duration.
    #[error("{0}")]
    Duration(QuantityError),
    /// Not a size.
    #[error("{0}")]
    Size(QuantityError),
    /// Not digits.
    #[error("is not a whole number")]
    Number,
    /// Out of bounds.
    #[error("must be at least {0}")]
    Below(String),
    /// Out of bounds.
    #[error("must be at most {0}")]
    Above(String),
    /// Not one of a few words.
    #[error("is not one of {}", .0.join(", "))]
    Choice(Vec<&'static str>),
    /// Not an address and a port.
    #[error("is not an address with a port")]
    Address,
    /// Two listeners in one place.
    #[error("is where {0} listens too")]
    SameAddress(Name),
    /// The origin is this process, and every request would come back to it.
    #[error("is where {0} listens: CacheWarp would be its own origin")]
    OwnOrigin(Name),
    /// Not a URL that we can use.
    #[error("{0}")]
    Url(#[from] SettingUrlError),
    /// `a,,b`
    #[error("has an empty item")]
    EmptyItem,
    /// Not an address or network.
    #[error("has {0:?}, which is neither an address nor a network")]
    Network(String),
    /// `10.0.0.1/8`: the address or the length is a slip.
    #[error("has {given:?}, an address inside of the network {network}")]
    NotTheNetwork {
        /// What was written.
        given: String,
        /// The network that this is in.
        network: String,
    },
    /// Not a media type.
    #[error("has {0:?}, which is neither `type/subtype` nor `+suffix`")]
    MediaType(String),
    /// Not a final status.
    #[error("has {0:?}, which is not a status from 200 to 599")]
    Status(String),
    /// RFC 9111 §3.3, §4.3.4: they complete or confirm a stored response, and are none themselves.
    #[error("has {0}, which is never stored as a response of its own")]
    PartStatus(u16),
    /// Not a field name.
    #[error("has {0:?}, which is not the name of a header")]
    HeaderName(String),
    /// One header under two settings that contradict each other.
    #[error("has {:?}, which {other} has too", .header.as_str())]
    InBoth {
        /// The header.
        header: HeaderName,
        /// The setting that has it too.
        other: Name,
    },
    /// A field that no setting makes a part of the cache key.
    #[error("has {:?}, which cannot be a part of the cache key: {why}", .header.as_str())]
    NoKeyHeader {
        /// The header.
        header: HeaderName,
        /// The reason.
        why: &'static str,
    },
    /// A field that no setting makes harmless.
    #[error("has {:?}, which cannot be harmless: {why}", .header.as_str())]
    NotHarmless {
        /// The header.
        header: HeaderName,
        /// The reason.
        why: &'static str,
    },
    /// More names than one cache key takes.
    #[error("has more than {} headers", crate::limits::KEY_HEADERS_MAX)]
    KeyHeaders,
    /// Not the name of a cookie, nor the beginning of one.
    #[error("has {0:?}, which is not the name of a cookie, nor the beginning of one with a `*` behind it")]
    CookieName(String),
    /// Unprintable or too long.
    #[error(
        "must be 1 to {} printable ASCII characters without spaces or braces",
        crate::limits::KEY_PREFIX_BYTES_MAX
    )]
    KeyPrefix,
    /// It would be more than a part of a key.
    #[error("must be 1 to {} letters, digits, `-`, `.` and `_`", crate::limits::NODE_NAME_BYTES_MAX)]
    NodeName,
    /// `http://localhost:8080` is another API on another machine, and Redis is one for all of them.
    #[error("is required: the origin is at an address of this machine, and Redis is not")]
    NamespaceNeeded,
    /// It could not be sent.
    #[error("must be 1 to {} printable ASCII characters without spaces", crate::limits::TOKEN_BYTES_MAX)]
    Token,
    /// A file that cannot be used.
    #[error("{0}")]
    File(String),
    /// A certificate without a key, or a key without a certificate.
    #[error("is of no use without {0}")]
    OtherHalf(Name),
    /// A password here, and one in `redis_url`.
    #[error("is one password, and there is another in {}", Name::RedisUrl)]
    SecondPassword,
    /// Not a filter.
    #[error("{0}")]
    Log(#[from] LogError),
    /// Not `NAME=value`.
    #[error("is not `NAME=value`")]
    DotenvSyntax,
    /// Would depend on what else is set.
    #[error("has a `$`, which substitutes in .env")]
    DotenvSubstitution,
    /// There, and not readable.
    #[error("cannot be read: {0}")]
    DotenvUnreadable(io::ErrorKind),
    /// No flag of that name.
    #[error("there is no flag {given}")]
    Flag {
        /// As given.
        given: String,
        /// What may have been meant.
        meant: Option<String>,
    },
    /// No command of that name, or one too many.
    #[error("{0:?} is neither a command nor the value of a flag")]
    Stray(String),
    /// `cachewarp health --url` asks nowhere.
    #[error("--url {0}")]
    HealthUrl(SettingUrlError),
    /// `cachewarp explain` asks nowhere.
    #[error("the URL {0}")]
    ExplainUrl(SettingUrlError),
    /// `cachewarp inspect` asks for nothing that can be stored.
    #[error("the URL {0}")]
    InspectUrl(crate::key::UrlError),
    /// `cachewarp purge` names nothing, or something that cannot be.
    #[error("{0}")]
    Purge(#[from] crate::purge::PurgeOrderError),
    /// There is nobody to ask.
    #[error("admin_addr is off, so there is nobody to ask")]
    NoAdmin,
    /// `cachewarp explain -H` gives something that is no field, or one that is not for it to give.
    #[error("-H {0}")]
    Field(#[from] RequestFieldError),
    /// `cachewarp explain --token` could not be sent.
    #[error(
        "--token must be 1 to {} printable ASCII characters without spaces",
        crate::limits::TOKEN_BYTES_MAX
    )]
    TokenFlag,
    /// `cachewarp explain` has nothing to show that it may ask.
    #[error("there is no explain_token to ask with")]
    NoToken,
    /// Anything else, in clap's words.
    #[error("{0}")]
    Usage(String),
}

/// Why text is no duration or size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// No digits, a sign, a point, a space.
    #[error("is not a whole number with a unit")]
    Shape,
    /// A number, but of what?
    #[error("has the unknown unit {0:?}")]
    Unit(String),
    /// More than any machine holds.
    #[error("is too large a number")]
    Overflow,
}

/// Why a field cannot be asked with. None of these repeats a value: it may be a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestFieldError {
    /// No name, no colon, or a byte that has no place there.
    #[error("gives something that is not `Name: value`")]
    Malformed,
    /// The question is framed, and the token sent, by us.
    #[error("gives {0}, which is for cachewarp to send")]
    Ours(HeaderName),
}
