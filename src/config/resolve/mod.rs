//! The resolution of settings: from text to the options of each module.

pub(super) mod files;
pub(super) mod listeners;
pub(super) mod redis;
pub(super) mod request_ids;
pub(super) mod resolver;
pub(super) mod rules;
pub(super) mod secrets;
pub(super) mod settings;
pub(super) mod traces;
pub(super) mod values;
pub(super) mod workers;
