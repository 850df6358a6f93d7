//! The reports to an operator: errors with their places and hints, warnings, and all settings.

pub(super) mod error;
pub(super) mod hints;
pub(super) mod located;
pub(super) mod report;
pub(super) mod warnings;
