//! The gate into the store: whether a response may be stored, and its freshness lifetime.

pub(super) mod fields;
pub(super) mod freshness;
pub(super) mod heuristic;
pub(super) mod not_storable;
pub(super) mod overrides;
pub(super) mod post;
pub(super) mod rules;
pub(super) mod status;
pub(super) mod storable;
pub(super) mod stored;
