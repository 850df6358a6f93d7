//! Values that are words, lists, addresses or numbers. `quantity` has the grammar of numbers with a
//! unit.

use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use http::header::HeaderName;
use http::uri::PathAndQuery;
use ipnet::IpNet;
use rustls::pki_types::ServerName;

use crate::config::reporting::error::ConfigError;
use crate::limits::{
    KEY_HEADERS_MAX, KEY_PREFIX_BYTES_MAX, NODE_NAME_BYTES_MAX, PURGE_STREAM_NAME_BYTES_MAX, SOCKET_MODE,
    SOCKET_PATH_BYTES_MAX, TOKEN_BYTES_MAX,
};
use crate::policy::{ContentTypes, IgnoredCookies, StatusError, StorableStatuses};
use crate::quantity::{self, QuantityError, show_duration, show_size, split};
use crate::request_fields::{refused_as_harmless, refused_as_key};
use crate::secret::Secret;
use crate::server::SocketOptions;
use crate::telemetry::log;

/// The item that allows everything.
const ANY: &str = "*";

/// Reads one of a few words as its value.
pub(in crate::config) fn choice<T: Copy>(
    text: &str,
    choices: &[(&'static str, T)],
) -> Result<T, ConfigError> {
    let chosen = choices.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
    chosen.ok_or_else(|| ConfigError::Choice(choices.iter().map(|(word, _)| *word).collect()))
}

/// Reads `true` or `false` as one of two values.
pub(in crate::config) fn switch<T: Copy>(text: &str, on: T, off: T) -> Result<T, ConfigError> {
    choice(
        text,
        &[
            ("true", on),
            ("false", off),
            ("on", on),
            ("off", off),
            ("yes", on),
            ("no", off),
            ("1", on),
            ("0", off),
        ],
    )
}

/// Reads an IP address and a port. For port 0, the system chooses one.
pub(in crate::config) fn address(text: &str) -> Result<SocketAddr, ConfigError> {
    text.parse().map_err(|_| ConfigError::Address)
}

/// Reads the address of a listener, or `off`.
pub(in crate::config) fn listen_address_or_off(
    text: &str,
) -> Result<Option<(SocketAddr, Option<SocketOptions>)>, ConfigError> {
    if text == "off" { Ok(None) } else { listen_address(text).map(Some) }
}

/// Reads the address of a listener: an IP address with a port, or `unix:` and the path of a socket,
/// optionally with `?mode=` and the octal permissions. Connections of a socket have the loopback
/// address.
pub(in crate::config) fn listen_address(
    text: &str,
) -> Result<(SocketAddr, Option<SocketOptions>), ConfigError> {
    let Some(rest) = text.strip_prefix("unix:") else { return Ok((address(text)?, None)) };
    let (path, mode) = match rest.split_once('?') {
        Some((path, query)) => {
            let mode = query.strip_prefix("mode=").and_then(|mode| u32::from_str_radix(mode, 8).ok());
            (path, mode.filter(|mode| *mode <= 0o777).ok_or(ConfigError::SocketMode)?)
        }
        None => (rest, SOCKET_MODE),
    };
    // `unix:///path` and `unix:/path` are one path.
    let path = path.strip_prefix("//").unwrap_or(path);
    if !path.starts_with('/') || path.ends_with('/') || path.len() > SOCKET_PATH_BYTES_MAX {
        return Err(ConfigError::SocketPath);
    }
    let socket = SocketOptions { path: path.into(), mode };
    Ok(((Ipv4Addr::LOCALHOST, 0).into(), Some(socket)))
}

/// Reads a list of addresses and networks.
pub(in crate::config) fn networks(text: &str) -> Result<Vec<IpNet>, ConfigError> {
    let network = |item: &str| {
        if let Ok(address) = item.parse::<IpAddr>() {
            return Ok(IpNet::from(address));
        }
        let network: IpNet = item.parse().map_err(|_| ConfigError::Network(item.to_owned()))?;
        if network.addr() == network.network() {
            Ok(network)
        } else {
            Err(ConfigError::NotTheNetwork { given: item.to_owned(), network: network.trunc().to_string() })
        }
    };
    items(text, network)
}

/// Reads a list of media types and suffixes as lower case, or `*`.
pub(in crate::config) fn content_types(text: &str) -> Result<ContentTypes, ConfigError> {
    if text == ANY {
        return Ok(ContentTypes::Any);
    }
    let content_type =
        |item: &str| ContentTypes::item(item).ok_or_else(|| ConfigError::MediaType(item.to_owned()));
    non_empty(items(text, content_type)?).map(ContentTypes::Listed)
}

/// Reads a list of statuses, or `*`.
pub(in crate::config) fn statuses(text: &str) -> Result<StorableStatuses, ConfigError> {
    if text == ANY {
        return Ok(StorableStatuses::Any);
    }
    let status = |item: &str| match item.parse::<u16>().map(StorableStatuses::item) {
        Ok(Ok(status)) => Ok(status),
        Ok(Err(StatusError::Part(part))) => Err(ConfigError::PartStatus(part)),
        Ok(Err(StatusError::Unknown)) | Err(_) => Err(ConfigError::Status(item.to_owned())),
    };
    non_empty(items(text, status)?).map(StorableStatuses::Listed)
}

/// Reads a list of paths.
pub(in crate::config) fn paths(text: &str) -> Result<Vec<PathBuf>, ConfigError> {
    items(text, |item| Ok(PathBuf::from(item)))
}

/// Reads the path of a check; empty text is none.
pub(in crate::config) fn probe_path(text: &str) -> Result<Option<String>, ConfigError> {
    let is_path = text.starts_with('/')
        && text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#'))
        && PathAndQuery::try_from(text).is_ok();
    match text {
        "" => Ok(None),
        path if is_path => Ok(Some(path.to_owned())),
        _ => Err(ConfigError::ProbePath),
    }
}

/// Reads a list of header names as lower case.
pub(in crate::config) fn header_names(text: &str) -> Result<Vec<HeaderName>, ConfigError> {
    items(text, |item| {
        HeaderName::from_bytes(item.as_bytes()).map_err(|_| ConfigError::HeaderName(item.to_owned()))
    })
}

/// Reads a list of header names for the cache key.
pub(in crate::config) fn key_headers(text: &str) -> Result<Vec<HeaderName>, ConfigError> {
    let names = header_names(text)?;
    if names.len() > KEY_HEADERS_MAX {
        return Err(ConfigError::KeyHeaders);
    }
    match first_refused(&names, refused_as_key) {
        Some((header, why)) => Err(ConfigError::NoKeyHeader { header, why }),
        None => Ok(names),
    }
}

/// Reads a list of header names that count as harmless.
pub(in crate::config) fn harmless_headers(text: &str) -> Result<Vec<HeaderName>, ConfigError> {
    let names = header_names(text)?;
    match first_refused(&names, refused_as_harmless) {
        Some((header, why)) => Err(ConfigError::NotHarmless { header, why }),
        None => Ok(names),
    }
}

/// Returns the first name that is refused, with the reason.
fn first_refused(
    names: &[HeaderName],
    refused: impl Fn(&HeaderName) -> Option<&'static str>,
) -> Option<(HeaderName, &'static str)> {
    names.iter().find_map(|header| Some((header.clone(), refused(header)?)))
}

/// Reads a list of cookie names and of prefixes with `*`, or `*` alone.
pub(in crate::config) fn cookies(text: &str) -> Result<IgnoredCookies, ConfigError> {
    if text == ANY {
        return Ok(IgnoredCookies::Any);
    }
    let cookie =
        |item: &str| IgnoredCookies::item(item).ok_or_else(|| ConfigError::CookieName(item.to_owned()));
    items(text, cookie).map(IgnoredCookies::Listed)
}

/// Reads the prefix of every key in Redis. Braces are refused: they would be a hash tag and put all
/// keys into one slot.
pub(in crate::config) fn key_prefix(text: &str) -> Result<String, ConfigError> {
    let plain = text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'{' | b'}'));
    if plain && (1..=KEY_PREFIX_BYTES_MAX).contains(&text.len()) {
        Ok(text.to_owned())
    } else {
        Err(ConfigError::KeyPrefix)
    }
}

/// Reads the name of a node or a namespace, which is part of a key in Redis.
pub(in crate::config) fn node_name(text: &str) -> Result<String, ConfigError> {
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'));
    if plain && (1..=NODE_NAME_BYTES_MAX).contains(&text.len()) {
        Ok(text.to_owned())
    } else {
        Err(ConfigError::NodeName)
    }
}

/// Reads the name of a namespace. `None` derives it from the origin.
pub(in crate::config) fn namespace(text: &str) -> Result<Option<String>, ConfigError> {
    if text == "auto" { Ok(None) } else { node_name(text).map(Some) }
}

/// Reads the name of a stream; `off` is none.
pub(in crate::config) fn stream_name(text: &str) -> Result<Option<String>, ConfigError> {
    let plain = text.bytes().all(|byte| byte.is_ascii_graphic());
    match text {
        "off" => Ok(None),
        name if plain && (1..=PURGE_STREAM_NAME_BYTES_MAX).contains(&name.len()) => Ok(Some(name.to_owned())),
        _ => Err(ConfigError::StreamName),
    }
}

/// Reads the name in a server's certificate. `None` is the host of its URL.
pub(in crate::config) fn server_name(text: &str) -> Result<Option<ServerName<'static>>, ConfigError> {
    if text == "auto" {
        return Ok(None);
    }
    ServerName::try_from(text.to_owned()).map(Some).map_err(|_| ConfigError::ServerName)
}

/// Reads a secret that can be the value of a header field.
pub(in crate::config) fn token(text: &str) -> Result<Secret, ConfigError> {
    let plain = text.bytes().all(|byte| byte.is_ascii_graphic());
    if plain && (1..=TOKEN_BYTES_MAX).contains(&text.len()) {
        Ok(Secret::new(text))
    } else {
        Err(ConfigError::Token)
    }
}

/// Reads a filter of log lines.
pub(in crate::config) fn log_filter(text: &str) -> Result<String, ConfigError> {
    log::check(text)?;
    Ok(text.to_owned())
}

/// Reads the items between commas; empty text has none.
fn items<T>(text: &str, item: impl Fn(&str) -> Result<T, ConfigError>) -> Result<Vec<T>, ConfigError> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    text.split(',')
        .map(str::trim)
        .map(|text| if text.is_empty() { Err(ConfigError::EmptyItem) } else { item(text) })
        .collect()
}

fn non_empty<T>(items: Vec<T>) -> Result<Vec<T>, ConfigError> {
    if items.is_empty() { Err(ConfigError::Empty) } else { Ok(items) }
}

/// Reads a duration: `250ms`, `30s`, `5m`, `1h`; a bare number is in seconds.
pub(in crate::config) fn duration(
    text: &str,
    bounds: RangeInclusive<Duration>,
) -> Result<Duration, ConfigError> {
    let duration = quantity::duration(text).map_err(ConfigError::Duration)?;
    within(duration, bounds, |bound| show_duration(*bound))
}

/// Reads a size: `512B`, `64KiB`, `1MiB`, `2GiB`; a bare number is in bytes.
pub(in crate::config) fn size(text: &str, bounds: RangeInclusive<usize>) -> Result<usize, ConfigError> {
    let size = quantity::size(text).map_err(ConfigError::Size)?;
    within(size, bounds, |bound| show_size(*bound))
}

/// Reads a whole number.
pub(in crate::config) fn number(text: &str, bounds: RangeInclusive<usize>) -> Result<usize, ConfigError> {
    match split(text) {
        Ok((number, "")) => within(number, bounds, usize::to_string),
        Err(QuantityError::Overflow) => Err(ConfigError::Above(bounds.end().to_string())),
        Ok(_) | Err(_) => Err(ConfigError::Number),
    }
}

/// Reads a percentage, `10%` or `10`, as a fraction.
pub(in crate::config) fn percent(text: &str, bounds: RangeInclusive<u16>) -> Result<f64, ConfigError> {
    let bounds = usize::from(*bounds.start())..=usize::from(*bounds.end());
    let of_a_hundred = number(text.strip_suffix('%').unwrap_or(text), bounds)?;
    Ok(f64::from(u16::try_from(of_a_hundred).unwrap_or(u16::MAX)) / 100.0)
}

fn within<T: PartialOrd, S: Display>(
    value: T,
    bounds: RangeInclusive<T>,
    show: impl Fn(&T) -> S,
) -> Result<T, ConfigError> {
    if value < *bounds.start() {
        Err(ConfigError::Below(show(bounds.start()).to_string()))
    } else if value > *bounds.end() {
        Err(ConfigError::Above(show(bounds.end()).to_string()))
    } else {
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;
    use crate::limits::MIB;
    use crate::quantity::{suggested_duration, suggested_size};

    #[test]
    fn switches() {
        for (text, want) in
            [("true", Ok('+')), ("on", Ok('+')), ("1", Ok('+')), ("no", Ok('-')), ("0", Ok('-'))]
        {
            assert_eq!(switch(text, '+', '-'), want);
        }
        for text in ["", "TRUE", "yep", "2"] {
            assert!(matches!(switch(text, '+', '-'), Err(ConfigError::Choice(_))), "{text}");
        }
    }

    #[test]
    fn addresses() {
        for text in ["127.0.0.1:0", "0.0.0.0:8000", "[::]:8000", "[::1]:65535"] {
            assert_eq!(address(text).unwrap().to_string(), text);
        }
        for text in [
            "",
            "8000",
            ":8000",
            "localhost:8000",
            "127.0.0.1",
            "::1:80",
            "[::1]",
            "1.2.3.4:65536",
            "1.2.3.4:80/",
            "off",
        ] {
            assert_eq!(address(text), Err(ConfigError::Address), "{text}");
        }
        assert_eq!(listen_address_or_off("off"), Ok(None));
        assert_eq!(listen_address_or_off("OFF"), Err(ConfigError::Address));
    }

    #[test]
    fn networks_may_be_single_addresses() {
        let read = networks("10.0.0.0/8, 192.0.2.7,fd00::/8 ,::1").unwrap();
        assert_eq!(
            read.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["10.0.0.0/8", "192.0.2.7/32", "fd00::/8", "::1/128"]
        );
        assert_eq!(networks(""), Ok(Vec::new()));
        for text in ["10.0.0.0/33", "10.0.0", "proxy.example", "10.0.0.0/8/8", "*"] {
            assert_eq!(networks(text), Err(ConfigError::Network(text.to_owned())), "{text}");
        }
        let given = "10.1.0.0/8".to_owned();
        assert_eq!(
            networks(&given),
            Err(ConfigError::NotTheNetwork { given, network: "10.0.0.0/8".to_owned() })
        );
        for text in [",", "::1,", ",::1", "::1,,::2", " "] {
            assert_eq!(networks(text), Err(ConfigError::EmptyItem), "{text}");
        }
    }

    #[test]
    fn media_types() {
        let listed =
            |items: &[&str]| Ok(ContentTypes::Listed(items.iter().map(|&item| item.to_owned()).collect()));
        assert_eq!(content_types("*"), Ok(ContentTypes::Any));
        assert_eq!(content_types("Application/JSON, +json"), listed(&["application/json", "+json"]));
        assert_eq!(content_types(""), Err(ConfigError::Empty));
        for item in [
            "json",
            "*/*",
            "application/*",
            "application/json; charset=utf-8",
            "a/b/c",
            "/json",
            "text/",
            "+",
            "a b/c",
        ] {
            assert_eq!(content_types(item), Err(ConfigError::MediaType(item.to_owned())), "{item}");
        }
    }

    #[test]
    fn status_codes() {
        assert_eq!(statuses("*"), Ok(StorableStatuses::Any));
        assert_eq!(
            statuses("200, 404"),
            Ok(StorableStatuses::Listed(vec![StatusCode::OK, StatusCode::NOT_FOUND]))
        );
        assert_eq!(statuses(""), Err(ConfigError::Empty));
        for part in [206, 304] {
            assert_eq!(statuses(&part.to_string()), Err(ConfigError::PartStatus(part)));
        }
        for item in ["100", "199", "600", "2xx", "OK", "-1", "65536", "200-299"] {
            assert_eq!(statuses(item), Err(ConfigError::Status(item.to_owned())), "{item}");
        }
    }

    #[test]
    fn field_names() {
        assert_eq!(header_names("X-Api-Key,x-token").unwrap(), ["x-api-key", "x-token"]);
        assert_eq!(header_names(""), Ok(Vec::new()));
        for item in ["a b", "x:y", "ü", "*:"] {
            assert_eq!(header_names(item), Err(ConfigError::HeaderName(item.to_owned())), "{item}");
        }
    }

    #[test]
    fn cookie_names() {
        let listed =
            |items: &[&str]| Ok(IgnoredCookies::Listed(items.iter().map(|&item| item.to_owned()).collect()));
        assert_eq!(cookies(""), listed(&[]));
        assert_eq!(cookies("*"), Ok(IgnoredCookies::Any));
        assert_eq!(cookies("theme, _ga*"), listed(&["theme", "_ga*"]));
        for item in ["a b", "a=b", "*a", "a*b", "a**", "a;b"] {
            assert_eq!(cookies(item), Err(ConfigError::CookieName(item.to_owned())), "{item}");
        }
    }

    #[test]
    fn tokens() {
        assert!(token("s3cret/+=").is_ok_and(|token| token.is(b"s3cret/+=")));
        for text in ["", "a b", "a\n", "ü", &"x".repeat(TOKEN_BYTES_MAX + 1)] {
            assert_eq!(token(text), Err(ConfigError::Token), "{text}");
        }
    }

    #[test]
    fn node_names() {
        assert_eq!(node_name("cache-1.eu_west"), Ok("cache-1.eu_west".to_owned()));
        for text in ["", "a b", "a:b", "ü", "{a}", &"x".repeat(NODE_NAME_BYTES_MAX + 1)] {
            assert_eq!(node_name(text), Err(ConfigError::NodeName), "{text}");
            assert_eq!(namespace(text), Err(ConfigError::NodeName), "{text}");
        }
    }

    #[test]
    fn stream_names() {
        assert_eq!(stream_name("off"), Ok(None));
        assert_eq!(stream_name("{app}:purges"), Ok(Some("{app}:purges".to_owned())));
        for text in ["", "a b", "a\n", "ü", &"x".repeat(PURGE_STREAM_NAME_BYTES_MAX + 1)] {
            assert_eq!(stream_name(text), Err(ConfigError::StreamName), "{text}");
        }
    }

    #[test]
    fn key_prefixes() {
        assert_eq!(key_prefix("cachewarp:"), Ok("cachewarp:".to_owned()));
        for text in ["", "a b", "a\n", "ü:", "{tag}", &"x".repeat(KEY_PREFIX_BYTES_MAX + 1)] {
            assert_eq!(key_prefix(text), Err(ConfigError::KeyPrefix), "{text}");
        }
    }

    const ANY_TIME: RangeInclusive<Duration> = Duration::ZERO..=Duration::MAX;
    const ANY_SIZE: RangeInclusive<usize> = 0..=usize::MAX;

    #[test]
    fn percents() {
        for (text, part) in [("0", 0.0), ("0%", 0.0), ("10%", 0.1), ("100", 1.0)] {
            assert_eq!(percent(text, 0..=100), Ok(part), "{text}");
        }
        for text in ["", "%", "101", "-1%", "1.5%", "10 %", "ten"] {
            assert!(percent(text, 0..=100).is_err(), "{text}");
        }
    }

    #[test]
    fn durations() {
        for (text, millis) in [
            ("250ms", 250),
            ("30s", 30_000),
            ("5m", 300_000),
            ("1h", 3_600_000),
            ("7", 7000),
            ("0", 0),
            ("007s", 7000),
        ] {
            assert_eq!(duration(text, ANY_TIME), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn malformed_durations_are_refused() {
        for text in
            ["", "s", "-1s", "+1s", "1.5s", "1,5s", " 1s", "1s ", "1 s", "1e3", "1s2", "٣s", "1m30s", "0x10"]
        {
            let error = duration(text, ANY_TIME);
            assert!(
                matches!(error, Err(ConfigError::Duration(QuantityError::Shape | QuantityError::Unit(_)))),
                "{text}"
            );
        }
        for text in ["1S", "1MS", "1d", "1sec", "1us", "1ns"] {
            assert!(
                matches!(duration(text, ANY_TIME), Err(ConfigError::Duration(QuantityError::Unit(_)))),
                "{text}"
            );
        }
        for text in ["18446744073709551616", "18446744073709551615h"] {
            assert_eq!(
                duration(text, ANY_TIME),
                Err(ConfigError::Duration(QuantityError::Overflow)),
                "{text}"
            );
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes) in
            [("0", 0), ("1", 1), ("9B", 9), ("1KiB", 1024), ("64MiB", 64 << 20), ("2GiB", 2 << 30)]
        {
            assert_eq!(size(text, ANY_SIZE), Ok(bytes), "{text}");
        }
        for text in [
            "",
            "MiB",
            "-1",
            "1.5MiB",
            "1 MiB",
            "1MB",
            "1mb",
            "1kib",
            "1K",
            "1TiB",
            "1b",
            "99999999999999999999",
        ] {
            assert!(matches!(size(text, ANY_SIZE), Err(ConfigError::Size(_))), "{text}");
        }
    }

    #[test]
    fn numbers() {
        assert_eq!(number("20", 1..=1024), Ok(20));
        assert_eq!(number("0", 1..=1024), Err(ConfigError::Below("1".to_owned())));
        assert_eq!(number("1025", 1..=1024), Err(ConfigError::Above("1024".to_owned())));
        assert_eq!(number("99999999999999999999", 1..=9), Err(ConfigError::Above("9".to_owned())));
        for text in ["", "a", "-1", "+1", "1.0", "1k", "1 ", "0x1", "½"] {
            assert_eq!(number(text, ANY_SIZE), Err(ConfigError::Number), "{text}");
        }
    }

    #[test]
    fn bounds_are_inclusive_and_shown_with_a_unit() {
        let bounds = Duration::from_millis(1)..=Duration::from_secs(3600);
        assert!(duration("1ms", bounds.clone()).is_ok() && duration("60m", bounds.clone()).is_ok());
        assert_eq!(duration("0", bounds.clone()), Err(ConfigError::Below("1ms".to_owned())));
        assert_eq!(duration("3601s", bounds), Err(ConfigError::Above("1h".to_owned())));
        assert_eq!(size("65MiB", 0..=64 * MIB), Err(ConfigError::Above("64MiB".to_owned())));
        assert_eq!(
            (show_duration(Duration::ZERO), show_duration(Duration::from_millis(1500))),
            ("0s".into(), "1500ms".into())
        );
        assert_eq!((show_size(0), show_size(1025)), ("0".to_owned(), "1025B".to_owned()));
    }

    #[test]
    fn a_malformed_quantity_has_a_suggestion() {
        for (text, suggestion) in
            [("30 s", "30s"), ("5min", "5m"), ("2D", "48h"), ("10 Seconds", "10s"), ("1MS", "1ms")]
        {
            assert_eq!(suggested_duration(text).as_deref(), Some(suggestion), "{text}");
        }
        for (text, suggestion) in [("64MB", "64MiB"), ("1 k", "1KiB"), ("2gb", "2GiB"), ("3bytes", "3B")] {
            assert_eq!(suggested_size(text).as_deref(), Some(suggestion), "{text}");
        }
        assert_eq!(suggested_duration("1.5s"), None);
        assert_eq!(suggested_size("plenty"), None);
    }
}
