//! What a gate said, to be shown: yes or no, in one word why, and the clause that it stands in.
//!
//! A gate answers with a value that its caller acts on. This is the same value as a person reads
//! it: a "no" is its [reason](crate::label::Rule), and the ways of saying "yes" have their words
//! and clauses here.

use std::time::Duration;

use crate::label::RuleLabel;

use crate::policy::reuse::conditions::Precondition;
use crate::policy::reuse::decide::{NotReusable, Reuse};
use crate::policy::reuse::range::RangeSelection;
use crate::policy::reuse::stale::OriginFailure;
use crate::policy::store::not_storable::NotStorable;
use crate::policy::store::stored::StoredFacts;
use crate::policy::validate::freshen::{FreshenOutcome, FreshenedResponse, NotSelectedError};

/// One decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ruling {
    /// Whether what was asked for may be.
    pub verdict: RulingVerdict,
    /// Why, in one word.
    pub because: &'static str,
    /// Where the rule stands, as [`RuleLabel::clause`] says it.
    pub clause: &'static str,
}

crate::labels! {
    /// Whether something may be.
    pub enum RulingVerdict {
        /// It may.
        Yes => "yes",
        /// It may not.
        No => "no",
    }
}

impl Ruling {
    const fn yes(because: &'static str, clause: &'static str) -> Self {
        Self { verdict: RulingVerdict::Yes, because, clause }
    }

    /// A "no" of a gate whose answers are not all refusals, and so have no label.
    const fn not(because: &'static str, clause: &'static str) -> Self {
        Self { verdict: RulingVerdict::No, because, clause }
    }

    /// A "no" for this reason.
    pub fn no(reason: impl RuleLabel) -> Self {
        Self { verdict: RulingVerdict::No, because: reason.word(), clause: reason.clause() }
    }

    /// What [`stale_on_error`](super::stale_on_error) said of this failure.
    pub fn on_failure(failure: OriginFailure, said: &Result<Duration, NotReusable>) -> Self {
        match (said, failure) {
            (Err(reason), _) => Self::no(*reason),
            (Ok(_), OriginFailure::Disconnected) => Self::yes("disconnected", "RFC 9111 §4.2.4"),
            (Ok(_), OriginFailure::ErrorResponse) => Self::yes("stale-if-error", "RFC 5861 §4"),
        }
    }
}

impl From<&Reuse> for Ruling {
    fn from(reuse: &Reuse) -> Self {
        match reuse {
            Reuse::Fresh { .. } => Self::yes("fresh", "RFC 9111 §4.2"),
            Reuse::StaleWhileRevalidate { .. } => Self::yes("stale-while-revalidate", "RFC 5861 §3"),
            Reuse::Stale { .. } => Self::yes("max-stale", "RFC 9111 §5.2.1.2"),
            Reuse::Validate(reason) | Reuse::Not(reason) => Self::no(*reason),
        }
    }
}

/// What [`storable`](super::storable()) said.
impl From<&Result<StoredFacts, NotStorable>> for Ruling {
    fn from(said: &Result<StoredFacts, NotStorable>) -> Self {
        match said {
            Ok(_) => Self::yes("storable", "RFC 9111 §3"),
            Err(reason) => Self::no(*reason),
        }
    }
}

impl From<&FreshenOutcome> for Ruling {
    fn from(fate: &FreshenOutcome) -> Self {
        match fate {
            FreshenOutcome::Replaced { .. } => Self::yes("freshened", "RFC 9111 §3.2"),
            FreshenOutcome::Kept(reason) | FreshenOutcome::Removed(reason) => Self::no(*reason),
        }
    }
}

/// Whether a `304` is about what is stored, as [`freshen`](super::freshen) said.
impl From<&Result<FreshenedResponse, NotSelectedError>> for Ruling {
    fn from(said: &Result<FreshenedResponse, NotSelectedError>) -> Self {
        const CLAUSE: &str = "RFC 9111 §4.3.4";
        match said {
            Ok(_) => Self::yes("not-modified", CLAUSE),
            Err(NotSelectedError) => Self::not("not-selected", CLAUSE),
        }
    }
}

/// Whether the client's conditions let it have the answer, as
/// [`precondition`](super::precondition()) said.
impl From<Precondition> for Ruling {
    fn from(said: Precondition) -> Self {
        match said {
            Precondition::Proceed => Self::yes("proceed", "RFC 9110 §13.2.2"),
            Precondition::NotModified => Self::not("not-modified", "RFC 9110 §15.4.5"),
            Precondition::Failed => Self::not("precondition-failed", "RFC 9110 §15.5.13"),
        }
    }
}

/// Whether the client gets a part, as [`ranges`](super::ranges()) said.
impl From<&RangeSelection> for Ruling {
    fn from(said: &RangeSelection) -> Self {
        match said {
            RangeSelection::One(_) => Self::yes("one-part", "RFC 9110 §15.3.7.1"),
            RangeSelection::Several(_) => Self::yes("several-parts", "RFC 9110 §15.3.7.2"),
            RangeSelection::Whole => Self::not("whole", "RFC 9110 §14.2"),
            RangeSelection::Unsatisfiable => Self::not("unsatisfiable", "RFC 9110 §15.5.17"),
        }
    }
}
