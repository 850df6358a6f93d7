//! A command on its way to a connection: which kind it may take, until when, and how far back in the line.

use std::time::{Duration, Instant};

use crate::labels;
use crate::limits::REDIS_BULK_BYTES_MIN;
use crate::resp::Command;

labels! {
    /// What a connection is there for.
    pub enum Lane {
        /// Every small command.
        Reads => "reads",
        /// Large writes.
        Bulk => "bulk",
    }
}

impl Lane {
    pub(super) fn of(command: &Command<'_>) -> Self {
        if command.bytes_max() > REDIS_BULK_BYTES_MIN { Self::Bulk } else { Self::Reads }
    }
}

/// A command on its way to a connection.
#[derive(Clone, Copy)]
pub(super) struct Submission<'a> {
    pub(super) command: &'a Command<'a>,
    /// Now.
    pub(super) submitted: Instant,
    /// When its caller stops waiting, whatever happens.
    pub(super) due: Instant,
}

impl<'a> Submission<'a> {
    /// For a command that may take so long.
    pub(super) fn of(command: &'a Command<'a>, now: Instant, ceiling: Duration) -> Self {
        Self { command, submitted: now, due: now + ceiling }
    }
}

/// How many commands a connection may have under way to take another one.
#[derive(Clone, Copy)]
pub(super) struct QueueDepth {
    /// Less than so many.
    pub(super) responsive: usize,
    /// The same for a connection that is silent: it has missed a time limit, and has brought nothing since.
    pub(super) unresponsive: usize,
}

impl QueueDepth {
    /// As many as there is room for.
    pub(super) const ANY: Self = Self { responsive: usize::MAX, unresponsive: usize::MAX };
}
