//! URLs with several hosts: `redis+sentinel://a:26379,b:26379/mymaster`. No standard defines them,
//! but many clients accept them.

use url::Url;

use super::parts::{SettingUrlError, host, port};
use crate::limits::REDIS_SEEDS_MAX;
use crate::redis::Endpoint;

/// The parts of a URL with several hosts.
pub(super) struct HostList<'a> {
    /// The URL with the first host only, so that a parser accepts it.
    pub(super) single: String,
    /// All hosts, separated by commas.
    pub(super) listed: &'a str,
}

impl<'a> HostList<'a> {
    /// Splits a URL that contains `://`.
    pub(super) fn of(text: &'a str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, behind) = rest.split_at_checked(end)?;
        let (user, listed) = match authority.rsplit_once('@') {
            Some((user, listed)) => (Some(user), listed),
            None => (None, authority),
        };
        let first = listed.split(',').next()?;
        let user = user.map(|user| format!("{user}@")).unwrap_or_default();
        Some(Self { single: format!("{scheme}://{user}{first}{behind}"), listed })
    }

    /// Returns each host with its port or the default port.
    pub(super) fn endpoints(&self, default_port: u16) -> Result<Vec<Endpoint>, SettingUrlError> {
        let endpoint = |text: &str| {
            let url = Url::parse(&format!("redis://{text}"))?;
            let alone = url.username().is_empty() && matches!(url.path(), "" | "/") && url.query().is_none();
            let host = host(&url)?;
            if alone {
                Ok(Endpoint { host, port: port(&url)?.unwrap_or(default_port) })
            } else {
                Err(SettingUrlError::Host)
            }
        };
        let endpoints: Vec<_> = self.listed.split(',').map(endpoint).collect::<Result<_, _>>()?;
        if endpoints.len() > REDIS_SEEDS_MAX { Err(SettingUrlError::TooManyHosts) } else { Ok(endpoints) }
    }
}
