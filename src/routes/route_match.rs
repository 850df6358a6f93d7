//! The match of one request: its route, the form of its path, and the effect of other readings.

use std::borrow::Cow;

use crate::limits::TAG_BYTES_MAX;

use crate::routes::bytes::normal_form;
use crate::routes::route::Route;
use crate::routes::split::SplitPath;
use crate::routes::tags::implied;

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
    pub(super) path: &'p str,
    pub(super) matched: Option<(usize, &'t Route)>,
    pub(super) form: PathForm,
    pub(super) other: OtherReading<'t>,
}

/// The routes that other readings of a path match.
#[derive(Clone, Copy, Debug)]
pub(super) enum OtherReading<'t> {
    /// No reading matches a route that the path itself does not match.
    None,
    /// A reading matches this route.
    Route(&'t Route),
    /// A reading of a path that is not plain matches no route, or there are too many readings.
    Unclear,
}

impl<'t, 'p> RouteMatch<'t, 'p> {
    /// Returns the match of a plain path whose readings all match this route.
    pub(super) const fn plain(path: &'p str, matched: Option<(usize, &'t Route)>) -> Self {
        Self { path, matched, form: PathForm::Plain, other: OtherReading::None }
    }

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

    /// Returns whether the members that need a plain path apply (`cache_control`, `override`,
    /// `default_ttl`): a route matches, the path is plain, and no reading matches another route.
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

    /// Returns the implied tag of a stored response.
    pub fn implied_tag(&self) -> Option<String> {
        let route = self.route()?;
        let captures: Vec<_> = self.captures().collect();
        let capture =
            |name: &str| captures.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone());
        implied(&route.name, route.path.captures(), capture)
    }

    /// Returns the tags that the route gives to a stored response: its implied tag, and its own.
    /// None if a tag is too long; such a response is not stored, since a purge would miss it.
    pub fn stored_tags(&self) -> Option<Vec<String>> {
        let Some(route) = self.route() else { return Some(Vec::new()) };
        let captures: Vec<_> = self.captures().collect();
        let capture =
            |name: &str| captures.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone());
        let own = route.members.tags.iter().map(|template| template.fill(capture));
        let tags: Option<Vec<_>> = std::iter::once(self.implied_tag()).chain(own).collect();
        tags.filter(|tags| tags.iter().all(|tag| tag.len() <= TAG_BYTES_MAX))
    }
}
