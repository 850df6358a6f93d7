//! The errors of settings and commands. A report prints each one behind its location.

use std::io;

use http::header::HeaderName;

use crate::config::table::Name;
use crate::config::urls::parts::SettingUrlError;
use crate::quantity::QuantityError;
use crate::telemetry::log::LogError;

/// An error in the settings or the command line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// An empty value.
    #[error("is empty")]
    Empty,
    /// Bytes that are not UTF-8.
    #[error("is not UTF-8")]
    NotUtf8,
    /// A second value for one setting in one source.
    #[error("is given twice")]
    Repeated,
    /// A malformed duration.
    #[error("{0}")]
    Duration(QuantityError),
    /// A malformed size.
    #[error("{0}")]
    Size(QuantityError),
    /// A malformed number.
    #[error("is not a whole number")]
    Number,
    /// A value below its minimum.
    #[error("must be at least {0}")]
    Below(String),
    /// A value above its maximum.
    #[error("must be at most {0}")]
    Above(String),
    /// A word that is not one of the choices.
    #[error("is not one of {}", .0.join(", "))]
    Choice(Vec<&'static str>),
    /// A malformed address.
    #[error("is not an IP address with a port")]
    Address,
    /// A relative path of a unix socket, or one that the kernel cannot hold.
    #[error("is not `unix:` with an absolute path of at most {} bytes", crate::limits::SOCKET_PATH_BYTES_MAX)]
    SocketPath,
    /// Permissions that are not octal.
    #[error("may only have `?mode=` with up to three octal digits behind the path")]
    SocketMode,
    /// TLS on a unix socket.
    #[error("needs a TCP address in listen_addr: a unix socket has no TLS")]
    TlsOnSocket,
    /// A key of names without keys of entries.
    #[error("needs entry_key_file: an entry that is not sealed shows the names that this key hides")]
    NeedsEntryKeys,
    /// Two listeners on one address.
    #[error("is also the address of {0}")]
    SameAddress(Name),
    /// An origin that is this process, so that every request would loop.
    #[error("is the address of {0}: CacheWarp would be its own origin")]
    OwnOrigin(Name),
    /// An unusable URL.
    #[error("{0}")]
    Url(#[from] SettingUrlError),
    /// An empty item of a list: `a,,b`.
    #[error("has an empty item")]
    EmptyItem,
    /// A malformed network.
    #[error("has {0:?}, which is neither an address nor a network")]
    Network(String),
    /// A network with host bits, `10.0.0.1/8`: its address or its length is a mistake.
    #[error("has {given:?}, which is an address inside the network {network}")]
    NotTheNetwork {
        /// The item as given.
        given: String,
        /// The network that contains the address.
        network: String,
    },
    /// A malformed media type.
    #[error("has {0:?}, which is neither `type/subtype` nor `+suffix`")]
    MediaType(String),
    /// A malformed or interim status.
    #[error("has {0:?}, which is not a status from 200 to 599")]
    Status(String),
    /// A 206 or 304, which completes or confirms a stored response (RFC 9111 §3.3, §4.3.4).
    #[error("has {0}, which cannot be stored as a response")]
    PartStatus(u16),
    /// A malformed field name.
    #[error("has {0:?}, which is not a header name")]
    HeaderName(String),
    /// A header in two settings that exclude each other.
    #[error("has {:?}, which is also in {other}", .header.as_str())]
    InBoth {
        /// The header.
        header: HeaderName,
        /// The other setting.
        other: Name,
    },
    /// A list of a route that has the header of request ids.
    #[error(
        "line {line}: `{member}` has {:?}, which is the request_id_header: each request has an id of its own, so \
         no two requests would share a response",
        .header.as_str()
    )]
    RequestIdOfRoute {
        /// The line on which the route begins.
        line: usize,
        /// The member of the route.
        member: &'static str,
        /// The header.
        header: HeaderName,
    },
    /// A field that cannot be part of the cache key.
    #[error("has {:?}, which cannot be part of the cache key: {why}", .header.as_str())]
    NoKeyHeader {
        /// The header.
        header: HeaderName,
        /// The reason.
        why: &'static str,
    },
    /// A field that cannot be harmless.
    #[error("has {:?}, which cannot be harmless: {why}", .header.as_str())]
    NotHarmless {
        /// The header.
        header: HeaderName,
        /// The reason.
        why: &'static str,
    },
    /// A field that cannot carry request ids.
    #[error("is {:?}, which cannot carry request ids: {why}", .header.as_str())]
    NoRequestId {
        /// The header.
        header: HeaderName,
        /// The reason.
        why: &'static str,
    },
    /// A field without which a stored response has another meaning.
    #[error("has {:?}, without which a stored response has another meaning", .0.as_str())]
    NeededHeader(HeaderName),
    /// More names than a cache key takes.
    #[error("has more than {} headers", crate::limits::KEY_HEADERS_MAX)]
    KeyHeaders,
    /// A malformed cookie name.
    #[error("has {0:?}, which is neither a cookie name nor a prefix with `*`")]
    CookieName(String),
    /// A key prefix that is unprintable or too long.
    #[error(
        "must be 1 to {} printable ASCII characters without spaces or braces",
        crate::limits::KEY_PREFIX_BYTES_MAX
    )]
    KeyPrefix,
    /// A name that could not be one part of a key.
    #[error("must be 1 to {} letters, digits, `-`, `.` and `_`", crate::limits::NODE_NAME_BYTES_MAX)]
    NodeName,
    /// A name of a stream that is unprintable or too long.
    #[error(
        "must be `off`, or 1 to {} printable ASCII characters without spaces",
        crate::limits::PURGE_STREAM_NAME_BYTES_MAX
    )]
    StreamName,
    /// A missing namespace: `http://localhost:8080` is a different API on each machine that shares
    /// the Redis.
    #[error("is required: the origin is on this machine, and Redis is not")]
    NamespaceNeeded,
    /// A token that no header field can carry.
    #[error("must be 1 to {} printable ASCII characters without spaces", crate::limits::TOKEN_BYTES_MAX)]
    Token,
    /// An unusable file.
    #[error("{0}")]
    File(String),
    /// An error of the routes file.
    #[error("{0}")]
    Route(Box<crate::routes::RouteError>),
    /// More errors of the routes file than a report lists.
    #[error("{0} further errors")]
    FurtherRouteErrors(usize),
    /// A certificate without a key, or a key without a certificate.
    #[error("requires {0}")]
    Requires(Name),
    /// A text that is no path of a URL.
    #[error("is not a path that begins with `/`")]
    ProbePath,
    /// One path for two checks.
    #[error("is also the path of {0}")]
    SamePath(Name),
    /// A name that no certificate can have.
    #[error("is neither a host name nor an IP address")]
    ServerName,
    /// Two lists whose items form pairs, of different lengths.
    #[error("has {own} items, but {name} has {other}")]
    UnequalLists {
        /// The number of items.
        own: usize,
        /// The number of items of the other list.
        other: usize,
        /// The other list.
        name: Name,
    },
    /// A password file beside a password in `redis_url`.
    #[error("is set, but {} also has a password", Name::RedisUrl)]
    SecondPassword,
    /// A file with another secret than the setting.
    #[error("holds another secret than {0}")]
    OtherSecret(Name),
    /// A malformed log filter.
    #[error("{0}")]
    Log(#[from] LogError),
    /// A line other than `NAME=value`.
    #[error("is not `NAME=value`")]
    DotenvSyntax,
    /// A value whose `$` would be substituted.
    #[error("has a `$`, which .env would substitute")]
    DotenvSubstitution,
    /// An unreadable `.env`.
    #[error("cannot be read: {0}")]
    DotenvUnreadable(io::ErrorKind),
    /// An unknown flag.
    #[error("unknown flag {given}")]
    Flag {
        /// The flag as given.
        given: String,
        /// The flag that may be meant.
        suggestion: Option<String>,
    },
    /// The old name of a setting.
    #[error("{given} is now called {name}")]
    Renamed {
        /// The name as given.
        given: String,
        /// The new name, in the spelling of its source.
        name: String,
    },
    /// An argument that the command does not take.
    #[error("{command} does not take the argument {given:?}")]
    UnexpectedArgument {
        /// The command.
        command: &'static str,
        /// The argument as given, with its secrets masked.
        given: String,
    },
    /// An item of `cachewarp purge` that cannot be purged.
    #[error("{flag} {given:?}: {reason}")]
    PurgeItem {
        /// The flag.
        flag: &'static str,
        /// The value of the flag, with its secrets masked.
        given: String,
        /// The reason.
        reason: String,
    },
    /// A name like that of a setting, which is not read.
    #[error("{given} is not a setting")]
    Misspelt {
        /// The name as given.
        given: String,
        /// The name that is meant, in upper case.
        meant: String,
    },
    /// An unknown command, or a second one.
    #[error("{0:?} is neither a command nor the value of a flag")]
    UnexpectedWord(String),
    /// An unusable URL of `cachewarp health`.
    #[error("--url {0}")]
    HealthUrl(SettingUrlError),
    /// An unusable URL of `cachewarp explain`.
    #[error("the URL {0}")]
    ExplainUrl(SettingUrlError),
    /// A URL of `cachewarp inspect` that has no cache key.
    #[error("the URL {0}")]
    InspectUrl(crate::key::UrlError),
    /// A malformed method of `cachewarp routes`.
    #[error("{0:?} is not a method")]
    Method(String),
    /// A request for a route without a routes file.
    #[error("routes_file is not set")]
    NoRoutes,
    /// A malformed order of `cachewarp purge`.
    #[error("{0}")]
    Purge(#[from] crate::purge::PurgeOrderError),
    /// A command for the admin listener, which is off.
    #[error("admin_addr is off, so no listener accepts this command")]
    NoAdmin,
    /// A health check of a listener with TLS or without `health_path`, and no admin listener.
    #[error("admin_addr is off, and listen_addr answers no plain health check")]
    HealthNeedsAdmin,
    /// An unusable field of `cachewarp explain -H`.
    #[error("-H {0}")]
    Field(#[from] RequestFieldError),
    /// A token of `cachewarp explain --token` that no header field can carry.
    #[error(
        "--token must be 1 to {} printable ASCII characters without spaces",
        crate::limits::TOKEN_BYTES_MAX
    )]
    TokenFlag,
    /// A missing token of `cachewarp explain`.
    #[error("an explain token is required")]
    NoToken,
    /// Another error of the command line, with clap's message.
    #[error("{0}")]
    Usage(String),
}

/// An error in a request field of `explain`. None of these repeats a value, which may be a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestFieldError {
    /// A field without a name or a colon, or with a forbidden byte.
    #[error("is not of the form `Name: value`")]
    Malformed,
    /// A field that CacheWarp itself writes.
    #[error("has {0}, which CacheWarp sets itself")]
    Ours(HeaderName),
}
