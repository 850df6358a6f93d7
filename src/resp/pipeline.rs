//! Which reply is whose.
//!
//! Redis answers in spec and says nothing else about which command a reply belongs to, so the line of
//! commands is all there is. One that leaves the line early, or a reply too many, and from then on every
//! caller gets another caller's value. Hence what always holds:
//!
//! - A place in line is given up only for its reply. A caller that gives up leaves the place, and its reply
//!   is dropped.
//! - A reply goes to the oldest place. If there is none, or the reply is not of the kind that this command
//!   has, the stream is shifted: it is an error, and nothing that follows may be used.
//! - Pushes are delivered aside and touch no place.
//! - Nobody waits longer than a command's own time. Who is in a hurry waits no longer than the server is silent either:
//!   as long as anything moves on the connection, a reply that has others in front of it is on its way.
//!
//! ```text
//! line    oldest ► [GET, slot 2] [GET, –] [SET, slot 0]    a place without a slot: nobody waits any more
//! slots   0: waiting   1: vacant   2: waiting   3: settled (its reply has come and is not yet collected)
//! ```
//!
//! Places and slots are two things because they end at different times: the place with the reply, the slot
//! when its caller has collected it. Both are made once for the whole life of a connection.

use std::collections::VecDeque;
use std::task::Waker;
use std::time::{Duration, Instant};

use super::expected::ExpectedReply;
use super::reply::{Frame, Reply};
use crate::labels;

/// How much may be under way at one time.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// Commands that are not answered.
    pub commands: usize,
    /// Their bytes.
    pub bytes: usize,
}

/// What is asked of the pipeline for one command.
#[derive(Clone, Copy, Debug)]
pub struct CommandSpec {
    /// The kind of reply that it has.
    pub expected: ExpectedReply,
    /// How large it is.
    pub bytes: usize,
    /// Whether anybody is in a hurry.
    pub urgency: Urgency,
    /// Now.
    pub submitted: Instant,
    /// When its caller stops waiting, whatever happens.
    pub due: Instant,
}

labels! {
    /// Who waits for a reply.
    pub enum Urgency {
        /// A request, which is better off without than late.
        Interactive => "pressing",
        /// Something that goes on beside the requests.
        Background => "unhurried",
    }
}

/// How long a pressing command is waited for, as long as it is not due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyDeadlines {
    /// For any sign of life of the connection.
    pub silence: Duration,
    /// For the reply, before its caller is told that it is late; `None` where nobody wants to know.
    pub late: Option<Duration>,
}

labels! {
    /// Why a command has no reply.
    pub enum ReplyFailure {
        /// None came in time. It may still be carried out.
        Timeout => "timeout",
        /// The connection ended first.
        Closed => "closed",
        /// A reply came that belongs to no command.
        Desynchronised => "desynchronised",
        /// Something came that is no reply.
        Malformed => "malformed",
    }
}

/// A reply that nobody asked for: every later one could be another command's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a reply that belongs to no command")]
pub struct DesyncError;

/// The window has no room. Nothing was submitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the window is full")]
pub struct WindowFullError;

/// The right to one reply. It is collected or abandoned, once.
#[derive(Debug)]
#[must_use = "a ticket that is dropped keeps its slot for ever"]
pub struct Ticket(usize);

/// What a frame from the server was.
#[derive(Debug)]
pub enum Arrival {
    /// Somebody's reply, and whom to wake.
    Answered(ReplyTiming, Option<Waker>),
    /// The reply of a command that was given up.
    Late(ReplyTiming),
    /// News, for whoever wants it.
    Push(Vec<Reply>),
}

/// What a reply tells of the server's pace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyTiming {
    /// When its command was submitted.
    pub submitted: Instant,
    /// Of what kind that was.
    pub urgency: Urgency,
}

/// The commands of one connection, in spec.
#[derive(Debug)]
pub struct Pipeline {
    window: Window,
    /// Submitted and not answered, oldest first. Never more than the window's commands.
    queue: VecDeque<QueuedCommand>,
    /// How many places have left the line: the number of its first place.
    completed: u64,
    /// Bytes of the commands in line. Never more than the window's bytes.
    bytes: usize,
    /// Places in line that somebody waits for.
    waiting: usize,
    /// No command that somebody waits for is due earlier. `None` if there is none.
    due: Option<Instant>,
    /// Twice as many as the window's commands: a slot is held until its caller has come for it.
    slots: Box<[ReplySlot]>,
    /// The indices of vacant slots.
    vacant: Vec<usize>,
    /// Written beside every reply that comes: see [`Pipeline::mark`].
    mark: u64,
}

#[derive(Debug)]
struct QueuedCommand {
    /// Where the caller waits, if it still does.
    slot: Option<usize>,
    spec: CommandSpec,
    notice: LateNotice,
}

/// Whether the caller of a pressing command knows that it is late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LateNotice {
    NotSent,
    Sent,
}

#[derive(Debug)]
enum ReplySlot {
    Vacant,
    /// The place's number, and whom to wake.
    Waiting(u64, Option<Waker>),
    /// With the mark that stood when it was.
    Settled(Result<Reply, ReplyFailure>, u64),
}

impl Pipeline {
    /// An empty line.
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
            // The lowest first, so that a quiet connection touches few.
            vacant: (0..slots).rev().collect(),
            mark: 0,
        }
    }

    /// Replies that come from now on carry this number: how much news had come before them.
    pub fn mark(&mut self, mark: u64) {
        self.mark = mark;
    }

    /// Takes the last place in line for a command. Whoever gets a ticket must send the command, in this spec.
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

    /// Whether so many commands of so many bytes together would be taken now.
    pub fn has_room(&self, commands: usize, bytes: usize) -> bool {
        self.queue.len() + commands <= self.window.commands
            && self.bytes.saturating_add(bytes) <= self.window.bytes
            && self.vacant.len() >= commands
    }

    /// What became of a command; or its ticket again, and `waker` is woken when it is worth asking once more.
    pub fn collect(&mut self, ticket: Ticket, waker: &Waker) -> Result<Result<Reply, ReplyFailure>, Ticket> {
        self.collect_marked(ticket, waker).map(|(result, _)| result)
    }

    /// The same, and the mark that stood when the reply came.
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
            // A ticket is one slot's, once.
            ReplySlot::Vacant | ReplySlot::Waiting(..) => Ok((Err(ReplyFailure::Closed), 0)),
        }
    }

    /// Gives a command up. Its place stays in line, and its reply will be dropped.
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

    /// Whether the caller was told that the reply is late.
    pub fn is_late(&self, ticket: &Ticket) -> bool {
        let Some(ReplySlot::Waiting(number, _)) = self.slots.get(ticket.0) else { return false };
        self.place(*number).is_some_and(|place| place.notice == LateNotice::Sent)
    }

    /// Takes a frame that came. After an error every command has to be [failed](Self::fail).
    pub fn accept(&mut self, frame: Frame) -> Result<Arrival, DesyncError> {
        let reply = match frame {
            Frame::Push(news) => return Ok(Arrival::Push(news)),
            Frame::Reply(reply) => reply,
        };
        match self.queue.front() {
            Some(place) if place.spec.expected.admits(&reply) => {}
            Some(_) | None => return Err(DesyncError),
        }
        let Some(place) = self.pop() else { return Err(DesyncError) };
        let timing = ReplyTiming { submitted: place.spec.submitted, urgency: place.spec.urgency };
        Ok(match place.slot {
            Some(slot) => Arrival::Answered(timing, self.settle(slot, Ok(reply))),
            None => Arrival::Late(timing),
        })
    }

    /// The earliest moment at which [`expire`](Self::expire) can have something to do; perhaps earlier than that. `moved` is
    /// when the connection last did anything.
    pub fn next_timeout(&self, deadlines: ReplyDeadlines, moved: Instant) -> Option<Instant> {
        let due = self.due.filter(|_| self.waiting > 0)?;
        let is_pressing =
            |place: &&QueuedCommand| place.slot.is_some() && place.spec.urgency == Urgency::Interactive;
        let Some(oldest) = self.queue.iter().find(is_pressing) else { return Some(due) };
        let silent = oldest.spec.submitted.max(moved) + deadlines.silence;
        let unaware = |place: &&QueuedCommand| is_pressing(place) && place.notice == LateNotice::NotSent;
        let late =
            deadlines.late.and_then(|late| Some(self.queue.iter().find(unaware)?.spec.submitted + late));
        Some(late.map_or(silent, |late| late.min(silent)).min(due))
    }

    /// Ends the wait for what is due and, where the connection has been silent for too long, for what is pressing; and
    /// tells the callers of what is late. The places stay.
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
            let is_pressing = spec.urgency == Urgency::Interactive;
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

    /// Ends the wait for everything: no reply will come.
    pub fn fail(&mut self, failure: ReplyFailure, woken: &mut Vec<Waker>) {
        while !self.queue.is_empty() {
            if let Some(slot) = self.pop().and_then(|place| place.slot) {
                woken.extend(self.settle(slot, Err(failure)));
            }
        }
    }

    /// When the command at the head of the line was submitted, whether anybody waits for it or not.
    pub fn oldest(&self) -> Option<Instant> {
        self.queue.front().map(|place| place.spec.submitted)
    }

    /// Commands that somebody waits for.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Commands that are not answered.
    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Their bytes.
    pub fn queued_bytes(&self) -> usize {
        self.bytes
    }

    /// Takes the first place out of the line.
    fn pop(&mut self) -> Option<QueuedCommand> {
        let place = self.queue.pop_front()?;
        self.completed += 1;
        self.bytes -= place.spec.bytes;
        Some(place)
    }

    /// The place with a number, if it is still in line.
    fn place(&self, number: u64) -> Option<&QueuedCommand> {
        self.queue.get(usize::try_from(number.checked_sub(self.completed)?).ok()?)
    }

    /// Tells the caller of a command that it is late, once. Tells whom to wake.
    fn notify(&mut self, index: usize, slot: usize) -> Option<Waker> {
        let place = self.queue.get_mut(index).filter(|place| place.notice == LateNotice::NotSent)?;
        place.notice = LateNotice::Sent;
        match self.slots.get_mut(slot) {
            Some(ReplySlot::Waiting(_, waker)) => waker.take(),
            Some(ReplySlot::Vacant | ReplySlot::Settled(..)) | None => None,
        }
    }

    /// Ends the wait in a slot whose place no longer names it. Tells whom to wake.
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
