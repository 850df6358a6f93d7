//! The members of one route.

use std::ops::RangeInclusive;
use std::time::Duration;

use http::Method;
use http::header::{HeaderName, HeaderValue};
use toml::de::DeTable;

use crate::key::{QueryFilter, QueryNames, QueryOrder, QueryRules};
use crate::label::Label;
use crate::limits::{BODY_BYTES_MAX, LIFETIME_MAX, ROUTE_HOLD_MAX, ROUTE_TAGS_MAX, TIMEOUT_MAX, TIMEOUT_MIN};
use crate::policy::{
    ClientCacheControl, ContentTypes, DirectiveSeconds, Directives, IgnoredCookies, StorableStatuses,
};
use crate::request_fields::{contain_spelling, refused_as_harmless, refused_as_key};

use crate::routes::error::RouteFault;
use crate::routes::route::{RouteCaching, RouteFreshness, RouteMembers, RouteMode, RouteOverride, StaleUse};
use crate::routes::tags::TagTemplate;
use crate::routes::value::{FileReader, Item, Member, nearest, shortened};

/// The names of a route's members, in the order of the documentation.
pub const MEMBERS: [&str; 26] = [
    "name",
    "path",
    "methods",
    "host",
    "cache",
    "mode",
    "cache_control",
    "override",
    "default_ttl",
    "negative_ttl",
    "stale_while_revalidate",
    "stale_if_error",
    "max_body",
    "content_types",
    "statuses",
    "collapse_timeout",
    "origin_head_timeout",
    "origin_body_timeout",
    "ignore_client_cache_control",
    "key_headers",
    "harmless_headers",
    "credential_headers",
    "ignored_cookies",
    "tags",
    "query",
    "on_write",
];

/// A member of a later version.
const LATER: &str = "identity";

/// The members of `query`.
const QUERY_MEMBERS: [&str; 3] = ["ignore", "only", "sort"];

const LIFETIME: RangeInclusive<Duration> = Duration::ZERO..=LIFETIME_MAX;
const TIMEOUT: RangeInclusive<Duration> = TIMEOUT_MIN..=TIMEOUT_MAX;

impl FileReader<'_> {
    /// Reads one member into the rules of a route.
    pub(super) fn rule(&mut self, member: Member<'_>, rules: &mut RouteMembers) {
        match member.name {
            "cache" => {
                rules.cache = self
                    .boolean(member)
                    .map(|caches| if caches { RouteCaching::Allowed } else { RouteCaching::PassThrough });
            }
            "mode" => rules.mode = self.mode(member),
            "cache_control" => rules.cache_control = self.cache_control(member),
            "override" => rules.overrides = self.overrides(member),
            "default_ttl" => rules.default_ttl = self.duration(member, LIFETIME),
            "negative_ttl" => rules.negative_ttl = self.duration(member, LIFETIME),
            "stale_while_revalidate" => rules.stale_while_revalidate = self.duration(member, LIFETIME),
            "stale_if_error" => rules.stale_if_error = self.duration(member, LIFETIME),
            "max_body" => rules.max_body = self.size(member, 1..=BODY_BYTES_MAX),
            "content_types" => rules.content_types = self.content_types(member),
            "statuses" => rules.statuses = self.statuses(member),
            "collapse_timeout" => {
                rules.collapse_timeout = self.duration(member, Duration::ZERO..=TIMEOUT_MAX);
            }
            "origin_head_timeout" => rules.origin_head_timeout = self.duration(member, TIMEOUT),
            "origin_body_timeout" => rules.origin_body_timeout = self.duration(member, TIMEOUT),
            "ignore_client_cache_control" => {
                rules.client_cache_control = self.boolean(member).map(|ignores| {
                    if ignores { ClientCacheControl::Ignored } else { ClientCacheControl::Obeyed }
                });
            }
            "key_headers" => rules.key_headers = self.headers(member, refused_as_key),
            "harmless_headers" => rules.harmless_headers = self.headers(member, refused_as_harmless),
            "credential_headers" => rules.credential_headers = self.headers(member, |_| None),
            "ignored_cookies" => rules.ignored_cookies = self.cookies(member),
            "tags" => rules.tags = self.tags(member),
            "query" => rules.query = self.query(member),
            _ => {}
        }
    }

    fn mode(&mut self, member: Member<'_>) -> Option<RouteMode> {
        let word = self.string(member)?;
        if word == "shadow" {
            self.note(&member.value.span(), RouteFault::Later("mode = \"shadow\""));
            return None;
        }
        self.word(member, (member.value.span(), word), "on, off")
    }

    /// Reads one word of a closed set.
    fn word<L: Label>(&mut self, member: Member<'_>, item: Item<'_>, choices: &'static str) -> Option<L> {
        let found = L::ALL.iter().copied().find(|label| label.word() == item.1);
        if found.is_none() {
            let words: Vec<_> = L::ALL.iter().map(|label| label.word()).collect();
            let hint = nearest(item.1, &words).map(|near| format!("did you mean `{near}`?"));
            let word = item.1.to_owned();
            self.note_with(&item.0, RouteFault::Word { member: member.name, word, choices }, hint);
        }
        found
    }

    fn overrides(&mut self, member: Member<'_>) -> Vec<RouteOverride> {
        let mut overrides = Vec::new();
        for item in self.strings(member) {
            if item.1 == "credentials" {
                self.note(&item.0, RouteFault::Later("override = [\"credentials\"]"));
            } else {
                overrides.extend(self.word::<RouteOverride>(member, item, "private, no-store, set-cookie"));
            }
        }
        overrides.sort_unstable();
        overrides
    }

    /// Reads the freshness of a route. Only directives that set freshness are allowed: `public`,
    /// `s-maxage` and others also let a cache share the response to a request with a credential
    /// (RFC 9111 §3.5).
    fn cache_control(&mut self, member: Member<'_>) -> Option<RouteFreshness> {
        let text = self.string(member)?;
        let span = member.value.span();
        let names = text.split(',').map(|directive| directive.split('=').next().unwrap_or_default().trim());
        let mut is_valid = true;
        for name in names.filter(|name| !name.is_empty()) {
            if !["max-age", "stale-while-revalidate", "stale-if-error", "must-revalidate"].contains(&name) {
                let hint = match name {
                    "s-maxage" => Some("use `max-age`"),
                    "no-store" | "private" | "no-cache" => Some("use `cache = false`"),
                    "public" => Some("remove it; `override` lifts a prohibition of the origin"),
                    _ => None,
                };
                let fault = RouteFault::Directive(shortened(name));
                self.note_with(&span, fault, hint.map(str::to_owned));
                is_valid = false;
            }
        }
        if !is_valid {
            return None;
        }
        let directives = Directives::parse([text.as_bytes()]);
        let seconds = |seconds: DirectiveSeconds| match seconds {
            DirectiveSeconds::Absent => Ok(None),
            DirectiveSeconds::Seconds(seconds) => Ok(Some(seconds.duration().min(LIFETIME_MAX))),
            DirectiveSeconds::Invalid => Err(()),
        };
        let read = (
            seconds(directives.max_age),
            seconds(directives.stale_while_revalidate),
            seconds(directives.stale_if_error),
            HeaderValue::from_str(text),
        );
        let (Ok(max_age), Ok(stale_while_revalidate), Ok(stale_if_error), Ok(value)) = read else {
            self.note(&span, RouteFault::CacheControl);
            return None;
        };
        if directives.malformed {
            self.note(&span, RouteFault::CacheControl);
            return None;
        }
        let Some(max_age) = max_age else {
            self.note(&span, RouteFault::NoMaxAge);
            return None;
        };
        let stale_use = if directives.must_revalidate { StaleUse::Forbidden } else { StaleUse::AsUsual };
        Some(RouteFreshness { text: value, max_age, stale_while_revalidate, stale_if_error, stale_use })
    }

    fn content_types(&mut self, member: Member<'_>) -> Option<ContentTypes> {
        let items = self.strings(member);
        if items.iter().any(|(_, text)| *text == "*") {
            return self.alone(member, &items).then_some(ContentTypes::Any);
        }
        let listed = self.each(member, items, "`type/subtype` or `+suffix`", ContentTypes::item);
        Some(ContentTypes::Listed(listed)).filter(|types| *types != ContentTypes::Listed(Vec::new()))
    }

    fn statuses(&mut self, member: Member<'_>) -> Option<StorableStatuses> {
        let items = self.strings(member);
        if items.iter().any(|(_, text)| *text == "*") {
            return self.alone(member, &items).then_some(StorableStatuses::Any);
        }
        let expected = "a status from 200 to 599 other than 206 and 304";
        let status = |text: &str| StorableStatuses::item(text.parse().ok()?).ok();
        let listed = self.each(member, items, expected, status);
        Some(StorableStatuses::Listed(listed))
            .filter(|statuses| *statuses != StorableStatuses::Listed(Vec::new()))
    }

    fn cookies(&mut self, member: Member<'_>) -> Option<IgnoredCookies> {
        let items = self.strings(member);
        if items.iter().any(|(_, text)| *text == "*") {
            return self.alone(member, &items).then_some(IgnoredCookies::Any);
        }
        let listed = self.each(member, items, "a cookie name or a prefix with `*`", IgnoredCookies::item);
        Some(IgnoredCookies::Listed(listed)).filter(|cookies| !cookies.is_none())
    }

    /// Refuses other items beside `*`.
    fn alone(&mut self, member: Member<'_>, items: &[Item<'_>]) -> bool {
        let others: Vec<_> = items.iter().filter(|(_, text)| *text != "*").collect();
        for other in &others {
            self.note_item(member, other, "needed beside `*`");
        }
        others.is_empty()
    }

    /// Reads each item of a list.
    fn each<T>(
        &mut self,
        member: Member<'_>,
        items: Vec<Item<'_>>,
        expected: &'static str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Vec<T> {
        let mut values = Vec::with_capacity(items.len());
        for item in items {
            match read(item.1) {
                Some(value) => values.push(value),
                None => self.note_item(member, &item, expected),
            }
        }
        values
    }

    fn headers(
        &mut self,
        member: Member<'_>,
        refused: impl Fn(&HeaderName) -> Option<&'static str>,
    ) -> Vec<HeaderName> {
        let mut headers: Vec<HeaderName> = Vec::new();
        for item in self.strings(member) {
            let Ok(header) = HeaderName::from_bytes(item.1.as_bytes()) else {
                self.note_item(member, &item, "a header name");
                continue;
            };
            if let Some(why) = refused(&header) {
                self.note(&item.0, RouteFault::Header { member: member.name, header, why });
            } else if contain_spelling(&headers, &header) {
                let item_text = item.1.to_owned();
                self.note(&item.0, RouteFault::Repeated { member: member.name, item: item_text });
            } else {
                headers.push(header);
            }
        }
        headers
    }

    /// Reads a list of tag templates.
    pub(super) fn tags(&mut self, member: Member<'_>) -> Vec<TagTemplate> {
        let items = self.strings(member);
        if items.len() > ROUTE_TAGS_MAX {
            self.note(&member.value.span(), RouteFault::TooManyTags(member.name));
        }
        let mut tags = Vec::with_capacity(items.len());
        for (span, text) in items {
            match TagTemplate::parse(text) {
                Ok(tag) => tags.push(tag),
                Err(error) => {
                    self.note(&span, RouteFault::Tag { tag: shortened(text), error });
                }
            }
        }
        tags
    }

    /// Reads the members of a table whose names are known.
    pub(super) fn members<'d>(&mut self, table: &'d DeTable<'d>, known: &[&'static str]) -> Vec<Member<'d>> {
        let mut members = Vec::new();
        for (name, value) in table.iter() {
            match known.iter().find(|known| **known == &**name.get_ref()) {
                Some(name) => members.push(Member { name, value }),
                None if name.get_ref() == LATER => self.note(&name.span(), RouteFault::Later(LATER)),
                None => self.note_unknown(name, known),
            }
        }
        members
    }

    fn query(&mut self, member: Member<'_>) -> Option<QueryRules> {
        let table = self.table(member)?;
        let mut rules = QueryRules { filter: QueryFilter::All, order: QueryOrder::AsSent };
        let members = self.members(table, &QUERY_MEMBERS);
        let has = |name: &str| members.iter().any(|member| member.name == name);
        if has("ignore") && has("only") {
            self.note(&member.value.span(), RouteFault::IgnoreAndOnly);
        }
        if members.is_empty() {
            self.note(&member.value.span(), RouteFault::EmptyQuery);
        }
        for member in members {
            match member.name {
                "ignore" => rules.filter = QueryFilter::Ignore(self.query_names(member)),
                "only" => rules.filter = QueryFilter::Only(self.query_names(member)),
                _ => {
                    if self.boolean(member) == Some(true) {
                        rules.order = QueryOrder::Sorted;
                    }
                }
            }
        }
        Some(rules)
    }

    fn query_names(&mut self, member: Member<'_>) -> QueryNames {
        // An empty list of `only` keeps no parameter, which is a rule.
        let is_empty_only =
            member.name == "only" && member.value.get_ref().as_array().is_some_and(|list| list.is_empty());
        let items = if is_empty_only { Vec::new() } else { self.strings(member) };
        let name = |text: &str| {
            let beginning = text.strip_suffix('*').unwrap_or(text);
            let is_name = !text.is_empty() && !beginning.contains('*') && !text.contains(char::is_control);
            is_name.then(|| text.into())
        };
        QueryNames(self.each(member, items, "a parameter's decoded name or a prefix with `*`", name))
    }

    /// Reads the methods of a route.
    pub(super) fn methods(&mut self, member: Member<'_>) -> Vec<Method> {
        let mut methods = Vec::new();
        for item in self.strings(member) {
            let is_upper = item.1.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-');
            match Method::from_bytes(item.1.as_bytes()) {
                Ok(method) if is_upper && method != Method::CONNECT => methods.push(method),
                Ok(_) | Err(_) => {
                    let hint = Some(item.1.to_ascii_uppercase()).filter(|upper| upper != item.1);
                    let hint = hint.map(|upper| format!("did you mean `{}`?", shortened(&upper)));
                    self.note_with(&item.0, RouteFault::Method(shortened(item.1)), hint);
                }
            }
        }
        methods
    }

    /// Reads the time for which a write forbids storing.
    pub(super) fn hold(&mut self, member: Member<'_>) -> Option<Duration> {
        self.duration(member, Duration::ZERO..=ROUTE_HOLD_MAX)
    }
}
