//! Explanations: the decisions that led to an answer, for clients that may see them.

mod field;
pub(super) mod inspect;
pub(super) mod notes;
mod shown;
#[cfg(test)]
mod tests;
