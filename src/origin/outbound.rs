//! The head that the origin sees.
//!
//! Always: the fields of the client's connection are gone, its framing is left to the body that is
//! really sent, and what is said of its address, host and scheme is ours (`forwarded.rs`).
//!
//! If the answer may be shared, nothing goes out that could change it and is not in the key: fields
//! by which frameworks replace the path, the host or the method of a request are dropped, and so
//! are preconditions and ranges, because what is wanted is the whole representation and not what
//! this one client lacks of it. Fields that are taken for harmless without being the origin's to
//! name in `Vary` are withheld (`request_fields`).

use std::net::IpAddr;

use http::header::{CONNECTION, COOKIE, Entry, HOST, HeaderName, HeaderValue, UPGRADE, VIA};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Request, Uri};

use super::forwarded::{ForwardedFields, X_FORWARDED_HOST, X_FORWARDED_PROTO};
use super::{FetchError, HostField, Options, OriginOptionsError, UpgradeProtocol, boundary};
use crate::client_address::X_FORWARDED_FOR;
use crate::hop;
use crate::key::{OriginBase, Target, TargetError};
use crate::request_fields::{FieldClass, RequestFields, is_claim};

/// RFC 9110 §7.6.3: the version we speak, and our name.
const VIA_US: HeaderValue = HeaderValue::from_static("1.1 cachewarp");

/// A request, as it was asked of us.
#[derive(Clone, Copy, Debug)]
pub struct OutboundRequest<'a> {
    /// The client's method.
    pub method: &'a Method,
    /// What it addressed: [`OutboundHeads::addressed`], the same that the key is made of.
    pub target: &'a Target,
    /// Its fields, as received.
    pub headers: &'a HeaderMap,
    /// The classes of its fields.
    pub fields: &'a RequestFields,
    /// Who asked.
    pub peer: IpAddr,
    /// What the answer is for.
    pub purpose: &'a FetchPurpose,
}

/// What the answer is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FetchPurpose {
    /// For everybody who asks for the same key.
    Cacheable,
    /// For this client alone.
    Pass,
    /// To switch protocols, and then for this client alone.
    Upgrade(UpgradeProtocol),
}

/// Writes heads. Pure: the same request and options give the same head.
#[derive(Clone, Debug)]
pub struct OutboundHeads {
    host: HostField,
    origin: HeaderValue,
    base: OriginBase,
    trust: ForwardedFields,
}

impl OutboundHeads {
    /// For the origin of these options.
    pub fn new(options: &Options) -> Result<Self, OriginOptionsError> {
        let authority = options.authority.as_str();
        let origin = HeaderValue::from_str(authority)
            .map_err(|_| OriginOptionsError::Authority(authority.to_owned()))?;
        Ok(Self {
            host: options.host,
            origin,
            base: OriginBase {
                scheme: options.scheme,
                authority: options.authority.clone(),
                path: base_path(options)?,
            },
            trust: ForwardedFields::new(options.trusted_proxies.clone()),
        })
    }

    /// Where the origin's own URLs begin.
    pub fn base(&self) -> &OriginBase {
        &self.base
    }

    /// The target as the client addressed it: a trusted proxy says in `X-Forwarded-Host` and
    /// `-Proto` what that was.
    ///
    /// To be asked before the key is made, so that what the origin is told and what the key says
    /// are the same.
    pub fn addressed(&self, target: Target, headers: &HeaderMap, peer: IpAddr) -> Target {
        self.trust.addressed(target, headers, peer)
    }

    /// Who asks, as far as somebody trusted knows: the peer, or whom the trusted proxies in front
    /// of us vouch for. `None` where a trusted proxy says something else than an address.
    pub fn client(&self, headers: &HeaderMap, peer: IpAddr) -> Option<IpAddr> {
        self.trust.client(headers, peer)
    }

    /// Tells whether a target is below the base path, however the origin reads it. A request for
    /// any other is refused, and none is sent.
    pub fn reaches(&self, target: &Target) -> Result<(), TargetError> {
        let outside = !self.base.path.is_empty() && boundary::leads_out(target.path_and_query.as_str());
        if outside { Err(TargetError::OutsideBase) } else { Ok(()) }
    }

    /// The head for the origin, without the framing of a body.
    pub fn head(&self, asked: &OutboundRequest<'_>) -> Result<Parts, FetchError> {
        if asked.method == Method::CONNECT {
            // RFC 9110 §9.3.6: its target is a host to tunnel to, and there is only one host here.
            return Err(FetchError::BadTarget);
        }
        let (mut parts, ()) = Request::new(()).into_parts();
        parts.method = asked.method.clone();
        self.reaches(asked.target).map_err(|_| FetchError::BadTarget)?;
        parts.uri = self.uri(&asked.target.path_and_query)?;
        parts.headers = self.end_to_end(asked)?;
        self.introduce(asked, &mut parts.headers)?;
        match asked.purpose {
            FetchPurpose::Cacheable | FetchPurpose::Pass => {}
            FetchPurpose::Upgrade(protocol) => {
                parts.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
                parts.headers.insert(UPGRADE, protocol.value());
            }
        }
        Ok(parts)
    }

    /// Whether the origin sees the same fields of a request that is sent as it came and of a shared
    /// fetch.
    pub fn sends_as_shared(&self, asked: &OutboundRequest<'_>) -> bool {
        let head = |purpose| self.head(&OutboundRequest { purpose, ..*asked }).map(|head| head.headers);
        match (head(&FetchPurpose::Pass), head(&FetchPurpose::Cacheable)) {
            (Ok(passed), Ok(shared)) => passed == shared,
            (Err(_), _) | (_, Err(_)) => false,
        }
    }

    /// Origin-form, behind the base path; `OPTIONS *` is of the whole server and stays.
    fn uri(&self, path_and_query: &PathAndQuery) -> Result<Uri, FetchError> {
        if self.base.path.is_empty() || path_and_query.as_str() == "*" {
            return Ok(path_and_query.clone().into());
        }
        // RFC 9112 §3.2.1: an empty path is sent as `/`, also in front of a query.
        let slash = if path_and_query.as_str().starts_with('/') { "" } else { "/" };
        PathAndQuery::try_from(format!("{}{slash}{}", self.base.path, path_and_query.as_str()))
            .map(Uri::from)
            .map_err(|_| FetchError::BadTarget)
    }

    /// `Host`, then the client's fields that go on, in its order.
    fn end_to_end(&self, asked: &OutboundRequest<'_>) -> Result<HeaderMap, FetchError> {
        let named: Vec<HeaderName> = hop::named_in_connection(asked.headers).collect();
        let stays_here = |name: &HeaderName| {
            let class = asked.fields.class(name);
            let stays = match class {
                FieldClass::Connection => true,
                FieldClass::Withheld | FieldClass::Dropped => *asked.purpose == FetchPurpose::Cacheable,
                FieldClass::Sent | FieldClass::Credential | FieldClass::Key | FieldClass::Unlisted => false,
            };
            stays || (is_claim(name) && !self.passes_claim(asked, class))
        };
        // Room for what is added: Host, Via, three X-Forwarded-*, Connection and Upgrade, and the
        // body's framing.
        let mut headers = HeaderMap::with_capacity(asked.headers.len() + 8);
        headers.append(HOST, self.host(asked)?);
        for (name, value) in asked.headers {
            if !stays_here(name) && !is_named(name, &named) {
                headers.append(name, value.clone());
            }
        }
        join_cookies(&mut headers);
        Ok(headers)
    }

    /// Whether a claim of where a request came from goes out. With a shared fetch only one that is
    /// in the key does.
    fn passes_claim(&self, asked: &OutboundRequest<'_>, class: FieldClass) -> bool {
        self.trust.covers(asked.peer)
            && (class == FieldClass::Key || *asked.purpose != FetchPurpose::Cacheable)
    }

    /// Whether what the peer says of where a request came from goes out.
    fn believes(&self, asked: &OutboundRequest<'_>) -> ForwardedTrust {
        match asked.purpose {
            FetchPurpose::Pass | FetchPurpose::Upgrade(_) if self.trust.covers(asked.peer) => {
                ForwardedTrust::Yes
            }
            FetchPurpose::Cacheable | FetchPurpose::Pass | FetchPurpose::Upgrade(_) => ForwardedTrust::No,
        }
    }

    fn host(&self, asked: &OutboundRequest<'_>) -> Result<HeaderValue, FetchError> {
        match self.host {
            HostField::Origin => Ok(self.origin.clone()),
            HostField::Client => authority(asked),
        }
    }

    /// Says who we are and for whom we ask.
    fn introduce(&self, asked: &OutboundRequest<'_>, headers: &mut HeaderMap) -> Result<(), FetchError> {
        headers.append(VIA, VIA_US);
        let chain = match asked.purpose {
            FetchPurpose::Cacheable => self.trust.vouched_chain(asked.headers, asked.peer),
            FetchPurpose::Pass | FetchPurpose::Upgrade(_) => {
                self.trust.whole_chain(asked.headers, asked.peer)
            }
        };
        headers.insert(&X_FORWARDED_FOR, chain.ok_or(FetchError::BadTarget)?);
        let scheme = || HeaderValue::from_static(asked.target.scheme.as_str());
        // What is still there was said by a trusted proxy, and stays.
        if self.believes(asked) == ForwardedTrust::Yes {
            headers.entry(&X_FORWARDED_PROTO).or_insert_with(scheme);
            if let Entry::Vacant(place) = headers.entry(&X_FORWARDED_HOST) {
                place.insert(authority(asked)?);
            }
        } else {
            headers.append(&X_FORWARDED_PROTO, scheme());
            headers.append(&X_FORWARDED_HOST, authority(asked)?);
        }
        Ok(())
    }
}

/// Whether what a peer says of where a request came from is passed on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ForwardedTrust {
    Yes,
    No,
}

/// Empty, or something that a path can be put behind.
fn base_path(options: &Options) -> Result<String, OriginOptionsError> {
    let path = &options.base_path;
    let is_prefix = path.starts_with('/') && !path.ends_with('/') && !path.contains(['?', '#']);
    if path.is_empty() || (is_prefix && PathAndQuery::try_from(path.as_str()).is_ok()) {
        Ok(path.clone())
    } else {
        Err(OriginOptionsError::BasePath(path.clone()))
    }
}

/// Whether `Connection` names this field, in either spelling: to CGI and its heirs `_` and `-` are
/// the same.
fn is_named(name: &HeaderName, named: &[HeaderName]) -> bool {
    if named.is_empty() {
        return false;
    }
    let is_same = |one: u8, other: u8| one == other || (one == b'_' && other == b'-');
    named.iter().map(|named| named.as_str()).any(|named| {
        let name = name.as_str();
        named.len() == name.len() && name.bytes().zip(named.bytes()).all(|(one, other)| is_same(one, other))
    })
}

/// RFC 9113 §8.2.3: HTTP/2 may split `Cookie` into several lines, HTTP/1.1 may not.
fn join_cookies(headers: &mut HeaderMap) {
    let mut lines = headers.get_all(COOKIE).iter();
    if lines.next().is_none() || lines.next().is_none() {
        return;
    }
    let crumbs: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(cookie) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        headers.insert(COOKIE, cookie);
    }
}

/// Whom the client asked for, without a copy where it has said so in the same bytes.
fn authority(asked: &OutboundRequest<'_>) -> Result<HeaderValue, FetchError> {
    let authority = asked.target.authority.as_str();
    match asked.headers.get(HOST) {
        Some(said) if said.as_bytes() == authority.as_bytes() => Ok(said.clone()),
        Some(_) | None => text(authority),
    }
}

fn text(value: &str) -> Result<HeaderValue, FetchError> {
    HeaderValue::from_str(value).map_err(|_| FetchError::BadTarget)
}

#[cfg(test)]
mod tests;
