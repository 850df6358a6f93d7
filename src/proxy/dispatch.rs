//! The choice of a handler for a request. It depends only on the head, and on whether the request
//! has content.

use http::header::HOST;
use http::request::Parts;
use http::{Method, Version};
use http_body::Body;

use crate::key::{Authority, Scheme, Target, TargetError};
use crate::origin::{OutboundHeads, UpgradeProtocol, max_forwards};
use crate::proxy::answer::failure::Failure;
use crate::proxy::options::ProbePaths;
use crate::proxy::rules::PassReason;

/// The handler of a request.
#[derive(Debug, PartialEq)]
pub(in crate::proxy) enum Dispatch {
    /// The health check of the proxy.
    Health,
    /// The readiness check of the proxy.
    Ready,
    /// Through the cache.
    Cached(Target),
    /// Through the cache, by its content.
    Query(Target),
    /// Directly to the origin and back.
    Pass(Target),
    /// Directly to the origin and back, by the rules of a route.
    Uncached(Target, PassReason),
    /// A purge of the target's stored responses, without the origin.
    Purge(Target),
    /// To the origin, with a tunnel if the origin switches protocols.
    Upgrade(Target, UpgradeProtocol),
    /// An `OPTIONS` that no proxy may forward: the proxy is its final recipient.
    Options,
    /// A refusal.
    Refused(Failure),
}

impl Dispatch {
    /// Returns the name of the route.
    pub(in crate::proxy) fn word(&self) -> &'static str {
        match self {
            Self::Health => "health",
            Self::Ready => "ready",
            Self::Cached(_) => "cached",
            Self::Query(_) => "query",
            Self::Pass(_) | Self::Uncached(..) => "pass",
            Self::Purge(_) => "purge",
            Self::Upgrade(..) => "upgrade",
            Self::Options => "options",
            Self::Refused(_) => "refused",
        }
    }

    /// Returns the route, or a refusal if the origin does not have the target below its base path.
    pub(in crate::proxy) fn below(self, origin: &OutboundHeads) -> Self {
        let reached = match &self {
            Self::Cached(target)
            | Self::Query(target)
            | Self::Pass(target)
            | Self::Uncached(target, _)
            | Self::Purge(target)
            | Self::Upgrade(target, _) => origin.reaches(target),
            Self::Health | Self::Ready | Self::Options | Self::Refused(_) => Ok(()),
        };
        reached.map_or_else(|bad| Self::Refused(Failure::BadTarget(bad)), |()| self)
    }

    /// Returns the same route for the target that `map` returns.
    pub(in crate::proxy) fn map_target(self, map: impl FnOnce(Target) -> Target) -> Self {
        match self {
            Self::Cached(target) => Self::Cached(map(target)),
            Self::Query(target) => Self::Query(map(target)),
            Self::Pass(target) => Self::Pass(map(target)),
            Self::Uncached(target, reason) => Self::Uncached(map(target), reason),
            Self::Purge(target) => Self::Purge(map(target)),
            Self::Upgrade(target, protocol) => Self::Upgrade(map(target), protocol),
            other @ (Self::Health | Self::Ready | Self::Options | Self::Refused(_)) => other,
        }
    }

    /// Returns the target of a request that goes to the cache or to the origin.
    pub(in crate::proxy) fn target(&self) -> Option<&Target> {
        match self {
            Self::Cached(target)
            | Self::Query(target)
            | Self::Pass(target)
            | Self::Uncached(target, _)
            | Self::Purge(target)
            | Self::Upgrade(target, _) => Some(target),
            Self::Health | Self::Ready | Self::Options | Self::Refused(_) => None,
        }
    }

    /// Returns the route of a request that passes the cache for this reason.
    pub(in crate::proxy) fn into_uncached(self, reason: PassReason) -> Self {
        match self {
            Self::Cached(target) => Self::Uncached(target, reason),
            Self::Query(target) => Self::Pass(target),
            other @ (Self::Health
            | Self::Ready
            | Self::Pass(_)
            | Self::Uncached(..)
            | Self::Purge(_)
            | Self::Upgrade(..)
            | Self::Options
            | Self::Refused(_)) => other,
        }
    }

    /// Returns the route of a request by a proxy that caches no `QUERY`.
    pub(in crate::proxy) fn without_queries(self) -> Self {
        if let Self::Query(target) = self { Self::Pass(target) } else { self }
    }

    /// Returns the route of a `PURGE` request that the proxy handles itself.
    pub(in crate::proxy) fn into_purge(self) -> Self {
        match self {
            Self::Pass(target) => Self::Purge(target),
            Self::Health
            | Self::Ready
            | Self::Cached(_)
            | Self::Query(_)
            | Self::Uncached(..)
            | Self::Purge(_)
            | Self::Upgrade(..)
            | Self::Options
            | Self::Refused(_) => self,
        }
    }
}

/// Whether a request has content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum RequestContent {
    /// The request has no content.
    None,
    /// The request has content, or may have it.
    Some,
}

impl RequestContent {
    pub(in crate::proxy) fn of(body: &impl Body) -> Self {
        if body.is_end_stream() { Self::None } else { Self::Some }
    }
}

/// Returns the route of a request that arrived over `scheme`. An HTTP/1.0 request without a host is
/// addressed to `origin`, and bypasses the cache: no other request has its key.
pub(in crate::proxy) fn route(
    head: &Parts,
    scheme: Scheme,
    content: RequestContent,
    origin: &Authority,
    probes: &ProbePaths,
) -> Dispatch {
    let reads = head.method == Method::GET || head.method == Method::HEAD;
    let probe = if reads { probed(head.uri.path(), probes) } else { None };
    if head.version < Version::HTTP_11
        && let Some(probe) = probe
    {
        // Load balancers may probe with HTTP/1.0, which does not require a host.
        return probe;
    }
    let hosts = head.headers.get_all(HOST);
    let has_host = hosts.iter().next().is_some();
    let target = match Target::parse(scheme, &head.uri, hosts.iter().map(|host| host.as_bytes())) {
        // RFC 9112 §3.2: the authority of an absolute-form target does not excuse the missing
        // field.
        Ok(_) if head.version == Version::HTTP_11 && !has_host => {
            return Dispatch::Refused(Failure::BadTarget(TargetError::NoHost));
        }
        Ok(target) => target,
        Err(TargetError::NoHost) if head.version < Version::HTTP_11 => {
            match Target::parse(scheme, &head.uri, [origin.as_str().as_bytes()].into_iter()) {
                Ok(target) => target,
                Err(bad) => return Dispatch::Refused(Failure::BadTarget(bad)),
            }
        }
        Err(TargetError::TooLong) => return Dispatch::Refused(Failure::TargetTooLong),
        Err(bad) => return Dispatch::Refused(Failure::BadTarget(bad)),
    };
    if !matches!(head.uri.scheme_str(), None | Some("http" | "https")) {
        return Dispatch::Refused(Failure::BadTarget(TargetError::Scheme));
    }
    if head.version == Version::HTTP_2 && !target.path_and_query.as_str().is_ascii() {
        return Dispatch::Refused(Failure::BadTarget(TargetError::NotAscii));
    }
    if head.method == Method::CONNECT || head.method == Method::TRACE {
        // `CONNECT` would open a tunnel to any host, and `TRACE` would reveal fields that proxies
        // added (RFC 9110 §9.3.8). An API needs neither.
        return Dispatch::Refused(Failure::MethodNotAllowed);
    }
    let is_authority_form = head.uri.authority().is_some() && head.uri.scheme().is_none();
    if is_authority_form || (head.uri.path() == "*" && head.method != Method::OPTIONS) {
        return Dispatch::Refused(Failure::BadTarget(TargetError::Form));
    }
    if let Some(probe) = probe {
        return probe;
    }
    if head.method == Method::OPTIONS && max_forwards::is_exhausted(&head.headers) {
        return Dispatch::Options;
    }
    if content == RequestContent::None
        && head.version == Version::HTTP_11
        && let Some(protocol) = UpgradeProtocol::asked(&head.method, &head.headers)
    {
        return Dispatch::Upgrade(target, protocol);
    }
    // Content on a `GET` has no defined semantics that a key could include (RFC 9110 §9.3.1), but
    // an origin may respond to it.
    let is_addressed = has_host || head.version >= Version::HTTP_11;
    if reads && content == RequestContent::None && is_addressed {
        Dispatch::Cached(target)
    } else if head.method == Method::QUERY && is_addressed {
        Dispatch::Query(target)
    } else {
        Dispatch::Pass(target)
    }
}

/// Returns the route of a check at this path.
fn probed(path: &str, probes: &ProbePaths) -> Option<Dispatch> {
    if probes.health.as_deref() == Some(path) {
        Some(Dispatch::Health)
    } else if probes.ready.as_deref() == Some(path) {
        Some(Dispatch::Ready)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn probes() -> ProbePaths {
        ProbePaths { health: Some("/health".to_owned()), ready: Some("/ready".to_owned()) }
    }

    fn origin() -> Authority {
        Authority::parse(Scheme::Http, b"origin.test:8080").unwrap()
    }

    #[test]
    fn only_http_1_0_needs_no_host() {
        let no_host = Dispatch::Refused(Failure::BadTarget(TargetError::NoHost));
        let of = |version: Version, uri: &str| {
            let request = Request::builder().version(version).uri(uri).body(()).unwrap();
            route(&request.into_parts().0, Scheme::Http, RequestContent::None, &origin(), &probes())
        };
        let target = |url: &str| Dispatch::Pass(Target::of_url(url).unwrap());
        for (version, uri, want) in [
            (Version::HTTP_10, "/a", target("http://origin.test:8080/a")),
            (Version::HTTP_10, "http://api.test/a", target("http://api.test/a")),
            (Version::HTTP_11, "/a", no_host),
            (
                Version::HTTP_11,
                "http://api.test/a",
                Dispatch::Refused(Failure::BadTarget(TargetError::NoHost)),
            ),
            (
                Version::HTTP_2,
                "http://api.test/a",
                Dispatch::Cached(Target::of_url("http://api.test/a").unwrap()),
            ),
        ] {
            assert_eq!(of(version, uri), want, "{version:?} {uri}");
        }
    }

    fn route_name(method: &str, uri: &str, fields: &[(&str, &str)], content: RequestContent) -> &'static str {
        let mut request = Request::builder().method(method).uri(uri).header("host", "api.test");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        route(&request.body(()).unwrap().into_parts().0, Scheme::Http, content, &origin(), &probes()).word()
    }

    #[test]
    fn an_http_1_0_health_probe_needs_no_host() {
        for (version, want) in [
            (Version::HTTP_10, Dispatch::Health),
            (Version::HTTP_11, Dispatch::Refused(Failure::BadTarget(TargetError::NoHost))),
        ] {
            let probe = Request::builder().version(version).uri("/health").body(()).unwrap();
            assert_eq!(
                route(&probe.into_parts().0, Scheme::Http, RequestContent::None, &origin(), &probes()),
                want,
                "{version:?}"
            );
        }
    }

    #[test]
    fn requests_are_routed_by_method_target_and_content() {
        let upgrade = &[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")][..];
        type Row = (&'static str, &'static str, Fields, RequestContent, &'static str);
        type Fields = &'static [(&'static str, &'static str)];
        let rows: &[Row] = &[
            ("GET", "/health", &[], RequestContent::None, "health"),
            ("HEAD", "/health?x", &[], RequestContent::None, "health"),
            ("POST", "/health", &[], RequestContent::Some, "pass"),
            ("GET", "/healthy", &[], RequestContent::None, "cached"),
            ("GET", "/a", &[], RequestContent::None, "cached"),
            ("HEAD", "/a", &[], RequestContent::None, "cached"),
            ("GET", "http://api.test/a", &[], RequestContent::None, "cached"),
            ("GET", "/a", &[], RequestContent::Some, "pass"),
            ("POST", "/a", &[], RequestContent::None, "pass"),
            ("DELETE", "/a", &[], RequestContent::None, "pass"),
            ("OPTIONS", "*", &[], RequestContent::None, "pass"),
            ("OPTIONS", "*", &[("max-forwards", "0")], RequestContent::None, "options"),
            ("OPTIONS", "/a", &[("max-forwards", "0")], RequestContent::Some, "options"),
            ("OPTIONS", "/a", &[("max-forwards", "1")], RequestContent::None, "pass"),
            ("GET", "/a", &[("max-forwards", "0")], RequestContent::None, "cached"),
            ("QUERY", "/a", &[], RequestContent::Some, "query"),
            ("QUERY", "/a", &[], RequestContent::None, "query"),
            ("query", "/a", &[], RequestContent::Some, "pass"),
            ("GET", "/a", upgrade, RequestContent::None, "upgrade"),
            ("GET", "/a", &[("upgrade", "websocket")], RequestContent::None, "cached"),
            ("GET", "/a", &[("connection", "upgrade")], RequestContent::None, "cached"),
            ("GET", "/a", &[("connection", "upgrade"), ("upgrade", "h2c")], RequestContent::None, "cached"),
            ("POST", "/a", upgrade, RequestContent::Some, "pass"),
            ("TRACE", "/a", &[], RequestContent::None, "refused"),
            ("GET", "http://other.test/a", &[], RequestContent::None, "refused"),
            ("GET", "/a", &[("host", "b.test")], RequestContent::None, "refused"),
            ("CONNECT", "api.test:443", &[], RequestContent::None, "refused"),
            ("GET", "api.test", &[], RequestContent::None, "refused"),
            ("GET", "*", &[], RequestContent::None, "refused"),
        ];
        for (method, uri, fields, content, want) in rows {
            assert_eq!(route_name(method, uri, fields, *content), *want, "{method} {uri} {fields:?}");
        }
    }
}
