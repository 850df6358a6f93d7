//! The sources of settings: flags, the environment and `.env`, read as text.

pub(super) mod args;
pub(super) mod dotenv;
pub(super) mod raw;
pub(super) mod spelling;
