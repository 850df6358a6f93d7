//! Access control of the admin listener: a pure decision from the peer's address, the request head
//! and the settings.
//!
//! With a token configured, every request that carries it is admitted, from any address. Without
//! one, only requests over loopback are admitted, because only this machine's users can send them.
//! A browser on this machine can send them too, on behalf of any web page. Two checks stop such
//! pages: the `Host` must be a loopback name, which a page of another site cannot achieve (DNS
//! rebinding), and a request that changes something must have a JSON body, which a page cannot send
//! without a CORS preflight.

use std::net::IpAddr;

use http::header::{AUTHORIZATION, HOST};
use http::{HeaderMap, StatusCode, Uri};

use crate::readiness::Readiness;
use crate::secret::{Secret, SharedSecret};

/// The settings of the admin listener.
#[derive(Clone, Debug)]
pub struct Options {
    /// The token that an operator sends as `Authorization: Bearer`.
    pub token: SharedSecret,
    /// The phase of the process.
    pub readiness: Readiness,
}

crate::labels! {
    /// The reason why a request is denied.
    pub(super) enum AccessError {
        /// A token is configured, and the request has none.
        NoToken => "no-token",
        /// The request has a wrong token.
        WrongToken => "wrong-token",
        /// No token is configured, and the request is not from this machine.
        Outsider => "outsider",
        /// The request is from this machine, and its `Host` names another one.
        ForeignHost => "foreign-host",
    }
}

impl AccessError {
    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::NoToken | Self::WrongToken => StatusCode::UNAUTHORIZED,
            Self::Outsider | Self::ForeignHost => StatusCode::FORBIDDEN,
        }
    }

    /// Returns the `WWW-Authenticate` value of a `401` (RFC 6750 §3).
    pub(super) fn challenge(self) -> Option<&'static str> {
        match self {
            Self::NoToken => Some("Bearer realm=\"cachewarp\""),
            Self::WrongToken => Some("Bearer realm=\"cachewarp\", error=\"invalid_token\""),
            Self::Outsider | Self::ForeignHost => None,
        }
    }

    pub(super) fn detail(self) -> &'static str {
        match self {
            Self::NoToken => "send the admin_token as Authorization: Bearer",
            Self::WrongToken => "the request has a wrong admin_token",
            Self::Outsider => "without an admin_token, only requests from this machine are allowed",
            Self::ForeignHost => {
                "without an admin_token, Host must be localhost or an address of the loopback interface"
            }
        }
    }
}

/// Admits or denies a request with this head from `peer`.
pub(super) fn admit(
    options: &Options,
    peer: IpAddr,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<(), AccessError> {
    match options.token.get() {
        Some(token) => check_token(&token, headers),
        None if !peer.to_canonical().is_loopback() => Err(AccessError::Outsider),
        None if !is_addressed_to_loopback(uri, headers) => Err(AccessError::ForeignHost),
        None => Ok(()),
    }
}

/// Checks that the request has exactly one `Authorization`, with this token.
fn check_token(token: &Secret, headers: &HeaderMap) -> Result<(), AccessError> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or(AccessError::NoToken)?.as_bytes();
    let (scheme, value) = value.split_at_checked(BEARER.len()).ok_or(AccessError::WrongToken)?;
    let is_bearer = scheme.eq_ignore_ascii_case(BEARER) && values.next().is_none();
    if is_bearer && token.is(value.trim_ascii_start()) { Ok(()) } else { Err(AccessError::WrongToken) }
}

/// The scheme, in any letter case, and a space (RFC 9110 §11.1).
const BEARER: &[u8] = b"bearer ";

fn is_addressed_to_loopback(uri: &Uri, headers: &HeaderMap) -> bool {
    // HTTP/2 has the authority in the target. If a request has both, both must be loopback names.
    let in_target = uri.authority().map(|authority| authority.as_str().as_bytes());
    let mut named =
        in_target.into_iter().chain(headers.get_all(HOST).iter().map(|host| host.as_bytes())).peekable();
    named.peek().is_some() && named.all(is_loopback_name)
}

fn is_loopback_name(authority: &[u8]) -> bool {
    let Ok(uri) = Uri::try_from(authority) else { return false };
    let Some(host) = uri.authority().filter(|named| !named.as_str().contains('@')).map(|named| named.host())
    else {
        return false;
    };
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|ip| ip.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use http::header::HeaderName;

    fn admitted(
        token: Option<&str>,
        peer: &str,
        uri: &str,
        fields: &[(&'static str, &str)],
    ) -> Result<(), AccessError> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        admit(
            &Options { token: SharedSecret::new(token.map(Secret::new)), readiness: Readiness::default() },
            peer.parse().unwrap(),
            &uri.parse().unwrap(),
            &headers,
        )
    }

    #[test]
    fn with_a_token_only_requests_that_carry_it_are_admitted() {
        const FIELD: &str = "authorization";
        for (fields, want) in [
            (&[][..], Err(AccessError::NoToken)),
            (&[(FIELD, "Bearer sesame")], Ok(())),
            (&[(FIELD, "bEARER   sesame")], Ok(())),
            (&[(FIELD, "Bearer sesam")], Err(AccessError::WrongToken)),
            (&[(FIELD, "Bearer sesamee")], Err(AccessError::WrongToken)),
            (&[(FIELD, "Bearer Sesame")], Err(AccessError::WrongToken)),
            (&[(FIELD, "Bearer")], Err(AccessError::WrongToken)),
            (&[(FIELD, "Bearer ")], Err(AccessError::WrongToken)),
            (&[(FIELD, "Basic sesame")], Err(AccessError::WrongToken)),
            (&[(FIELD, "sesame")], Err(AccessError::WrongToken)),
            (&[(FIELD, "Bearer sesame"), (FIELD, "Bearer sesame")], Err(AccessError::WrongToken)),
            (&[("x-token", "sesame")], Err(AccessError::NoToken)),
        ] {
            for peer in ["127.0.0.1", "192.0.2.1"] {
                assert_eq!(admitted(Some("sesame"), peer, "/purge", fields), want, "{peer} {fields:?}");
            }
        }
    }

    #[test]
    fn without_a_token_only_loopback_requests_to_a_loopback_name_are_admitted() {
        for (peer, uri, hosts, want) in [
            ("127.0.0.1", "/purge", &["localhost:8001"][..], Ok(())),
            ("127.9.9.9", "/purge", &["LOCALHOST"], Ok(())),
            ("::ffff:127.0.0.1", "/purge", &["127.0.0.1:8001"], Ok(())),
            ("::1", "/purge", &["[::1]:8001"], Ok(())),
            ("::1", "http://[::1]:8001/purge", &[], Ok(())),
            ("192.0.2.1", "/purge", &["localhost"], Err(AccessError::Outsider)),
            ("::ffff:192.0.2.1", "/purge", &["localhost"], Err(AccessError::Outsider)),
            ("127.0.0.1", "/purge", &[], Err(AccessError::ForeignHost)),
            ("127.0.0.1", "/purge", &["evil.test"], Err(AccessError::ForeignHost)),
            ("127.0.0.1", "/purge", &["localhost.evil.test"], Err(AccessError::ForeignHost)),
            ("127.0.0.1", "/purge", &["127.0.0.1.evil.test"], Err(AccessError::ForeignHost)),
            ("127.0.0.1", "/purge", &["localhost@evil.test"], Err(AccessError::ForeignHost)),
            ("127.0.0.1", "/purge", &["evil.test@localhost"], Err(AccessError::ForeignHost)),
            ("127.0.0.1", "/purge", &["localhost", "evil.test"], Err(AccessError::ForeignHost)),
            ("127.0.0.1", "http://evil.test/purge", &["localhost"], Err(AccessError::ForeignHost)),
            ("127.0.0.1", "/purge", &["0.0.0.0"], Err(AccessError::ForeignHost)),
            ("127.0.0.1", "/purge", &["a b"], Err(AccessError::ForeignHost)),
        ] {
            let fields: Vec<_> = hosts.iter().map(|host| ("host", *host)).collect();
            assert_eq!(admitted(None, peer, uri, &fields), want, "{peer} {uri} {hosts:?}");
        }
    }

    #[test]
    fn a_denial_names_the_setting_that_grants_access() {
        use crate::label::Label;
        for denied in AccessError::ALL {
            assert_eq!(denied.status() == StatusCode::UNAUTHORIZED, denied.challenge().is_some(), "{denied}");
            assert!(denied.detail().contains("admin_token"), "{denied}");
        }
    }
}
