//! Parsers of the fields that the policy reads.

pub(super) mod accept;
pub(super) mod cookies;
pub(super) mod date;
pub(super) mod directives;
pub(super) mod groups;
pub(super) mod media;
pub(super) mod reference;
pub(super) mod retry;
pub(super) mod seconds;
pub(super) mod structured;
pub(super) mod syntax;
pub(super) mod tags;
pub(super) mod targeted;
pub(super) mod validators;
