//! The literals and captures of a pattern, in a path that is split.

use crate::routes::pattern::{PathPattern, PatternSegment};
use crate::routes::split::SplitPath;

/// The text of a literal segment.
#[derive(Clone, Copy)]
pub(super) struct LiteralText<'r> {
    pub(super) canonical: &'r [u8],
    pub(super) decoded: &'r [u8],
}

impl PathPattern {
    /// Returns whether a path with this number of segments has every literal of the pattern.
    pub(super) fn has_literals(&self, number: usize, has: impl Fn(usize, LiteralText<'_>) -> bool) -> bool {
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
    pub(super) fn values<'r, 'p>(
        &'r self,
        path: &SplitPath<'p>,
    ) -> impl Iterator<Item = (&'r str, &'p [u8])> {
        self.segments().iter().enumerate().filter_map(|(at, segment)| match segment {
            PatternSegment::Literal { .. } => None,
            PatternSegment::One(name) => Some((&**name, path.segment(at)?)),
            // With an optional `/` at the end, the remainder is empty.
            PatternSegment::Rest(name) => Some((&**name, path.remainder(at).unwrap_or_default())),
        })
    }
}
