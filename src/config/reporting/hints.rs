//! Hints: corrections that follow an error.

use crate::config::reporting::error::ConfigError;
use crate::config::sources::args::{COMMANDS, PURGE};
use crate::config::sources::spelling::nearest;
use crate::config::urls::{SettingUrlError, has_unencoded_password};
use crate::purge::PurgeOrderError;
use crate::quantity::{suggested_duration, suggested_size};

/// The flags that name an item to purge.
const PURGE_FLAGS: &str = "use --url, --tag, --group, --prefix or --all";

impl ConfigError {
    /// Returns a correction, if one is known.
    pub(in crate::config) fn hint(&self, text: &str) -> Option<String> {
        let did_you_mean = |suggestion: &str| format!("did you mean `{suggestion}`?");
        let fixed = |hint: &str| Some(hint.to_owned());
        match self {
            Self::Empty => fixed("remove it to use the default"),
            Self::Repeated => fixed("keep one of them"),
            Self::Duration(_) => Some(match suggested_duration(text) {
                Some(suggestion) => did_you_mean(&suggestion),
                None => "use a whole number and a unit, such as `250ms`, `30s`, `5m`, `1h`".to_owned(),
            }),
            Self::Size(_) => Some(match suggested_size(text) {
                Some(suggestion) => did_you_mean(&suggestion),
                None => "use a whole number and a unit, such as `512KiB`, `64MiB`, `1GiB`".to_owned(),
            }),
            Self::Choice(choices) => nearest(text, choices.iter().copied()).map(did_you_mean),
            Self::UnequalLists { .. } => fixed("give one file for each certificate, in the same order"),
            Self::Address => Some(address_hint(text)),
            Self::SameAddress(_) => fixed("use another port or socket for one of them"),
            Self::OwnOrigin(_) => fixed("use the address of the API"),
            Self::Url(error) => url_hint(error, text).map(str::to_owned),
            Self::NotTheNetwork { network, .. } => Some(did_you_mean(network)),
            Self::MediaType(item) if item == "*/*" => Some(did_you_mean("*")),
            Self::MediaType(item) => {
                item.split_once(';').map(|(essence, _)| did_you_mean(essence.trim_end()))
            }
            Self::Status(item) if item.contains("xx") => fixed("list each status, or use `*` for all"),
            Self::DotenvSyntax => fixed("quote a value that has spaces, quotes or `#`, and close the quotes"),
            Self::DotenvSubstitution => fixed("put the value in single quotes to keep the `$`"),
            Self::NoToken => fixed("use --token, or set explain_token"),
            Self::NotUtf8 => fixed("save it as UTF-8"),
            Self::Flag { suggestion, .. } => suggestion.as_deref().map(did_you_mean),
            Self::Misspelt { meant, .. } => Some(did_you_mean(meant)),
            Self::UnexpectedArgument { command, .. } if *command == PURGE => fixed(PURGE_FLAGS),
            Self::Purge(PurgeOrderError::Nothing) => fixed(PURGE_FLAGS),
            Self::UnexpectedWord(given) if given == "help" => Some(did_you_mean("--help")),
            Self::UnexpectedWord(given) => {
                nearest(given, COMMANDS).filter(|command| command != given).map(did_you_mean)
            }
            Self::NamespaceNeeded => {
                fixed("set one name on all nodes of the API, such as `cache_namespace=payments`")
            }
            Self::Requires(_) => fixed("set both, or neither"),
            Self::SecondPassword | Self::OtherSecret(_) => fixed("keep one of them"),
            Self::InBoth { .. } => fixed("keep it in one of the two"),
            Self::NoKeyHeader { .. }
            | Self::NotHarmless { .. }
            | Self::NeededHeader(_)
            | Self::RequestIdOfRoute { .. } => fixed("remove it"),
            Self::NoRequestId { .. } => fixed("use a header of its own, such as `x-request-id`, or `off`"),
            Self::SocketPath => fixed("use `unix:/run/cachewarp/api.sock`"),
            Self::SocketMode => fixed("use `unix:/run/cachewarp/api.sock?mode=660`"),
            Self::File(_)
            | Self::TlsOnSocket
            | Self::NeedsEntryKeys
            | Self::Number
            | Self::Below(_)
            | Self::Above(_)
            | Self::EmptyItem
            | Self::Network(_)
            | Self::Status(_)
            | Self::PartStatus(_)
            | Self::HeaderName(_)
            | Self::KeyHeaders
            | Self::CookieName(_)
            | Self::KeyPrefix
            | Self::NodeName
            | Self::StreamName
            | Self::Token
            | Self::TokenFlag
            | Self::Log(_)
            | Self::DotenvUnreadable(_)
            | Self::Renamed { .. }
            | Self::HealthUrl(_)
            | Self::ExplainUrl(_)
            | Self::InspectUrl(_)
            | Self::Purge(_)
            | Self::PurgeItem { .. }
            | Self::UnexpectedArgument { .. }
            | Self::NoAdmin
            | Self::HealthNeedsAdmin
            | Self::ProbePath
            | Self::SamePath(_)
            | Self::ServerName
            | Self::Route(_)
            | Self::FurtherRouteErrors(_)
            | Self::Method(_)
            | Self::NoRoutes
            | Self::Field(_)
            | Self::Usage(_) => None,
        }
    }
}

fn address_hint(text: &str) -> String {
    let port = text.rsplit(':').next().filter(|port| port.parse::<u16>().is_ok());
    match port {
        Some(port) if text == port || text.strip_suffix(port) == Some(":") => {
            format!("did you mean `127.0.0.1:{port}`, or `[::]:{port}` for every interface?")
        }
        Some(port) if text.starts_with("localhost") => format!("did you mean `127.0.0.1:{port}`?"),
        Some(_) | None => "use an IP address and a port, such as `127.0.0.1:8000` or `[::1]:8000`".to_owned(),
    }
}

/// The hint for a URL whose password was not percent-encoded.
const UNENCODED: &str =
    "percent-encode special characters of the password: `#` as %23, `/` as %2F, `?` as %3F, `@` as %40";

fn url_hint(error: &SettingUrlError, text: &str) -> Option<&'static str> {
    match error {
        _ if has_unencoded_password(text) => Some(UNENCODED),
        SettingUrlError::Malformed(_) if text.contains('@') => Some(UNENCODED),
        SettingUrlError::Scheme { given, .. } if given == "valkey" => {
            Some("Valkey speaks the protocol of Redis: use `redis://`")
        }
        SettingUrlError::Scheme { given, .. } if given == "valkeys" => {
            Some("Valkey speaks the protocol of Redis: use `rediss://`")
        }
        SettingUrlError::Scheme { given, .. } if given.contains("sentinel") => {
            Some("use `redis+sentinel://host:port,host:port/master`, with `rediss` for TLS")
        }
        SettingUrlError::Scheme { given, .. } if given.contains("cluster") => {
            Some("use `redis+cluster://host:port,host:port`, with `rediss` for TLS")
        }
        SettingUrlError::MasterName => Some("append it to the hosts: `redis+sentinel://host:port/mymaster`"),
        SettingUrlError::UserWithoutPassword => {
            Some("for a password without a user use `redis://:password@host`")
        }
        SettingUrlError::SocketPath => Some("use `unix:///path/to.sock`"),
        SettingUrlError::Database => Some("use `/0` or `?db=0`"),
        SettingUrlError::NoScheme
        | SettingUrlError::Malformed(_)
        | SettingUrlError::Scheme { .. }
        | SettingUrlError::Host
        | SettingUrlError::PortZero
        | SettingUrlError::TooManyHosts
        | SettingUrlError::ClusterDatabase
        | SettingUrlError::AtSignBehindHost
        | SettingUrlError::UserInformation
        | SettingUrlError::Trailer
        | SettingUrlError::AuthoritiesUnused
        | SettingUrlError::Parameter(_) => None,
    }
}
