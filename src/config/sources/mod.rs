//! The sources of settings: flags, the environment and `.env`, read as text.

pub(super) mod args;
mod completions;
pub(super) mod dotenv;
mod help;
mod man;
pub(super) mod raw;
pub(super) mod spelling;
