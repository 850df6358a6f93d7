//! The routes of a file, and the match of one request.

use std::borrow::Cow;

use http::Method;

use crate::limits::{ROUTE_DECODED_BYTES_MAX, TAG_BYTES_MAX};

use crate::routes::bytes::{canonical, decode, encode_normal};
use crate::routes::descent::{Descent, PathBytes, PlainTree};
use crate::routes::digest::table_digest;
use crate::routes::readings::{PathReadings, ReadingCoverage, decoded_if_plain, has_single_reading};
use crate::routes::route::{OnWrite, Route};
use crate::routes::route_match::{OtherReading, PathForm, RouteMatch};
use crate::routes::split::SplitPath;
use crate::routes::tags::implied;
use crate::routes::tree::{PathEnd, PathSegments, PatternTree, TreeWalk};

/// The routes of a file.
#[derive(Clone, Debug, Default)]
pub struct RouteTable {
    routes: Vec<Route>,
    tree: PatternTree,
    plain: PlainTree,
    /// Whether any route has `on_write`.
    has_writes: bool,
    digest: u64,
}

/// A route with `on_write` that a reading of a path matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteMatch {
    /// The index of the route.
    pub index: usize,
    /// The captures in normal form.
    pub captures: Vec<(Box<str>, String)>,
}

impl WriteMatch {
    fn capture(&self, name: &str) -> Option<Cow<'_, str>> {
        let (_, value) = self.captures.iter().find(|(known, _)| **known == *name)?;
        Some(Cow::Borrowed(value.as_str()))
    }
}

impl PathSegments for SplitPath<'_> {
    fn number(&self) -> usize {
        self.count()
    }

    fn at(&self, index: usize) -> Option<&[u8]> {
        self.segment(index)
    }
}

/// The decoded segments of a path, without those that decoding would add.
struct DecodedSegments<'p> {
    segments: Vec<Cow<'p, [u8]>>,
    /// The number of segments, also of those beyond the longest pattern.
    number: usize,
}

impl PathSegments for DecodedSegments<'_> {
    fn number(&self) -> usize {
        self.number
    }

    fn at(&self, index: usize) -> Option<&[u8]> {
        self.segments.get(index).map(|segment| &**segment)
    }
}

impl RouteTable {
    pub(super) fn of(routes: Vec<Route>) -> Self {
        let tree = PatternTree::of(&routes);
        let plain = PlainTree::of(&tree);
        let has_writes = routes.iter().any(|route| route.members.on_write.is_some());
        let digest = table_digest(&routes);
        Self { routes, tree, plain, has_writes, digest }
    }

    /// Returns the largest body that the setting or any route stores. Every tier holds it.
    pub fn largest_body(table: Option<&Self>, of_setting: usize) -> usize {
        let routes = table.map(Self::routes).unwrap_or_default();
        routes.iter().filter_map(|route| route.members.max_body).fold(of_setting, usize::max)
    }

    /// Returns the routes in the order of the file.
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// Finds the route of a request, from its authority in lower case and its path without query.
    pub fn find<'t, 'p>(&'t self, method: &Method, authority: &str, path: &'p str) -> RouteMatch<'t, 'p> {
        let matched = self.find_at_once(method, authority, path, path.as_bytes(), PathBytes::Raw);
        matched.unwrap_or_else(|| self.find_slowly(method, authority, path))
    }

    /// Finds the route of a `QUERY`. `None` if no route of the path lists the method and one lists
    /// `GET`: its author did not decide on `QUERY`, so the request passes uncached.
    pub fn find_query<'t, 'p>(&'t self, authority: &str, path: &'p str) -> Option<RouteMatch<'t, 'p>> {
        let found = self.find(&Method::QUERY, authority, path);
        if found.route().is_some() || found.is_ambiguous() {
            return Some(found);
        }
        let of_get = self.find(&Method::GET, authority, path);
        (of_get.route().is_none() && !of_get.is_ambiguous()).then_some(found)
    }

    /// Finds the route of a plain path if a descent suffices. Then every
    /// reading matches the route.
    fn find_at_once<'t, 'p>(
        &'t self,
        method: &Method,
        authority: &str,
        path: &'p str,
        bytes: &[u8],
        form: PathBytes,
    ) -> Option<RouteMatch<'t, 'p>> {
        let accept =
            |index: usize| self.routes.get(index).is_some_and(|route| route.takes(method, authority));
        match self.plain.find(bytes, form, accept) {
            Descent::Found(index) => Some(RouteMatch::plain(path, self.indexed(Some(index)))),
            Descent::Nothing => Some(RouteMatch::plain(path, None)),
            Descent::Unsure => None,
        }
    }

    #[cold]
    fn find_slowly<'t, 'p>(&'t self, method: &Method, authority: &str, path: &'p str) -> RouteMatch<'t, 'p> {
        let split = SplitPath::of(path.as_bytes());
        if split.is_unreserved() && !split.ends_with_slash() {
            self.find_plain(method, authority, path, &split)
        } else {
            self.find_rare(method, authority, path, &split)
        }
    }

    /// Returns the route at this index, with the index.
    fn indexed(&self, found: Option<usize>) -> Option<(usize, &Route)> {
        let index = found?;
        Some((index, self.routes.get(index)?))
    }

    /// Finds the route of a plain path, from its decoded segments.
    fn find_plain<'t, 'p>(
        &'t self,
        method: &Method,
        authority: &str,
        path: &'p str,
        decoded: &SplitPath<'_>,
    ) -> RouteMatch<'t, 'p> {
        let accept =
            |index: usize| self.routes.get(index).is_some_and(|route| route.takes(method, authority));
        let is_exact = |route: &Route| {
            route.path.has_literals(decoded.number(), |at, literal| decoded.at(at) == Some(literal.decoded))
        };
        let found = self.indexed(self.walk(decoded, PathEnd::OptionalSlash, accept));
        let mut matched = RouteMatch::plain(path, found);
        if let Some((_, route)) = found
            && !is_exact(route)
        {
            let accept = |index: usize| accept(index) && self.routes.get(index).is_some_and(is_exact);
            matched.matched = self.indexed(self.walk(decoded, PathEnd::Exact, accept));
            matched.other = OtherReading::Route(route);
        }
        matched
    }

    /// Finds the route of a path that has a byte other than an unreserved one, or an odd segment.
    fn find_rare<'t, 'p>(
        &'t self,
        method: &Method,
        authority: &str,
        path: &'p str,
        split: &SplitPath<'_>,
    ) -> RouteMatch<'t, 'p> {
        let mut buffer = [0; ROUTE_DECODED_BYTES_MAX];
        if let Some(decoded) = decoded_if_plain(path.as_bytes(), &mut buffer) {
            let matched = self.find_at_once(method, authority, path, &decoded, PathBytes::Decoded);
            return matched
                .unwrap_or_else(|| self.find_plain(method, authority, path, &SplitPath::of(&decoded)));
        }
        if has_single_reading(path.as_bytes()) {
            let matched = self.find_plain(method, authority, path, split);
            return RouteMatch { form: PathForm::NotPlain, ..matched };
        }
        if let Some(matched) = self.find_with_slash(method, authority, path, split) {
            return matched;
        }
        let found = self.find_canonical(method, authority, split);
        let matched = self.indexed(found);
        let readings = PathReadings::of(path.as_bytes());
        let find = |reading: &Vec<u8>| self.find_reading(method, authority, reading);
        let mut others =
            readings.paths.iter().enumerate().filter_map(|(at, reading)| Some((at, find(reading)?)));
        let other = others.find(|(at, index)| *at > 0 || found != Some(*index));
        let is_one_of_several = matched.is_some() && readings.paths.len() > 1;
        let other = match (other.and_then(|(_, index)| self.routes.get(index)), readings.coverage) {
            (Some(route), _) => OtherReading::Route(route),
            (None, ReadingCoverage::Some) => OtherReading::Unclear,
            (None, ReadingCoverage::All) if is_one_of_several => OtherReading::Unclear,
            (None, ReadingCoverage::All) => OtherReading::None,
        };
        RouteMatch { path, matched, form: PathForm::NotPlain, other }
    }

    /// Finds the route of a path that is plain but for a `/` at its end, if the path of the route
    /// has it too, and the reading without it matches the route as well.
    fn find_with_slash<'t, 'p>(
        &'t self,
        method: &Method,
        authority: &str,
        path: &'p str,
        split: &SplitPath<'_>,
    ) -> Option<RouteMatch<'t, 'p>> {
        let bare = path.strip_suffix('/').filter(|_| split.is_unreserved())?;
        let matched = self.find_plain(method, authority, path, split);
        let is_expected = matched.route().is_some_and(|route| route.path.ends_with_slash());
        let reading = self.find_reading(method, authority, bare.as_bytes());
        (is_expected && !matched.is_ambiguous() && reading == matched.index()).then_some(matched)
    }

    /// Returns the most specific route that a path reaches, by its bytes without letter case.
    fn walk<P: PathSegments>(&self, path: &P, end: PathEnd, accept: impl Fn(usize) -> bool) -> Option<usize> {
        self.tree.find(&TreeWalk { path, end, accept })
    }

    /// Returns the route that a path matches by RFC 3986 alone.
    fn find_canonical(&self, method: &Method, authority: &str, split: &SplitPath<'_>) -> Option<usize> {
        let number = split.count();
        let segments = (0..number).map_while(|at| split.segment(at)).map(decode).collect();
        let is_exact = |route: &Route| {
            route.path.has_literals(number, |at, literal| {
                split.segment(at).is_some_and(|segment| *canonical(segment) == *literal.canonical)
            })
        };
        let accept = |index: usize| {
            self.routes.get(index).is_some_and(|route| route.takes(method, authority) && is_exact(route))
        };
        self.walk(&DecodedSegments { segments, number }, PathEnd::Exact, accept)
    }

    /// Returns the route that a reading matches, without regard to letter case.
    pub(super) fn find_reading(&self, method: &Method, authority: &str, reading: &[u8]) -> Option<usize> {
        let accept =
            |index: usize| self.routes.get(index).is_some_and(|route| route.takes(method, authority));
        self.walk(&SplitPath::of(reading), PathEnd::OptionalSlash, accept)
    }

    /// Returns the routes with `on_write` that the readings of a path match, with the captures of
    /// each reading. An unsafe request purges for each of them.
    pub fn find_writes(&self, method: &Method, authority: &str, path: &str) -> Vec<WriteMatch> {
        let mut found: Vec<WriteMatch> = Vec::new();
        let readings = PathReadings::of(path.as_bytes());
        for reading in &readings.paths {
            let Some(index) = self.find_reading(method, authority, reading) else { continue };
            let Some(route) = self.routes.get(index).filter(|route| route.members.on_write.is_some()) else {
                continue;
            };
            let split = SplitPath::of(reading);
            let captures = route.path.values(&split);
            let captures =
                captures.map(|(name, value)| (name.into(), encode_normal(value).into_owned())).collect();
            let write = WriteMatch { index, captures };
            if !found.contains(&write) {
                found.push(write);
            }
        }
        found
    }

    /// Returns the tags that a write purges: the implied tags of the routes that it names, and its
    /// own tags.
    pub fn purged_tags(&self, write: &WriteMatch) -> Vec<String> {
        let Some(on_write) = self.on_write(write) else { return Vec::new() };
        let own = on_write.purge_tags.iter().filter_map(|template| template.fill(|name| write.capture(name)));
        let implied = self.purged_implied_tags(write).into_iter();
        implied.chain(own.filter(|tag| tag.len() <= TAG_BYTES_MAX)).collect()
    }

    /// Returns the implied tags of the routes that a write names.
    pub(super) fn purged_implied_tags(&self, write: &WriteMatch) -> Vec<String> {
        let purge = self.on_write(write).map_or(&[][..], |on_write| &on_write.purge);
        let routes = purge.iter().filter_map(|index| self.routes.get(*index));
        let tag = |route: &Route| implied(&route.name, route.path.captures(), |name| write.capture(name));
        routes.filter_map(tag).filter(|tag| tag.len() <= TAG_BYTES_MAX).collect()
    }

    /// Returns the purge of the route that a write matches.
    pub(super) fn on_write(&self, write: &WriteMatch) -> Option<&OnWrite> {
        self.routes.get(write.index)?.members.on_write.as_ref()
    }

    /// Returns the digest of all routes. Nodes with the same digest store and purge alike.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// Returns whether a write purges anything.
    pub(super) fn has_writes(&self) -> bool {
        self.has_writes
    }

    /// Returns the readings of a path, for display. The path itself is the first.
    pub fn readings(path: &str) -> Vec<String> {
        let readings = PathReadings::of(path.as_bytes()).paths;
        readings.iter().map(|reading| String::from_utf8_lossy(reading).into_owned()).collect()
    }
}
