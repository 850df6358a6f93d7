//! Decisions of the gates for display: the verdict, the reason in one word, and the clause.
//!
//! A gate returns a value that its caller acts on; a [`Ruling`] is the form that an operator reads.
//! A refusal takes its word and clause from its [reason](crate::label::RuleLabel). This module has
//! the words and clauses of permissions.

use std::time::Duration;

use crate::label::RuleLabel;

use crate::policy::reuse::conditions::Precondition;
use crate::policy::reuse::decide::{NotReusable, Reuse};
use crate::policy::reuse::range::RangeSelection;
use crate::policy::reuse::stale::OriginFailure;
use crate::policy::store::not_storable::NotStorable;
use crate::policy::store::stored::StoredFacts;
use crate::policy::validate::freshen::{FreshenOutcome, FreshenedResponse, NotSelectedError};

/// One decision of a gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ruling {
    /// Whether the gate allows it.
    pub verdict: RulingVerdict,
    /// The reason, in one word.
    pub because: &'static str,
    /// The clause of the rule, as [`RuleLabel::clause`] returns it.
    pub clause: &'static str,
}

crate::labels! {
    /// The verdict of a gate.
    pub enum RulingVerdict {
        /// The gate allows it.
        Yes => "yes",
        /// The gate refuses it.
        No => "no",
    }
}

impl Ruling {
    const fn allowed(because: &'static str, clause: &'static str) -> Self {
        Self { verdict: RulingVerdict::Yes, because, clause }
    }

    /// Returns a refusal by a gate whose results are not labels.
    const fn refused(because: &'static str, clause: &'static str) -> Self {
        Self { verdict: RulingVerdict::No, because, clause }
    }

    /// Returns a refusal for a reason.
    pub fn no(reason: impl RuleLabel) -> Self {
        Self { verdict: RulingVerdict::No, because: reason.word(), clause: reason.clause() }
    }

    /// Returns the decision of [`stale_on_error`](super::stale_on_error) on a failure.
    pub fn on_failure(failure: OriginFailure, decision: &Result<Duration, NotReusable>) -> Self {
        match (decision, failure) {
            (Err(reason), _) => Self::no(*reason),
            (Ok(_), OriginFailure::Disconnected) => Self::allowed("disconnected", "RFC 9111 §4.2.4"),
            (Ok(_), OriginFailure::ErrorResponse) => Self::allowed("stale-if-error", "RFC 5861 §4"),
            (Ok(_), OriginFailure::OtherError) => Self::allowed("fresh", "RFC 9111 §4.2"),
        }
    }
}

impl From<&Reuse> for Ruling {
    fn from(reuse: &Reuse) -> Self {
        match reuse {
            Reuse::Fresh { .. } => Self::allowed("fresh", "RFC 9111 §4.2"),
            Reuse::StaleWhileRevalidate { .. } => Self::allowed("stale-while-revalidate", "RFC 5861 §3"),
            Reuse::Stale { .. } => Self::allowed("max-stale", "RFC 9111 §5.2.1.2"),
            Reuse::Validate(reason) | Reuse::Not(reason) => Self::no(*reason),
        }
    }
}

/// The decision of [`storable`](super::storable()).
impl From<&Result<StoredFacts, NotStorable>> for Ruling {
    fn from(decision: &Result<StoredFacts, NotStorable>) -> Self {
        match decision {
            Ok(_) => Self::allowed("storable", "RFC 9111 §3"),
            Err(reason) => Self::no(*reason),
        }
    }
}

impl From<&FreshenOutcome> for Ruling {
    fn from(outcome: &FreshenOutcome) -> Self {
        match outcome {
            FreshenOutcome::Updated { .. } => Self::allowed("freshened", "RFC 9111 §3.2"),
            FreshenOutcome::Unchanged(reason) | FreshenOutcome::Invalidated(reason) => Self::no(*reason),
        }
    }
}

/// The decision of [`freshen`](super::freshen): whether a `304` applies to the stored response.
impl From<&Result<FreshenedResponse, NotSelectedError>> for Ruling {
    fn from(decision: &Result<FreshenedResponse, NotSelectedError>) -> Self {
        const CLAUSE: &str = "RFC 9111 §4.3.4";
        match decision {
            Ok(_) => Self::allowed("not-modified", CLAUSE),
            Err(NotSelectedError) => Self::refused("not-selected", CLAUSE),
        }
    }
}

/// The decision of [`precondition`](super::precondition()): whether the client's conditions allow
/// sending the response.
impl From<Precondition> for Ruling {
    fn from(decision: Precondition) -> Self {
        match decision {
            Precondition::Proceed => Self::allowed("proceed", "RFC 9110 §13.2.2"),
            Precondition::NotModified => Self::refused("not-modified", "RFC 9110 §15.4.5"),
            Precondition::Failed => Self::refused("precondition-failed", "RFC 9110 §15.5.13"),
        }
    }
}

/// The decision of [`ranges`](super::ranges()): whether the client receives a part.
impl From<&RangeSelection> for Ruling {
    fn from(decision: &RangeSelection) -> Self {
        match decision {
            RangeSelection::One(_) => Self::allowed("one-part", "RFC 9110 §15.3.7.1"),
            RangeSelection::Several(_) => Self::allowed("several-parts", "RFC 9110 §15.3.7.2"),
            RangeSelection::Whole => Self::refused("whole", "RFC 9110 §14.2"),
            RangeSelection::Unsatisfiable => Self::refused("unsatisfiable", "RFC 9110 §15.5.17"),
        }
    }
}
