//! A descent to the route of a plain path: the common case of a walk through the tree.
//!
//! A descent takes the most specific branch and never returns, compares literals as they are
//! written, and reads each byte of the path once. It ends without a result if letter case, a `/` at
//! the end, a host or a method make another branch possible; then a walk decides.

use crate::routes::bytes::is_unreserved;
use crate::routes::segment::{SegmentWords, is_plain_text};
use crate::routes::tree::{PatternNode, PatternTree};

/// The end of a descent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Descent {
    /// A walk would find this route, and the path has its literals byte for byte.
    Found(usize),
    /// A walk would find no route.
    Nothing,
    /// Only a walk can decide.
    Unsure,
}

/// The form of a path's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PathBytes {
    /// The bytes as they arrived. The path is plain only if they are unreserved.
    Raw,
    /// The decoded bytes of a plain path.
    Decoded,
}

/// The patterns of a file, for descents.
#[derive(Clone, Debug, Default)]
pub(super) struct PlainTree {
    /// The nodes, the root first.
    nodes: Vec<PlainNode>,
}

/// The patterns with a common beginning.
#[derive(Clone, Debug)]
struct PlainNode {
    /// The index in `literals` for each slot of a hash table with open addressing, from one on;
    /// zero for none. Its length is zero or a power of two, twice the number of literals or more.
    slots: Box<[u16]>,
    literals: Box<[PlainLiteral]>,
    /// The node behind a capture of one segment.
    one: Option<usize>,
    ends: Box<[usize]>,
    /// The routes with a remainder here, or else at the nearest node in front that has any.
    rests: Box<[usize]>,
    /// A pattern ends with a `/` or with a remainder here, so a `/` at the end is optional.
    has_optional_end: bool,
    /// A literal on the way to the node is beside a capture, which a walk would try next.
    has_capture_beside: bool,
}

/// A literal that may follow.
#[derive(Clone, Debug)]
struct PlainLiteral {
    key: u64,
    words: SegmentWords,
    /// A segment with these words is the literal, and all patterns write it so.
    is_certain: bool,
    /// The bytes of a literal that is longer than its words; empty for one that only a walk
    /// compares.
    long: Box<[u8]>,
    node: usize,
}

/// The literal that a segment has.
enum FoundLiteral {
    /// The segment is this literal byte for byte.
    Exact(usize),
    /// The segment may be a literal in another letter case.
    Unsure,
    /// The segment is no literal.
    Nothing,
}

impl PlainTree {
    /// Builds the tree from the one for walks.
    pub(super) fn of(tree: &PatternTree) -> Self {
        let mut plain = Self::default();
        plain.add(tree.root(), &[], false);
        plain
    }

    /// Adds a node with those behind it, and returns its index.
    fn add(&mut self, node: &PatternNode, rests: &[usize], has_capture_beside: bool) -> usize {
        let index = self.nodes.len();
        let rests = if node.rests().is_empty() { rests } else { node.rests() };
        self.nodes.push(PlainNode::without_branches(node, rests, has_capture_beside));
        let is_beside = has_capture_beside || node.one().is_some();
        let mut literals = Vec::with_capacity(node.literals().len());
        for branch in node.literals() {
            let behind = self.add(&branch.node, rests, is_beside);
            literals.push(PlainLiteral::new(&branch.literal, branch.is_mixed, behind));
        }
        let one = node.one().map(|one| self.add(one, rests, has_capture_beside));
        let literals = literals.into_boxed_slice();
        if let Some(added) = self.nodes.get_mut(index) {
            added.slots = slots(&literals);
            added.literals = literals;
            added.one = one;
        }
        index
    }

    /// Finds the route of a plain path.
    #[inline]
    pub(super) fn find(&self, path: &[u8], form: PathBytes, accept: impl Fn(usize) -> bool) -> Descent {
        let (Some(mut node), Some((b'/', mut rest))) = (self.nodes.first(), path.split_first()) else {
            return Descent::Unsure;
        };
        loop {
            let words = SegmentWords::first(rest);
            let next = match node.literal(words, rest) {
                FoundLiteral::Exact(next) => next,
                FoundLiteral::Unsure => return Descent::Unsure,
                FoundLiteral::Nothing => match node.one {
                    None => break,
                    Some(_) if !is_plain_segment(words, rest, form) => return Descent::Unsure,
                    Some(next) => next,
                },
            };
            let Some(behind) = self.nodes.get(next) else { break };
            node = behind;
            let Some(after) = rest.get(words.length() + 1..) else {
                if let Some(found) = node.ends.iter().find(|index| accept(**index)) {
                    return Descent::Found(*found);
                }
                if node.has_optional_end {
                    return Descent::Unsure;
                }
                return Self::end_without(node, accept);
            };
            rest = after;
        }
        if !is_plain_path(rest, form) {
            return Descent::Unsure;
        }
        Self::end_without(node, accept)
    }

    /// Returns the end of a descent that found no route at the end of the path.
    fn end_without(node: &PlainNode, accept: impl Fn(usize) -> bool) -> Descent {
        if node.has_capture_beside {
            return Descent::Unsure;
        }
        match node.rests.iter().find(|index| accept(**index)) {
            Some(found) => Descent::Found(*found),
            None if node.rests.is_empty() => Descent::Nothing,
            None => Descent::Unsure,
        }
    }
}

/// Returns whether the first segment of a path is plain.
#[inline]
fn is_plain_segment(words: SegmentWords, path: &[u8], form: PathBytes) -> bool {
    let is_text = || match form {
        PathBytes::Decoded => true,
        PathBytes::Raw if words.are_whole() => words.are_plain(),
        PathBytes::Raw => path.get(..words.length()).is_some_and(is_plain_text),
    };
    !words.is_odd() && is_text()
}

/// Returns whether a path without its first `/` is plain.
fn is_plain_path(path: &[u8], form: PathBytes) -> bool {
    (form == PathBytes::Decoded || is_plain_text(path)) && !has_odd_segment(path)
}

/// Returns whether a path without its first `/` has an empty segment or a dot segment.
pub(super) fn has_odd_segment(path: &[u8]) -> bool {
    let mut rest = Some(path);
    while let Some(path) = rest {
        let words = SegmentWords::first(path);
        if words.is_odd() {
            return true;
        }
        rest = path.get(words.length() + 1..);
    }
    false
}

impl PlainNode {
    fn without_branches(node: &PatternNode, rests: &[usize], has_capture_beside: bool) -> Self {
        let has_slash = node.literals().iter().any(|branch| branch.literal.is_empty());
        Self {
            slots: Box::default(),
            literals: Box::default(),
            one: None,
            ends: node.ends().into(),
            rests: rests.into(),
            has_optional_end: has_slash || !node.rests().is_empty(),
            has_capture_beside,
        }
    }

    /// Finds the literal that the first segment of a path is.
    #[inline]
    fn literal(&self, words: SegmentWords, path: &[u8]) -> FoundLiteral {
        match &*self.literals {
            [] => FoundLiteral::Nothing,
            [only] => only.compare(words, path).unwrap_or(FoundLiteral::Nothing),
            literals => self.find_literal(literals, words, path),
        }
    }

    #[inline]
    fn find_literal(&self, literals: &[PlainLiteral], words: SegmentWords, path: &[u8]) -> FoundLiteral {
        let mut slot = slot_of(words.key(), self.slots.len());
        // Half of the slots are zero, so the loop ends.
        while let Some(at) = self.slots.get(slot)
            && let Some(literal) = literals.get(usize::from(*at).wrapping_sub(1))
        {
            if let Some(found) = literal.compare(words, path) {
                return found;
            }
            slot = (slot + 1) & (self.slots.len() - 1);
        }
        FoundLiteral::Nothing
    }
}

impl PlainLiteral {
    fn new(literal: &[u8], is_mixed: bool, node: usize) -> Self {
        let words = SegmentWords::of(literal);
        // A path is not plain if it ends with a `/`, or has a reserved byte.
        let is_plain = !literal.is_empty() && literal.iter().all(|byte| is_unreserved(*byte));
        let is_comparable = is_plain && !is_mixed;
        let is_certain = is_comparable && words.are_whole();
        let long = if is_comparable && !is_certain { literal.into() } else { Box::default() };
        Self { key: words.key(), words, is_certain, long, node }
    }

    /// Compares the first segment of a path with the literal; `None` if it is another in any letter
    /// case.
    #[inline]
    fn compare(&self, words: SegmentWords, path: &[u8]) -> Option<FoundLiteral> {
        if self.is_certain && self.words == words {
            return Some(FoundLiteral::Exact(self.node));
        }
        if self.key != words.key() {
            return None;
        }
        let is_long =
            self.words == words && !self.long.is_empty() && path.get(..words.length()) == Some(&*self.long);
        Some(if is_long { FoundLiteral::Exact(self.node) } else { FoundLiteral::Unsure })
    }
}

/// Returns the hash table of literals.
fn slots(literals: &[PlainLiteral]) -> Box<[u16]> {
    let mut slots: Box<[u16]> = match literals.len() {
        0 => Box::default(),
        number => vec![0; (2 * number).next_power_of_two()].into(),
    };
    for (literal, at) in literals.iter().zip(1_u16..) {
        let first = slot_of(literal.key, slots.len());
        let free = (first..slots.len()).chain(0..first).find(|slot| slots.get(*slot) == Some(&0));
        if let Some(slot) = free.and_then(|slot| slots.get_mut(slot)) {
            *slot = at;
        }
    }
    slots
}

/// Returns the first slot of a key.
#[inline]
fn slot_of(key: u64, slots: usize) -> usize {
    // Multiplicative hashing: these bits of the product depend on the lower half of the factor,
    // which has both halves of the key.
    let mixed = (key ^ key >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    usize::try_from(mixed).unwrap_or_default() & slots.wrapping_sub(1)
}
