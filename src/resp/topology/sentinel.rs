//! The master's address, from sentinels and from the server itself.
//! <https://redis.io/docs/latest/develop/reference/sentinel-clients/>

use super::endpoint::TopologyError;
use super::endpoint::{Endpoint, number, text, whole};
use crate::labels;
use crate::resp::reply::Reply;

/// Parses the reply to `SENTINEL GET-MASTER-ADDR-BY-NAME`: a host and a port, or nil for an unknown
/// name.
pub fn master_address(reply: &Reply) -> Result<Endpoint, TopologyError> {
    if *reply == Reply::Nil {
        return Err(TopologyError::NoServer);
    }
    let Reply::Array(parts) = reply else { return Err(TopologyError::Form) };
    let [host, port] = &parts[..] else { return Err(TopologyError::Form) };
    let (Some(host), Some(port)) = (text(host), whole(port)) else { return Err(TopologyError::Form) };
    Endpoint::new(host, port).ok_or(TopologyError::Form)
}

labels! {
    /// The role of a server.
    pub enum ServerRole {
        /// Accepts writes.
        Master => "master",
        /// Follows a master.
        Replica => "replica",
        /// Holds no data.
        Sentinel => "sentinel",
    }
}

/// Parses the reply to `ROLE`, by its first word.
pub fn role(reply: &Reply) -> Result<ServerRole, TopologyError> {
    let Reply::Array(parts) = reply else { return Err(TopologyError::Form) };
    match parts.first().and_then(text) {
        Some(b"master") => Ok(ServerRole::Master),
        Some(b"slave" | b"replica") => Ok(ServerRole::Replica),
        Some(b"sentinel") => Ok(ServerRole::Sentinel),
        Some(_) | None => Err(TopologyError::Form),
    }
}

/// Returns the number of a master's replicas: the third part of its reply to `ROLE`.
pub fn replicas(reply: &Reply) -> Result<usize, TopologyError> {
    let Reply::Array(parts) = reply else { return Err(TopologyError::Form) };
    if let Some(Reply::Array(replicas)) = parts.get(2) {
        Ok(replicas.len())
    } else {
        Err(TopologyError::Form)
    }
}

/// A message on the channel `+switch-master`: another server is the master now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MasterSwitch {
    /// The master's name at the sentinels.
    pub name: String,
    /// The new master.
    pub to: Endpoint,
}

/// Parses a pub/sub message, if it is one: `message +switch-master "name host port host port"`, the
/// old address before the new.
pub fn switch(message: &[Reply]) -> Option<MasterSwitch> {
    let [kind, channel, payload] = message else { return None };
    if text(kind)? != b"message" || text(channel)? != b"+switch-master" {
        return None;
    }
    let words: Vec<_> = text(payload)?.split(|byte| *byte == b' ').collect();
    let [name, _, _, host, port] = words[..] else { return None };
    let to = Endpoint::new(host, number(port)?)?;
    Some(MasterSwitch { name: str::from_utf8(name).ok()?.to_owned(), to })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &'static str) -> Reply {
        Reply::Bulk(text.into())
    }

    #[test]
    fn addresses_of_masters() {
        let reply = Reply::Array(vec![bulk("10.0.0.1"), bulk("6379")]);
        assert_eq!(master_address(&reply).map(|to| to.to_string()), Ok("10.0.0.1:6379".to_owned()));
        assert_eq!(master_address(&Reply::Nil), Err(TopologyError::NoServer));
        for reply in [
            Reply::Array(vec![]),
            Reply::Array(vec![bulk("10.0.0.1")]),
            Reply::Array(vec![bulk(""), bulk("6379")]),
            Reply::Array(vec![bulk("a"), bulk("0")]),
            Reply::Array(vec![bulk("a"), bulk("6379"), bulk("b")]),
            Reply::Array(vec![Reply::Nil, bulk("1")]),
            Reply::Integer(1),
            bulk("10.0.0.1:6379"),
        ] {
            assert_eq!(master_address(&reply), Err(TopologyError::Form), "{reply:?}");
        }
    }

    #[test]
    fn roles() {
        for (first, role_read) in [
            ("master", ServerRole::Master),
            ("slave", ServerRole::Replica),
            ("sentinel", ServerRole::Sentinel),
        ] {
            assert_eq!(role(&Reply::Array(vec![bulk(first), Reply::Integer(0)])), Ok(role_read));
        }
        for reply in [Reply::Array(vec![]), Reply::Array(vec![bulk("king")]), bulk("master"), Reply::Nil] {
            assert_eq!(role(&reply), Err(TopologyError::Form), "{reply:?}");
        }
    }

    #[test]
    fn a_master_names_its_replicas() {
        let master = |replicas| Reply::Array(vec![bulk("master"), Reply::Integer(87), replicas]);
        let replica = Reply::Array(vec![bulk("10.0.0.2"), bulk("6379"), bulk("87")]);
        assert_eq!(replicas(&master(Reply::Array(vec![]))), Ok(0));
        assert_eq!(replicas(&master(Reply::Array(vec![replica.clone(), replica]))), Ok(2));
        for reply in [master(bulk("10.0.0.2")), Reply::Array(vec![bulk("master")]), Reply::Nil] {
            assert_eq!(replicas(&reply), Err(TopologyError::Form), "{reply:?}");
        }
    }

    #[test]
    fn a_switch_names_the_new_master_last() {
        let message = |payload| [bulk("message"), bulk("+switch-master"), bulk(payload)];
        let switched = switch(&message("mymaster 127.0.0.1 6379 127.0.0.2 6380")).unwrap();
        assert_eq!(
            (switched.name.as_str(), switched.to.to_string()),
            ("mymaster", "127.0.0.2:6380".to_owned())
        );
        for payload in ["", "mymaster", "m a 1 b", "m a 1 b 0", "m a 1 b 2 c", "m a 1  2", "m a 1 b 65536"] {
            assert_eq!(switch(&message(payload)), None, "{payload}");
        }
        assert_eq!(switch(&[bulk("subscribe"), bulk("+switch-master"), Reply::Integer(1)]), None);
        assert_eq!(switch(&[bulk("message"), bulk("+sdown"), bulk("m a 1 b 2")]), None);
        assert_eq!(switch(&[]), None);
    }
}
