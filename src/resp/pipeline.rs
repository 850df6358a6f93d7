//! Matches replies to commands.
//!
//! Redis answers in order and names no command in a reply, so the queue of commands is all there
//! is. If one leaves it early, or a reply is surplus, every later caller gets another caller's
//! value. **Always:**
//!
//! - A queued command leaves the queue only with its reply. If its caller gives up, it stays, and
//!   its reply is dropped.
//! - A reply belongs to the oldest command. If there is none, or its kind is not the command's, the
//!   stream is desynchronised: an error, and nothing that follows may be used.
//! - Pushes are delivered separately and match no command.
//! - No caller waits beyond its command's deadline. An interactive caller also gives up once the
//!   server has been silent for too long; while the connection makes progress, its reply may be
//!   under way.
//!
//! ```text
//! queue   oldest ► [GET, slot 2] [GET, –] [SET, slot 0]    without a slot: the caller has given up
//! slots   0: waiting   1: vacant   2: waiting   3: settled (its reply is not yet collected)
//! ```
//!
//! Queue entries and slots end at different times: the entry with the reply, the slot when its
//! caller has collected it. Both are allocated once per connection.

use std::collections::VecDeque;
use std::task::Waker;
use std::time::{Duration, Instant};

use super::expected::ExpectedReply;
use super::reply::{Frame, Reply};
use crate::labels;

/// The limits on unanswered commands.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// Commands without a reply.
    pub commands: usize,
    /// The bytes of these commands.
    pub bytes: usize,
}

/// The pipeline's view of one command.
#[derive(Clone, Copy, Debug)]
pub struct CommandSpec {
    /// The kind of its reply.
    pub expected: ExpectedReply,
    /// Its size in bytes.
    pub bytes: usize,
    /// Its deadlines, besides its own.
    pub urgency: CommandUrgency,
    /// The time of submission.
    pub submitted: Instant,
    /// The time at which its caller stops waiting.
    pub due: Instant,
}

labels! {
    /// The urgency of a command.
    pub enum CommandUrgency {
        /// A request waits for this read: no reply is better than a late one.
        Interactive => "interactive",
        /// Any other command: it waits until its own deadline.
        Ordinary => "ordinary",
        /// No caller waits: the reply shows that the server is alive.
        Heartbeat => "heartbeat",
    }
}

/// The deadlines of interactive commands, besides their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyDeadlines {
    /// The longest silence of the connection.
    pub silence: Duration,
    /// The age at which the caller is notified; `None` without notices.
    pub late: Option<Duration>,
}

labels! {
    /// The reason that a command has no reply.
    pub enum ReplyFailure {
        /// No reply came in time. Redis may still execute the command.
        Timeout => "timeout",
        /// The connection ended first.
        Closed => "closed",
        /// A reply matched no command.
        Desynchronised => "desynchronised",
        /// The server sent bytes that are no valid reply.
        Malformed => "malformed",
    }
}

/// A reply that matches no command: every later one could be another command's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the reply matches no command")]
pub struct DesyncError;

/// The window is full. Nothing was submitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the window is full")]
pub struct WindowFullError;

/// The right to one reply: collected or abandoned, once.
#[derive(Debug)]
#[must_use = "a ticket that is dropped keeps its slot for ever"]
pub struct Ticket(usize);

/// The meaning of a frame.
#[derive(Debug)]
pub enum FrameMeaning {
    /// A reply, and its caller to wake.
    Answered(ReplyTiming, Option<Waker>),
    /// The reply of an abandoned command.
    Late(ReplyTiming),
    /// A push.
    Push(Vec<Reply>),
}

/// The timing of a reply, for the latency estimate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyTiming {
    /// The time of its command's submission.
    pub submitted: Instant,
    /// The urgency of its command.
    pub urgency: CommandUrgency,
}

/// The commands of one connection, in order.
#[derive(Debug)]
pub struct Pipeline {
    window: Window,
    /// Unanswered commands, oldest first; at most the window's.
    queue: VecDeque<QueuedCommand>,
    /// The number of answered commands, which is the number of the oldest in the queue.
    completed: u64,
    /// The bytes of the queued commands; at most the window's.
    bytes: usize,
    /// Queued commands with a waiting caller.
    waiting: usize,
    /// A lower bound of the deadlines of waiting callers; `None` without any.
    due: Option<Instant>,
    /// Twice the window's commands, since a slot is held until its caller collects the reply.
    slots: Box<[ReplySlot]>,
    /// The indices of vacant slots.
    vacant: Vec<usize>,
    /// Stored beside every settled reply: see [`Pipeline::mark`].
    mark: u64,
}

#[derive(Debug)]
struct QueuedCommand {
    /// The caller's slot, until it gives up.
    slot: Option<usize>,
    spec: CommandSpec,
    notice: LateNotice,
}

/// Whether the caller of an interactive command has been notified that it is late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LateNotice {
    NotSent,
    Sent,
}

#[derive(Debug)]
enum ReplySlot {
    Vacant,
    /// The command's number, and its caller's waker.
    Waiting(u64, Option<Waker>),
    /// The result, and the mark at that time.
    Settled(Result<Reply, ReplyFailure>, u64),
}

impl Pipeline {
    /// Creates an empty pipeline.
    pub fn new(window: Window) -> Self {
        let slots = 2 * window.commands;
        Self {
            window,
            queue: VecDeque::with_capacity(window.commands),
            completed: 0,
            bytes: 0,
            waiting: 0,
            due: None,
            slots: (0..slots).map(|_| ReplySlot::Vacant).collect(),
            // The lowest index first, so that a quiet connection touches few slots.
            vacant: (0..slots).rev().collect(),
            mark: 0,
        }
    }

    /// Marks later replies with this number: the invalidations received before them.
    pub fn mark(&mut self, mark: u64) {
        self.mark = mark;
    }

    /// Queues a command. The caller must send the commands in the order of their tickets.
    pub fn submit(&mut self, spec: CommandSpec) -> Result<Ticket, WindowFullError> {
        let bytes_left = self.window.bytes.saturating_sub(self.bytes);
        if self.queue.len() >= self.window.commands || spec.bytes > bytes_left {
            return Err(WindowFullError);
        }
        let index = self.vacant.pop().ok_or(WindowFullError)?;
        if let Some(slot) = self.slots.get_mut(index) {
            *slot = ReplySlot::Waiting(self.completed + self.queue.len() as u64, None);
        }
        self.queue.push_back(QueuedCommand { slot: Some(index), spec, notice: LateNotice::NotSent });
        self.bytes += spec.bytes;
        self.waiting += 1;
        self.due = Some(self.due.map_or(spec.due, |due| due.min(spec.due)));
        Ok(Ticket(index))
    }

    /// Returns whether this many commands with this many bytes fit into the window.
    pub fn has_room(&self, commands: usize, bytes: usize) -> bool {
        self.queue.len() + commands <= self.window.commands
            && self.bytes.saturating_add(bytes) <= self.window.bytes
            && self.vacant.len() >= commands
    }

    /// Returns the result of a command; or its ticket, and wakes `waker` when there may be a
    /// result.
    pub fn collect(&mut self, ticket: Ticket, waker: &Waker) -> Result<Result<Reply, ReplyFailure>, Ticket> {
        self.collect_marked(ticket, waker).map(|(result, _)| result)
    }

    /// Returns the result of a command with its mark; or its ticket, as [`collect`](Self::collect)
    /// does.
    pub fn collect_marked(
        &mut self,
        ticket: Ticket,
        waker: &Waker,
    ) -> Result<(Result<Reply, ReplyFailure>, u64), Ticket> {
        let Some(slot) = self.slots.get_mut(ticket.0) else { return Ok((Err(ReplyFailure::Closed), 0)) };
        if let ReplySlot::Waiting(_, waiter) = slot {
            match waiter {
                Some(waiter) => waiter.clone_from(waker),
                None => *waiter = Some(waker.clone()),
            }
            return Err(ticket);
        }
        self.vacant.push(ticket.0);
        match std::mem::replace(slot, ReplySlot::Vacant) {
            ReplySlot::Settled(result, mark) => Ok((result, mark)),
            // Each ticket names one slot, once.
            ReplySlot::Vacant | ReplySlot::Waiting(..) => Ok((Err(ReplyFailure::Closed), 0)),
        }
    }

    /// Abandons a command. It stays in the queue, and its reply will be dropped.
    pub fn abandon(&mut self, ticket: Ticket) {
        let Some(slot) = self.slots.get_mut(ticket.0) else { return };
        if let ReplySlot::Waiting(number, _) = std::mem::replace(slot, ReplySlot::Vacant) {
            let ahead = usize::try_from(number - self.completed).unwrap_or(usize::MAX);
            if let Some(place) = self.queue.get_mut(ahead) {
                place.slot = None;
                self.waiting -= 1;
            }
        }
        self.vacant.push(ticket.0);
    }

    /// Returns whether the caller was notified that the reply is late.
    pub fn is_late(&self, ticket: &Ticket) -> bool {
        let Some(ReplySlot::Waiting(number, _)) = self.slots.get(ticket.0) else { return false };
        self.place(*number).is_some_and(|place| place.notice == LateNotice::Sent)
    }

    /// Accepts a frame from the server. After an error every command must be [failed](Self::fail).
    pub fn accept(&mut self, frame: Frame) -> Result<FrameMeaning, DesyncError> {
        let reply = match frame {
            Frame::Push(push) => return Ok(FrameMeaning::Push(push)),
            Frame::Reply(reply) => reply,
        };
        match self.queue.front() {
            Some(place) if place.spec.expected.admits(&reply) => {}
            Some(_) | None => return Err(DesyncError),
        }
        let Some(place) = self.pop() else { return Err(DesyncError) };
        let timing = ReplyTiming { submitted: place.spec.submitted, urgency: place.spec.urgency };
        Ok(match place.slot {
            Some(slot) => FrameMeaning::Answered(timing, self.settle(slot, Ok(reply))),
            None => FrameMeaning::Late(timing),
        })
    }

    /// Returns a lower bound of the time at which [`expire`](Self::expire) has work. `moved` is the
    /// time of the connection's last progress.
    pub fn next_timeout(&self, deadlines: ReplyDeadlines, moved: Instant) -> Option<Instant> {
        let due = self.due.filter(|_| self.waiting > 0)?;
        let is_pressing = |place: &&QueuedCommand| {
            place.slot.is_some() && place.spec.urgency == CommandUrgency::Interactive
        };
        let Some(oldest) = self.queue.iter().find(is_pressing) else { return Some(due) };
        let silent = oldest.spec.submitted.max(moved) + deadlines.silence;
        let unaware = |place: &&QueuedCommand| is_pressing(place) && place.notice == LateNotice::NotSent;
        let late =
            deadlines.late.and_then(|late| Some(self.queue.iter().find(unaware)?.spec.submitted + late));
        Some(late.map_or(silent, |late| late.min(silent)).min(due))
    }

    /// Expires commands past their deadline and, on a connection that is silent for too long,
    /// interactive ones; notifies the callers of late ones. Returns how many expired; they stay in
    /// the queue.
    pub fn expire(
        &mut self,
        now: Instant,
        deadlines: ReplyDeadlines,
        moved: Instant,
        woken: &mut Vec<Waker>,
    ) -> usize {
        let before = self.waiting;
        self.due = None;
        for index in 0..self.queue.len() {
            let Some(QueuedCommand { slot: Some(slot), spec, .. }) = self.queue.get(index) else { continue };
            let (slot, spec) = (*slot, *spec);
            let is_pressing = spec.urgency == CommandUrgency::Interactive;
            let is_silent = now.saturating_duration_since(spec.submitted.max(moved)) >= deadlines.silence;
            if spec.due <= now || is_pressing && is_silent {
                if let Some(place) = self.queue.get_mut(index) {
                    place.slot = None;
                }
                woken.extend(self.settle(slot, Err(ReplyFailure::Timeout)));
                continue;
            }
            self.due = Some(self.due.map_or(spec.due, |due| due.min(spec.due)));
            let age = now.saturating_duration_since(spec.submitted);
            if is_pressing && deadlines.late.is_some_and(|late| age >= late) {
                woken.extend(self.notify(index, slot));
            }
        }
        before - self.waiting
    }

    /// Fails every command: no reply will come.
    pub fn fail(&mut self, failure: ReplyFailure, woken: &mut Vec<Waker>) {
        while !self.queue.is_empty() {
            if let Some(slot) = self.pop().and_then(|place| place.slot) {
                woken.extend(self.settle(slot, Err(failure)));
            }
        }
    }

    /// Returns the submission time of the oldest unanswered command, abandoned or not.
    pub fn oldest(&self) -> Option<Instant> {
        self.queue.front().map(|place| place.spec.submitted)
    }

    /// Returns the number of commands with a waiting caller.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Returns the number of unanswered commands.
    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Returns the bytes of the unanswered commands.
    pub fn queued_bytes(&self) -> usize {
        self.bytes
    }

    /// Removes the oldest command.
    fn pop(&mut self) -> Option<QueuedCommand> {
        let place = self.queue.pop_front()?;
        self.completed += 1;
        self.bytes -= place.spec.bytes;
        Some(place)
    }

    /// Returns the command with a number, if it is still queued.
    fn place(&self, number: u64) -> Option<&QueuedCommand> {
        self.queue.get(usize::try_from(number.checked_sub(self.completed)?).ok()?)
    }

    /// Notifies the caller of a late command, once. Returns its waker.
    fn notify(&mut self, index: usize, slot: usize) -> Option<Waker> {
        let place = self.queue.get_mut(index).filter(|place| place.notice == LateNotice::NotSent)?;
        place.notice = LateNotice::Sent;
        match self.slots.get_mut(slot) {
            Some(ReplySlot::Waiting(_, waker)) => waker.take(),
            Some(ReplySlot::Vacant | ReplySlot::Settled(..)) | None => None,
        }
    }

    /// Settles a slot that its command no longer names. Returns the caller's waker.
    fn settle(&mut self, index: usize, result: Result<Reply, ReplyFailure>) -> Option<Waker> {
        let slot = self.slots.get_mut(index)?;
        self.waiting -= 1;
        match std::mem::replace(slot, ReplySlot::Settled(result, self.mark)) {
            ReplySlot::Waiting(_, waker) => waker,
            ReplySlot::Vacant | ReplySlot::Settled(..) => None,
        }
    }
}

#[cfg(test)]
mod tests;
