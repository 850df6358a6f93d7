//! Upgrades: the protocol that a client requests to switch to (RFC 9110 §7.8).
//!
//! The proxy does not forward every such request. An upgrade to another version of HTTP would give
//! the client a connection to the origin that bypasses every decision of this proxy ("h2c
//! smuggling"). A list of protocols leaves the choice to the origin. A [`UpgradeProtocol`] proves
//! that the request is neither.

use http::header::{CONNECTION, HeaderValue, UPGRADE};
use http::{HeaderMap, Method};

use crate::hop;

/// Protocol other than HTTP, such as `websocket`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpgradeProtocol(HeaderValue);

impl UpgradeProtocol {
    /// Returns the protocol that a request head asks to switch to, if it can be tunnelled.
    pub fn asked(method: &Method, headers: &HeaderMap) -> Option<Self> {
        // RFC 6455 §4.1; a request with a body would have to be complete before the switch.
        if method != Method::GET || !has_upgrade_option(headers) {
            return None;
        }
        Self::named(headers)
    }

    /// Returns the value of `Upgrade`.
    pub(super) fn value(&self) -> HeaderValue {
        self.0.clone()
    }

    /// Returns whether the head of a 101 switches to this protocol.
    pub(super) fn is_granted(&self, headers: &HeaderMap) -> bool {
        Self::named(headers)
            .is_some_and(|granted| granted.0.as_bytes().eq_ignore_ascii_case(self.0.as_bytes()))
    }

    /// Returns the one protocol that `Upgrade` names.
    fn named(headers: &HeaderMap) -> Option<Self> {
        let mut lines = headers.get_all(UPGRADE).iter();
        let (Some(line), None) = (lines.next(), lines.next()) else { return None };
        let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~/".contains(byte);
        let is_http = |name: &[u8]| {
            let name = name.split(|&byte| byte == b'/').next().unwrap_or_default();
            [&b"http"[..], b"h2c", b"h2", b"tls"].iter().any(|http| name.eq_ignore_ascii_case(http))
        };
        let name = line.as_bytes();
        let is_single = !name.is_empty() && name.iter().all(is_token);
        (is_single && !is_http(name)).then(|| Self(line.clone()))
    }
}

fn has_upgrade_option(headers: &HeaderMap) -> bool {
    // Heads rarely have the field: one look at each name costs less than a search.
    headers.keys().any(|name| *name == UPGRADE) && connection_lists_upgrade(headers)
}

fn connection_lists_upgrade(headers: &HeaderMap) -> bool {
    headers.get_all(CONNECTION).iter().any(|line| hop::lists(line, b"upgrade"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(connection: &str, upgrade: &[&str]) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(CONNECTION, connection.parse().unwrap());
        for line in upgrade {
            headers.append(UPGRADE, line.parse().unwrap());
        }
        UpgradeProtocol::asked(&Method::GET, &headers).is_some()
    }

    #[test]
    fn only_one_protocol_other_than_http_is_accepted() {
        assert!(asked("Upgrade", &["websocket"]));
        assert!(asked("keep-alive, UPGRADE", &["WebSocket"]));
        assert!(asked("upgrade", &["custom/1.0"]));
        assert!(!asked("keep-alive", &["websocket"]));
        for refused in ["h2c", "H2C", "http/2.0", "HTTP/3", "TLS/1.0", "", "websocket, h2c", "web socket"] {
            assert!(!asked("upgrade", &[refused]), "{refused:?}");
        }
        assert!(!asked("upgrade", &["websocket", "h2c"]));
        assert!(!asked("upgrade", &[]));
    }

    #[test]
    fn only_a_get_upgrades() {
        let mut headers = HeaderMap::new();
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        assert!(UpgradeProtocol::asked(&Method::GET, &headers).is_some());
        assert!(UpgradeProtocol::asked(&Method::POST, &headers).is_none());
    }

    #[test]
    fn only_the_requested_protocol_is_granted() {
        let protocol = UpgradeProtocol(HeaderValue::from_static("websocket"));
        let granted =
            |value| protocol.is_granted(&HeaderMap::from_iter([(UPGRADE, HeaderValue::from_static(value))]));
        assert!(granted("WebSocket"));
        assert!(!granted("other"));
        assert!(!protocol.is_granted(&HeaderMap::new()));
    }
}
