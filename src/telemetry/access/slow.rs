//! Warnings about slow requests, a limited number of them per second.

use std::cell::Cell;
use std::time::{Duration, Instant};

use super::line::{AccessLine, LineTexts};
use super::options::LoggedPath;
use crate::limits::{SLOW_LINES_PER_WINDOW, SLOW_WINDOW};
use crate::time;

/// The reporter of slow requests of one worker.
#[derive(Debug)]
pub(super) struct SlowLog {
    threshold: Duration,
    window: Cell<Option<Instant>>,
    /// The lines of the current window.
    lines: Cell<usize>,
    /// The requests without a line since the last line.
    left_out: Cell<u64>,
}

impl SlowLog {
    pub(super) fn new(threshold: Duration) -> Self {
        Self { threshold, window: Cell::new(None), lines: Cell::new(0), left_out: Cell::new(0) }
    }

    /// Warns if the request was slow. A tunnel lasts as long as its users want, so it is not slow.
    pub(super) fn look(&self, line: &AccessLine, texts: &LineTexts<'_>, shown: LoggedPath) {
        if line.duration < self.threshold || line.tunnel_bytes.is_some() {
            return;
        }
        if !self.admits(time::instant()) {
            return self.left_out.set(self.left_out.get() + 1);
        }
        let facts = &line.facts;
        // A name and a path are recorded as texts, which the log escapes.
        let route = facts.route.as_deref();
        let path = String::from_utf8_lossy(texts.path);
        let request_id = String::from_utf8_lossy(texts.request_id);
        let trace_id = String::from_utf8_lossy(texts.trace_id);
        let is_path_shown = route.is_none() || shown != LoggedPath::Route;
        tracing::warn!(
            target: "cachewarp::slow",
            method = line.method.as_ref().map(http::Method::as_str),
            route,
            path = is_path_shown.then_some(&*path),
            status = line.status,
            outcome = facts.outcome,
            head_ms = line.time_to_head.map(time::logged_millis),
            ms = time::logged_millis(line.duration),
            origin_ms = facts.origin_time.map(time::logged_millis),
            bytes = line.response_bytes,
            end = crate::label::Label::word(line.end),
            request_id = (!request_id.is_empty()).then_some(&*request_id),
            trace_id = (!trace_id.is_empty()).then_some(&*trace_id),
            left_out = self.left_out.take(),
            "slow request"
        );
    }

    /// Counts a line, if the current window has room for it.
    fn admits(&self, now: Instant) -> bool {
        let is_current =
            self.window.get().is_some_and(|begin| now.saturating_duration_since(begin) < SLOW_WINDOW);
        if !is_current {
            self.window.set(Some(now));
            self.lines.set(0);
        }
        let admits = self.lines.get() < SLOW_LINES_PER_WINDOW;
        self.lines.set(self.lines.get() + usize::from(admits));
        admits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_has_a_bounded_number_of_lines() {
        let (slow, now) = (SlowLog::new(Duration::ZERO), time::instant());
        let admitted = |at: Duration| (0..100).filter(|_| slow.admits(now + at)).count();
        assert_eq!(admitted(Duration::ZERO), SLOW_LINES_PER_WINDOW);
        assert_eq!(admitted(SLOW_WINDOW / 2), 0);
        assert_eq!(admitted(SLOW_WINDOW), SLOW_LINES_PER_WINDOW);
    }
}
