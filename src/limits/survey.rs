//! Bounds of `cachewarp check --explain-headers`, which reads files of any origin.

use super::{KIB, MIB};

/// The longest file of recorded heads.
pub const SURVEY_BYTES_MAX: u64 = 4 * 1024 * MIB as u64;
/// The longest line in it: one request of an access log with all of its fields.
pub const SURVEY_LINE_BYTES_MAX: usize = 256 * KIB;
/// The most fields of one recorded head.
pub const SURVEY_FIELDS_MAX: usize = 1000;
/// The longest name of a field in it.
pub const SURVEY_NAME_BYTES_MAX: usize = 256;
/// The most different names that are counted one by one.
pub const SURVEY_NAMES_MAX: usize = 1000;
