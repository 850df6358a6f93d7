//! The choice of a connection for each command.
//!
//! A stored body may have megabytes, and a `GET` queued behind it waits for all of them. So large
//! writes have connections of their own, one in [`REDIS_BULK_SHARE`] and at least one if there are
//! two:
//!
//! ```text
//! reads   slot 0 ► slot 1 ► …   small commands: each to REDIS_WINDOW_COMMANDS, then the next;
//!                               then each up to its whole window; then the silent connections
//! bulk    slot n-1 ► …          commands of more than REDIS_BULK_BYTES_MIN
//! ```
//!
//! Few busy connections make large batches, and a batch costs one system call however many commands
//! it has. The other connections take over when the first is full or down. A lane that is full
//! returns an error at once: a request never waits for room. If no connection of a lane is up, the
//! other lane takes its commands; large writes then go to the last connection of the reads, which
//! reads use least.

use std::cell::RefCell;
use std::rc::Rc;

use crate::limits::{
    REDIS_BULK_BYTES_MIN, REDIS_BULK_SHARE, REDIS_COMMAND_OVERHEAD_BYTES, REDIS_LANE_COMMANDS_MIN,
    REDIS_WINDOW_COMMANDS, REDIS_WINDOW_VALUES,
};
use crate::redis::connection::{Link, PendingReply};
use crate::redis::error::CommandError;
use crate::redis::health::StatsWriter;
use crate::redis::submission::{Lane, QueueDepth, Submission};
use crate::resp::Window;

/// One of the pool's places for a connection.
pub(in crate::redis) struct ConnectionSlot {
    pub(in crate::redis) link: RefCell<Option<Rc<Link>>>,
    pub(in crate::redis) stats: Rc<StatsWriter>,
}

impl ConnectionSlot {
    /// A slot without a connection.
    pub(in crate::redis) fn new(stats: StatsWriter) -> Self {
        Self { link: RefCell::default(), stats: Rc::new(stats) }
    }

    /// Passes the link to `work`, if the connection is up.
    pub(in crate::redis) fn with<T>(&self, work: impl FnOnce(&Rc<Link>) -> T) -> Option<T> {
        self.link.borrow().as_ref().map(work)
    }
}

/// The slots of a pool, by lane.
pub(in crate::redis) struct Lanes {
    /// In the order of use; at least one, unless the pool has none.
    reads: Vec<Rc<ConnectionSlot>>,
    bulk: Vec<Rc<ConnectionSlot>>,
}

impl Lanes {
    /// Divides the connections between the lanes, each with its statistics.
    pub(in crate::redis) fn new(connections: usize, register: impl Fn(Lane) -> StatsWriter) -> Self {
        let slots = |count, lane| (0..count).map(|_| Rc::new(ConnectionSlot::new(register(lane)))).collect();
        let bulk = bulk_connections(connections);
        Self { reads: slots(connections - bulk, Lane::Reads), bulk: slots(bulk, Lane::Bulk) }
    }

    /// Returns all slots, in the order of use.
    pub(in crate::redis) fn slots(&self) -> impl Iterator<Item = &Rc<ConnectionSlot>> {
        self.reads.iter().chain(&self.bulk)
    }

    /// Submits a command to the first connection that takes it.
    pub(in crate::redis) fn submit(&self, submission: &Submission<'_>) -> Result<PendingReply, CommandError> {
        match Lane::of(submission.command) {
            Lane::Reads => {
                let mut taken = offer(&self.reads, submission, BATCH);
                for depth in [WINDOW, ANY_CONNECTION] {
                    if let Err(CommandError::Full) = taken {
                        taken = offer(&self.reads, submission, depth);
                    }
                }
                match taken {
                    Err(CommandError::NotConnected) => offer(&self.bulk, submission, ANY_CONNECTION),
                    taken => taken,
                }
            }
            Lane::Bulk => match offer(&self.bulk, submission, ANY_CONNECTION) {
                Err(CommandError::NotConnected) => offer(self.reads.iter().rev(), submission, ANY_CONNECTION),
                taken => taken,
            },
        }
    }

    /// Submits two commands, one after the other, to the first connection that takes both.
    pub(in crate::redis) fn submit_both(
        &self,
        first: &Submission<'_>,
        second: &Submission<'_>,
    ) -> Result<(PendingReply, PendingReply), CommandError> {
        let both = |link: &Rc<Link>| link.submit_both(first, second);
        match Lane::of(second.command) {
            Lane::Reads => first_that(self.reads.iter().chain(&self.bulk), both),
            Lane::Bulk => first_that(self.bulk.iter().chain(self.reads.iter().rev()), both),
        }
    }

    /// Submits a command to another connection than that of `first`, if one has room and is not
    /// silent.
    pub(in crate::redis) fn submit_apart(
        &self,
        submission: &Submission<'_>,
        first: &PendingReply,
    ) -> Result<PendingReply, CommandError> {
        let is_apart = |slot: &&Rc<ConnectionSlot>| {
            slot.with(|link| !Rc::ptr_eq(first.link(), link)).unwrap_or_default()
        };
        offer(self.reads.iter().filter(is_apart), submission, BATCH)
    }
}

/// Up to a good batch.
const BATCH: QueueDepth = QueueDepth { responsive: REDIS_WINDOW_COMMANDS, unresponsive: 0 };
/// Up to the whole window.
const WINDOW: QueueDepth = QueueDepth { responsive: usize::MAX, unresponsive: 0 };
/// Silent connections too, as the last resort.
const ANY_CONNECTION: QueueDepth = QueueDepth::ANY;

/// Offers a command to each slot in turn.
fn offer<'a>(
    slots: impl IntoIterator<Item = &'a Rc<ConnectionSlot>>,
    submission: &Submission<'_>,
    depth: QueueDepth,
) -> Result<PendingReply, CommandError> {
    first_that(slots, |link| link.submit(submission, depth))
}

/// Returns the result of the first connection that takes the command.
fn first_that<'a, T>(
    slots: impl IntoIterator<Item = &'a Rc<ConnectionSlot>>,
    take: impl Fn(&Rc<Link>) -> Result<T, CommandError>,
) -> Result<T, CommandError> {
    let mut refusal = CommandError::NotConnected;
    for slot in slots {
        match slot.with(&take) {
            Some(Ok(taken)) => return Ok(taken),
            Some(Err(full @ CommandError::Full)) => refusal = full,
            Some(Err(_)) | None => {}
        }
    }
    Err(refusal)
}

/// Returns the number of connections for large writes.
fn bulk_connections(connections: usize) -> usize {
    if connections < 2 { 0 } else { (connections / REDIS_BULK_SHARE).max(1) }
}

/// Returns the window of each connection, for a pool with values of up to `value_bytes_max`.
///
/// A pool with few connections gives each of them more commands, so that a single connection is no
/// bottleneck. A window has room for two of the largest values, one in transfer and one behind it,
/// and for its commands if they are small; a stalled server occupies no more memory per connection.
pub(in crate::redis) fn window(connections: usize, value_bytes_max: usize) -> Window {
    let reads = (connections - bulk_connections(connections)).max(1);
    let with_overhead = |bytes: usize| bytes.saturating_add(REDIS_COMMAND_OVERHEAD_BYTES);
    let large = with_overhead(value_bytes_max).saturating_mul(REDIS_WINDOW_VALUES);
    let small = with_overhead(REDIS_BULK_BYTES_MIN).saturating_mul(REDIS_WINDOW_COMMANDS);
    Window {
        commands: REDIS_LANE_COMMANDS_MIN.div_ceil(reads).max(REDIS_WINDOW_COMMANDS),
        bytes: large.max(small),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;
    use crate::redis::health::StatsBoard;
    use crate::resp::Command;
    use crate::time::instant;

    #[test]
    fn one_in_five_is_for_large_writes() {
        for (connections, bulk) in [(0, 0), (1, 0), (2, 1), (4, 1), (9, 1), (10, 2), (20, 4), (1024, 204)] {
            assert_eq!(bulk_connections(connections), bulk, "of {connections}");
            let board = StatsBoard::new(instant());
            let lanes = Lanes::new(connections, |lane| board.register(String::new(), lane));
            assert_eq!((lanes.reads.len(), lanes.bulk.len()), (connections - bulk, bulk));
            assert_eq!(lanes.slots().count(), connections);
        }
    }

    #[test]
    fn commands_beyond_the_limit_use_the_bulk_lane() {
        let command = |bytes| {
            let value = Bytes::from(vec![0; bytes]);
            Lane::of(&Command::Set { key: b"k", value: &value, ttl: Duration::from_secs(1) })
        };
        assert_eq!(command(0), Lane::Reads);
        assert_eq!(command(REDIS_BULK_BYTES_MIN / 2), Lane::Reads);
        assert_eq!(command(REDIS_BULK_BYTES_MIN + 1), Lane::Bulk);
        assert_eq!(Lane::of(&Command::Get { key: b"k" }), Lane::Reads);
    }

    #[test]
    fn fewer_connections_have_larger_windows() {
        for connections in 1..200 {
            let reads = connections - bulk_connections(connections);
            let window = window(connections, 1 << 20);
            assert!(window.commands * reads >= REDIS_LANE_COMMANDS_MIN, "{connections}");
            assert!(window.commands >= REDIS_WINDOW_COMMANDS);
        }
        assert_eq!(window(1, 0).commands, REDIS_LANE_COMMANDS_MIN);
        assert_eq!(window(200, 0).commands, REDIS_WINDOW_COMMANDS);
    }

    #[test]
    fn the_window_has_bytes_for_two_values_or_many_small_ones() {
        let mib = 1 << 20;
        assert!((2 * mib..2 * mib + 1024).contains(&window(20, mib).bytes));
        let small = window(20, 0).bytes;
        assert!(small >= REDIS_WINDOW_COMMANDS * REDIS_BULK_BYTES_MIN && small < mib);
        assert_eq!(window(20, usize::MAX).bytes, usize::MAX);
    }
}
