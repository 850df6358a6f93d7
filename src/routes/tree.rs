//! The tree of path patterns: one level for each segment, one tree for all hosts and methods.
//!
//! A walk takes the most specific branch first and returns to the next one if no route of it takes
//! the host and the method. It visits each node at most once, so the file alone limits its cost,
//! and no request can. Literals are found without regard to letter case; the caller decides whether
//! it accepts the route that a walk reaches.

use crate::routes::pattern::PatternSegment;
use crate::routes::route::Route;
use crate::routes::segment::SegmentWords;

/// The segments of a path or of one of its readings.
pub(super) trait PathSegments {
    /// Returns the number of segments.
    fn number(&self) -> usize;
    /// Returns a segment; none beyond the longest pattern.
    fn at(&self, index: usize) -> Option<&[u8]>;
}

/// A choice whether a path may lack the `/` at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PathEnd {
    /// The path matches as it is.
    Exact,
    /// The path also matches patterns with a `/` behind it, and an empty remainder.
    OptionalSlash,
}

/// A walk through the tree.
pub(super) struct TreeWalk<'w, P, A> {
    pub(super) path: &'w P,
    pub(super) end: PathEnd,
    pub(super) accept: A,
}

/// The patterns of a file.
#[derive(Clone, Debug, Default)]
pub(super) struct PatternTree {
    root: PatternNode,
}

/// The patterns with a common beginning.
#[derive(Clone, Debug, Default)]
pub(super) struct PatternNode {
    /// The keys of the literals that may follow, sorted.
    keys: Vec<u64>,
    /// The literals, in the order of their keys.
    literals: Vec<LiteralBranch>,
    /// The patterns with a capture of one segment here.
    one: Option<Box<PatternNode>>,
    /// The routes whose pattern ends here, the preferred one first.
    ends: Vec<usize>,
    /// The routes whose pattern ends with a remainder here, the preferred one first.
    rests: Vec<usize>,
}

/// The patterns behind a literal.
#[derive(Clone, Debug)]
pub(super) struct LiteralBranch {
    pub(super) literal: Box<[u8]>,
    /// Patterns write the literal in different letter case.
    pub(super) is_mixed: bool,
    pub(super) node: PatternNode,
}

impl PatternTree {
    /// Builds the tree of all routes.
    pub(super) fn of(routes: &[Route]) -> Self {
        let mut tree = Self::default();
        for (index, route) in routes.iter().enumerate() {
            let (node, list) = tree.root.place(route.path.segments());
            match list {
                PatternEnd::Here => node.ends.push(index),
                PatternEnd::Rest => node.rests.push(index),
            }
        }
        tree.root.sort(routes);
        tree
    }

    /// Returns the node of all patterns.
    pub(super) const fn root(&self) -> &PatternNode {
        &self.root
    }

    /// Returns the most specific route that the path reaches and that is accepted.
    pub(super) fn find<P: PathSegments, A: Fn(usize) -> bool>(
        &self,
        walk: &TreeWalk<'_, P, A>,
    ) -> Option<usize> {
        if walk.path.number() == 0 { None } else { self.root.find(walk, 0) }
    }
}

/// The way in which a pattern ends at a node.
enum PatternEnd {
    Here,
    Rest,
}

impl PatternNode {
    /// Returns the literals that may follow.
    pub(super) fn literals(&self) -> &[LiteralBranch] {
        &self.literals
    }

    /// Returns the node behind a capture of one segment.
    pub(super) fn one(&self) -> Option<&Self> {
        self.one.as_deref()
    }

    /// Returns the routes whose pattern ends here, the preferred one first.
    pub(super) fn ends(&self) -> &[usize] {
        &self.ends
    }

    /// Returns the routes whose pattern ends with a remainder here, the preferred one first.
    pub(super) fn rests(&self) -> &[usize] {
        &self.rests
    }

    /// Returns the node at which a pattern ends, with the nodes on the way.
    fn place(&mut self, segments: &[PatternSegment]) -> (&mut Self, PatternEnd) {
        let Some((segment, behind)) = segments.split_first() else { return (self, PatternEnd::Here) };
        match segment {
            PatternSegment::Rest(_) => (self, PatternEnd::Rest),
            PatternSegment::One(_) => self.one.get_or_insert_default().place(behind),
            PatternSegment::Literal { decoded, .. } => self.literal(decoded).place(behind),
        }
    }

    /// Returns the node behind a literal, which is made if it is missing.
    fn literal(&mut self, literal: &[u8]) -> &mut Self {
        let found = self.literals.iter().position(|branch| branch.literal.eq_ignore_ascii_case(literal));
        let at = found.unwrap_or_else(|| {
            let key = key_of(literal);
            let at = self.keys.partition_point(|known| *known < key);
            self.keys.insert(at, key);
            let branch = LiteralBranch { literal: literal.into(), is_mixed: false, node: Self::default() };
            self.literals.insert(at, branch);
            at
        });
        match self.literals.get_mut(at) {
            Some(branch) => {
                branch.is_mixed |= *branch.literal != *literal;
                &mut branch.node
            }
            // The index was found or inserted a moment ago.
            None => self.one.get_or_insert_default(),
        }
    }

    /// Sorts the routes of each list by their host, then by their order in the file.
    fn sort(&mut self, routes: &[Route]) {
        let rank = |index: &usize| {
            let host = routes.get(*index).and_then(|route| route.host.as_ref());
            std::cmp::Reverse(host.map_or((0, 0), super::pattern::HostPattern::rank))
        };
        self.ends.sort_by_key(rank);
        self.rests.sort_by_key(rank);
        self.literals.iter_mut().for_each(|branch| branch.node.sort(routes));
        self.one.iter_mut().for_each(|node| node.sort(routes));
    }

    fn find<P: PathSegments, A: Fn(usize) -> bool>(
        &self,
        walk: &TreeWalk<'_, P, A>,
        at: usize,
    ) -> Option<usize> {
        if at == walk.path.number() {
            return self.end(walk);
        }
        // A segment that is not found is beyond the longest pattern; a remainder covers it.
        if let Some(segment) = walk.path.at(at) {
            for branch in self.branches(segment) {
                if branch.literal.eq_ignore_ascii_case(segment)
                    && let Some(found) = branch.node.find(walk, at + 1)
                {
                    return Some(found);
                }
            }
            if let Some(node) = &self.one
                && !segment.is_empty()
                && let Some(found) = node.find(walk, at + 1)
            {
                return Some(found);
            }
        }
        self.rests.iter().copied().find(|index| (walk.accept)(*index))
    }

    /// Returns the route whose pattern ends where the path ends.
    fn end<P: PathSegments, A: Fn(usize) -> bool>(&self, walk: &TreeWalk<'_, P, A>) -> Option<usize> {
        let first = |routes: &[usize]| routes.iter().copied().find(|index| (walk.accept)(*index));
        let here = first(&self.ends);
        match walk.end {
            PathEnd::Exact => here,
            PathEnd::OptionalSlash => here
                .or_else(|| self.branches(b"").find_map(|branch| first(&branch.node.ends)))
                .or_else(|| first(&self.rests)),
        }
    }

    /// Returns the literals with the key of a segment; usually one at most.
    #[inline]
    fn branches(&self, segment: &[u8]) -> impl Iterator<Item = &LiteralBranch> {
        let key = if self.keys.is_empty() { 0 } else { key_of(segment) };
        let start = self.keys.partition_point(|known| *known < key);
        let equal = self.keys.get(start..).unwrap_or_default().iter().take_while(move |known| **known == key);
        equal.zip(self.literals.get(start..).unwrap_or_default()).map(|(_, branch)| branch)
    }
}

/// Returns a hash of a segment that ignores letter case.
fn key_of(segment: &[u8]) -> u64 {
    SegmentWords::of(segment).key()
}
