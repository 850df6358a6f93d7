//! Request heads that the origin receives.
//!
//! **Always:** the fields of the client's connection are removed, the body that is sent determines
//! the framing, and this proxy writes the address, host and scheme of the client (`forwarded.rs`).
//!
//! If the response may be shared, the head has no field that could change it and is not in the key.
//! Fields with which frameworks override the path, host or method of a request are dropped. So are
//! preconditions and ranges, because the fetch needs the whole representation. Fields on the list
//! of harmless ones, which the origin cannot name in `Vary`, are withheld (`request_fields`).

use std::net::IpAddr;

use http::header::{CONNECTION, COOKIE, EXPECT, Entry, HOST, HeaderName, HeaderValue, UPGRADE, VIA};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Request, Uri, Version};

use super::boundary;
use super::forwarded::{ForwardedFields, X_FORWARDED_HOST, X_FORWARDED_PROTO};
use super::via::ViaName;
use super::{links, max_forwards};
use crate::client_address::X_FORWARDED_FOR;
use crate::hop;
use crate::key::{KeyRules, OriginBase, Target, TargetError};
use crate::origin::error::{FetchError, OriginOptionsError};
use crate::origin::options::{HostField, LinkRewrite, Options};
use crate::origin::protocol::UpgradeProtocol;
use crate::request_fields::{FieldClass, RequestFields, is_forwarding_field, is_spelling};
use crate::request_id::RequestId;

/// Request of a client, as received.
#[derive(Clone, Copy, Debug)]
pub struct OutboundRequest<'a> {
    /// Method of the request.
    pub method: &'a Method,
    /// Target as addressed by the client ([`OutboundHeads::addressed`]); the key is made of it.
    pub target: &'a Target,
    /// Fields as received.
    pub headers: &'a HeaderMap,
    /// Classes of the fields.
    pub fields: &'a RequestFields,
    /// Address of the peer.
    pub peer: IpAddr,
    /// Version of HTTP of the request.
    pub version: Version,
    /// Id of the request.
    pub id: Option<&'a RequestId>,
    /// Purpose of the response.
    pub purpose: &'a FetchPurpose,
}

/// Purpose of a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FetchPurpose {
    /// A response shared by all requests with this key.
    Cacheable,
    /// A response for this client alone.
    Pass,
    /// A switch of protocols, for this client alone.
    Upgrade(UpgradeProtocol),
}

/// Writer of request heads. Pure: equal requests and options give equal heads.
#[derive(Clone, Debug)]
pub struct OutboundHeads {
    host: HostField,
    origin: HeaderValue,
    base: OriginBase,
    forwarded: ForwardedFields,
    via: ViaName,
    request_id_header: Option<HeaderName>,
    links: LinkRewrite,
}

impl OutboundHeads {
    /// Creates the writer for the origin of these options.
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
            forwarded: ForwardedFields::new(options.trusted_proxies.clone()),
            via: options.via.clone(),
            request_id_header: options.request_id_header.clone(),
            links: options.links,
        })
    }

    /// Returns the base of the origin's own URLs.
    pub fn base(&self) -> &OriginBase {
        &self.base
    }

    /// Returns the target as the client addressed it: a trusted proxy states it in
    /// `X-Forwarded-Host` and `-Proto`.
    ///
    /// Call it before the key is made, so that the origin receives the host and scheme of the key.
    pub fn addressed(&self, target: Target, headers: &HeaderMap, peer: IpAddr) -> Target {
        self.forwarded.addressed(target, headers, peer)
    }

    /// Returns the client's address: the peer, or the address that the trusted proxies in front
    /// vouch for. Returns `None` if a trusted proxy states something other than an address.
    pub fn client(&self, headers: &HeaderMap, peer: IpAddr) -> Option<IpAddr> {
        self.forwarded.client(headers, peer)
    }

    /// Checks that a target is below the base path, however the origin parses it. The proxy refuses
    /// any other target.
    pub fn reaches(&self, target: &Target) -> Result<(), TargetError> {
        let outside = !self.base.path.is_empty() && boundary::leaves_base(target.path_and_query.as_str());
        if outside { Err(TargetError::OutsideBase) } else { Ok(()) }
    }

    /// Returns whether this process has already forwarded the request.
    pub fn has_come_back(&self, headers: &HeaderMap) -> bool {
        self.via.is_in(headers)
    }

    /// Replaces the origin's own address in the links of a response to a request for `target`.
    pub fn rewrite_links(&self, headers: &mut HeaderMap, target: &Target) {
        match self.links {
            LinkRewrite::On => links::rewrite(headers, &self.base, target),
            LinkRewrite::Off => {}
        }
    }

    /// Returns the head for the origin, without the framing of a body.
    pub fn head(&self, request: &OutboundRequest<'_>) -> Result<Parts, FetchError> {
        if request.method == Method::CONNECT {
            // RFC 9110 §9.3.6: CONNECT names a host to tunnel to, and this proxy has only one.
            return Err(FetchError::BadTarget);
        }
        let (mut parts, ()) = Request::new(()).into_parts();
        parts.method = request.method.clone();
        self.reaches(request.target).map_err(|_| FetchError::BadTarget)?;
        parts.uri = self.uri(&request.target.path_and_query)?;
        parts.headers = self.end_to_end(request)?;
        self.add_proxy_fields(request, &mut parts.headers)?;
        match request.purpose {
            FetchPurpose::Cacheable | FetchPurpose::Pass => {}
            FetchPurpose::Upgrade(protocol) => {
                parts.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
                parts.headers.insert(UPGRADE, protocol.value());
            }
        }
        Ok(parts)
    }

    /// Returns the head for the origin of a request that is passed with its content. Unlike that of
    /// a shared fetch, it forwards `Expect: 100-continue`.
    pub fn passed_head(&self, request: &OutboundRequest<'_>) -> Result<Parts, FetchError> {
        let mut head = self.head(request)?;
        if expects_continue(request.headers) {
            head.headers.insert(EXPECT, HeaderValue::from_static("100-continue"));
        }
        Ok(head)
    }

    /// Removes the key fields that the origin would not receive from this peer: it is no trusted
    /// proxy, and they state something about its client. The key must not contain them.
    pub fn strip_unvouched(&self, headers: &mut HeaderMap, keys: &KeyRules, peer: IpAddr) {
        if !keys.headers().is_empty() && !self.forwarded.covers(peer) {
            let stated = keys.headers().iter().filter(|name| is_forwarding_field(name));
            stated.for_each(|name| drop(headers.remove(name)));
        }
    }

    /// Returns whether the origin receives equal fields for a passed request and for a shared
    /// fetch, apart from the version in `Via`.
    pub fn sends_as_shared(&self, request: &OutboundRequest<'_>) -> bool {
        let of = |purpose| OutboundRequest { purpose, version: Version::HTTP_11, ..*request };
        let head = |purpose| self.head(&of(purpose)).map(|head| head.headers);
        match (head(&FetchPurpose::Pass), head(&FetchPurpose::Cacheable)) {
            (Ok(passed), Ok(shared)) => passed == shared,
            (Err(_), _) | (_, Err(_)) => false,
        }
    }

    /// Returns the origin-form behind the base path; `OPTIONS *` concerns the whole server and
    /// stays.
    fn uri(&self, path_and_query: &PathAndQuery) -> Result<Uri, FetchError> {
        if self.base.path.is_empty() || path_and_query.as_str() == "*" {
            return Ok(path_and_query.clone().into());
        }
        // RFC 9112 §3.2.1: an empty path is sent as `/`, also before a query.
        let slash = if path_and_query.as_str().starts_with('/') { "" } else { "/" };
        PathAndQuery::try_from(format!("{}{slash}{}", self.base.path, path_and_query.as_str()))
            .map(Uri::from)
            .map_err(|_| FetchError::BadTarget)
    }

    /// Returns `Host`, then the client's end-to-end fields in their order.
    fn end_to_end(&self, request: &OutboundRequest<'_>) -> Result<HeaderMap, FetchError> {
        let named: Vec<HeaderName> = hop::named_in_connection(request.headers).collect();
        let replaced_id = request.id.and(self.request_id_header.as_ref());
        let is_removed = |name: &HeaderName| {
            let class = request.fields.class(name);
            let removed = match class {
                FieldClass::Connection => true,
                FieldClass::Withheld | FieldClass::Dropped => *request.purpose == FetchPurpose::Cacheable,
                FieldClass::Sent | FieldClass::Credential | FieldClass::Key | FieldClass::Unlisted => false,
            };
            // CGI treats both spellings as one variable, and a client may state any id.
            let is_id = |id: &HeaderName| class == FieldClass::Withheld && is_spelling(name, id);
            removed
                || replaced_id.is_some_and(is_id)
                || (is_forwarding_field(name) && !self.passes_forwarding_field(request, class))
        };
        // Capacity for the added fields: Host, Via, three X-Forwarded-*, Connection and Upgrade,
        // the id, and the framing of the body.
        let mut headers = HeaderMap::with_capacity(request.headers.len() + 9);
        headers.append(HOST, self.host(request)?);
        for (name, value) in request.headers {
            if !is_removed(name) && !hop::is_connection_option(name, &named) {
                headers.append(name, value.clone());
            }
        }
        join_cookies(&mut headers);
        if request.method == Method::OPTIONS {
            max_forwards::decrement(&mut headers);
        }
        Ok(headers)
    }

    /// Returns whether a forwarding field is sent. A shared fetch sends only one that is in the
    /// key.
    fn passes_forwarding_field(&self, request: &OutboundRequest<'_>, class: FieldClass) -> bool {
        self.forwarded.covers(request.peer)
            && (class == FieldClass::Key || *request.purpose != FetchPurpose::Cacheable)
    }

    /// Returns whether the peer's statements about the client are sent.
    fn forwarded_trust(&self, request: &OutboundRequest<'_>) -> ForwardedTrust {
        match request.purpose {
            FetchPurpose::Pass | FetchPurpose::Upgrade(_) if self.forwarded.covers(request.peer) => {
                ForwardedTrust::Yes
            }
            FetchPurpose::Cacheable | FetchPurpose::Pass | FetchPurpose::Upgrade(_) => ForwardedTrust::No,
        }
    }

    fn host(&self, request: &OutboundRequest<'_>) -> Result<HeaderValue, FetchError> {
        match self.host {
            HostField::Origin => Ok(self.origin.clone()),
            HostField::Client => requested_authority(request),
        }
    }

    /// Adds the fields about this proxy and its client.
    fn add_proxy_fields(
        &self,
        request: &OutboundRequest<'_>,
        headers: &mut HeaderMap,
    ) -> Result<(), FetchError> {
        let received = match request.purpose {
            // No request of a shared fetch depends on the version of one of its clients.
            FetchPurpose::Cacheable => Version::HTTP_11,
            FetchPurpose::Pass | FetchPurpose::Upgrade(_) => request.version,
        };
        if let Some(via) = self.via.value(received) {
            headers.append(VIA, via);
        }
        // A field that is a credential or in the key has the client's value.
        if let (Some(name), Some(id)) = (&self.request_id_header, request.id)
            && request.fields.class(name) == FieldClass::Withheld
        {
            headers.insert(name, id.value().clone());
        }
        let chain = match request.purpose {
            FetchPurpose::Cacheable => self.forwarded.trusted_chain(request.headers, request.peer),
            FetchPurpose::Pass | FetchPurpose::Upgrade(_) => {
                self.forwarded.full_chain(request.headers, request.peer)
            }
        };
        headers.insert(&X_FORWARDED_FOR, chain.ok_or(FetchError::BadTarget)?);
        let scheme = || HeaderValue::from_static(request.target.scheme.as_str());
        // Any value still present comes from a trusted proxy, and stays.
        if self.forwarded_trust(request) == ForwardedTrust::Yes {
            headers.entry(&X_FORWARDED_PROTO).or_insert_with(scheme);
            if let Entry::Vacant(entry) = headers.entry(&X_FORWARDED_HOST) {
                entry.insert(requested_authority(request)?);
            }
        } else {
            headers.append(&X_FORWARDED_PROTO, scheme());
            headers.append(&X_FORWARDED_HOST, requested_authority(request)?);
        }
        Ok(())
    }
}

/// Whether the peer's statements about the client are forwarded.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ForwardedTrust {
    Yes,
    No,
}

/// Returns the base path: empty, or a prefix of paths.
fn base_path(options: &Options) -> Result<String, OriginOptionsError> {
    let path = &options.base_path;
    let is_prefix = path.starts_with('/') && !path.ends_with('/') && !path.contains(['?', '#']);
    if path.is_empty() || (is_prefix && PathAndQuery::try_from(path.as_str()).is_ok()) {
        Ok(path.clone())
    } else {
        Err(OriginOptionsError::BasePath(path.clone()))
    }
}

/// RFC 9113 §8.2.3: HTTP/2 may split `Cookie` into several lines, HTTP/1.1 may not.
fn join_cookies(headers: &mut HeaderMap) {
    let mut lines = headers.get_all(COOKIE).iter();
    if lines.next().is_none() || lines.next().is_none() {
        return;
    }
    let cookies: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(cookie) = HeaderValue::from_bytes(&cookies.join(&b"; "[..])) {
        headers.insert(COOKIE, cookie);
    }
}

/// Returns whether the request has exactly `Expect: 100-continue` (RFC 9110 §10.1.1). Two parsers
/// may read any other value differently, so the proxy forwards no other.
fn expects_continue(headers: &HeaderMap) -> bool {
    let mut lines = headers.get_all(EXPECT).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else { return false };
    line.as_bytes().eq_ignore_ascii_case(b"100-continue")
}

/// Returns the requested authority, without a copy if `Host` has equal bytes.
fn requested_authority(request: &OutboundRequest<'_>) -> Result<HeaderValue, FetchError> {
    let authority = request.target.authority.as_str();
    match request.headers.get(HOST) {
        Some(host) if host.as_bytes() == authority.as_bytes() => Ok(host.clone()),
        Some(_) | None => header_value(authority),
    }
}

fn header_value(value: &str) -> Result<HeaderValue, FetchError> {
    HeaderValue::from_str(value).map_err(|_| FetchError::BadTarget)
}

#[cfg(test)]
mod tests;
