//! The members of a route that replace a statement of the origin: `cache_control` and `override`.
//!
//! An operator who replaces a statement of the origin knows the freshness of a resource, but not
//! whose responses it has. So a response whose prohibition or freshness comes from the route has a
//! heuristic lifetime: the gate for credentials and unlisted fields admits it only for requests
//! whose fields are all known to be harmless, even if the origin also sends `public`.
//!
//! **Invariant:** each word of `override` lifts its own prohibition and no other. `cache_control`
//! lifts none.

use std::ops::BitOr;
use std::time::Duration;

use crate::policy::parse::directives::{DirectiveScope, DirectiveSeconds, Directives};

/// A digest of the rules of a route that decide whether a response is stored and who may read it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RulesDigest(pub [u8; 8]);

impl RulesDigest {
    /// The digest of requests without a route.
    pub const NONE: Self = Self([0; 8]);
}

/// The freshness that a route states for its responses; it replaces the origin's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatedFreshness {
    /// The lifetime.
    pub lifetime: Duration,
    /// The RFC 5861 §3 window; the setting if it is `None`.
    pub stale_while_revalidate: Option<Duration>,
    /// The RFC 5861 §4 window; the setting if it is `None`.
    pub stale_if_error: Option<Duration>,
    /// Whether a stale response may be served.
    pub stale_responses: StaleResponses,
}

/// Whether stale responses of a route may be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StaleResponses {
    /// They may, as HTTP and the settings allow.
    Allowed,
    /// They may not.
    Forbidden,
}

/// The prohibitions of the origin that a route lifts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OverrideSet(u8);

impl OverrideSet {
    /// No prohibition.
    pub const NONE: Self = Self(0);
    /// `Cache-Control: private` without field names.
    pub const PRIVATE: Self = Self(1);
    /// `Cache-Control: no-store`.
    pub const NO_STORE: Self = Self(1 << 1);
    /// `Set-Cookie`. The cookie itself is never stored.
    pub const SET_COOKIE: Self = Self(1 << 2);
    /// All of these prohibitions.
    pub const ALL: Self = Self(Self::PRIVATE.0 | Self::NO_STORE.0 | Self::SET_COOKIE.0);

    /// Returns whether the set contains all of `other`.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Returns whether the set has no prohibition.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl BitOr for OverrideSet {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// The origin's directives, and those that apply on the route.
#[derive(Clone, Copy, Debug)]
pub(in crate::policy) struct AppliedDirectives {
    /// The directives as the origin states them.
    pub(in crate::policy) stated: Directives,
    /// The directives that apply.
    pub(in crate::policy) directives: Directives,
    /// The prohibitions that were lifted.
    pub(in crate::policy) lifted: OverrideSet,
    overrides: OverrideSet,
}

impl AppliedDirectives {
    /// Applies the members of the route to the origin's directives. A part that could not be read
    /// may be any directive, and no member lifts it.
    pub(in crate::policy) fn of(
        stated: Directives,
        overrides: OverrideSet,
        freshness: Option<&StatedFreshness>,
    ) -> Self {
        let directives = freshness.map_or(stated, |freshness| freshness.replace(stated));
        let mut applied = Self { stated, directives, overrides, lifted: OverrideSet::default() };
        if stated.private == DirectiveScope::Whole && applied.lift(OverrideSet::PRIVATE) {
            applied.directives.private = DirectiveScope::Nothing;
        }
        if stated.no_store && !stated.must_understand && applied.lift(OverrideSet::NO_STORE) {
            applied.directives.no_store = false;
        }
        applied
    }

    /// Records the lifted prohibition if the route lifts it, and returns whether it does.
    pub(in crate::policy) fn lift(&mut self, prohibition: OverrideSet) -> bool {
        let lifts = self.overrides.contains(prohibition);
        if lifts {
            self.lifted = self.lifted | prohibition;
        }
        lifts
    }
}

impl StatedFreshness {
    /// Returns the directives with this freshness, which replaces the origin's. The origin's
    /// `must-revalidate` and `proxy-revalidate` still hold, and its `public` and `s-maxage` remain
    /// permissions.
    fn replace(&self, stated: Directives) -> Directives {
        Directives {
            no_cache: if stated.no_cache == DirectiveScope::Whole {
                DirectiveScope::Nothing
            } else {
                stated.no_cache
            },
            proxy_revalidate: stated.proxy_revalidate || self.stale_responses == StaleResponses::Forbidden,
            stale_while_revalidate: DirectiveSeconds::Absent,
            stale_if_error: DirectiveSeconds::Absent,
            ..stated
        }
    }
}
