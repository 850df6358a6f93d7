//! The routes of a file, and the match of one request.

use std::borrow::Cow;

use http::Method;

use crate::limits::{ROUTE_DECODED_BYTES_MAX, TAG_BYTES_MAX};

use crate::routes::bytes::{canonical, decode, encode_normal, normal_form};
use crate::routes::pattern::{PathPattern, PatternSegment, host_of};
use crate::routes::readings::{PathReadings, ReadingCoverage, decoded_if_plain};
use crate::routes::route::Route;
use crate::routes::split::SplitPath;
use crate::routes::tags::implied;
use crate::routes::tree::{PathEnd, PathSegments, PatternTree};

/// The routes of a file.
#[derive(Clone, Debug, Default)]
pub struct RouteTable {
    routes: Vec<Route>,
    tree: PatternTree,
}

/// Whether a path has one reading by RFC 3986, so that permissive members may apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathForm {
    /// Every segment consists of unreserved bytes and percent-encoded bytes that are not reserved,
    /// and is neither empty nor a dot segment. A `/` at the end is plain if the route's path has
    /// one.
    Plain,
    /// Origins differ in reading the path.
    NotPlain,
}

/// The route of one request.
#[derive(Clone, Copy, Debug)]
pub struct RouteMatch<'t, 'p> {
    path: &'p str,
    matched: Option<(usize, &'t Route)>,
    form: PathForm,
    other: OtherReading<'t>,
}

/// The routes that other readings of a path match.
#[derive(Clone, Copy, Debug)]
enum OtherReading<'t> {
    /// No reading matches a route that the path itself does not match.
    None,
    /// A reading matches this route.
    Route(&'t Route),
    /// A reading of a path that is not plain matches no route, or there are too many readings.
    Unclear,
}

/// A route with `on_write` that a reading of a path matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteMatch {
    /// The index of the route.
    pub index: usize,
    /// The captures in normal form.
    pub captures: Vec<(Box<str>, String)>,
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
        Self { routes, tree }
    }

    /// Returns the routes in the order of the file.
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// Finds the route of a request, from its authority in lower case and its path without query.
    pub fn find<'t, 'p>(&'t self, method: &Method, authority: &str, path: &'p str) -> RouteMatch<'t, 'p> {
        let split = SplitPath::of(path.as_bytes());
        let host = host_of(authority);
        if split.is_unreserved() && !split.ends_with_slash() {
            self.find_plain(method, host, path, &split)
        } else {
            self.find_rare(method, host, path, &split)
        }
    }

    /// Finds the route of a plain path, from its decoded segments.
    fn find_plain<'t, 'p>(
        &'t self,
        method: &Method,
        host: &str,
        path: &'p str,
        decoded: &SplitPath<'_>,
    ) -> RouteMatch<'t, 'p> {
        let accept = |index: usize| self.routes.get(index).is_some_and(|route| route.takes(method, host));
        let is_exact = |route: &Route| {
            route.path.has_literals(decoded.number(), |at, literal| decoded.at(at) == Some(literal.decoded))
        };
        let found = self.tree.find(decoded, PathEnd::OptionalSlash, &accept);
        let found = found.and_then(|index| Some((index, self.routes.get(index)?)));
        let mut matched =
            RouteMatch { path, matched: found, form: PathForm::Plain, other: OtherReading::None };
        if let Some((_, route)) = found
            && !is_exact(route)
        {
            let accept = |index: usize| accept(index) && self.routes.get(index).is_some_and(is_exact);
            let found = self.tree.find(decoded, PathEnd::Exact, &accept);
            matched.matched = found.and_then(|index| Some((index, self.routes.get(index)?)));
            matched.other = OtherReading::Route(route);
        }
        matched
    }

    /// Finds the route of a path that has a byte other than an unreserved one, or an odd segment.
    #[cold]
    fn find_rare<'t, 'p>(
        &'t self,
        method: &Method,
        host: &str,
        path: &'p str,
        split: &SplitPath<'_>,
    ) -> RouteMatch<'t, 'p> {
        let mut buffer = [0; ROUTE_DECODED_BYTES_MAX];
        if let Some(decoded) = decoded_if_plain(path.as_bytes(), &mut buffer) {
            return self.find_plain(method, host, path, &SplitPath::of(&decoded));
        }
        let found = self.find_canonical(method, host, split);
        let matched = found.and_then(|index| Some((index, self.routes.get(index)?)));
        let has_expected_slash =
            split.is_unreserved() && matched.is_some_and(|(_, route)| route.path.ends_with_slash());
        let form = if has_expected_slash { PathForm::Plain } else { PathForm::NotPlain };
        let readings = PathReadings::of(path.as_bytes());
        let other = readings.paths.iter().enumerate().find_map(|(at, reading)| {
            let index = self.find_reading(method, host, reading)?;
            let is_same = found == Some(index) && (at == 0 || form == PathForm::Plain);
            if is_same { None } else { self.routes.get(index) }
        });
        let is_one_of_several = form == PathForm::NotPlain && matched.is_some() && readings.paths.len() > 1;
        let other = match (other, readings.coverage) {
            (Some(route), _) => OtherReading::Route(route),
            (None, ReadingCoverage::Some) => OtherReading::Unclear,
            (None, ReadingCoverage::All) if is_one_of_several => OtherReading::Unclear,
            (None, ReadingCoverage::All) => OtherReading::None,
        };
        RouteMatch { path, matched, form, other }
    }

    /// Returns the route that a path matches by RFC 3986 alone.
    fn find_canonical(&self, method: &Method, host: &str, split: &SplitPath<'_>) -> Option<usize> {
        let number = split.count();
        let segments = (0..number).map_while(|at| split.segment(at)).map(decode).collect();
        let is_exact = |route: &Route| {
            route.path.has_literals(number, |at, literal| {
                split.segment(at).is_some_and(|segment| *canonical(segment) == *literal.canonical)
            })
        };
        let accept = |index: usize| {
            self.routes.get(index).is_some_and(|route| route.takes(method, host) && is_exact(route))
        };
        self.tree.find(&DecodedSegments { segments, number }, PathEnd::Exact, &accept)
    }

    /// Returns the route that a reading matches, without regard to letter case.
    pub(super) fn find_reading(&self, method: &Method, host: &str, reading: &[u8]) -> Option<usize> {
        let accept = |index: usize| self.routes.get(index).is_some_and(|route| route.takes(method, host));
        self.tree.find(&SplitPath::of(reading), PathEnd::OptionalSlash, &accept)
    }

    /// Returns the routes with `on_write` that the readings of a path match, with the captures of
    /// each reading. An unsafe request purges for each of them.
    pub fn find_writes(&self, method: &Method, authority: &str, path: &str) -> Vec<WriteMatch> {
        let host = host_of(authority);
        let mut found: Vec<WriteMatch> = Vec::new();
        let readings = PathReadings::of(path.as_bytes());
        for reading in &readings.paths {
            let Some(index) = self.find_reading(method, host, reading) else { continue };
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
        let on_write = self.routes.get(write.index).and_then(|route| route.members.on_write.as_ref());
        let Some(on_write) = on_write else { return Vec::new() };
        let capture = |name: &str| {
            let (_, value) = write.captures.iter().find(|(known, _)| **known == *name)?;
            Some(Cow::Borrowed(value.as_str()))
        };
        let routes = on_write.purge.iter().filter_map(|index| self.routes.get(*index));
        let implied = routes.filter_map(|route| implied(&route.name, route.path.captures(), capture));
        let own = on_write.purge_tags.iter().filter_map(|template| template.fill(capture));
        implied.chain(own).filter(|tag| tag.len() <= TAG_BYTES_MAX).collect()
    }

    /// Returns the readings of a path, for display. The path itself is the first.
    pub fn readings(path: &str) -> Vec<String> {
        let readings = PathReadings::of(path.as_bytes()).paths;
        readings.iter().map(|reading| String::from_utf8_lossy(reading).into_owned()).collect()
    }
}

impl<'t, 'p> RouteMatch<'t, 'p> {
    /// Returns the route that the path matches by RFC 3986.
    pub fn route(&self) -> Option<&'t Route> {
        self.matched.map(|(_, route)| route)
    }

    /// Returns the index of the route.
    pub fn index(&self) -> Option<usize> {
        self.matched.map(|(index, _)| index)
    }

    /// Returns whether the path is plain.
    pub const fn form(&self) -> PathForm {
        self.form
    }

    /// Returns whether the permissive members of the route apply: the path is plain, and each of
    /// its readings matches the route.
    pub fn permits(&self) -> bool {
        self.matched.is_some() && self.form == PathForm::Plain && !self.is_ambiguous()
    }

    /// Returns whether the request passes uncached because its path has several readings: one of
    /// them matches another route, or the path is not plain and one of them matches any route.
    pub fn is_ambiguous(&self) -> bool {
        !matches!(self.other, OtherReading::None)
    }

    /// Returns the route that another reading matches.
    pub fn other_route(&self) -> Option<&'t Route> {
        match self.other {
            OtherReading::Route(route) => Some(route),
            OtherReading::None | OtherReading::Unclear => None,
        }
    }

    /// Returns whether the request passes uncached: by its route, or because its path is ambiguous.
    pub fn passes_through(&self) -> bool {
        self.is_ambiguous() || self.route().is_some_and(Route::passes_through)
    }

    /// Returns the captures with their values in normal form.
    pub fn captures(&self) -> impl Iterator<Item = (&'t str, Cow<'p, str>)> + use<'t, 'p> {
        let split = SplitPath::of(self.path.as_bytes());
        let values = self.route().map(|route| route.path.values(&split).collect::<Vec<_>>());
        values.unwrap_or_default().into_iter().map(|(name, value)| (name, normal_form(value)))
    }

    /// Returns the tags that the route gives to a stored response: its implied tag, and its own.
    /// None if a tag is too long; such a response is not stored, since a purge would miss it.
    pub fn stored_tags(&self) -> Option<Vec<String>> {
        let Some(route) = self.route() else { return Some(Vec::new()) };
        let captures: Vec<_> = self.captures().collect();
        let capture =
            |name: &str| captures.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone());
        let implied = implied(&route.name, route.path.captures(), capture);
        let own = route.members.tags.iter().map(|template| template.fill(capture));
        let tags: Option<Vec<_>> = std::iter::once(implied).chain(own).collect();
        tags.filter(|tags| tags.iter().all(|tag| tag.len() <= TAG_BYTES_MAX))
    }
}

/// The text of a literal segment.
#[derive(Clone, Copy)]
pub(super) struct LiteralText<'r> {
    canonical: &'r [u8],
    decoded: &'r [u8],
}

impl PathPattern {
    /// Returns whether a path with this number of segments has every literal of the pattern.
    fn has_literals(&self, number: usize, has: impl Fn(usize, LiteralText<'_>) -> bool) -> bool {
        let segments = self.segments();
        let is_long_enough = match segments.last() {
            Some(PatternSegment::Rest(_)) => number >= segments.len(),
            Some(_) | None => number == segments.len(),
        };
        is_long_enough
            && segments.iter().enumerate().all(|(at, segment)| match segment {
                PatternSegment::Literal { canonical, decoded } => has(at, LiteralText { canonical, decoded }),
                PatternSegment::One(_) | PatternSegment::Rest(_) => true,
            })
    }

    /// Returns the captures of a path that matches.
    fn values<'r, 'p>(&'r self, path: &SplitPath<'p>) -> impl Iterator<Item = (&'r str, &'p [u8])> {
        self.segments().iter().enumerate().filter_map(|(at, segment)| match segment {
            PatternSegment::Literal { .. } => None,
            PatternSegment::One(name) => Some((&**name, path.segment(at)?)),
            // With an optional `/` at the end, the remainder is empty.
            PatternSegment::Rest(name) => Some((&**name, path.remainder(at).unwrap_or_default())),
        })
    }
}
