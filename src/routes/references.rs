//! Checks of a route as a whole, and of routes against each other.

use std::collections::HashMap;
use std::ops::Range;

use http::Method;

use crate::limits::ROUTE_TAGS_MAX;
use crate::policy::is_unsafe;
use crate::request_fields::contain_spelling;

use crate::routes::error::RouteFault;
use crate::routes::pattern::PatternSegment;
use crate::routes::route::{Route, RouteCaching};
use crate::routes::tags::TagTemplate;
use crate::routes::value::{FileReader, Item, nearest, shortened};

/// A route that was read, and the places that checks across routes need.
pub(super) struct DraftRoute<'d> {
    pub(super) route: Route,
    /// The place of the route.
    pub(super) span: Range<usize>,
    /// The names in `on_write.purge`, with their places.
    pub(super) purged: Vec<Item<'d>>,
    /// The members that the route has, with their places.
    pub(super) members: Vec<(&'static str, Range<usize>)>,
}

impl DraftRoute<'_> {
    /// Returns the place of a member, or of the route if it lacks the member.
    pub(super) fn place(&self, name: &str) -> Range<usize> {
        let found = self.members.iter().find(|(known, _)| *known == name);
        found.map_or(self.span.clone(), |(_, span)| span.clone())
    }

    /// Returns whether the route has a member.
    pub(super) fn has(&self, name: &str) -> bool {
        self.members.iter().any(|(known, _)| *known == name)
    }
}

/// The members that have no effect unless a response is stored.
const OF_STORED: [&str; 16] = [
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
    "ignore_client_cache_control",
    "key_headers",
    "harmless_headers",
    "ignored_cookies",
    "tags",
    "query",
];

/// Notes every error that the members of one route have together, or that routes have together, and
/// resolves the names of purged routes.
pub(super) fn check_references(reader: &mut FileReader<'_>, drafts: &mut [DraftRoute<'_>]) {
    check_names(reader, drafts);
    check_patterns(reader, drafts);
    for draft in drafts.iter() {
        reader.route = Some(draft.route.name.clone());
        check_route(reader, draft);
    }
    resolve_purges(reader, drafts);
    reader.route = None;
}

fn check_names(reader: &mut FileReader<'_>, drafts: &[DraftRoute<'_>]) {
    let mut lines: HashMap<&str, usize> = HashMap::new();
    for draft in drafts {
        if let Some(line) = lines.get(&*draft.route.name) {
            reader.route = Some(draft.route.name.clone());
            reader.note(&draft.place("name"), RouteFault::DuplicateName(*line));
        } else {
            lines.insert(&draft.route.name, draft.route.line);
        }
    }
}

/// Refuses two routes for one method, host and path. Letter case does not tell paths apart: an
/// origin that ignores it would read both paths as one.
fn check_patterns(reader: &mut FileReader<'_>, drafts: &[DraftRoute<'_>]) {
    let mut known: HashMap<(String, &str, &Method), &Route> = HashMap::new();
    for draft in drafts {
        let route = &draft.route;
        let host = route.host.as_ref().map_or("", |host| host.as_str());
        let mut is_noted = false;
        for method in &route.methods {
            match known.get(&(shape(route), host, method)) {
                Some(other) if !is_noted => {
                    reader.route = Some(route.name.clone());
                    let (method, line) = (method.to_string(), other.line);
                    let fault = RouteFault::DuplicatePattern { method, other: other.name.clone(), line };
                    reader.note(&draft.place("path"), fault);
                    is_noted = true;
                }
                Some(_) => {}
                None => {
                    known.insert((shape(route), host, method), route);
                }
            }
        }
    }
}

/// Returns a text that is equal for patterns that match the same paths.
fn shape(route: &Route) -> String {
    let mut shape = String::new();
    for segment in route.path.segments() {
        shape.push('/');
        match segment {
            PatternSegment::Literal { decoded, .. } => {
                shape.push_str(&String::from_utf8_lossy(&decoded.to_ascii_lowercase()));
            }
            PatternSegment::One(_) => shape.push_str("{}"),
            PatternSegment::Rest(_) => shape.push_str("{*}"),
        }
    }
    shape
}

/// Checks the members of one route against each other.
fn check_route(reader: &mut FileReader<'_>, draft: &DraftRoute<'_>) {
    let route = &draft.route;
    let members = &route.members;
    let stores = |method: &Method| matches!(method.as_str(), "GET" | "HEAD" | "QUERY");
    if !route.methods.is_empty() && !route.methods.iter().any(stores) {
        for name in OF_STORED.iter().filter(|name| draft.has(name)) {
            reader.note(&draft.place(name), RouteFault::NotStored(name));
        }
    }
    for name in members.permissive() {
        if members.cache == Some(RouteCaching::PassThrough) {
            reader.note(&draft.place(name), RouteFault::WithoutCache(name));
        } else if !route.path.matches_plain_paths() {
            reader.note(&draft.place(name), RouteFault::NeverPlain(name));
        }
    }
    if members.on_write.is_some() {
        for method in route.methods.iter().filter(|method| !is_unsafe(method)) {
            reader.note(&draft.place("on_write"), RouteFault::SafeMethod(method.to_string()));
        }
    }
    let lists = [
        ("key_headers", &members.key_headers, "credential_headers", &members.credential_headers),
        ("harmless_headers", &members.harmless_headers, "credential_headers", &members.credential_headers),
        ("harmless_headers", &members.harmless_headers, "key_headers", &members.key_headers),
    ];
    for (member, names, other, others) in lists {
        for header in names.iter().filter(|header| contain_spelling(others, header)) {
            let header = header.clone();
            reader.note(&draft.place(member), RouteFault::InBoth { member, header, other });
        }
    }
    check_captures(reader, draft, "tags", &members.tags);
    let purged = members.on_write.as_ref().map_or(&[][..], |on_write| &on_write.purge_tags);
    check_captures(reader, draft, "on_write", purged);
}

/// Refuses a tag with a capture that the path lacks.
fn check_captures(reader: &mut FileReader<'_>, draft: &DraftRoute<'_>, member: &str, tags: &[TagTemplate]) {
    let known: Vec<_> = draft.route.path.captures().collect();
    for tag in tags {
        for capture in tag.captures().filter(|capture| !known.contains(capture)) {
            let hint = nearest(capture, &known).map(|near| format!("did you mean `{near}`?"));
            let needed_by = format!("the tag {:?}", tag.text);
            let fault = RouteFault::MissingCapture { capture: shortened(capture), needed_by };
            reader.note_with(&draft.place(member), fault, hint);
        }
    }
}

/// Replaces the names of purged routes with their indices.
fn resolve_purges(reader: &mut FileReader<'_>, drafts: &mut [DraftRoute<'_>]) {
    let names: Vec<Box<str>> = drafts.iter().map(|draft| draft.route.name.clone()).collect();
    let known: Vec<&str> = names.iter().map(|name| &**name).collect();
    let mut resolved: Vec<(usize, Vec<usize>)> = Vec::new();
    for (index, draft) in drafts.iter().enumerate() {
        reader.route = Some(draft.route.name.clone());
        if draft.purged.len() > ROUTE_TAGS_MAX {
            reader.note(&draft.place("on_write"), RouteFault::TooManyTags("purge"));
        }
        let captures: Vec<_> = draft.route.path.captures().collect();
        let mut purge = Vec::new();
        for (span, name) in &draft.purged {
            let Some(target) = known.iter().position(|known| known == name) else {
                let hint = nearest(name, &known).map(|near| format!("did you mean `{near}`?"));
                reader.note_with(span, RouteFault::UnknownRoute(shortened(name)), hint);
                continue;
            };
            let Some(route) = drafts.get(target).map(|draft| &draft.route) else { continue };
            let is_stored = route.methods.iter().any(|method| !is_unsafe(method))
                && route.members.cache != Some(RouteCaching::PassThrough);
            if !is_stored {
                reader.note(span, RouteFault::PurgesNothing((*name).to_owned()));
            }
            for capture in route.path.captures().filter(|capture| !captures.contains(capture)) {
                let needed_by = format!("route {name:?}");
                reader.note(span, RouteFault::MissingCapture { capture: capture.to_owned(), needed_by });
            }
            purge.push(target);
        }
        resolved.push((index, purge));
    }
    for (index, purge) in resolved {
        if let Some(on_write) = drafts.get_mut(index).and_then(|draft| draft.route.members.on_write.as_mut())
        {
            on_write.purge = purge;
        }
    }
}
