//! Variables' names, compared with the names of the settings.

use crate::config::table::Name;

/// The case of a name. Both are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum NameCase {
    /// `REDIS_URL`.
    Upper,
    /// `redis_url`.
    Lower,
}

/// The result of comparing a variable's name with the settings' names.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::config) enum NameMatch {
    /// The name of a setting: read.
    Exact(NameCase, Name),
    /// The name of a setting in mixed case: not read.
    OtherCase(Name),
    /// The name of a setting with a typing error: not read.
    Near(Name),
    /// The old name of a setting, in either case: refused.
    Renamed(NameCase, Name),
    /// The name of no setting, with the beginning of settings: not read.
    Unknown,
    /// The name of another program.
    Foreign,
}

impl NameMatch {
    /// Compares the name of a variable. Its value tells apart the variables that Kubernetes sets
    /// for each Service.
    pub(in crate::config) fn of(variable: &str, value: &str) -> Self {
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
                None if is_of_another_program(variable, value) => Self::Foreign,
                None => {
                    let bare = lower.strip_prefix(PROGRAM).unwrap_or(&lower);
                    let near = nearest(bare, Name::ALL.iter().map(|name| name.as_str())).and_then(find);
                    near.map_or_else(|| Self::unknown(&lower), Self::Near)
                }
            },
        }
    }

    fn unknown(lower: &str) -> Self {
        let is_ours = BEGINNINGS.iter().any(|beginning| lower.starts_with(beginning));
        if is_ours { Self::Unknown } else { Self::Foreign }
    }
}

/// The beginning of a name by which some programs distinguish their variables. CacheWarp does not.
const PROGRAM: &str = "cachewarp_";

/// The beginnings of names that an operator takes for settings.
const BEGINNINGS: [&str; 8] =
    ["cache_", "redis_", "origin_", "listen_", "tls_", "trusted_", "purge_", PROGRAM];

/// Names by which systemd passes sockets.
const OF_SYSTEMD: [&str; 3] = ["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"];

/// Names of OpenSSL, which other TLS libraries read too, among them the one that reads the system's
/// certificate authorities here.
const OF_TLS_LIBRARIES: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];

fn is_of_another_program(variable: &str, value: &str) -> bool {
    OF_TLS_LIBRARIES.contains(&variable) || OF_SYSTEMD.contains(&variable) || is_of_service(variable, value)
}

/// Returns whether Kubernetes sets the variable, for a Service such as `redis` or `cache-db`:
/// `REDIS_SERVICE_HOST`, `REDIS_SERVICE_PORT_TLS`, `REDIS_PORT=tcp://10.0.0.1:6379`,
/// `REDIS_PORT_6379_TCP_ADDR`.
fn is_of_service(variable: &str, value: &str) -> bool {
    let is_url = || ["tcp://", "udp://", "sctp://"].iter().any(|scheme| value.starts_with(scheme));
    let is_port = |text: &str| {
        let mut words = text.split('_');
        words.next().is_some_and(|port| port.parse::<u16>().is_ok())
            && words.next().is_some_and(|protocol| ["TCP", "UDP", "SCTP"].contains(&protocol))
            && words.next().is_none_or(|part| ["PROTO", "PORT", "ADDR"].contains(&part))
            && words.next().is_none()
    };
    variable.ends_with("_SERVICE_HOST")
        || variable.ends_with("_SERVICE_PORT")
        || variable.contains("_SERVICE_PORT_")
        || (variable.ends_with("_PORT") && is_url())
        || variable
            .match_indices("_PORT_")
            .any(|(at, word)| variable.get(at + word.len()..).is_some_and(is_port))
}

/// Typing errors that are forgiven: a letter missing, added, changed, or swapped with the next.
const TYPING_ERRORS_MAX: usize = 2;

/// Returns the candidate with the fewest typing errors, if it has few enough for the word's length.
pub(in crate::config) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
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
            ("CACHEWARP_REDIS_URL", NameMatch::Near(Name::RedisUrl)),
            ("CACHEWARP_REDIS_ULR", NameMatch::Near(Name::RedisUrl)),
            ("CACHEWARP_HOME", NameMatch::Unknown),
            ("REDIS_HOST", NameMatch::Unknown),
            ("REDIS_PORT", NameMatch::Unknown),
            ("CACHE_EVERYTHING", NameMatch::Unknown),
            ("origin_timeout_seconds", NameMatch::Unknown),
            ("CACHED_VALUES", NameMatch::Foreign),
            ("LISTEN_ADDRESS", NameMatch::Unknown),
            ("LISTEN_FDS", NameMatch::Foreign),
            ("TLS_CERT", NameMatch::Unknown),
            ("TRUSTED_PROXY", NameMatch::Unknown),
            ("PURGE_TOKEN", NameMatch::Unknown),
        ] {
            assert_eq!(NameMatch::of(variable, "6379"), spelling, "{variable}");
        }
    }

    #[test]
    fn variables_of_tls_libraries_are_foreign() {
        for variable in OF_TLS_LIBRARIES {
            assert_eq!(NameMatch::of(variable, "/etc/ssl"), NameMatch::Foreign, "{variable}");
        }
    }

    #[test]
    fn variables_of_kubernetes_services_are_foreign() {
        for (variable, value) in [
            ("REDIS_SERVICE_HOST", "10.0.0.1"),
            ("REDIS_SERVICE_PORT", "6379"),
            ("REDIS_SERVICE_PORT_TCP_REDIS", "6379"),
            ("REDIS_PORT", "tcp://10.0.0.1:6379"),
            ("REDIS_PORT_6379_TCP", "tcp://10.0.0.1:6379"),
            ("REDIS_PORT_6379_TCP_PROTO", "tcp"),
            ("REDIS_PORT_6379_TCP_PORT", "6379"),
            ("REDIS_PORT_6379_TCP_ADDR", "10.0.0.1"),
            ("REDIS_MASTER_PORT_6379_TCP_ADDR", "10.0.0.1"),
            ("CACHE_DB_PORT", "udp://10.0.0.1:53"),
            ("ORIGIN_PORT_80_SCTP", "sctp://10.0.0.1:80"),
            ("CACHEWARP_PORT_8000_TCP", "tcp://10.0.0.1:8000"),
        ] {
            assert_eq!(NameMatch::of(variable, value), NameMatch::Foreign, "{variable}");
        }
        for variable in
            ["REDIS_PORT_X_TCP", "REDIS_PORT_6379_HTTP", "REDIS_PORT_6379_TCP_HOST", "REDIS_PORT_6379"]
        {
            assert_eq!(NameMatch::of(variable, "6379"), NameMatch::Unknown, "{variable}");
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
