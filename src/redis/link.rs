//! What the callers of a connection and its task share.
//!
//! Both live on one thread, so it is a cell and no lock, borrowed within one poll and never across a wait.
//! Each connection that comes up has a link of its own, and a caller holds the link that it submitted to:
//! whatever outlives a connection cannot reach the next one.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use super::ask::{Ask, Depth};
use super::error::Unavailable;
use super::news::{News, Reading};
use super::vitals::Silent;
use crate::resp::{Command, Failure, Order, Outbox, Pipeline, Reply, Ticket, Window};

/// Between the callers of one connection and its task.
pub(super) struct Link(RefCell<Shared>);

/// What is behind a link.
pub(super) struct Shared {
    /// Which reply is whose.
    pub(super) pipeline: Pipeline,
    /// Submitted and not yet written.
    pub(super) outbox: Outbox,
    /// Whether commands are taken.
    intake: Intake,
    /// Present while nothing comes although something is overdue.
    pub(super) silence: Option<Silent>,
    /// What the connection has heard, if it tracks.
    pub(super) news: Option<News>,
    /// Whether anything was asked here that a change could be told of.
    pub(super) has_read: bool,
    /// The connection's task, while it sleeps and has not been called.
    sleeper: Option<Waker>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Intake {
    Open,
    /// No new commands; the task ends when nobody waits any more.
    Draining,
    /// The task has ended.
    Ended,
}

impl Link {
    pub(super) fn new(window: Window) -> Rc<Self> {
        Rc::new(Self(RefCell::new(Shared {
            pipeline: Pipeline::new(window),
            outbox: Outbox::new(),
            intake: Intake::Open,
            silence: None,
            news: None,
            has_read: false,
            sleeper: None,
        })))
    }

    /// Puts a command in line, to be written when the task has its turn: with whatever else is submitted
    /// until then.
    pub(super) fn submit(self: &Rc<Self>, ask: &Ask<'_>, depth: Depth) -> Result<Pending, Unavailable> {
        let mut shared = self.0.borrow_mut();
        if shared.intake != Intake::Open {
            return Err(Unavailable::NotConnected);
        }
        let depth = if shared.silence.is_some() { depth.silent } else { depth.lively };
        if shared.pipeline.in_line() >= depth {
            return Err(Unavailable::Full);
        }
        let Ask { command, submitted, due } = *ask;
        let (expected, bytes, urgency) = (command.expected(), command.bytes_max(), command.urgency());
        let order = Order { expected, bytes, urgency, submitted, due };
        let ticket = shared.pipeline.submit(order).map_err(|_| Unavailable::Full)?;
        command.encode(&mut shared.outbox);
        shared.has_read |= !matches!(command, Command::Ping | Command::Publish { .. });
        shared.call();
        Ok(Pending { link: Rc::clone(self), ticket: Some(ticket) })
    }

    /// The same for two commands with nothing between them: both or neither.
    pub(super) fn submit_both(
        self: &Rc<Self>,
        first: &Ask<'_>,
        second: &Ask<'_>,
    ) -> Result<(Pending, Pending), Unavailable> {
        let bytes = first.command.bytes_max() + second.command.bytes_max();
        if !self.with(|shared| shared.pipeline.has_room(2, bytes)) {
            return Err(Unavailable::Full);
        }
        Ok((self.submit(first, Depth::ANY)?, self.submit(second, Depth::ANY)?))
    }

    /// Puts a command in line whose reply nobody waits for: that there is one shows that the server is there. Nothing
    /// happens if there is no room, since then there are commands that show it.
    pub(super) fn beat(&self, now: Instant) {
        self.with(|shared| {
            let ping = Command::Ping;
            let (expected, bytes, urgency) = (ping.expected(), ping.bytes_max(), ping.urgency());
            let order = Order { expected, bytes, urgency, submitted: now, due: now };
            if let Ok(ticket) = shared.pipeline.submit(order) {
                ping.encode(&mut shared.outbox);
                shared.pipeline.abandon(ticket);
                shared.call();
            }
        });
    }

    /// Takes no more commands, and has the task end when nobody waits any more.
    pub(super) fn drain(&self) {
        let mut shared = self.0.borrow_mut();
        if shared.intake == Intake::Open {
            shared.intake = Intake::Draining;
            shared.call();
        }
    }

    /// The task has ended: no reply will come.
    pub(super) fn end(&self, failure: Failure) {
        let mut woken = Vec::new();
        self.with(|shared| {
            shared.intake = Intake::Ended;
            shared.pipeline.fail(failure, &mut woken);
            shared.outbox = Outbox::new();
            shared.silence = None;
            shared.news = None;
        });
        woken.into_iter().for_each(Waker::wake);
    }

    /// For the task's turn. `work` must not call back.
    pub(super) fn with<T>(&self, work: impl FnOnce(&mut Shared) -> T) -> T {
        work(&mut self.0.borrow_mut())
    }
}

impl Shared {
    /// The task is about to sleep; the next who has something for it calls it.
    pub(super) fn sleep(&mut self, waker: &Waker) {
        self.sleeper = Some(waker.clone());
    }

    /// Whether the task should end.
    pub(super) fn is_drained(&self) -> bool {
        self.intake == Intake::Draining && self.pipeline.waiting() == 0
    }

    /// Once a turn: whoever comes second finds it called.
    fn call(&mut self) {
        if let Some(sleeper) = self.sleeper.take() {
            sleeper.wake();
        }
    }
}

/// A command that was submitted. Resolves to its reply, or to why there is none, within the command time-out.
///
/// Cancel safe: a command that is dropped stays in line, and its reply is dropped in order.
#[must_use = "futures do nothing unless polled"]
pub(super) struct Pending {
    link: Rc<Link>,
    /// Until the reply is collected.
    ticket: Option<Ticket>,
}

impl Pending {
    /// Whether the reply is late, as far as the connection has looked at the time.
    pub(super) fn is_late(&self) -> bool {
        self.ticket.as_ref().is_some_and(|ticket| self.link.with(|shared| shared.pipeline.is_late(ticket)))
    }

    /// Where it was submitted: what is submitted there next stands behind it in line.
    pub(super) fn link(&self) -> &Rc<Link> {
        &self.link
    }

    /// The reply, and what is needed to remember it for longer than a moment.
    pub(super) async fn reading(mut self) -> Result<(Reply, Reading), Unavailable> {
        std::future::poll_fn(|cx| self.poll_reading(cx)).await
    }

    /// The same, for who polls by hand.
    pub(super) fn poll_reading(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(Reply, Reading), Unavailable>> {
        self.poll_marked(cx).map_ok(|(reply, heard)| (reply, Reading::new(Rc::clone(&self.link), heard)))
    }

    fn poll_marked(&mut self, cx: &mut Context<'_>) -> Poll<Result<(Reply, u64), Unavailable>> {
        let Some(ticket) = self.ticket.take() else { return Poll::Ready(Err(Unavailable::Closed)) };
        let collected = self.link.with(|shared| shared.pipeline.collect_marked(ticket, cx.waker()));
        match collected {
            Ok((result, mark)) => Poll::Ready(result.map(|reply| (reply, mark)).map_err(Unavailable::from)),
            Err(ticket) => {
                self.ticket = Some(ticket);
                Poll::Pending
            }
        }
    }
}

impl Future for Pending {
    type Output = Result<Reply, Unavailable>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.poll_marked(cx).map_ok(|(reply, _)| reply)
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.link.with(|shared| shared.pipeline.abandon(ticket));
        }
    }
}
