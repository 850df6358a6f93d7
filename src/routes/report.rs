//! The routes as text for an operator: all of them, and the route of one request.

use std::fmt::Write;
use std::time::Duration;

use http::Method;
use http::header::HeaderName;

use crate::key::{QueryFilter, QueryOrder, QueryRules};
use crate::label::Label;
use crate::limits::ROUTES_EXPLAINED_MAX;
use crate::policy::{ClientCacheControl, ContentTypes, IgnoredCookies};
use crate::quantity::{show_duration, show_size};

use crate::routes::bytes::canonical;
use crate::routes::pattern::{PathPattern, PatternSegment};
use crate::routes::route::{OnWrite, Route, RouteCaching, RouteMembers, WriteWait, listed};
use crate::routes::route_match::{PathForm, RouteMatch};
use crate::routes::split::SplitPath;
use crate::routes::table::RouteTable;

/// A segment that no literal of a routes file is likely to be.
const SAMPLE: &str = "cachewarp-sample";

/// Whether requests reach a route.
enum RouteReach<'t> {
    /// A sample request matches it.
    Reached,
    /// Each sample request matches another route, or none.
    Hidden(Option<&'t Route>),
    /// Each sample request passes uncached, because another reading of its path matches this route.
    Ambiguous(&'t Route),
}

impl RouteTable {
    /// Returns every route with its members, the permissive ones, and the routes that no request
    /// reaches.
    pub fn listing(&self) -> String {
        let mut text = String::new();
        for (index, route) in self.routes().iter().enumerate() {
            let methods: Vec<_> = route.methods.iter().map(Method::as_str).collect();
            let host = route.host.as_ref().map_or("", |host| host.as_str());
            text += &format!("route {}: {} {host}{}\n", route.name, methods.join(","), route.path.as_str());
            let permissive = route.permissive_members();
            for (name, value) in self.described(&route.members) {
                let mark = if permissive.contains(&name) { "  (permissive: plain paths only)" } else { "" };
                text += &format!("  {name} = {value}{mark}\n");
            }
            match self.reach(index, route) {
                RouteReach::Reached => {}
                RouteReach::Hidden(Some(other)) => {
                    text += &format!("  unreachable: its requests match route {}\n", other.name);
                }
                RouteReach::Hidden(None) => text += "  unreachable: no request matches it\n",
                RouteReach::Ambiguous(other) => {
                    let name = &other.name;
                    text += &format!("  never cached: another reading of its paths matches route {name}\n");
                }
            }
        }
        let count = |of: fn(&Route) -> bool| self.routes().iter().filter(|route| of(route)).count();
        let (all, overrides) = (self.routes().len(), count(|route| !route.members.overrides.is_empty()));
        let permissive = count(|route| !route.permissive_members().is_empty());
        text += &format!("{all} routes, {permissive} with permissive members, {overrides} with override\n");
        text
    }

    /// Returns one line for each route that lifts a prohibition of the origin.
    pub fn overrides(&self) -> Vec<String> {
        let lifting = self.routes().iter().filter(|route| !route.members.overrides.is_empty());
        let line = |route: &Route| {
            let words: Vec<_> = route.members.overrides.iter().map(|word| word.word()).collect();
            format!("route {} overrides {} of the origin", route.name, words.join(", "))
        };
        lifting.map(line).collect()
    }

    /// Returns the route of one request: its captures, the readings of its path, and the reasons
    /// why other routes do not match. An empty authority is that of no host.
    pub fn report(&self, method: &Method, authority: &str, path: &str) -> String {
        let found = self.find(method, authority, path);
        let mut text = match found.route() {
            Some(route) => {
                let (name, line, pattern) = (&route.name, route.line, route.path.as_str());
                format!("{method} {path} matches route {name} (line {line}): {pattern}\n")
            }
            None if *method == Method::QUERY && self.find_query(authority, path).is_none() => {
                format!("{method} {path} passes uncached: a route of the path does not list {method}\n")
            }
            None => format!("{method} {path} matches no route; the global settings apply\n"),
        };
        for (name, value) in found.captures() {
            text += &format!("  capture {name} = {value}\n");
        }
        text += &format!("  {}\n", self.reading(method, authority, path, &found));
        if let Some(route) = found.route().filter(|route| route.passes_through()) {
            text += &format!("  route {} passes requests through\n", route.name);
        } else if !found.passes_through()
            && let Some(tags) = found.stored_tags().filter(|tags| !tags.is_empty())
        {
            text += &format!("  tags of a stored response: {}\n", quoted(tags.iter()));
        }
        for write in self.find_writes(method, authority, path) {
            let name = self.routes().get(write.index).map_or("", |route| &route.name);
            text += &format!("  route {name} purges the tags: {}\n", quoted(self.purged_tags(&write).iter()));
        }
        text += &self.others(method, authority, path, found.index());
        text
    }

    /// Returns the effect of the readings of a path.
    fn reading(&self, method: &Method, authority: &str, path: &str, found: &RouteMatch<'_, '_>) -> String {
        let Some(other) = found.other_route() else {
            return match (found.is_ambiguous(), found.form(), found.route()) {
                (true, ..) => "passes uncached: origins may read the path in several ways".to_owned(),
                (false, PathForm::Plain, _) => "the path is plain".to_owned(),
                (false, PathForm::NotPlain, Some(route)) if !route.permissive_members().is_empty() => {
                    let members = route.permissive_members().join(", ");
                    format!("the path is not plain; not applied: {members}")
                }
                (false, PathForm::NotPlain, _) => "the path is not plain".to_owned(),
            };
        };
        let matches_other = |reading: &String| {
            let index = self.find_reading(method, authority, reading.as_bytes());
            index.and_then(|index| self.routes().get(index)).is_some_and(|route| route.name == other.name)
        };
        // The path itself is shown only if it is the reading that matches the other route.
        let is_same = found.route().is_some_and(|route| route.name == other.name);
        let reading = Self::readings(path).into_iter().skip(usize::from(is_same)).find(matches_other);
        let reading = reading.unwrap_or_else(|| path.to_owned());
        format!("passes uncached: the reading {reading:?} matches route {}", other.name)
    }

    /// Returns the reasons why routes do not match, those with the most common segments first.
    fn others(&self, method: &Method, authority: &str, path: &str, matched: Option<usize>) -> String {
        let split = SplitPath::of(path.as_bytes());
        let mut reasons: Vec<(usize, String)> = Vec::new();
        for (index, route) in self.routes().iter().enumerate() {
            if Some(index) == matched {
                continue;
            }
            let (equal, reason) = match mismatch(&route.path, &split) {
                Some((equal, reason)) => (equal, reason),
                None if !route.methods.contains(method) => {
                    (usize::MAX, format!("{method} is not a method of it"))
                }
                None if !route.takes(method, authority) => (usize::MAX, "its host differs".to_owned()),
                None => (usize::MAX, "it is less specific".to_owned()),
            };
            reasons.push((equal, format!("  not route {}: {reason}\n", route.name)));
        }
        reasons.sort_by_key(|(equal, _)| std::cmp::Reverse(*equal));
        let further = reasons.len().saturating_sub(ROUTES_EXPLAINED_MAX);
        let mut text: String = reasons.into_iter().take(ROUTES_EXPLAINED_MAX).map(|(_, text)| text).collect();
        if further > 0 {
            let _ = writeln!(text, "  and {further} other routes");
        }
        text
    }

    /// Returns whether sample requests reach a route.
    fn reach(&self, index: usize, route: &Route) -> RouteReach<'_> {
        let host = route.host.as_ref().map_or(String::new(), |host| host.as_str().replace('*', SAMPLE));
        let mut reach = RouteReach::Hidden(None);
        for method in &route.methods {
            for path in samples(&route.path) {
                let found = self.find(method, &host, &path);
                match (found.index() == Some(index), found.other_route()) {
                    (true, Some(other)) => reach = RouteReach::Ambiguous(other),
                    // The sample of an empty remainder has no plain form; the route is reached.
                    (true, None) => return RouteReach::Reached,
                    (false, _) => {
                        if let (RouteReach::Hidden(None), Some(other)) = (&reach, found.route()) {
                            reach = RouteReach::Hidden(Some(other));
                        }
                    }
                }
            }
        }
        reach
    }

    /// Returns the members of a route as the file has them.
    fn described(&self, members: &RouteMembers) -> Vec<(&'static str, String)> {
        let mut rows: Vec<(&'static str, Option<String>)> = vec![
            (
                "cache",
                members.cache.map(|cache| match cache {
                    RouteCaching::Allowed => "true".to_owned(),
                    RouteCaching::PassThrough => "false".to_owned(),
                }),
            ),
            ("mode", members.mode.map(|mode| format!("{mode}"))),
            (
                "cache_control",
                members.cache_control.as_ref().map(|freshness| format!("{:?}", freshness.text)),
            ),
            ("override", listed_words(members.overrides.iter().map(|word| word.word()))),
        ];
        let durations = [
            ("default_ttl", members.default_ttl),
            ("negative_ttl", members.negative_ttl),
            ("stale_while_revalidate", members.stale_while_revalidate),
            ("stale_if_error", members.stale_if_error),
            ("collapse_timeout", members.collapse_timeout),
            ("origin_head_timeout", members.origin_head_timeout),
            ("origin_body_timeout", members.origin_body_timeout),
        ];
        rows.extend(durations.map(|(name, value): (_, Option<Duration>)| (name, value.map(show_duration))));
        rows.push(("max_body", members.max_body.map(show_size)));
        rows.push((
            "content_types",
            members.content_types.as_ref().map(|types| match types {
                ContentTypes::Any => "*".to_owned(),
                ContentTypes::Listed(types) => quoted(types.iter()),
            }),
        ));
        rows.push((
            "statuses",
            members.statuses.as_ref().map(|statuses| match listed(statuses) {
                None => "*".to_owned(),
                Some(codes) => codes.iter().map(|code| code.as_str()).collect::<Vec<_>>().join(", "),
            }),
        ));
        rows.push((
            "ignore_client_cache_control",
            members.client_cache_control.map(|control| match control {
                ClientCacheControl::Ignored => "true".to_owned(),
                ClientCacheControl::Obeyed => "false".to_owned(),
            }),
        ));
        for (name, headers) in [
            ("key_headers", &members.key_headers),
            ("harmless_headers", &members.harmless_headers),
            ("credential_headers", &members.credential_headers),
        ] {
            rows.push((name, listed_words(headers.iter().map(HeaderName::as_str))));
        }
        rows.push((
            "ignored_cookies",
            members.ignored_cookies.as_ref().map(|cookies| match cookies {
                IgnoredCookies::Any => "*".to_owned(),
                IgnoredCookies::Listed(names) => quoted(names.iter()),
            }),
        ));
        rows.push(("tags", listed_words(members.tags.iter().map(|tag| &*tag.text))));
        rows.push(("query", members.query.as_ref().map(query_text)));
        rows.push(("on_write", members.on_write.as_ref().map(|on_write| self.write_text(on_write))));
        rows.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }

    fn write_text(&self, on_write: &OnWrite) -> String {
        let names = on_write.purge.iter().filter_map(|index| self.routes().get(*index));
        let mut text = format!("purge {}", quoted(names.map(|route| &route.name)));
        if !on_write.purge_tags.is_empty() {
            let _ = write!(text, ", purge_tags {}", quoted(on_write.purge_tags.iter().map(|tag| &tag.text)));
        }
        if on_write.wait == WriteWait::Confirmed {
            text += ", wait";
        }
        if let Some(hold) = on_write.hold {
            let _ = write!(text, ", hold {}", show_duration(hold));
        }
        text
    }
}

fn query_text(query: &QueryRules) -> String {
    let filter = match &query.filter {
        QueryFilter::All => String::new(),
        QueryFilter::Ignore(names) => format!("ignore {} ", quoted(names.0.iter())),
        QueryFilter::Only(names) => format!("only {} ", quoted(names.0.iter())),
    };
    match query.order {
        QueryOrder::AsSent => filter.trim_end().to_owned(),
        QueryOrder::Sorted => format!("{filter}sort"),
    }
}

/// Returns words in quotes; none if there are none.
fn listed_words<'w>(words: impl Iterator<Item = &'w str>) -> Option<String> {
    Some(quoted(words)).filter(|text| text != "[]")
}

fn quoted(words: impl Iterator<Item = impl AsRef<str>>) -> String {
    let words: Vec<_> = words.map(|word| format!("{:?}", word.as_ref())).collect();
    format!("[{}]", words.join(", "))
}

/// Returns paths that match a pattern and, as far as a sample can, no other one.
fn samples(pattern: &PathPattern) -> Vec<String> {
    let filled = |rest: &str| {
        let mut path = String::new();
        for segment in pattern.segments() {
            path.push('/');
            match segment {
                PatternSegment::Literal { canonical, .. } => path += &String::from_utf8_lossy(canonical),
                PatternSegment::One(_) => path += SAMPLE,
                PatternSegment::Rest(_) => path += rest,
            }
        }
        path
    };
    if matches!(pattern.segments().last(), Some(PatternSegment::Rest(_))) {
        vec![filled(&format!("{SAMPLE}/{SAMPLE}")), filled(SAMPLE), filled("")]
    } else {
        vec![filled("")]
    }
}

/// Returns the first difference of a path from a pattern, and the number of equal segments before.
fn mismatch(pattern: &PathPattern, path: &SplitPath<'_>) -> Option<(usize, String)> {
    for (at, segment) in pattern.segments().iter().enumerate() {
        let number = at + 1;
        let Some(given) = path.segment(at) else {
            return Some((at, format!("the path has {} segments", path.count())));
        };
        let shown = String::from_utf8_lossy(given);
        match segment {
            PatternSegment::Rest(_) => return None,
            PatternSegment::One(name) if given.is_empty() => {
                return Some((at, format!("segment {number} is empty, and not {{{name}}}")));
            }
            PatternSegment::Literal { canonical: literal, .. } if *canonical(given) != **literal => {
                let literal = String::from_utf8_lossy(literal);
                return Some((at, format!("segment {number} is {shown:?}, and not {literal:?}")));
            }
            PatternSegment::One(_) | PatternSegment::Literal { .. } => {}
        }
    }
    let (given, expected) = (path.count(), pattern.segments().len());
    (given != expected).then(|| (expected, format!("the path has {given} segments, and not {expected}")))
}
