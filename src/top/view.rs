//! The frame. Draws its input on a grid of any size.

use std::time::Duration;

use super::grid::{CellStyle, FrameArea, FrameGrid};
use super::reading::{CountsByName, StatsSample, between};

/// The input of one frame.
pub(super) struct TopFrame<'a> {
    pub(super) now: &'a StatsSample,
    /// The reading of a second ago, if there is one.
    pub(super) before: Option<&'a StatsSample>,
    /// The error of the last read, if it failed.
    pub(super) silent: Option<&'a str>,
}

/// The tiers, with the outcome that is a hit in each.
const TIERS: [(&str, &str); 2] = [("memory", "hit-memory"), ("Redis", "hit-redis")];
/// The percentiles of the latencies that a frame shows.
const PERCENTILES: [f64; 3] = [0.5, 0.99, 0.999];
/// Lines of a block's frame and of its heading.
const FRAMED_LINES: usize = 3;
/// Lines of the three middle blocks, with their frames.
const STATE_LINES: usize = 7;
/// Columns of the block of hit ratios, with its frame.
const RATIO_COLUMNS: usize = 20;

/// Draws a frame.
pub(super) fn draw(grid: &mut FrameGrid, shown: &TopFrame<'_>) {
    let outcomes = outcomes(shown);
    let (title, rest) = grid.area().split_lines(1);
    let (requests, rest) = rest.split_lines(outcomes.len() + FRAMED_LINES);
    let (state, paths) = rest.split_lines(STATE_LINES);
    draw_head(grid, title, shown);
    draw_requests(grid, requests, outcomes);
    let (hits, rest) = state.split_columns(RATIO_COLUMNS);
    let (redis, other) = rest.split_columns(rest.columns / 2);
    draw_block(grid, hits, " hit ratio ", hit_ratios(shown));
    draw_block(grid, redis, " Redis ", redis_lines(shown));
    draw_block(grid, other, " origin and memory ", other_lines(shown));
    draw_paths(grid, paths, shown);
}

/// Returns the number of lines of the whole frame.
pub(super) fn lines(shown: &TopFrame<'_>) -> usize {
    outcomes(shown).len() + shown.now.top.len() + 1 + STATE_LINES + 2 * FRAMED_LINES
}

fn draw_head(grid: &mut FrameGrid, area: FrameArea, shown: &TopFrame<'_>) {
    let StatsSample { version, uptime, workers, clients_open, .. } = shown.now;
    let total: u64 = recent(shown, |reading| &reading.requests).iter().map(|(_, count)| count).sum();
    let text = format!(
        " CacheWarp {version}  up {}  {workers} workers  {clients_open} clients  {} requests/s",
        up(*uptime),
        rate(total, shown),
    );
    match shown.silent {
        Some(why) => grid.write(area, (0, 0), &format!(" {why}"), CellStyle::Alert),
        None => grid.write(area, (0, 0), &text, CellStyle::Strong),
    }
}

/// Returns one row for each outcome that has occurred.
fn outcomes(shown: &TopFrame<'_>) -> Vec<(String, [String; 5])> {
    let recent = recent(shown, |reading| &reading.requests);
    let total: u64 = recent.iter().map(|(_, count)| count).sum();
    let ever = shown.now.requests.iter().filter(|(_, count)| *count > 0);
    ever.map(|(outcome, _)| {
        let count = recent.iter().find(|(name, _)| name == outcome).map_or(0, |(_, count)| *count);
        let [p50, p99, p999] = PERCENTILES.map(|part| {
            shown.now.percentile(of_this_process(shown), outcome, part).map_or_else(|| NONE.to_owned(), brief)
        });
        (outcome.clone(), [rate(count, shown), percent(count, total), p50, p99, p999])
    })
    .collect()
}

const NONE: &str = "-";

fn draw_requests(grid: &mut FrameGrid, area: FrameArea, rows: Vec<(String, [String; 5])>) {
    let headings = ["requests/s", "share", "p50", "p99", "p99.9"];
    draw_table(grid, area, " requests ", ([12, 8, 10, 10, 10], ("outcome", headings)), rows);
}

/// Draws a table with a heading. `columns` has the widths of the columns behind the first, and the
/// heading.
fn draw_table<const N: usize>(
    grid: &mut FrameGrid,
    area: FrameArea,
    title: &str,
    columns: ([usize; N], (&str, [&str; N])),
    rows: impl IntoIterator<Item = (String, [String; N])>,
) {
    let (widths, (name, values)) = columns;
    let (heading, body) = grid.border(area, title).split_lines(1);
    grid.rows(heading, widths, [(name.to_owned(), values.map(str::to_owned))], CellStyle::Faint);
    grid.rows(body, widths, rows, CellStyle::Plain);
}

fn hit_ratios(shown: &TopFrame<'_>) -> Vec<[String; 2]> {
    let recent = recent(shown, |reading| &reading.requests);
    let count = |wanted: &[&str]| -> u64 {
        recent.iter().filter(|(outcome, _)| wanted.contains(&outcome.as_str())).map(|(_, count)| count).sum()
    };
    let earlier = of_this_process(shown).map_or(0, |before| before.cacheable);
    let cacheable = shown.now.cacheable.saturating_sub(earlier);
    let tiers = TIERS.iter().map(|(tier, hit)| [(*tier).to_owned(), percent(count(&[hit]), cacheable)]);
    let all = count(&TIERS.map(|(_, hit)| hit));
    tiers.chain([["together".to_owned(), percent(all, cacheable)]]).collect()
}

fn redis_lines(shown: &TopFrame<'_>) -> Vec<[String; 2]> {
    let now = shown.now;
    let connections: u64 = now.redis_connections.iter().map(|(_, count)| count).sum();
    let up = now.redis_connections.iter().find(|(state, _)| state == "up").map_or(0, |(_, count)| *count);
    let commands = recent(shown, |reading| &reading.redis_commands);
    let failed: u64 = commands.iter().filter(|(outcome, _)| outcome != "ok").map(|(_, count)| count).sum();
    let all: u64 = commands.iter().map(|(_, count)| count).sum();
    vec![
        ["health".to_owned(), now.redis_health.clone()],
        ["connections".to_owned(), format!("{up} of {connections} up")],
        ["commands/s".to_owned(), rate(all, shown)],
        ["failed/s".to_owned(), rate(failed, shown)],
        ["in flight".to_owned(), now.redis_in_flight.to_string()],
    ]
}

fn other_lines(shown: &TopFrame<'_>) -> Vec<[String; 2]> {
    let now = shown.now;
    let fetched: u64 = recent(shown, |reading| &reading.origin_requests).iter().map(|(_, count)| count).sum();
    vec![
        ["connections".to_owned(), format!("{}, {} idle", now.origin_open, now.origin_idle)],
        ["fetches/s".to_owned(), rate(fetched, shown)],
        ["shared now".to_owned(), now.shared_fetches.to_string()],
        ["memory".to_owned(), bytes(now.memory_bytes)],
        ["entries".to_owned(), now.memory_entries.to_string()],
    ]
}

/// Draws a block of names and values. If it is too narrow, the names are cut.
fn draw_block(grid: &mut FrameGrid, area: FrameArea, title: &str, lines: Vec<[String; 2]>) {
    let longest = lines.iter().map(|[_, value]| value.chars().count()).max().unwrap_or_default();
    let inner = grid.border(area, title);
    grid.rows(inner, [longest], lines.into_iter().map(|[name, value]| (name, [value])), CellStyle::Plain);
}

fn draw_paths(grid: &mut FrameGrid, area: FrameArea, shown: &TopFrame<'_>) {
    let title = " most requested paths, counted while displayed; q to quit ";
    let rows = shown.now.top.iter().map(|(path, count)| (path.clone(), [count.to_string()]));
    draw_table(grid, area, title, ([12], ("path", ["about"])), rows);
}

/// Returns the earlier reading, if it is of the same process.
fn of_this_process<'a>(shown: &TopFrame<'a>) -> Option<&'a StatsSample> {
    shown.before.filter(|before| shown.now.since(before).is_some())
}

/// Returns the counts since the last reading, or since the start if there is none.
fn recent(shown: &TopFrame<'_>, counts: impl Fn(&StatsSample) -> &CountsByName) -> CountsByName {
    match of_this_process(shown) {
        Some(before) => between(counts(shown.now), counts(before)),
        None => counts(shown.now).clone(),
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate is shown to three digits")]
fn rate(count: u64, shown: &TopFrame<'_>) -> String {
    let elapsed =
        of_this_process(shown).and_then(|before| shown.now.since(before)).unwrap_or(shown.now.uptime);
    if elapsed.is_zero() {
        return NONE.to_owned();
    }
    let rate = count as f64 / elapsed.as_secs_f64();
    if rate < 10.0 && rate > 0.0 { format!("{rate:.1}") } else { format!("{rate:.0}") }
}

#[expect(clippy::cast_precision_loss, reason = "a share is shown to three digits")]
fn percent(part: u64, whole: u64) -> String {
    if whole == 0 { NONE.to_owned() } else { format!("{:.1} %", 100.0 * part as f64 / whole as f64) }
}

/// Formats a duration with three digits.
fn brief(took: Duration) -> String {
    let micros = took.as_secs_f64() * 1e6;
    match micros {
        ..1e3 => format!("{micros:.0} µs"),
        ..1e4 => format!("{:.2} ms", micros / 1e3),
        ..1e6 => format!("{:.0} ms", micros / 1e3),
        _ => format!("{:.1} s", micros / 1e6),
    }
}

fn bytes(count: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match UNITS.iter().find(|(unit, _)| count >= *unit) {
        Some((unit, name)) => format!("{}.{} {name}", count / unit, count % unit * 10 / unit),
        None => format!("{count} B"),
    }
}

fn up(uptime: Duration) -> String {
    let seconds = uptime.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours) {
        (0, 0) => format!("{minutes}m {}s", seconds % 60),
        (0, _) => format!("{hours}h {minutes}m"),
        _ => format!("{days}d {hours}h"),
    }
}
