//! Every fixed limit, with its unit and its reason.
//!
//! A limit that an operator may want to change is a setting; one that only protects the process is
//! a constant in this module. Assertions at the end relate dependent limits at compile time.

mod clients;
mod fetch;
mod operators;
mod origin;
mod redis;
mod routes;
mod sealing;
mod settings;
mod store;

pub use clients::*;
pub use fetch::*;
pub use operators::*;
pub use origin::*;
pub use redis::*;
pub use routes::*;
pub use sealing::*;
pub use settings::*;
pub use store::*;

// --- Relations between bounds --------------------------------------------------------------------

const _: () = assert!(CLIENT_H2_HEAD_BYTES_MAX as usize == CLIENT_HEAD_BYTES_MAX + 32 * HEAD_FIELDS_MAX);
const _: () = assert!(CLIENT_H2_HEADS_BYTES_MAX <= 7 * MIB);
const _: () = assert!(CLIENT_H2_STREAM_BYTES_MAX <= CLIENT_H2_CONNECTION_BYTES_MAX);
const _: () = assert!(CLIENT_OPENING_BYTES_MAX <= CLIENT_HEAD_BYTES_MAX);
const _: () = assert!(ENTRY_BYTES_MAX + REPLY_OVERHEAD_BYTES <= REPLY_BYTES_MAX);
const _: () = assert!(REDIS_READ_ROOM_BYTES_MIN <= REDIS_READ_BYTES);
const _: () = assert!(REPLY_LINE_BYTES_MAX <= REDIS_READ_BYTES);
const _: () = assert!(REDIS_COPY_BYTES_MAX <= REDIS_BULK_BYTES_MIN);
const _: () = assert!(REDIS_HEDGE_DELAY_MIN.as_millis() <= REDIS_SILENCE_MIN.as_millis());
const _: () = assert!(REDIS_LATENCY_SAMPLES_MIN < REDIS_LATENCY_SAMPLES_MAX / 2);
const _: () = assert!(REDIS_BREAKER_REST_MIN.as_millis() <= REDIS_BREAKER_REST_MAX.as_millis());
const _: () = assert!(REDIS_WINDOW_VALUES >= 1 && REDIS_BULK_SHARE >= 2);
const _: () = assert!(REDIS_WINDOW_COMMANDS <= REDIS_LANE_COMMANDS_MIN);
const _: () = assert!(
    REDIS_MASTER_LEASE.as_millis() + 2 * REDIS_HEARTBEAT.as_millis() < REDIS_FAILOVER_GRACE.as_millis()
);
const _: () = assert!(REDIS_REPLICATION_TIMEOUT.as_millis() < REDIS_TOPOLOGY_TIMEOUT.as_millis());
const _: () = assert!(2000 + 2 * REDIS_TOPOLOGY_TIMEOUT.as_millis() <= REDIS_FAILOVER_GRACE.as_millis());
// Small commands without a value fill a lane by their number before they fill it by their bytes.
const _: () = assert!(
    REDIS_LANE_COMMANDS_MIN * REDIS_COMMAND_OVERHEAD_BYTES <= REDIS_WINDOW_COMMANDS * REDIS_BULK_BYTES_MIN
);
// Besides the value, a command has its words, its lengths, and half of the key's digest in
// hexadecimal.
const _: () = assert!(KEY_PREFIX_BYTES_MAX + 32 + 128 <= REDIS_COMMAND_OVERHEAD_BYTES);
const _: () = assert!(ORIGIN_HEAD_BYTES_MAX <= ENTRY_HEAD_BYTES_MAX);
const _: () = assert!(HYPER_BUFFER_BYTES_MIN <= ORIGIN_HEAD_BYTES_MAX);
const _: () = assert!(FETCH_LAG_BYTES_MAX <= BODY_BYTES_MAX);
const _: () = assert!(
    ADMISSION_FILTER_BITS.is_power_of_two() && ADMISSION_FILTER_BITS >= 16 * ADMISSION_FILTER_KEYS_MAX
);
const _: () = assert!(HEURISTIC_LIFETIME_MAX.as_secs() <= LIFETIME_MAX.as_secs());
const _: () = assert!(VALIDATION_KEPT.as_secs() <= LIFETIME_MAX.as_secs());
const _: () = assert!(
    EXPLAINED_TARGET_BYTES_MAX
        + AUTHORITY_BYTES_MAX
        + VARY_FIELDS_MAX * 2 * EXPLAINED_FIELD_BYTES_MAX
        + EXPLAINED_UNLISTED_MAX * (EXPLAINED_FIELD_BYTES_MAX + 4)
        + EXPLAINED_RULES_MAX * EXPLAINED_RULE_BYTES_MAX
        + EXPLAINED_REST_BYTES_MAX
        <= EXPLANATION_BYTES_MAX
);
// One renewal may be lost, and the next one is still in time.
const _: () = assert!(2 * FETCH_LEASE_RENEWED.as_millis() < FETCH_LEASE.as_millis());
const _: () = assert!(2 * STORE_TOGETHER_MAX <= REDIS_WINDOW_COMMANDS);
// A sealed prefix has 32 bytes more, in base64.
const _: () = assert!(PREFIXES_MAX * ((PREFIX_BYTES_MAX + 32).div_ceil(3) * 4 + 7 + 64) <= REDIS_READ_BYTES);
const _: () = assert!(PURGE_LOG_KEPT.as_secs() >= LIFETIME_MAX.as_secs() + 2 * PURGE_LOG_RENEWED.as_secs());
const _: () =
    assert!(PURGE_STREAM_REPEAT_MAX.as_secs() + PURGE_STREAM_UPKEEP.as_secs() < PURGE_STREAM_IDLE.as_secs());
const _: () = assert!(PURGE_MESSAGE_BYTES_MAX < BLOCKING_REPLY_BYTES_MAX);
const _: () = assert!(PURGE_STREAM_PENDING_LISTED * 5 < REPLY_ELEMENTS_MAX);
const _: () = assert!(TOP_PATHS_ON_SCREEN <= TOP_PATHS_SHOWN_MAX);
const _: () = assert!(TOP_PATHS_SHOWN_MAX <= TOP_PATHS_COUNTED);
const _: () = assert!(WARM_KEYS_MAX * 32 + KIB <= ENTRY_BYTES_MAX);
const _: () = assert!(WARM_AT_ONCE <= REDIS_WINDOW_COMMANDS);
const _: () = assert!(HEALTH_TIMEOUT.as_millis() < 100);
const _: () = assert!(HEALTH_TIMEOUT.as_millis() < HEALTH_PROBE_TIMEOUT.as_millis());
