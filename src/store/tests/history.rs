//! The history of a run, and its check: after a purge that every node has confirmed, no request
//! that begins later gets an older version.

use std::cell::{Cell, RefCell};
use std::fmt::Write;

use super::origin::{RESOURCES, Shown};
use super::requests::AnswerSource;
use super::windows::{WINDOWS, WindowUse};

/// The events of a run, and the versions that confirmed purges require.
#[derive(Default)]
pub(super) struct History {
    events: RefCell<Vec<(u64, String)>>,
    /// For each resource, the version that a confirmed purge requires, and the time of its answer.
    floors: RefCell<[Floor; RESOURCES]>,
    /// The purges that were answered, and by which node; those that Redis did not accept end with
    /// its process.
    purges: RefCell<Vec<AnsweredPurge>>,
    violation: RefCell<Option<String>>,
    pub(super) counts: Cell<EventCounts>,
}

/// A purge whose answer has come.
struct AnsweredPurge {
    node: usize,
    written: Vec<(usize, u64)>,
    is_accepted: bool,
}

/// The version that an answer must at least show, and since when.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Floor {
    version: u64,
    since: u64,
}

/// The numbers of events in a run, or in many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct EventCounts {
    pub(super) stored: u64,
    pub(super) fetched: u64,
    pub(super) shared: u64,
    pub(super) confirmed: u64,
    pub(super) unconfirmed: u64,
    pub(super) failed: u64,
    /// The longest stale read in each window, in thousandths of its promise.
    pub(super) windows: [u64; WINDOWS],
}

impl EventCounts {
    pub(super) fn add(&mut self, other: Self) {
        let Self { stored, fetched, shared, confirmed, unconfirmed, failed, windows } = other;
        self.stored += stored;
        self.fetched += fetched;
        self.shared += shared;
        self.confirmed += confirmed;
        self.unconfirmed += unconfirmed;
        self.failed += failed;
        for (longest, other) in self.windows.iter_mut().zip(windows) {
            *longest = (*longest).max(other);
        }
    }
}

impl History {
    /// Adds an event.
    pub(super) fn note(&self, now: u64, event: String) {
        self.events.borrow_mut().push((now, event));
    }

    pub(super) fn count(&self, change: impl FnOnce(&mut EventCounts)) {
        let mut counts = self.counts.get();
        change(&mut counts);
        self.counts.set(counts);
    }

    /// Returns the version that a request for a resource must get which begins now.
    pub(super) fn floor(&self, resource: usize) -> Floor {
        self.floors.borrow()[resource]
    }

    /// Records that a purge was confirmed: these versions are required from now on.
    pub(super) fn confirmed(&self, now: u64, written: &[(usize, u64)]) {
        let mut floors = self.floors.borrow_mut();
        for (resource, version) in written {
            if floors[*resource].version < *version {
                floors[*resource] = Floor { version: *version, since: now };
            }
        }
    }

    /// Records the answer to a purge.
    pub(super) fn purged(&self, node: usize, written: Vec<(usize, u64)>, is_accepted: bool) {
        self.purges.borrow_mut().push(AnsweredPurge { node, written, is_accepted });
    }

    /// Drops the purges that a node which ends would have repeated.
    pub(super) fn ended(&self, node: usize) {
        self.purges.borrow_mut().retain(|purge| purge.is_accepted || purge.node != node);
    }

    /// Requires from now on the versions of every purge, confirmed or not: the fleet has healed.
    pub(super) fn require_all(&self, now: u64) {
        let purges = self.purges.take();
        purges.iter().for_each(|purge| self.confirmed(now, &purge.written));
    }

    /// Checks an answer to a request of a node that began with this floor. A documented window may
    /// excuse it.
    pub(super) fn answered(
        &self,
        (begun, now): (u64, u64),
        (node, resource): (usize, usize),
        floor: Floor,
        (shown, source): (Shown, AnswerSource),
        window: Option<WindowUse>,
    ) {
        self.count(|counts| match source {
            AnswerSource::Stored => counts.stored += 1,
            AnswerSource::Origin => counts.fetched += 1,
            AnswerSource::Shared => counts.shared += 1,
        });
        let Shown { version, node: of, fetched } = shown;
        self.note(
            now,
            format!(
                "n{node} r{resource} -> v{version} ({source:?}, by n{of} at {fetched}; begun at {begun})"
            ),
        );
        if version < floor.version {
            let Floor { version: required, since } = floor;
            if let Some(WindowUse { window, millis, promise }) = window {
                self.note(now, format!("excused by {window:?}: {millis} ms of {promise}"));
                return self.count(|counts| {
                    let longest = &mut counts.windows[window as usize];
                    *longest = (*longest).max(millis * 1_000 / promise);
                });
            }
            self.violate(format!(
                "n{node} answered r{resource} with v{version}, {} ms after a confirmed purge of what was \
                 before v{required}",
                begun - since
            ));
        }
    }

    /// Records a violation, unless there is one.
    pub(super) fn violate(&self, violation: String) {
        self.violation.borrow_mut().get_or_insert(violation);
    }

    /// Returns the violation, and the events before it.
    pub(super) fn failure(&self) -> Option<String> {
        let violation = self.violation.borrow().clone()?;
        Some(format!("{}{violation}", self.text()))
    }

    /// Returns all events, a line each.
    pub(super) fn text(&self) -> String {
        self.events.borrow().iter().fold(String::from("\n"), |mut text, (at, event)| {
            let _ = writeln!(text, "{at:>8} {event}");
            text
        })
    }
}
