//! A route and its members, as the file states them. An absent member leaves the global setting.

use std::time::Duration;

use http::header::{HeaderName, HeaderValue};
use http::{Method, StatusCode};

use crate::key::QueryRules;
use crate::policy::{ContentTypes, IgnoredCookies, StorableStatuses};

use crate::routes::pattern::{HostPattern, PathPattern, host_of};
use crate::routes::tags::TagTemplate;

/// A route: the requests that it matches, and its rules for them.
#[derive(Clone, Debug)]
pub struct Route {
    /// The name, unique in its file.
    pub name: Box<str>,
    /// The line of the file on which the route begins, counted from 1.
    pub line: usize,
    /// The methods. The default is `GET` and `HEAD`.
    pub methods: Vec<Method>,
    /// The hosts; none for every host.
    pub host: Option<HostPattern>,
    /// The paths.
    pub path: PathPattern,
    /// The rules.
    pub members: RouteMembers,
    pub(super) rules_digest: [u8; 8],
}

/// The rules of a route.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteMembers {
    /// `cache`: whether responses may be stored and served from the store.
    pub cache: Option<RouteCaching>,
    /// `mode`: whether the route caches.
    pub mode: Option<RouteMode>,
    /// `cache_control`: the freshness that replaces the origin's. Permissive.
    pub cache_control: Option<RouteFreshness>,
    /// `override`: the prohibitions of the origin that do not apply; sorted. Permissive.
    pub overrides: Vec<RouteOverride>,
    /// `default_ttl`: `cache_default_ttl` of the route. Permissive.
    pub default_ttl: Option<Duration>,
    /// `negative_ttl`: `cache_negative_ttl` of the route.
    pub negative_ttl: Option<Duration>,
    /// `stale_while_revalidate`: the setting of the route.
    pub stale_while_revalidate: Option<Duration>,
    /// `stale_if_error`: the setting of the route.
    pub stale_if_error: Option<Duration>,
    /// `max_body`: `cache_max_body` of the route, in bytes.
    pub max_body: Option<usize>,
    /// `content_types`: `cache_content_types` of the route.
    pub content_types: Option<ContentTypes>,
    /// `statuses`: `cache_statuses` of the route.
    pub statuses: Option<StorableStatuses>,
    /// `collapse_timeout`: the setting of the route.
    pub collapse_timeout: Option<Duration>,
    /// `origin_head_timeout`: the setting of the route.
    pub origin_head_timeout: Option<Duration>,
    /// `origin_body_timeout`: the setting of the route.
    pub origin_body_timeout: Option<Duration>,
    /// `ignore_client_cache_control`: the setting of the route.
    pub client_cache_control: Option<crate::policy::ClientCacheControl>,
    /// `key_headers`: fields of the cache key beside those of the setting.
    pub key_headers: Vec<HeaderName>,
    /// `harmless_headers`: harmless fields beside those of the setting.
    pub harmless_headers: Vec<HeaderName>,
    /// `credential_headers`: credentials beside those of the setting.
    pub credential_headers: Vec<HeaderName>,
    /// `ignored_cookies`: cookies that are no credentials, beside those of the setting.
    pub ignored_cookies: Option<IgnoredCookies>,
    /// `tags`: tags of stored responses beside those of the origin.
    pub tags: Vec<TagTemplate>,
    /// `query`: the part of the query that the key and the request to the origin have.
    pub query: Option<QueryRules>,
    /// `on_write`: the purge after a write.
    pub on_write: Option<OnWrite>,
}

/// A choice whether a route uses the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteCaching {
    /// Responses may be stored.
    Allowed,
    /// Requests pass through.
    PassThrough,
}

crate::labels! {
    /// The mode of a route.
    pub enum RouteMode {
        /// The route caches.
        On => "on",
        /// Requests pass through, as without a cache.
        Off => "off",
    }
}

crate::labels! {
    /// A prohibition of the origin that a route lifts.
    pub enum RouteOverride {
        /// `Cache-Control: private`.
        Private => "private",
        /// `Cache-Control: no-store`.
        NoStore => "no-store",
        /// `Set-Cookie`.
        SetCookie => "set-cookie",
    }
}

/// The freshness that a route states. The policy treats it as heuristic: whatever it contains, no
/// response to a request with a credential becomes shareable (RFC 9111 §3.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteFreshness {
    /// The value as the file has it.
    pub text: HeaderValue,
    /// The lifetime.
    pub max_age: Duration,
    /// The RFC 5861 §3 window; none leaves the setting.
    pub stale_while_revalidate: Option<Duration>,
    /// The RFC 5861 §4 window; none leaves the setting.
    pub stale_if_error: Option<Duration>,
    /// The use of stale responses.
    pub stale_use: StaleUse,
}

/// A choice whether a stale response may be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StaleUse {
    /// The rules of HTTP and of the settings decide.
    AsUsual,
    /// A stale response is validated first: `must-revalidate`.
    Forbidden,
}

/// The purge after a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnWrite {
    /// The indices of the routes whose stored responses are purged.
    pub purge: Vec<usize>,
    /// The tags that are purged.
    pub purge_tags: Vec<TagTemplate>,
    /// Whether the answer to the write waits for the purge.
    pub wait: WriteWait,
    /// The time for which nothing fetched from the purged routes is stored; none for the default.
    pub hold: Option<Duration>,
}

/// A choice whether the answer to a write waits for the purge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteWait {
    /// The answer does not wait.
    None,
    /// The answer waits until every node has confirmed.
    Confirmed,
}

impl Route {
    /// Returns the digest of the members that decide whether a response is stored and who may read
    /// it. An entry with another digest is a miss.
    pub const fn rules_digest(&self) -> [u8; 8] {
        self.rules_digest
    }

    /// Returns whether requests pass through: `cache = false` or `mode = "off"`.
    pub fn passes_through(&self) -> bool {
        self.members.cache == Some(RouteCaching::PassThrough) || self.members.mode == Some(RouteMode::Off)
    }

    /// Returns the names of the permissive members that the route has.
    pub fn permissive_members(&self) -> Vec<&'static str> {
        self.members.permissive()
    }

    /// Returns whether the route is for a method and an authority.
    pub(super) fn takes(&self, method: &Method, authority: &str) -> bool {
        self.methods.contains(method)
            && self.host.as_ref().is_none_or(|pattern| pattern.matches(host_of(authority)))
    }
}

impl RouteMembers {
    /// Returns the names of the members that apply to plain paths only.
    pub(super) fn permissive(&self) -> Vec<&'static str> {
        let present = [
            ("cache_control", self.cache_control.is_some()),
            ("override", !self.overrides.is_empty()),
            ("default_ttl", self.default_ttl.is_some()),
        ];
        present.into_iter().filter(|(_, is_present)| *is_present).map(|(name, _)| name).collect()
    }
}

/// Returns the statuses of a list, sorted; none if it allows all.
pub(super) fn listed(statuses: &StorableStatuses) -> Option<Vec<StatusCode>> {
    match statuses {
        StorableStatuses::Any => None,
        StorableStatuses::Listed(listed) => {
            let mut listed = listed.clone();
            listed.sort_unstable();
            Some(listed)
        }
    }
}
