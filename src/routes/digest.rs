//! The digest of a route's rules, which every entry stored under them contains.
//!
//! It covers the members that decide whether a response is stored, for how long, under which tags,
//! and who may read it. Members that only time requests are not part of it, so a change of a
//! time-out keeps the stored entries.

use std::time::Duration;

use http::header::HeaderName;

use crate::key::{QueryFilter, QueryOrder};
use crate::label::Label;
use crate::policy::{ClientCacheControl, ContentTypes, IgnoredCookies};

use crate::routes::pattern::HostPattern;
use crate::routes::route::{Route, RouteCaching, RouteMembers, StaleUse, WriteWait, listed};

/// Separates the digests of this layout from other uses of the hash.
const RULES_DOMAIN: &[u8] = b"cw-rules-1";

/// Separates the digests of all routes from those of one.
const TABLE_DOMAIN: &[u8] = b"cw-routes-1";

/// A hasher of fields that have a name and a value, both behind their length.
struct RulesHasher(blake3::Hasher);

impl RulesHasher {
    fn field(&mut self, bytes: &[u8]) {
        self.0.update(&(bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
    }

    /// Adds a member with its values. A member without values differs from an absent one.
    fn member<B: AsRef<[u8]>>(&mut self, name: &str, values: impl IntoIterator<Item = B>) {
        self.field(name.as_bytes());
        let values: Vec<B> = values.into_iter().collect();
        self.0.update(&(values.len() as u64).to_be_bytes());
        values.iter().for_each(|value| self.field(value.as_ref()));
    }

    fn word(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.member(name, [value]);
        }
    }

    fn duration(&mut self, name: &str, value: Option<Duration>) {
        if let Some(value) = value {
            self.member(name, [value.as_millis().to_be_bytes()]);
        }
    }

    /// Adds a set of names, whose order has no meaning.
    fn set<B: AsRef<[u8]> + Ord>(&mut self, name: &str, values: impl IntoIterator<Item = B>) {
        let mut values: Vec<B> = values.into_iter().collect();
        values.sort_unstable();
        if !values.is_empty() {
            self.member(name, values);
        }
    }

    fn headers(&mut self, name: &str, headers: &[HeaderName]) {
        self.set(name, headers.iter().map(HeaderName::as_str));
    }
}

/// Computes the digest of a route without one.
pub(super) fn rules_digest(route: &Route) -> [u8; 8] {
    let mut hash = RulesHasher(blake3::Hasher::new());
    hash.field(RULES_DOMAIN);
    // The implied tag has the name and the captures.
    hash.word("name", Some(&route.name));
    hash.word("path", Some(route.path.as_str()));
    hash.members(&route.members);
    let mut digest = [0; 8];
    if let Some(head) = hash.0.finalize().as_bytes().first_chunk() {
        digest = *head;
    }
    digest
}

/// Computes the digest of all routes: the rules of each, the requests that it matches, and its
/// writes. It is not zero, the digest of a node without routes.
pub(super) fn table_digest(routes: &[Route]) -> u64 {
    let mut hash = RulesHasher(blake3::Hasher::new());
    hash.field(TABLE_DOMAIN);
    for route in routes {
        hash.member("rules", [route.rules_digest()]);
        hash.member("methods", route.methods.iter().map(|method| method.as_str().as_bytes()));
        hash.word("host", route.host.as_ref().map(HostPattern::as_str));
        if let Some(write) = &route.members.on_write {
            hash.member("purge", write.purge.iter().map(|index| (*index as u64).to_be_bytes()));
            hash.set("purge_tags", write.purge_tags.iter().map(|tag| tag.text.as_bytes()));
            hash.word("wait", (write.wait == WriteWait::Confirmed).then_some(""));
            hash.duration("hold", Some(write.held_for()));
        }
    }
    let digest = hash.0.finalize().as_bytes().first_chunk().map_or(1, |head| u64::from_be_bytes(*head));
    digest.max(1)
}

impl RulesHasher {
    fn members(&mut self, members: &RouteMembers) {
        self.word(
            "cache",
            members.cache.map(|cache| match cache {
                RouteCaching::Allowed => "true",
                RouteCaching::PassThrough => "false",
            }),
        );
        self.word("mode", members.mode.map(Label::word));
        if let Some(freshness) = &members.cache_control {
            self.duration("max-age", Some(freshness.max_age));
            self.duration("stale-while-revalidate", freshness.stale_while_revalidate);
            self.duration("stale-if-error", freshness.stale_if_error);
            self.word(
                "must-revalidate",
                match freshness.stale_use {
                    StaleUse::AsUsual => None,
                    StaleUse::Forbidden => Some(""),
                },
            );
        }
        self.set("override", members.overrides.iter().copied().map(Label::word));
        self.duration("default_ttl", members.default_ttl);
        self.duration("negative_ttl", members.negative_ttl);
        self.duration("stale_while_revalidate", members.stale_while_revalidate);
        self.duration("stale_if_error", members.stale_if_error);
        if let Some(bytes) = members.max_body {
            self.member("max_body", [(bytes as u64).to_be_bytes()]);
        }
        match &members.content_types {
            None => {}
            Some(ContentTypes::Any) => self.word("content_types", Some("*")),
            Some(ContentTypes::Listed(types)) => self.set("content_types", types),
        }
        if let Some(statuses) = &members.statuses {
            let codes = listed(statuses).unwrap_or_default();
            self.member("statuses", codes.iter().map(|status| status.as_u16().to_be_bytes()));
        }
        self.word(
            "ignore_client_cache_control",
            members.client_cache_control.map(|control| match control {
                ClientCacheControl::Ignored => "true",
                ClientCacheControl::Obeyed => "false",
            }),
        );
        self.headers("key_headers", &members.key_headers);
        self.headers("harmless_headers", &members.harmless_headers);
        self.headers("credential_headers", &members.credential_headers);
        match &members.ignored_cookies {
            None => {}
            Some(IgnoredCookies::Any) => self.word("ignored_cookies", Some("*")),
            Some(IgnoredCookies::Listed(names)) => self.set("ignored_cookies", names),
        }
        self.set("tags", members.tags.iter().map(|tag| &*tag.text).map(str::as_bytes));
        if let Some(query) = &members.query {
            match &query.filter {
                QueryFilter::All => {}
                QueryFilter::Ignore(names) => self.set("ignore", names.0.iter().map(|name| name.as_bytes())),
                QueryFilter::Only(names) => self.set("only", names.0.iter().map(|name| name.as_bytes())),
            }
            self.word(
                "sort",
                match query.order {
                    QueryOrder::AsSent => None,
                    QueryOrder::Sorted => Some("true"),
                },
            );
        }
    }
}
