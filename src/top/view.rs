//! The frame. Draws its input on any terminal or buffer.

use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Block, Cell, Paragraph, Row, Table};

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
const FRAMED_LINES: u16 = 3;

/// Draws a frame.
pub(super) fn draw(frame: &mut Frame<'_>, shown: &TopFrame<'_>) {
    let outcomes = outcomes(shown);
    let rows = u16::try_from(outcomes.len()).unwrap_or(u16::MAX);
    let [title, requests, state, paths] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(rows.saturating_add(FRAMED_LINES)),
        Constraint::Length(STATE_LINES),
        Constraint::Min(FRAMED_LINES),
    ])
    .areas(frame.area());
    frame.render_widget(head(shown), title);
    draw_requests(frame, requests, outcomes);
    let [hits, redis, rest] =
        Layout::horizontal([Constraint::Length(20), Constraint::Fill(1), Constraint::Fill(1)]).areas(state);
    frame.render_widget(block(" hit ratio ", hit_ratios(shown)), hits);
    frame.render_widget(block(" Redis ", redis_lines(shown)), redis);
    frame.render_widget(block(" origin and memory ", other_lines(shown)), rest);
    draw_paths(frame, paths, shown);
}

/// Returns the number of lines of the whole frame.
pub(super) fn lines(shown: &TopFrame<'_>) -> u16 {
    let rows = outcomes(shown).len() + shown.now.top.len();
    u16::try_from(rows).unwrap_or(u16::MAX).saturating_add(1 + STATE_LINES + 2 * FRAMED_LINES)
}

/// Lines of the three middle blocks, with their frames.
const STATE_LINES: u16 = 7;

fn head(shown: &TopFrame<'_>) -> Paragraph<'static> {
    let StatsSample { version, uptime, workers, clients_open, .. } = shown.now;
    let total: u64 = recent(shown, |reading| &reading.requests).iter().map(|(_, count)| count).sum();
    let text = format!(
        " CacheWarp {version}  up {}  {workers} workers  {clients_open} clients  {} requests/s",
        up(*uptime),
        rate(total, shown),
    );
    match shown.silent {
        Some(why) => Paragraph::new(format!(" {why}")).style(Style::new().fg(Color::Red)),
        None => Paragraph::new(text).style(Style::new().add_modifier(Modifier::BOLD)),
    }
}

/// Returns one row for each outcome that has occurred.
fn outcomes(shown: &TopFrame<'_>) -> Vec<[String; 6]> {
    let recent = recent(shown, |reading| &reading.requests);
    let total: u64 = recent.iter().map(|(_, count)| count).sum();
    let ever = shown.now.requests.iter().filter(|(_, count)| *count > 0);
    ever.map(|(outcome, _)| {
        let count = recent.iter().find(|(name, _)| name == outcome).map_or(0, |(_, count)| *count);
        let [p50, p99, p999] = PERCENTILES.map(|part| {
            shown.now.percentile(of_this_process(shown), outcome, part).map_or_else(|| NONE.to_owned(), brief)
        });
        [outcome.clone(), rate(count, shown), percent(count, total), p50, p99, p999]
    })
    .collect()
}

const NONE: &str = "-";

fn draw_requests(frame: &mut Frame<'_>, area: Rect, rows: Vec<[String; 6]>) {
    let widths = [
        Constraint::Min(16),
        Constraint::Length(12),
        Constraint::Length(8),
        Constraint::Length(10),
        Constraint::Length(10),
        Constraint::Length(10),
    ];
    let table = Table::new(rows.into_iter().map(|cells| row(cells)), widths)
        .header(
            row(["outcome", "requests/s", "share", "p50", "p99", "p99.9"].map(str::to_owned)).style(HEADING),
        )
        .block(Block::bordered().title(" requests "));
    frame.render_widget(table, area);
}

const HEADING: Style = Style::new().add_modifier(Modifier::DIM);

/// Aligns the first cell to the left and the others to the right.
fn row<const N: usize>(cells: [String; N]) -> Row<'static> {
    Row::new(cells.into_iter().enumerate().map(|(column, cell)| {
        let line = Line::from(cell);
        Cell::from(if column == 0 { line } else { line.right_aligned() })
    }))
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

/// Returns a block of names and values. If it is too narrow, the names are cut.
fn block(title: &'static str, lines: Vec<[String; 2]>) -> Table<'static> {
    let longest = lines.iter().map(|[_, value]| value.chars().count()).max().unwrap_or_default();
    let longest = u16::try_from(longest).unwrap_or(u16::MAX);
    Table::new(lines.into_iter().map(row), [Constraint::Fill(1), Constraint::Length(longest)])
        .block(Block::bordered().title(title))
}

fn draw_paths(frame: &mut Frame<'_>, area: Rect, shown: &TopFrame<'_>) {
    let widths = [Constraint::Min(20), Constraint::Length(12)];
    let rows = shown.now.top.iter().map(|(path, count)| row([path.clone(), count.to_string()]));
    let table = Table::new(rows, widths)
        .header(row(["path", "about"].map(str::to_owned)).style(HEADING))
        .block(Block::bordered().title(" most requested paths, counted while displayed; q to quit "));
    frame.render_widget(table, area);
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
