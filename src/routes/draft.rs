//! A route while its file is being read.

use std::ops::Range;

use crate::routes::route::Route;
use crate::routes::value::Item;

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
