//! The bounds of what operators ask for: explanations, purges, what is looked into, what is kept warm.

use std::time::Duration;

use super::{KEY_PREFIX_BYTES_MAX, KIB, MIB, ORIGIN_HEAD_BYTES_MAX, PURGE_SCOPES_MAX, VARY_FIELDS_MAX};

// --- Explanations --------------------------------------------------------------------------------------------------

/// The largest explanation; a head with it still fits where heads of 16 KiB do.
pub const EXPLANATION_BYTES_MAX: usize = 8 * KIB;
/// How much of a request target is shown in one, in escaped form.
pub const EXPLAINED_TARGET_BYTES_MAX: usize = 2 * KIB;
/// How much of the name or the value of a request field is shown in one, in escaped form.
pub const EXPLAINED_FIELD_BYTES_MAX: usize = 80;
/// How many decisions are shown in one: more than a request ever meets.
pub const EXPLAINED_RULES_MAX: usize = 12;
/// What one decision takes, in escaped form.
pub const EXPLAINED_RULE_BYTES_MAX: usize = 120;
/// Everything else in one: names, numbers, digests, quotes.
pub const EXPLAINED_REST_BYTES_MAX: usize = KIB + VARY_FIELDS_MAX * 16;
/// How deeply JSON may be nested that is read back to be shown.
pub const JSON_DEPTH_MAX: usize = 8;
/// The longest `explain_token`.
pub const TOKEN_BYTES_MAX: usize = 256;
/// How long `cachewarp explain` waits for the head of the answer: as long as an origin may take, and then some.
pub const EXPLAIN_TIMEOUT: Duration = Duration::from_secs(60);
/// The longest head of an answer that `cachewarp explain` reads.
pub const EXPLAIN_HEAD_BYTES_MAX: usize = ORIGIN_HEAD_BYTES_MAX + EXPLANATION_BYTES_MAX + 4 * KIB;

// --- Operators -----------------------------------------------------------------------------------------------------

/// The longest body of a `POST /purge`.
pub const PURGE_BODY_BYTES_MAX: usize = 256 * KIB;
/// How many things one purge may name: each may be of two schemes.
pub const PURGE_NAMES_MAX: usize = PURGE_SCOPES_MAX / 2;
/// How long the body of an operator's request may take to arrive.
pub const OPERATOR_BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// How much of anything that an operator's request said is repeated in an answer, in escaped form.
pub const OPERATOR_SHOWN_BYTES_MAX: usize = 2 * KIB;
/// How many request fields `GET /entries` may be asked with.
pub const INSPECTED_FIELDS_MAX: usize = 32;
/// How many variants of one resource it lists: those that were stored last.
pub const VARIANTS_LISTED_MAX: usize = 64;
/// How long `cachewarp purge`, `inspect` and `top` wait for a whole answer.
pub const OPERATOR_TIMEOUT: Duration = Duration::from_secs(10);
/// How much of an answer they read.
pub const OPERATOR_ANSWER_BYTES_MAX: usize = 2 * MIB;
/// How many paths are counted at one time to find the most asked for: a path asked for by more than this part of all
/// requests is certainly among them.
pub const TOP_PATHS_COUNTED: usize = 512;
/// How many of them are shown at most.
pub const TOP_PATHS_SHOWN_MAX: usize = 100;
/// How much of a path is kept.
pub const TOP_PATH_BYTES_MAX: usize = 200;
/// One request of so many is counted.
pub const TOP_SAMPLED: u64 = 8;
/// How long paths are counted after the last time that somebody wanted to see them. Then all of them are forgotten.
pub const TOP_WATCHED: Duration = Duration::from_secs(15);
/// How often `cachewarp top` looks.
pub const TOP_INTERVAL: Duration = Duration::from_secs(1);
/// How many paths it asks for.
pub const TOP_PATHS_ON_SCREEN: usize = 40;
/// How wide a frame is that is printed as text.
pub const TOP_FRAME_COLUMNS: u16 = 100;
/// How many lines it has at most.
pub const TOP_FRAME_LINES: u16 = 60;
/// The most keys that `cache_warm_keys` may ask for.
pub const WARM_KEYS_MAX: usize = 64 * 1024;
/// Keys are counted for so many places for each key that is wanted, so that what is new does not push out what is hot.
pub const WARM_KEYS_COUNTED_FACTOR: usize = 2;
/// One hit of so many is counted.
pub const WARM_SAMPLED: u64 = 8;
/// How often the list of keys is written.
pub const WARM_INTERVAL: Duration = Duration::from_secs(60);
/// How long Redis keeps the list of a node that writes it no more.
pub const WARM_KEPT: Duration = Duration::from_secs(24 * 3600);
/// How long a start waits for the first connection to Redis, to read the list.
pub const WARM_CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
/// Between two tries to ask on it.
pub const WARM_CONNECT_RETRY: Duration = Duration::from_millis(10);
/// How long it then takes at most to read the entries.
pub const WARM_TIMEOUT: Duration = Duration::from_secs(3);
/// Entries that are read at one time.
pub const WARM_AT_ONCE: usize = 16;
/// The longest `node_name`.
pub const NODE_NAME_BYTES_MAX: usize = 64;
/// The longest namespace in Redis: a prefix, a name of as many bytes as that of a node, and a colon.
pub const NAMESPACE_BYTES_MAX: usize = KEY_PREFIX_BYTES_MAX + NODE_NAME_BYTES_MAX + 1;
