//! The tree of path patterns: one level for each segment, one tree for all hosts and methods.
//!
//! A walk takes the most specific branch first and returns to the next one if no route of it takes
//! the host and the method. It visits each node at most once, so its cost has a bound that the file
//! sets and no request. Literals are found without regard to letter case; the caller decides
//! whether it accepts the route that a walk reaches.

use crate::routes::pattern::PatternSegment;
use crate::routes::route::Route;

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

/// The patterns of a file.
#[derive(Clone, Debug, Default)]
pub(super) struct PatternTree {
    root: PatternNode,
}

/// The patterns with a common beginning.
#[derive(Clone, Debug, Default)]
struct PatternNode {
    /// The literals that may follow, sorted by their key.
    literals: Vec<LiteralBranch>,
    /// The patterns with a capture of one segment here.
    one: Option<Box<PatternNode>>,
    /// The routes whose pattern ends here, the preferred one first.
    ends: Vec<usize>,
    /// The routes whose pattern ends with a remainder here, the preferred one first.
    rests: Vec<usize>,
}

#[derive(Clone, Debug)]
struct LiteralBranch {
    key: u64,
    literal: Box<[u8]>,
    node: PatternNode,
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

    /// Returns the most specific route that the path reaches and that is accepted.
    pub(super) fn find(
        &self,
        path: &impl PathSegments,
        end: PathEnd,
        accept: &impl Fn(usize) -> bool,
    ) -> Option<usize> {
        if path.number() == 0 { None } else { self.root.find(path, 0, end, accept) }
    }
}

/// The way in which a pattern ends at a node.
enum PatternEnd {
    Here,
    Rest,
}

impl PatternNode {
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
            let at = self.literals.partition_point(|branch| branch.key < key);
            let branch = LiteralBranch { key, literal: literal.into(), node: Self::default() };
            self.literals.insert(at, branch);
            at
        });
        match self.literals.get_mut(at) {
            Some(branch) => &mut branch.node,
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

    fn find(
        &self,
        path: &impl PathSegments,
        at: usize,
        end: PathEnd,
        accept: &impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let first = |routes: &[usize]| routes.iter().copied().find(|index| accept(*index));
        if at == path.number() {
            let here = first(&self.ends);
            return match end {
                PathEnd::Exact => here,
                PathEnd::OptionalSlash => here
                    .or_else(|| self.behind(b"").and_then(|node| first(&node.ends)))
                    .or_else(|| first(&self.rests)),
            };
        }
        // A segment that is not found is beyond the longest pattern; a remainder covers it.
        let Some(segment) = path.at(at) else { return first(&self.rests) };
        let literal = self.behind(segment).and_then(|node| node.find(path, at + 1, end, accept));
        let one = || {
            let node = self.one.as_ref().filter(|_| !segment.is_empty())?;
            node.find(path, at + 1, end, accept)
        };
        literal.or_else(one).or_else(|| first(&self.rests))
    }

    /// Returns the node behind a literal.
    fn behind(&self, segment: &[u8]) -> Option<&Self> {
        let key = key_of(segment);
        let start = self.literals.partition_point(|branch| branch.key < key);
        let equal = self.literals.get(start..)?.iter().take_while(|branch| branch.key == key);
        equal
            .into_iter()
            .find(|branch| branch.literal.eq_ignore_ascii_case(segment))
            .map(|branch| &branch.node)
    }
}

/// Returns a number that is equal for equal segments of any letter case, and rarely for others:
/// the first and the last eight bytes, and the length.
fn key_of(segment: &[u8]) -> u64 {
    // The bit that tells the cases of a letter apart, in each byte.
    const CASE: u64 = 0x2020_2020_2020_2020;
    let (head, tail) = match (segment.first_chunk(), segment.last_chunk()) {
        (Some(head), Some(tail)) => (u64::from_le_bytes(*head), u64::from_le_bytes(*tail)),
        _ => (segment.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)), 0),
    };
    (head | CASE) ^ (tail | CASE).rotate_left(29) ^ (segment.len() as u64).rotate_left(58)
}
