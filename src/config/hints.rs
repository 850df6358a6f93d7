//! What to write instead.

use super::args::COMMANDS;
use super::nearest::nearest;
use super::units::{duration_meant, size_meant};
use super::urls::{SettingUrlError, has_unencoded_password};
use super::wrong::ConfigError;

impl ConfigError {
    /// What to do about it, if more can be said than what is wrong.
    pub(super) fn hint(&self, text: &str) -> Option<String> {
        let did_you_mean = |meant: &str| format!("did you mean `{meant}`?");
        let fixed = |hint: &str| Some(hint.to_owned());
        match self {
            Self::Empty => fixed("leave it out to have the default"),
            Self::Twice => fixed("keep one"),
            Self::Duration(_) => Some(match duration_meant(text) {
                Some(meant) => did_you_mean(&meant),
                None => "write a whole number and a unit, such as `250ms`, `30s`, `5m`, `1h`".to_owned(),
            }),
            Self::Size(_) => Some(match size_meant(text) {
                Some(meant) => did_you_mean(&meant),
                None => "write a whole number and a unit, such as `512KiB`, `64MiB`, `1GiB`".to_owned(),
            }),
            Self::Choice(choices) => nearest(text, choices.iter().copied()).map(did_you_mean),
            Self::Address => Some(address_hint(text)),
            Self::SameAddress(_) => fixed("give one of them another port"),
            Self::OwnOrigin(_) => fixed("name the API itself"),
            Self::Url(wrong) => url_hint(wrong, text).map(str::to_owned),
            Self::NotTheNetwork { network, .. } => Some(did_you_mean(network)),
            Self::MediaType(item) if item == "*/*" => Some(did_you_mean("*")),
            Self::MediaType(item) => {
                item.split_once(';').map(|(essence, _)| did_you_mean(essence.trim_end()))
            }
            Self::Status(item) if item.contains("xx") => fixed("list them one by one, or `*` for all"),
            Self::DotenvSyntax => {
                fixed("a value with spaces, quotes or `#` stands between quotes, and a quote is closed")
            }
            Self::DotenvSubstitution => fixed("put the value in single quotes if it means itself"),
            Self::NoToken => fixed("give --token, or set explain_token"),
            Self::NotUtf8 => fixed("save it as UTF-8"),
            Self::Flag { meant, .. } => meant.as_deref().map(did_you_mean),
            Self::Stray(given) => {
                nearest(given, COMMANDS).filter(|command| command != given).map(did_you_mean)
            }
            Self::NamespaceNeeded => {
                fixed("name the API, such as `cache_namespace=payments`, by one name on all of its nodes")
            }
            Self::OtherHalf(_) => fixed("set both, or neither"),
            Self::SecondPassword => fixed("keep one"),
            Self::InBoth { .. } => fixed("keep it in one of the two"),
            Self::NoKeyHeader { .. } | Self::NotHarmless { .. } => fixed("leave it out"),
            Self::File(_)
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
            | Self::Token
            | Self::TokenFlag
            | Self::Log(_)
            | Self::DotenvUnreadable(_)
            | Self::HealthUrl(_)
            | Self::ExplainUrl(_)
            | Self::InspectUrl(_)
            | Self::Purge(_)
            | Self::NoAdmin
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
        Some(_) | None => {
            "write an IP address and a port, such as `127.0.0.1:8000` or `[::1]:8000`".to_owned()
        }
    }
}

/// Behind a URL that was read wrongly because of its password.
const UNENCODED: &str =
    "percent-encode what is special in a password: `#` as %23, `/` as %2F, `?` as %3F, `@` as %40";

fn url_hint(wrong: &SettingUrlError, text: &str) -> Option<&'static str> {
    match wrong {
        _ if has_unencoded_password(text) => Some(UNENCODED),
        SettingUrlError::Malformed(_) if text.contains('@') => Some(UNENCODED),
        SettingUrlError::Scheme { given, .. } if given == "valkey" => {
            Some("it speaks Redis' protocol: write `redis://`")
        }
        SettingUrlError::Scheme { given, .. } if given == "valkeys" => {
            Some("it speaks Redis' protocol: write `rediss://`")
        }
        SettingUrlError::Scheme { given, .. } if given.contains("sentinel") => {
            Some("write `redis+sentinel://host:port,host:port/master`, with `rediss` for TLS")
        }
        SettingUrlError::Scheme { given, .. } if given.contains("cluster") => {
            Some("write `redis+cluster://host:port,host:port`, with `rediss` for TLS")
        }
        SettingUrlError::MasterName => {
            Some("write it behind the hosts: `redis+sentinel://host:port/mymaster`")
        }
        SettingUrlError::UserWithoutPassword => Some("for a password alone write `redis://:password@host`"),
        SettingUrlError::SocketPath => Some("write `unix:///path/to/redis.sock`"),
        SettingUrlError::Database => Some("write `/0` or `?db=0`"),
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
        | SettingUrlError::Parameter(_) => None,
    }
}
