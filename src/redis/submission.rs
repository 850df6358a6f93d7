//! A command to be submitted to a connection: its lane, its deadline, and how deep it may queue.

use std::time::{Duration, Instant};

use crate::labels;
use crate::limits::{REDIS_BULK_BYTES_MIN, REDIS_WAIT_MAX};
use crate::resp::Command;

labels! {
    /// The kind of traffic that a connection carries.
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

/// A command to be submitted to a connection.
#[derive(Clone, Copy)]
pub(super) struct Submission<'a> {
    pub(super) command: &'a Command<'a>,
    /// The time of submission.
    pub(super) submitted: Instant,
    /// The time at which its caller stops waiting.
    pub(super) due: Instant,
}

impl<'a> Submission<'a> {
    /// Creates the submission of a command with this timeout.
    pub(super) fn of(command: &'a Command<'a>, now: Instant, command_timeout: Duration) -> Self {
        Self { command, submitted: now, due: wait_deadline(now, command_timeout) }
    }
}

/// Returns the time at which a caller stops waiting for Redis.
pub(super) fn wait_deadline(now: Instant, command_timeout: Duration) -> Instant {
    now + command_timeout.min(REDIS_WAIT_MAX)
}

/// The queue length up to which a connection takes another command.
#[derive(Clone, Copy)]
pub(super) struct QueueDepth {
    /// The limit, exclusive, of a connection that responds.
    pub(super) responsive: usize,
    /// The limit, exclusive, of a silent connection: one that missed a deadline and has received
    /// nothing since.
    pub(super) unresponsive: usize,
}

impl QueueDepth {
    /// Up to the whole window.
    pub(super) const ANY: Self = Self { responsive: usize::MAX, unresponsive: usize::MAX };
}
