//! Fields about the client for the origin: `X-Forwarded-For`, `-Host` and `-Proto`.
//!
//! Most clients make such statements about themselves, and the proxy drops them. It trusts a peer
//! within `trusted_proxies`, but only for facts that the peer can know: these fields are not in the
//! cache key, and a response that depends on them would reach every client.
//!
//! - **Host and Proto.** The values of a trusted proxy become part of the *target* (`addressed`)
//!   before the key is made. So the origin always receives the values of the key, and two responses
//!   that could differ have two keys.
//! - **For.** The origin needs the client's address for logs and limits, also on shared fetches; it
//!   is the one value here that is not in the key. On a shared fetch it contains only addresses
//!   that no client can choose: the peer's own, behind the addresses that trusted proxies vouch
//!   for, back to the first that is not a trusted proxy. The client itself wrote any entry further
//!   left, and could claim to be `127.0.0.1` for every other client. An origin whose response
//!   depends on the client's address must mark it `private`.

use std::cell::RefCell;
use std::net::IpAddr;

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};
use ipnet::IpNet;

use crate::client_address::{TrustedProxies, hops};
use crate::key::{Authority, Scheme, Target};

/// Host that the client requested.
pub(super) static X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// Scheme of the client's request.
pub(super) static X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Trusted proxies, and the fields that describe their clients.
#[derive(Clone, Debug)]
pub(super) struct ForwardedFields {
    proxies: TrustedProxies,
    /// Last peer without a chain, with its text: connections carry many requests, and a proxy in
    /// front has many connections.
    last: RefCell<Option<(IpAddr, HeaderValue)>>,
}

impl ForwardedFields {
    pub(super) fn new(networks: Vec<IpNet>) -> Self {
        Self { proxies: TrustedProxies::new(networks), last: RefCell::default() }
    }

    pub(super) fn covers(&self, peer: IpAddr) -> bool {
        self.proxies.covers(peer)
    }

    /// Returns the target as the client addressed it, before the trusted proxies in between.
    ///
    /// A missing, malformed or repeated value is ignored, and the request's own value applies.
    pub(super) fn addressed(&self, target: Target, headers: &HeaderMap, peer: IpAddr) -> Target {
        if !self.covers(peer) {
            return target;
        }
        let scheme = match single_value(headers, &X_FORWARDED_PROTO) {
            Some(proto) if proto.eq_ignore_ascii_case(b"http") => Scheme::Http,
            Some(proto) if proto.eq_ignore_ascii_case(b"https") => Scheme::Https,
            _ => target.scheme,
        };
        // The scheme decides the default port, so the authority is parsed again even if only the
        // scheme changed.
        let host =
            single_value(headers, &X_FORWARDED_HOST).and_then(|host| Authority::parse(scheme, host).ok());
        let authority = host
            .or_else(|| Authority::parse(scheme, target.authority.as_str().as_bytes()).ok())
            .unwrap_or(target.authority);
        Target { scheme, authority, path_and_query: target.path_and_query }
    }

    /// Finds the client, see [`TrustedProxies::client`].
    pub(super) fn client(&self, headers: &HeaderMap, peer: IpAddr) -> Option<IpAddr> {
        self.proxies.client(headers, peer)
    }

    /// Returns `X-Forwarded-For` of a shared fetch: only addresses that a trusted proxy vouches
    /// for. Returns `None` if no field can hold it, here and below.
    pub(super) fn trusted_chain(&self, headers: &HeaderMap, peer: IpAddr) -> Option<HeaderValue> {
        if !self.covers(peer) {
            return self.peer_only(peer);
        }
        let mut chain = peer.to_canonical().to_string();
        let mut nearest = peer;
        for hop in hops(headers).rev() {
            if !self.covers(nearest) {
                break;
            }
            let Some(address) = hop.and_then(|text| text.parse::<IpAddr>().ok()) else { break };
            chain.insert_str(0, ", ");
            chain.insert_str(0, &address.to_canonical().to_string());
            nearest = address;
        }
        HeaderValue::try_from(chain).ok()
    }

    /// Returns `X-Forwarded-For` of a request for one client: a trusted proxy's list, and the peer.
    pub(super) fn full_chain(&self, headers: &HeaderMap, peer: IpAddr) -> Option<HeaderValue> {
        if !self.covers(peer) {
            return self.peer_only(peer);
        }
        let mut chain = String::new();
        for hop in hops(headers).flatten() {
            chain.push_str(hop);
            chain.push_str(", ");
        }
        chain.push_str(&peer.to_canonical().to_string());
        HeaderValue::try_from(chain).ok()
    }

    /// Returns the peer alone.
    fn peer_only(&self, peer: IpAddr) -> Option<HeaderValue> {
        let mut last = self.last.borrow_mut();
        if let Some((known, value)) = &*last
            && *known == peer
        {
            return Some(value.clone());
        }
        let value = address_value(peer)?;
        *last = Some((peer, value.clone()));
        Some(value)
    }
}

/// Returns the text of an address. IPv4 is written in place and not formatted.
fn address_value(address: IpAddr) -> Option<HeaderValue> {
    let IpAddr::V4(address) = address.to_canonical() else {
        return HeaderValue::try_from(address.to_string()).ok();
    };
    let (mut text, mut filled) = ([b'.'; "255.255.255.255.".len()], 0);
    for octet in address.octets() {
        let mut digits = itoa::Buffer::new();
        let digits = digits.format(octet).as_bytes();
        text.get_mut(filled..filled + digits.len())?.copy_from_slice(digits);
        filled += digits.len() + 1;
    }
    HeaderValue::from_bytes(text.get(..filled - 1)?).ok()
}

/// Returns the value of a field that has exactly one line.
fn single_value<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a [u8]> {
    let mut lines = headers.get_all(name).iter().map(HeaderValue::as_bytes);
    match (lines.next(), lines.next()) {
        (Some(value), None) => Some(value),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::uri::PathAndQuery;

    fn forwarded() -> ForwardedFields {
        ForwardedFields::new(vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()])
    }

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .fold(HeaderMap::new(), |mut headers, (name, value)| {
                headers.append(name, value);
                headers
            })
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_trusted_proxy_states_the_addressed_target() {
        const HOST: &str = "x-forwarded-host";
        const PROTO: &str = "x-forwarded-proto";
        for (peer, fields, expected) in [
            ("192.0.2.1", &[(HOST, "evil.test"), (PROTO, "https")][..], "http://inner:8000/a?b"),
            ("10.0.0.1", &[], "http://inner:8000/a?b"),
            ("10.0.0.1", &[(HOST, "API.test:443"), (PROTO, "HTTPS")], "https://api.test/a?b"),
            ("10.0.0.1", &[(PROTO, "https")], "https://inner:8000/a?b"),
            ("10.0.0.1", &[(PROTO, "gopher")], "http://inner:8000/a?b"),
            ("10.0.0.1", &[(PROTO, "https, http")], "http://inner:8000/a?b"),
            ("10.0.0.1", &[(PROTO, "https"), (PROTO, "http")], "http://inner:8000/a?b"),
            ("10.0.0.1", &[(HOST, "a.test, b.test")], "http://inner:8000/a?b"),
            ("10.0.0.1", &[(HOST, "a.test"), (HOST, "b.test")], "http://inner:8000/a?b"),
            ("10.0.0.1", &[(HOST, "user@a.test")], "http://inner:8000/a?b"),
        ] {
            let target = Target {
                scheme: Scheme::Http,
                authority: Authority::parse(Scheme::Http, b"inner:8000").unwrap(),
                path_and_query: PathAndQuery::from_static("/a?b"),
            };
            let target = forwarded().addressed(target, &headers(fields), ip(peer));
            let target = format!(
                "{}://{}{}",
                target.scheme.as_str(),
                target.authority.as_str(),
                target.path_and_query
            );
            assert_eq!(target, expected, "{peer} {fields:?}");
        }
    }

    #[test]
    fn trusted_and_full_chains() {
        const FOR: &str = "x-forwarded-for";
        for (peer, fields, trusted, full) in [
            ("192.0.2.1", &[][..], "192.0.2.1", "192.0.2.1"),
            ("192.0.2.1", &[(FOR, "127.0.0.1")], "192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", &[], "192.0.2.1", "192.0.2.1"),
            ("10.0.0.1", &[], "10.0.0.1", "10.0.0.1"),
            ("10.0.0.1", &[(FOR, "192.0.2.7")], "192.0.2.7, 10.0.0.1", "192.0.2.7, 10.0.0.1"),
            (
                "10.0.0.1",
                &[(FOR, "127.0.0.1, 192.0.2.7"), (FOR, "10.0.0.2")],
                "192.0.2.7, 10.0.0.2, 10.0.0.1",
                "127.0.0.1, 192.0.2.7, 10.0.0.2, 10.0.0.1",
            ),
            ("10.0.0.1", &[(FOR, "10.9.9.9")], "10.9.9.9, 10.0.0.1", "10.9.9.9, 10.0.0.1"),
            ("10.0.0.1", &[(FOR, "<script>")], "10.0.0.1", "<script>, 10.0.0.1"),
            ("10.0.0.1", &[(FOR, "192.0.2.7, <b>")], "10.0.0.1", "192.0.2.7, <b>, 10.0.0.1"),
            ("10.0.0.1", &[(FOR, " , 192.0.2.7,")], "192.0.2.7, 10.0.0.1", "192.0.2.7, 10.0.0.1"),
            ("fd00::1", &[(FOR, "2001:db8::7")], "2001:db8::7, fd00::1", "2001:db8::7, fd00::1"),
        ] {
            let headers = headers(fields);
            assert_eq!(forwarded().trusted_chain(&headers, ip(peer)).unwrap(), trusted, "{peer} {fields:?}");
            assert_eq!(forwarded().full_chain(&headers, ip(peer)).unwrap(), full, "{peer} {fields:?}");
        }
    }
}
