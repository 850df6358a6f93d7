//! Which reply is whose.
//!
//! Redis answers in order and says nothing else about which command a reply belongs to, so the line of
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

use super::expected::Expected;
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
pub struct Order {
    /// The kind of reply that it has.
    pub expected: Expected,
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
        Pressing => "pressing",
        /// Something that goes on beside the requests.
        Unhurried => "unhurried",
    }
}

/// How long a pressing command is waited for, as long as it is not due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For any sign of life of the connection.
    pub silence: Duration,
    /// For the reply, before its caller is told that it is late; `None` where nobody wants to know.
    pub late: Option<Duration>,
}

labels! {
    /// Why a command has no reply.
    pub enum Failure {
        /// None came in time. It may still be carried out.
        Timeout => "timeout",
        /// The connection ended first.
        Closed => "closed",
        /// A reply came that belongs to no command.
        Shifted => "shifted",
        /// Something came that is no reply.
        Malformed => "malformed",
    }
}

/// A reply that nobody asked for: every later one could be another command's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a reply that belongs to no command")]
pub struct Shifted;

/// The window has no room. Nothing was submitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the window is full")]
pub struct Full;

/// The right to one reply. It is collected or abandoned, once.
#[derive(Debug)]
#[must_use = "a ticket that is dropped keeps its slot for ever"]
pub struct Ticket(usize);

/// What a frame from the server was.
#[derive(Debug)]
pub enum Arrival {
    /// Somebody's reply, and whom to wake.
    Answered(Timing, Option<Waker>),
    /// The reply of a command that was given up.
    Late(Timing),
    /// News, for whoever wants it.
    Push(Vec<Reply>),
}

/// What a reply tells of the server's pace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// When its command was submitted.
    pub submitted: Instant,
    /// Of what kind that was.
    pub urgency: Urgency,
}

/// The commands of one connection, in order.
#[derive(Debug)]
pub struct Pipeline {
    window: Window,
    /// Submitted and not answered, oldest first. Never more than the window's commands.
    line: VecDeque<Place>,
    /// How many places have left the line: the number of its first place.
    left: u64,
    /// Bytes of the commands in line. Never more than the window's bytes.
    bytes: usize,
    /// Places in line that somebody waits for.
    waiting: usize,
    /// No command that somebody waits for is due earlier. `None` if there is none.
    due: Option<Instant>,
    /// Twice as many as the window's commands: a slot is held until its caller has come for it.
    slots: Box<[Slot]>,
    /// The indices of vacant slots.
    vacant: Vec<usize>,
    /// Written beside every reply that comes: see [`Pipeline::mark`].
    mark: u64,
}

#[derive(Debug)]
struct Place {
    /// Where the caller waits, if it still does.
    slot: Option<usize>,
    order: Order,
    notice: Notice,
}

/// Whether the caller of a pressing command knows that it is late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Notice {
    Due,
    Given,
}

#[derive(Debug)]
enum Slot {
    Vacant,
    /// The place's number, and whom to wake.
    Waiting(u64, Option<Waker>),
    /// With the mark that stood when it was.
    Settled(Result<Reply, Failure>, u64),
}

impl Pipeline {
    /// An empty line.
    pub fn new(window: Window) -> Self {
        let slots = 2 * window.commands;
        Self {
            window,
            line: VecDeque::with_capacity(window.commands),
            left: 0,
            bytes: 0,
            waiting: 0,
            due: None,
            slots: (0..slots).map(|_| Slot::Vacant).collect(),
            // The lowest first, so that a quiet connection touches few.
            vacant: (0..slots).rev().collect(),
            mark: 0,
        }
    }

    /// Replies that come from now on carry this number: how much news had come before them.
    pub fn mark(&mut self, mark: u64) {
        self.mark = mark;
    }

    /// Takes the last place in line for a command. Whoever gets a ticket must send the command, in this order.
    pub fn submit(&mut self, order: Order) -> Result<Ticket, Full> {
        let bytes_left = self.window.bytes.saturating_sub(self.bytes);
        if self.line.len() >= self.window.commands || order.bytes > bytes_left {
            return Err(Full);
        }
        let index = self.vacant.pop().ok_or(Full)?;
        if let Some(slot) = self.slots.get_mut(index) {
            *slot = Slot::Waiting(self.left + self.line.len() as u64, None);
        }
        self.line.push_back(Place { slot: Some(index), order, notice: Notice::Due });
        self.bytes += order.bytes;
        self.waiting += 1;
        self.due = Some(self.due.map_or(order.due, |due| due.min(order.due)));
        Ok(Ticket(index))
    }

    /// Whether so many commands of so many bytes together would be taken now.
    pub fn has_room(&self, commands: usize, bytes: usize) -> bool {
        self.line.len() + commands <= self.window.commands
            && self.bytes.saturating_add(bytes) <= self.window.bytes
            && self.vacant.len() >= commands
    }

    /// What became of a command; or its ticket again, and `waker` is woken when it is worth asking once more.
    pub fn collect(&mut self, ticket: Ticket, waker: &Waker) -> Result<Result<Reply, Failure>, Ticket> {
        self.collect_marked(ticket, waker).map(|(result, _)| result)
    }

    /// The same, and the mark that stood when the reply came.
    pub fn collect_marked(
        &mut self,
        ticket: Ticket,
        waker: &Waker,
    ) -> Result<(Result<Reply, Failure>, u64), Ticket> {
        let Some(slot) = self.slots.get_mut(ticket.0) else { return Ok((Err(Failure::Closed), 0)) };
        if let Slot::Waiting(_, waiter) = slot {
            match waiter {
                Some(waiter) => waiter.clone_from(waker),
                None => *waiter = Some(waker.clone()),
            }
            return Err(ticket);
        }
        self.vacant.push(ticket.0);
        match std::mem::replace(slot, Slot::Vacant) {
            Slot::Settled(result, mark) => Ok((result, mark)),
            // A ticket is one slot's, once.
            Slot::Vacant | Slot::Waiting(..) => Ok((Err(Failure::Closed), 0)),
        }
    }

    /// Gives a command up. Its place stays in line, and its reply will be dropped.
    pub fn abandon(&mut self, ticket: Ticket) {
        let Some(slot) = self.slots.get_mut(ticket.0) else { return };
        if let Slot::Waiting(number, _) = std::mem::replace(slot, Slot::Vacant) {
            let ahead = usize::try_from(number - self.left).unwrap_or(usize::MAX);
            if let Some(place) = self.line.get_mut(ahead) {
                place.slot = None;
                self.waiting -= 1;
            }
        }
        self.vacant.push(ticket.0);
    }

    /// Whether the caller was told that the reply is late.
    pub fn is_late(&self, ticket: &Ticket) -> bool {
        let Some(Slot::Waiting(number, _)) = self.slots.get(ticket.0) else { return false };
        self.place(*number).is_some_and(|place| place.notice == Notice::Given)
    }

    /// Takes a frame that came. After an error every command has to be [failed](Self::fail).
    pub fn accept(&mut self, frame: Frame) -> Result<Arrival, Shifted> {
        let reply = match frame {
            Frame::Push(news) => return Ok(Arrival::Push(news)),
            Frame::Reply(reply) => reply,
        };
        match self.line.front() {
            Some(place) if place.order.expected.admits(&reply) => {}
            Some(_) | None => return Err(Shifted),
        }
        let Some(place) = self.leave() else { return Err(Shifted) };
        let timing = Timing { submitted: place.order.submitted, urgency: place.order.urgency };
        Ok(match place.slot {
            Some(slot) => Arrival::Answered(timing, self.settle(slot, Ok(reply))),
            None => Arrival::Late(timing),
        })
    }

    /// The earliest moment at which [`ring`](Self::ring) can have something to do; perhaps earlier than that. `moved` is
    /// when the connection last did anything.
    pub fn alarm(&self, patience: Patience, moved: Instant) -> Option<Instant> {
        let due = self.due.filter(|_| self.waiting > 0)?;
        let is_pressing = |place: &&Place| place.slot.is_some() && place.order.urgency == Urgency::Pressing;
        let Some(oldest) = self.line.iter().find(is_pressing) else { return Some(due) };
        let silent = oldest.order.submitted.max(moved) + patience.silence;
        let unaware = |place: &&Place| is_pressing(place) && place.notice == Notice::Due;
        let late =
            patience.late.and_then(|late| Some(self.line.iter().find(unaware)?.order.submitted + late));
        Some(late.map_or(silent, |late| late.min(silent)).min(due))
    }

    /// Ends the wait for what is due and, where the connection has been silent for too long, for what is pressing; and
    /// tells the callers of what is late. The places stay.
    pub fn ring(
        &mut self,
        now: Instant,
        patience: Patience,
        moved: Instant,
        woken: &mut Vec<Waker>,
    ) -> usize {
        let before = self.waiting;
        self.due = None;
        for index in 0..self.line.len() {
            let Some(Place { slot: Some(slot), order, .. }) = self.line.get(index) else { continue };
            let (slot, order) = (*slot, *order);
            let is_pressing = order.urgency == Urgency::Pressing;
            let is_silent = now.saturating_duration_since(order.submitted.max(moved)) >= patience.silence;
            if order.due <= now || is_pressing && is_silent {
                if let Some(place) = self.line.get_mut(index) {
                    place.slot = None;
                }
                woken.extend(self.settle(slot, Err(Failure::Timeout)));
                continue;
            }
            self.due = Some(self.due.map_or(order.due, |due| due.min(order.due)));
            let age = now.saturating_duration_since(order.submitted);
            if is_pressing && patience.late.is_some_and(|late| age >= late) {
                woken.extend(self.notify(index, slot));
            }
        }
        before - self.waiting
    }

    /// Ends the wait for everything: no reply will come.
    pub fn fail(&mut self, failure: Failure, woken: &mut Vec<Waker>) {
        while !self.line.is_empty() {
            if let Some(slot) = self.leave().and_then(|place| place.slot) {
                woken.extend(self.settle(slot, Err(failure)));
            }
        }
    }

    /// When the command at the head of the line was submitted, whether anybody waits for it or not.
    pub fn oldest(&self) -> Option<Instant> {
        self.line.front().map(|place| place.order.submitted)
    }

    /// Commands that somebody waits for.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Commands that are not answered.
    pub fn in_line(&self) -> usize {
        self.line.len()
    }

    /// Their bytes.
    pub fn bytes_in_line(&self) -> usize {
        self.bytes
    }

    /// Takes the first place out of the line.
    fn leave(&mut self) -> Option<Place> {
        let place = self.line.pop_front()?;
        self.left += 1;
        self.bytes -= place.order.bytes;
        Some(place)
    }

    /// The place with a number, if it is still in line.
    fn place(&self, number: u64) -> Option<&Place> {
        self.line.get(usize::try_from(number.checked_sub(self.left)?).ok()?)
    }

    /// Tells the caller of a command that it is late, once. Tells whom to wake.
    fn notify(&mut self, index: usize, slot: usize) -> Option<Waker> {
        let place = self.line.get_mut(index).filter(|place| place.notice == Notice::Due)?;
        place.notice = Notice::Given;
        match self.slots.get_mut(slot) {
            Some(Slot::Waiting(_, waker)) => waker.take(),
            Some(Slot::Vacant | Slot::Settled(..)) | None => None,
        }
    }

    /// Ends the wait in a slot whose place no longer names it. Tells whom to wake.
    fn settle(&mut self, index: usize, result: Result<Reply, Failure>) -> Option<Waker> {
        let slot = self.slots.get_mut(index)?;
        self.waiting -= 1;
        match std::mem::replace(slot, Slot::Settled(result, self.mark)) {
            Slot::Waiting(_, waker) => waker,
            Slot::Vacant | Slot::Settled(..) => None,
        }
    }
}

#[cfg(test)]
mod tests;
