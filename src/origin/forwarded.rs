//! Who asked, and for what, as the origin is told: `X-Forwarded-For`, `-Host` and `-Proto`.
//!
//! From most clients such fields are claims about themselves, and are dropped. A peer within
//! `trusted_proxies` is believed, but never for more than it can know, because these fields are not
//! in the cache key and what the origin makes of them would be served to everybody:
//!
//! - **Host and Proto.** A trusted proxy's are taken into the *target* (`addressed`), before the
//!   key is made of it. So what the origin is told is always what the key says, and two answers
//!   that could differ have two keys.
//! - **For.** The origin wants the client's address, to log and to limit, and gets it on shared
//!   fetches too; it is the one thing said there that is not in the key. It is then restricted to
//!   what nobody could write at will: the peer's own address, behind those addresses that trusted
//!   proxies vouch for, back to the first that is not a trusted proxy. What stands further left in
//!   the list was written by that client itself and would let it claim to be `127.0.0.1` on
//!   everybody's behalf. An origin whose answer depends on the client's address has to mark it
//!   `private`.

use std::cell::RefCell;
use std::net::IpAddr;

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};
use ipnet::IpNet;

use crate::client_address::{TrustedProxies, hops};
use crate::key::{Authority, Scheme, Target};

/// The host that the client asked for.
pub(super) static X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// The scheme by which the client asked for it.
pub(super) static X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The peers whose word is taken.
#[derive(Clone, Debug)]
pub(super) struct ForwardedFields {
    proxies: TrustedProxies,
    /// The last peer that nobody was named behind, and how it is written: connections carry many
    /// requests, and the next hop in front of us many connections.
    last: RefCell<Option<(IpAddr, HeaderValue)>>,
}

impl ForwardedFields {
    pub(super) fn new(networks: Vec<IpNet>) -> Self {
        Self { proxies: TrustedProxies::new(networks), last: RefCell::default() }
    }

    pub(super) fn covers(&self, peer: IpAddr) -> bool {
        self.proxies.covers(peer)
    }

    /// The target as the client addressed it, before the trusted proxies in between.
    ///
    /// A value that is missing, malformed, or one of several says nothing, and the request's own
    /// stands.
    pub(super) fn addressed(&self, target: Target, headers: &HeaderMap, peer: IpAddr) -> Target {
        if !self.covers(peer) {
            return target;
        }
        let scheme = match only(headers, &X_FORWARDED_PROTO) {
            Some(proto) if proto.eq_ignore_ascii_case(b"http") => Scheme::Http,
            Some(proto) if proto.eq_ignore_ascii_case(b"https") => Scheme::Https,
            _ => target.scheme,
        };
        // The scheme decides which port is the default one, so the authority is read again even if
        // only that changed.
        let host = only(headers, &X_FORWARDED_HOST).and_then(|host| Authority::parse(scheme, host).ok());
        let authority = host
            .or_else(|| Authority::parse(scheme, target.authority.as_str().as_bytes()).ok())
            .unwrap_or(target.authority);
        Target { scheme, authority, path_and_query: target.path_and_query }
    }

    /// Finds the client, see [`TrustedProxies::client`].
    pub(super) fn client(&self, headers: &HeaderMap, peer: IpAddr) -> Option<IpAddr> {
        self.proxies.client(headers, peer)
    }

    /// `X-Forwarded-For` of a fetch whose answer may be shared: only addresses that somebody
    /// trusted vouches for. `None` where no field can hold it, here and below.
    pub(super) fn vouched_chain(&self, headers: &HeaderMap, peer: IpAddr) -> Option<HeaderValue> {
        if !self.covers(peer) {
            return self.alone(peer);
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

    /// `X-Forwarded-For` of a request that concerns nobody but its client: a trusted proxy's list,
    /// and the peer.
    pub(super) fn whole_chain(&self, headers: &HeaderMap, peer: IpAddr) -> Option<HeaderValue> {
        if !self.covers(peer) {
            return self.alone(peer);
        }
        let mut chain = String::new();
        for hop in hops(headers).flatten() {
            chain.push_str(hop);
            chain.push_str(", ");
        }
        chain.push_str(&peer.to_canonical().to_string());
        HeaderValue::try_from(chain).ok()
    }

    /// Nobody but the peer.
    fn alone(&self, peer: IpAddr) -> Option<HeaderValue> {
        let mut last = self.last.borrow_mut();
        if let Some((known, value)) = &*last
            && *known == peer
        {
            return Some(value.clone());
        }
        let value = written(peer)?;
        *last = Some((peer, value.clone()));
        Some(value)
    }
}

/// An address as it is written. The usual kind is put together where it stands and not formatted.
fn written(address: IpAddr) -> Option<HeaderValue> {
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

/// A field's value if it has exactly one.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a [u8]> {
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

    fn trust() -> ForwardedFields {
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
    fn a_trusted_proxy_says_what_was_addressed() {
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
            let seen = trust().addressed(target, &headers(fields), ip(peer));
            let seen =
                format!("{}://{}{}", seen.scheme.as_str(), seen.authority.as_str(), seen.path_and_query);
            assert_eq!(seen, expected, "{peer} {fields:?}");
        }
    }

    #[test]
    fn chains() {
        const FOR: &str = "x-forwarded-for";
        for (peer, fields, vouched, whole) in [
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
            assert_eq!(trust().vouched_chain(&headers, ip(peer)).unwrap(), vouched, "{peer} {fields:?}");
            assert_eq!(trust().whole_chain(&headers, ip(peer)).unwrap(), whole, "{peer} {fields:?}");
        }
    }
}
