//! Changes of stored responses: validation, withdrawal and invalidation.

pub(super) mod freshen;
pub(super) mod invalidation;
pub(super) mod withdrawal;
