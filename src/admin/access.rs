//! Who may purge and look inside. Pure: an address, some fields, and what is configured.
//!
//! With a token, whoever sends it, from anywhere. Without one, only this machine, since what comes
//! over loopback was let in by its owner. A browser on this machine is let in too, and does what
//! any page tells it; so without a token the `Host` has to be one of this machine's names, which
//! the page of another site cannot bring about (DNS rebinding), and what changes something has to
//! be JSON, which it cannot send without asking first.

use std::net::IpAddr;

use http::header::{AUTHORIZATION, HOST};
use http::{HeaderMap, StatusCode, Uri};

use crate::secret::Secret;

/// What the admin listener can be told.
#[derive(Clone, Debug)]
pub struct Options {
    /// What an operator sends as `Authorization: Bearer`.
    pub token: Option<Secret>,
}

crate::labels! {
    /// Why somebody may not.
    pub(super) enum AccessError {
        /// There is a token, and the request has none.
        NoToken => "no-token",
        /// It has another.
        WrongToken => "wrong-token",
        /// There is no token, and the request is not from this machine.
        Outsider => "outsider",
        /// It is from this machine, and addressed to another.
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

    /// What goes with a `401` (RFC 6750 §3).
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
            Self::WrongToken => "this is not the admin_token",
            Self::Outsider => "without an admin_token this is for requests from this machine only",
            Self::ForeignHost => {
                "without an admin_token the Host must be localhost or an address of the loopback interface"
            }
        }
    }
}

/// Whether whoever sent this head from `peer` may.
pub(super) fn admit(
    options: &Options,
    peer: IpAddr,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<(), AccessError> {
    match &options.token {
        Some(token) => bears(token, headers),
        None if !peer.to_canonical().is_loopback() => Err(AccessError::Outsider),
        None if !is_addressed_to_loopback(uri, headers) => Err(AccessError::ForeignHost),
        None => Ok(()),
    }
}

/// One `Authorization`, and this token in it.
fn bears(token: &Secret, headers: &HeaderMap) -> Result<(), AccessError> {
    let mut claims = headers.get_all(AUTHORIZATION).iter();
    let claim = claims.next().ok_or(AccessError::NoToken)?.as_bytes();
    let (scheme, claim) = claim.split_at_checked(BEARER.len()).ok_or(AccessError::WrongToken)?;
    let is_bearer = scheme.eq_ignore_ascii_case(BEARER) && claims.next().is_none();
    if is_bearer && token.is(claim.trim_ascii_start()) { Ok(()) } else { Err(AccessError::WrongToken) }
}

/// RFC 9110 §11.1: the scheme in any case, and a space.
const BEARER: &[u8] = b"bearer ";

fn is_addressed_to_loopback(uri: &Uri, headers: &HeaderMap) -> bool {
    // HTTP/2 has the authority in the target. Where there are both, both have to be ours.
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
            &Options { token: token.map(Secret::new) },
            peer.parse().unwrap(),
            &uri.parse().unwrap(),
            &headers,
        )
    }

    #[test]
    fn with_a_token_whoever_sends_it() {
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
    fn without_one_this_machine_by_its_own_name() {
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
    fn a_refusal_says_how_to_be_let_in() {
        use crate::label::Label;
        for denied in AccessError::ALL {
            assert_eq!(denied.status() == StatusCode::UNAUTHORIZED, denied.challenge().is_some(), "{denied}");
            assert!(denied.detail().contains("admin_token"), "{denied}");
        }
    }
}
