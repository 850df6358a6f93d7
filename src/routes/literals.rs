//! The literals and captures of a pattern, in a path that is split.

use crate::routes::pattern::{PathPattern, PatternSegment};
use crate::routes::split::{SplitPath, is_plain_segment};

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

    /// Returns whether a path is plain, does not end with `/`, and matches byte for byte.
    pub(super) fn has_plainly(&self, path: &SplitPath<'_>) -> bool {
        let segments = self.segments();
        let has = |(at, segment): (usize, &PatternSegment)| {
            let Some(given) = path.segment(at) else { return false };
            match segment {
                // A literal without percent-encoding: decoding shortens every other one.
                PatternSegment::Literal { canonical, decoded } => {
                    *given == **canonical && canonical.len() == decoded.len()
                }
                PatternSegment::One(_) => is_plain_segment(given),
                PatternSegment::Rest(_) => {
                    (at..path.count()).all(|at| path.segment(at).is_some_and(is_plain_segment))
                }
            }
        };
        let has_rest = matches!(segments.last(), Some(PatternSegment::Rest(_)));
        self.matches_plain_paths()
            && (path.count() == segments.len() || has_rest)
            && !path.ends_with_slash()
            && segments.iter().enumerate().all(has)
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
