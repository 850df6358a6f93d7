//! Limits of the routes file and of matching.

use std::time::Duration;

use super::settings::{KIB, MIB};

/// The largest routes file. A reload reads and parses it at once.
pub const ROUTES_FILE_BYTES_MAX: usize = MIB;
/// The most routes in one file.
pub const ROUTES_MAX: usize = 4096;
/// The errors of one routes file that a report lists.
pub const ROUTE_ERRORS_SHOWN_MAX: usize = 100;
/// The longest name of a route. It is part of tags, log lines and metric labels.
pub const ROUTE_NAME_BYTES_MAX: usize = 64;
/// The longest path or host pattern of a route.
pub const ROUTE_PATTERN_BYTES_MAX: usize = 512;
/// Segments of a path pattern: the depth of the recursion that matches a path.
pub const ROUTE_SEGMENTS_MAX: usize = 32;
/// Captures of a path pattern.
pub const ROUTE_CAPTURES_MAX: usize = 8;
/// Items of a list in a route: names of headers, cookies, query parameters, statuses, types.
pub const ROUTE_LIST_ITEMS_MAX: usize = 64;
/// Routes of one file that have their own series of metrics; the further ones share one.
pub const ROUTES_COUNTED_MAX: usize = 100;
/// Names of routes, also of earlier files, that have their own series until the process ends.
pub const ROUTE_SERIES_MAX: usize = 400;
/// Tags that a route gives to a stored response, and tags or routes that a write purges. The tags
/// that the origin gives count against the same limit of an entry.
pub const ROUTE_TAGS_MAX: usize = 8;
/// The longest tag template of a route.
pub const ROUTE_TAG_BYTES_MAX: usize = 128;
/// Time for which the answer to a write with `wait` is delayed until every node has confirmed.
pub const WRITE_WAIT_MAX: Duration = Duration::from_millis(50);
/// The time of `hold` if a write with `wait` does not state one.
pub const ROUTE_HOLD_DEFAULT: Duration = Duration::from_secs(1);
/// Tags that a process holds at once for its own writes. Beyond it, it holds every tag.
pub const HELD_TAGS_MAX: usize = 16 * KIB;
/// The largest `on_write_rate`.
pub const ON_WRITE_RATE_MAX: usize = 1_000_000;
/// The longest time for which a write forbids storing responses of the routes that it purges.
pub const ROUTE_HOLD_MAX: Duration = Duration::from_secs(60);
/// Readings of one path that are compared with the routes. A path with more passes uncached.
pub const ROUTE_READINGS_MAX: usize = 32;
/// The longest path whose readings are all computed. A longer path that is not plain passes
/// uncached, because the readings of a path cost its length each.
pub const ROUTE_READING_BYTES_MAX: usize = 512;
/// Bytes of a plain path with percent-encoding that are decoded without an allocation.
pub const ROUTE_DECODED_BYTES_MAX: usize = KIB;
/// Routes that `cachewarp routes` names with the reason why they do not match.
pub const ROUTES_EXPLAINED_MAX: usize = 10;
