//! URLs with several hosts: `redis+sentinel://a:26379,b:26379/mymaster`. No standard has them, and
//! many clients.

use url::Url;

use super::{SettingUrlError, host, port};
use crate::limits::REDIS_SEEDS_MAX;
use crate::redis::Endpoint;

/// Text taken apart.
pub(super) struct HostList<'a> {
    /// The same URL with the first host only, which is one that can be parsed.
    pub(super) single: String,
    /// All hosts, with the commas between them.
    pub(super) listed: &'a str,
}

impl<'a> HostList<'a> {
    /// Of a URL with `://`.
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

    /// Each of them, with a port for those that name none.
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
