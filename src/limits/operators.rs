//! Limits of operators' requests: explanations, purges, inspection, statistics, warm keys, surveys.

use std::time::Duration;

use super::origin::ORIGIN_HEAD_BYTES_MAX;
use super::settings::{KEY_PREFIX_BYTES_MAX, KIB, MIB};
use super::store::{PURGE_SCOPES_MAX, VARY_FIELDS_MAX};

// --- Explanations --------------------------------------------------------------------------------

/// The largest explanation. A head that carries it still fits where heads of 16 KiB do.
pub const EXPLANATION_BYTES_MAX: usize = 8 * KIB;
/// Bytes of a request target that an explanation shows, in escaped form.
pub const EXPLAINED_TARGET_BYTES_MAX: usize = 2 * KIB;
/// Bytes of the name, and of the value, of a request field that an explanation shows, in escaped
/// form.
pub const EXPLAINED_FIELD_BYTES_MAX: usize = 80;
/// Decisions that an explanation shows: more than any request meets.
pub const EXPLAINED_RULES_MAX: usize = 12;
/// Unlisted request fields that an explanation names.
pub const EXPLAINED_UNLISTED_MAX: usize = 6;
/// Bytes of one decision, in escaped form.
pub const EXPLAINED_RULE_BYTES_MAX: usize = 120;
/// Bytes of everything else in an explanation: names, numbers, digests, quotes.
pub const EXPLAINED_REST_BYTES_MAX: usize = KIB + VARY_FIELDS_MAX * 16;
/// The longest `explain_token`.
pub const TOKEN_BYTES_MAX: usize = 256;
/// Time for which `cachewarp explain` waits for the head of the answer: longer than an origin may
/// take.
pub const EXPLAIN_TIMEOUT: Duration = Duration::from_secs(60);
/// The longest head of an answer that a command reads.
pub const PROBE_HEAD_BYTES_MAX: usize = ORIGIN_HEAD_BYTES_MAX + EXPLANATION_BYTES_MAX + 4 * KIB;

// --- Operators -----------------------------------------------------------------------------------

/// Operators that may wait for a reload at one time.
pub const RELOADS_QUEUED_MAX: usize = 16;
/// Time for which `POST /reload` waits for the end of the reload.
pub const RELOAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for which a reload waits until every worker uses the new routes.
pub const ROUTES_SWITCH_TIMEOUT: Duration = Duration::from_secs(5);
/// Time between the begins of two reloads. Signals and requests meanwhile share the next one.
pub const RELOAD_SPACING: Duration = Duration::from_millis(200);
/// Interval between two looks at the files of certificates.
pub const TLS_FILES_INTERVAL: Duration = Duration::from_secs(5);
/// Time for which a drained process keeps the admin listener for answers in progress.
pub const ADMIN_DRAIN_TIMEOUT: Duration = Duration::from_secs(1);
/// The longest body of a `POST /purge`.
pub const PURGE_BODY_BYTES_MAX: usize = 256 * KIB;
/// Items that one purge may name: each may be purged under two schemes, for `GET` and for `QUERY`.
pub const PURGE_NAMES_MAX: usize = PURGE_SCOPES_MAX / 4;
/// The largest content of a message in `purge_stream`: that of a `POST /purge`.
pub const PURGE_MESSAGE_BYTES_MAX: usize = PURGE_BODY_BYTES_MAX;
/// The longest name of `purge_stream`.
pub const PURGE_STREAM_NAME_BYTES_MAX: usize = 256;
/// Messages that one read of `purge_stream` returns at most.
pub const PURGE_STREAM_BATCH: usize = 128;
/// Time for which one read waits for a message.
pub const PURGE_STREAM_BLOCK: Duration = Duration::from_secs(5);
/// Time for which Redis may take for any other command about the stream, and beyond the wait of a
/// read.
pub const PURGE_STREAM_REPLY_TIMEOUT: Duration = Duration::from_secs(5);
/// The first pause after a failure, which doubles each time.
pub const PURGE_STREAM_PAUSE_MIN: Duration = Duration::from_millis(100);
/// The longest pause after a failure.
pub const PURGE_STREAM_PAUSE_MAX: Duration = Duration::from_secs(10);
/// Interval, less a random part of up to a half, at which a node looks at the consumer group: its
/// lag, and the messages of dead nodes.
pub const PURGE_STREAM_UPKEEP: Duration = Duration::from_secs(5);
/// The least pause before unconfirmed purges are repeated.
pub const PURGE_STREAM_REPEAT_MIN: Duration = Duration::from_secs(5);
/// The part of this pause for each batch of them, so that many cost little of the time.
pub const PURGE_STREAM_REPEAT_BATCH: Duration = Duration::from_millis(100);
/// The longest pause before unconfirmed purges are repeated.
pub const PURGE_STREAM_REPEAT_MAX: Duration = Duration::from_secs(20);
/// Time since the last delivery of a message after which another node takes it over. A live node
/// repeats its messages before.
pub const PURGE_STREAM_IDLE: Duration = Duration::from_secs(60);
/// Time since the last command of a consumer after which it is removed from the group, if it has no
/// message.
pub const PURGE_STREAM_CONSUMER_IDLE: Duration = Duration::from_secs(3600);
/// Pending messages that one look at the group lists at once.
pub const PURGE_STREAM_PENDING_LISTED: usize = 1000;
/// Lists of pending messages that one look at the group reads at most.
pub const PURGE_STREAM_PENDING_LISTS_MAX: usize = 64;
/// Unconfirmed messages that a node repeats at most; older ones are acknowledged without a
/// confirmation.
pub const PURGE_STREAM_UNCONFIRMED_MAX: usize = 64 * 1024;
/// Messages that were set aside with a line of their own in the log, in one period.
pub const PURGE_STREAM_LOGGED_MAX: usize = 10;
/// The period of the log of messages that were set aside.
pub const PURGE_STREAM_LOGGED_PERIOD: Duration = Duration::from_secs(10);
/// Time for which the shutdown waits for the stream's consumer.
pub const PURGE_STREAM_LEAVE_TIMEOUT: Duration = Duration::from_secs(3);
/// Time in which the body of an operator's request must arrive.
pub const OPERATOR_BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of an operator's input that an answer repeats, in escaped form.
pub const OPERATOR_SHOWN_BYTES_MAX: usize = 2 * KIB;
/// Request fields that one `GET /entries` may carry.
pub const INSPECTED_FIELDS_MAX: usize = 32;
/// Variants of one resource that `GET /entries` lists: the most recently stored ones.
pub const VARIANTS_LISTED_MAX: usize = 64;
/// Time for which `cachewarp purge`, `inspect` and `top` wait for a whole answer.
pub const OPERATOR_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of an answer that these commands read.
pub const OPERATOR_ANSWER_BYTES_MAX: usize = 2 * MIB;
/// Paths that are counted at once, to find the most requested ones. A path with more than one
/// request in this many is certainly among them.
pub const TOP_PATHS_COUNTED: usize = 512;
/// Paths that `/stats` lists at most.
pub const TOP_PATHS_SHOWN_MAX: usize = 100;
/// Bytes of a path that are kept.
pub const TOP_PATH_BYTES_MAX: usize = 200;
/// One request in this many is counted for the paths.
pub const TOP_SAMPLED: u64 = 8;
/// Time after the last request for the paths in which they are still counted. Then all of them are
/// dropped.
pub const TOP_WATCHED: Duration = Duration::from_secs(15);
/// Interval at which the series of the page gets a point.
pub const SERIES_INTERVAL: Duration = Duration::from_secs(5);
/// Points of the series: those of an hour.
pub const SERIES_POINTS_MAX: usize = 720;
/// Purge orders that `/stats` lists: the latest ones.
pub const RECENT_PURGES_KEPT: usize = 20;
/// Interval at which `cachewarp top` reads `/stats`.
pub const TOP_INTERVAL: Duration = Duration::from_secs(1);
/// Interval at which `cachewarp top` reads the size of its terminal.
pub const TOP_RESIZE_INTERVAL: Duration = Duration::from_millis(100);
/// Paths that `cachewarp top` requests.
pub const TOP_PATHS_ON_SCREEN: usize = 40;
/// Columns of a frame that is printed as text.
pub const TOP_FRAME_COLUMNS: usize = 100;
/// Lines of such a frame at most.
pub const TOP_FRAME_LINES: usize = 60;
/// The largest `cache_warm_keys`.
pub const WARM_KEYS_MAX: usize = 64 * 1024;
/// Counters per wanted warm key, so that new keys do not displace hot ones.
pub const WARM_KEYS_COUNTED_FACTOR: usize = 2;
/// One hit in this many is counted for the warm keys.
pub const WARM_SAMPLED: u64 = 8;
/// Interval at which a node writes its list of warm keys.
pub const WARM_INTERVAL: Duration = Duration::from_secs(60);
/// Time for which Redis keeps the list of a node that no longer writes it.
pub const WARM_KEPT: Duration = Duration::from_secs(24 * 3600);
/// Time for which a start waits for the first connection to Redis before it skips the list.
pub const WARM_CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
/// Interval between two attempts to read the list.
pub const WARM_CONNECT_RETRY: Duration = Duration::from_millis(10);
/// Time for which a start reads the entries at most.
pub const WARM_TIMEOUT: Duration = Duration::from_secs(3);
/// Entries that a start reads at once.
pub const WARM_AT_ONCE: usize = 16;
/// The longest `node_name`.
pub const NODE_NAME_BYTES_MAX: usize = 64;
/// The longest namespace in Redis: a prefix, a name of as many bytes as that of a node, and a
/// colon.
pub const NAMESPACE_BYTES_MAX: usize = KEY_PREFIX_BYTES_MAX + NODE_NAME_BYTES_MAX + 1;

// --- The access log ------------------------------------------------------------------------------

/// Bytes of one text of a request that a line of the access log holds.
pub const ACCESS_TEXT_BYTES_MAX: usize = 2 * KIB;
/// Lines of one worker that wait for the thread that writes them.
pub const ACCESS_QUEUE_LINES_MAX: usize = 4096;
/// Bytes of these lines.
pub const ACCESS_QUEUE_BYTES_MAX: usize = 2 * MIB;
/// Cells of finished requests that a worker keeps for later ones.
pub const ACCESS_CELLS_KEPT_MAX: usize = 256;
/// Time for which the writing thread waits for further lines behind the first.
pub const ACCESS_GATHER_TIME: Duration = Duration::from_millis(10);
/// Bytes that the writing thread writes at once; one line may exceed it.
pub const ACCESS_WRITE_BYTES: usize = 64 * KIB;
/// Time for which the end of the process waits for the lines to be written.
pub const ACCESS_FLUSH_TIMEOUT: Duration = Duration::from_secs(1);
/// Interval in which the warnings about slow requests are counted.
pub const SLOW_WINDOW: Duration = Duration::from_secs(1);
/// Warnings about slow requests of one worker in such an interval.
pub const SLOW_LINES_PER_WINDOW: usize = 10;

// --- Traces --------------------------------------------------------------------------------------

/// Spans that wait for the collector, of all workers.
pub const TRACE_QUEUE_SPANS_MAX: usize = 8192;
/// Spans of one message to the collector.
pub const TRACE_BATCH_SPANS_MAX: usize = 512;
/// Time for which the exporting thread waits for further spans behind the first.
pub const TRACE_GATHER_TIME: Duration = Duration::from_secs(1);
/// Time in which the collector has to take a message.
pub const TRACE_EXPORT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for which the end of the process waits for the last spans to be sent.
pub const TRACE_FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

// --- Surveys of recorded heads -------------------------------------------------------------------

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
