//! The stale reads after a confirmed purge that ARCHITECTURE documents.

use std::time::Duration;

use super::origin::Shown;
use crate::time::millis;

/// A documented window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DocumentedWindow {
    /// A node serves what it fetched itself while it was cut off.
    FetchedAlone = 0,
    /// Without RESP3, a node that is cut off serves its memory.
    CutOffWithoutResp3 = 1,
}

/// The number of windows.
pub(super) const WINDOWS: usize = 2;

/// Every window.
pub(super) const DOCUMENTED_WINDOWS: [DocumentedWindow; WINDOWS] =
    [DocumentedWindow::FetchedAlone, DocumentedWindow::CutOffWithoutResp3];

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
        has_resp3: bool,
        (memory_ttl, memory_alone_max): (Duration, Duration),
    ) -> Option<WindowUse> {
        let promise = millis(memory_ttl.max(memory_alone_max));
        let alone_since =
            Some(shown.fetched).filter(|fetched| shown.node == node && self.start(*fetched).is_some());
        let cut_off_since = self.start(begun).filter(|_| !has_resp3);
        let used = [
            (DocumentedWindow::FetchedAlone, alone_since),
            (DocumentedWindow::CutOffWithoutResp3, cut_off_since),
        ];
        let used = used.into_iter().filter_map(|(window, since)| {
            Some(WindowUse { window, millis: begun.saturating_sub(since?), promise })
        });
        used.filter(|used| used.millis <= promise).min_by_key(|used| used.millis)
    }
}
