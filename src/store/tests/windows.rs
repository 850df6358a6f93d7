//! The stale reads after a confirmed purge that ARCHITECTURE documents.

use std::time::Duration;

use super::origin::Shown;
use crate::time::millis;

/// A documented window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DocumentedWindow {
    /// A node serves what it fetched itself while it was cut off.
    FetchedAlone = 0,
}

/// The number of windows.
pub(super) const WINDOWS: usize = 1;

/// Every window.
pub(super) const DOCUMENTED_WINDOWS: [DocumentedWindow; WINDOWS] = [DocumentedWindow::FetchedAlone];

/// A window, the part of it that a stale read has used, and the promise, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WindowUse {
    pub(super) window: DocumentedWindow,
    pub(super) millis: u64,
    pub(super) promise: u64,
}

/// The times in which one node was disturbed: cut off, or without a working server.
#[derive(Clone, Debug, Default)]
pub(super) struct Disturbances(Vec<(u64, Option<u64>)>);

/// The time that a node needs to be connected again, at most.
const RECOVERY: u64 = 1_500;

impl Disturbances {
    pub(super) fn begin(&mut self, now: u64) {
        if self.0.last().is_none_or(|(_, end)| end.is_some()) {
            self.0.push((now, None));
        }
    }

    pub(super) fn end(&mut self, now: u64) {
        if let Some((_, end @ None)) = self.0.last_mut() {
            *end = Some(now);
        }
    }

    /// Returns the start of a disturbance at this time, or a moment before it.
    fn start(&self, at: u64) -> Option<u64> {
        let covers = |end: &Option<u64>| end.is_none_or(|end| at <= end + RECOVERY);
        self.0.iter().rev().find(|(start, end)| *start <= at && covers(end)).map(|(start, _)| *start)
    }

    /// Returns the window that excuses an older answer of this node to a request that began then.
    pub(super) fn window(
        &self,
        (node, begun): (usize, u64),
        shown: Shown,
        (memory_ttl, memory_alone_max): (Duration, Duration),
    ) -> Option<WindowUse> {
        let promise = millis(memory_ttl.max(memory_alone_max));
        let alone_since =
            Some(shown.fetched).filter(|fetched| shown.node == node && self.start(*fetched).is_some());
        let used = alone_since.map(|since| {
            let millis = begun.saturating_sub(since);
            WindowUse { window: DocumentedWindow::FetchedAlone, millis, promise }
        });
        used.filter(|used| used.millis <= promise)
    }
}
