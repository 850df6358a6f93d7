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

use crate::redis::error::CommandError;
use crate::redis::health::SilentGuard;
use crate::redis::submission::{QueueDepth, Submission};
use crate::redis::tracking::{ConnectionInvalidations, TrackedVersion};
use crate::resp::{Command, CommandSpec, Outbox, Pipeline, Reply, ReplyFailure, Ticket, Window};

/// Between the callers of one connection and its task.
pub(in crate::redis) struct Link {
    state: RefCell<LinkState>,
    /// The invalidations that the connection has received, if it tracks.
    pub(in crate::redis) invalidations: ConnectionInvalidations,
}

/// What is behind a link.
pub(in crate::redis) struct LinkState {
    /// Which reply is whose.
    pub(in crate::redis) pipeline: Pipeline,
    /// Submitted and not yet written.
    pub(in crate::redis) outbox: Outbox,
    /// Whether commands are taken.
    intake: Intake,
    /// Present while nothing comes although something is overdue.
    pub(in crate::redis) silence: Option<SilentGuard>,
    /// Whether anything was asked here that a change could be told of.
    pub(in crate::redis) has_read: bool,
    /// The connection's task, while it sleeps and has not been called.
    waker: Option<Waker>,
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
    pub(in crate::redis) fn new(window: Window) -> Rc<Self> {
        Rc::new(Self {
            state: RefCell::new(LinkState {
                pipeline: Pipeline::new(window),
                outbox: Outbox::new(),
                intake: Intake::Open,
                silence: None,
                has_read: false,
                waker: None,
            }),
            invalidations: ConnectionInvalidations::default(),
        })
    }

    /// Puts a command in line, to be written when the task has its turn: with whatever else is submitted
    /// until then.
    pub(in crate::redis) fn submit(
        self: &Rc<Self>,
        submission: &Submission<'_>,
        depth: QueueDepth,
    ) -> Result<PendingReply, CommandError> {
        let mut state = self.state.borrow_mut();
        if state.intake != Intake::Open {
            return Err(CommandError::NotConnected);
        }
        let depth = if state.silence.is_some() { depth.unresponsive } else { depth.responsive };
        if state.pipeline.queued() >= depth {
            return Err(CommandError::Full);
        }
        let Submission { command, submitted, due } = *submission;
        let (expected, bytes, urgency) = (command.expected(), command.bytes_max(), command.urgency());
        let spec = CommandSpec { expected, bytes, urgency, submitted, due };
        let ticket = state.pipeline.submit(spec).map_err(|_| CommandError::Full)?;
        command.encode(&mut state.outbox);
        state.has_read |= !matches!(command, Command::Ping | Command::Publish { .. });
        state.wake();
        Ok(PendingReply { link: Rc::clone(self), ticket: Some(ticket) })
    }

    /// The same for two commands with nothing between them: both or neither.
    pub(in crate::redis) fn submit_both(
        self: &Rc<Self>,
        first: &Submission<'_>,
        second: &Submission<'_>,
    ) -> Result<(PendingReply, PendingReply), CommandError> {
        let bytes = first.command.bytes_max() + second.command.bytes_max();
        if !self.with(|state| state.pipeline.has_room(2, bytes)) {
            return Err(CommandError::Full);
        }
        Ok((self.submit(first, QueueDepth::ANY)?, self.submit(second, QueueDepth::ANY)?))
    }

    /// Puts a command in line whose reply nobody waits for: that there is one shows that the server is there. Nothing
    /// happens if there is no room, since then there are commands that show it.
    pub(in crate::redis) fn send_heartbeat(&self, now: Instant) {
        self.with(|state| {
            let ping = Command::Ping;
            let (expected, bytes, urgency) = (ping.expected(), ping.bytes_max(), ping.urgency());
            let spec = CommandSpec { expected, bytes, urgency, submitted: now, due: now };
            if let Ok(ticket) = state.pipeline.submit(spec) {
                ping.encode(&mut state.outbox);
                state.pipeline.abandon(ticket);
                state.wake();
            }
        });
    }

    /// Takes no more commands, and has the task end when nobody waits any more.
    pub(in crate::redis) fn drain(&self) {
        let mut state = self.state.borrow_mut();
        if state.intake == Intake::Open {
            state.intake = Intake::Draining;
            state.wake();
        }
    }

    /// The task has ended: no reply will come.
    pub(in crate::redis) fn end(&self, failure: ReplyFailure) {
        let mut woken = Vec::new();
        self.with(|state| {
            state.intake = Intake::Ended;
            state.pipeline.fail(failure, &mut woken);
            state.outbox = Outbox::new();
            state.silence = None;
        });
        self.invalidations.clear();
        woken.into_iter().for_each(Waker::wake);
    }

    /// For the task's turn. `work` must not call back.
    pub(in crate::redis) fn with<T>(&self, work: impl FnOnce(&mut LinkState) -> T) -> T {
        work(&mut self.state.borrow_mut())
    }
}

impl LinkState {
    /// The task is about to sleep; the next who has something for it calls it.
    pub(in crate::redis) fn set_waker(&mut self, waker: &Waker) {
        self.waker = Some(waker.clone());
    }

    /// Whether the task should end.
    pub(in crate::redis) fn is_drained(&self) -> bool {
        self.intake == Intake::Draining && self.pipeline.waiting() == 0
    }

    /// Once a turn: whoever comes second finds it called.
    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// A command that was submitted. Resolves to its reply, or to why there is none, within the command time-out.
///
/// Cancel safe: a command that is dropped stays in line, and its reply is dropped in spec.
#[must_use = "futures do nothing unless polled"]
pub(in crate::redis) struct PendingReply {
    link: Rc<Link>,
    /// Until the reply is collected.
    ticket: Option<Ticket>,
}

impl PendingReply {
    /// Whether the reply is late, as far as the connection has looked at the time.
    pub(in crate::redis) fn is_late(&self) -> bool {
        self.ticket.as_ref().is_some_and(|ticket| self.link.with(|state| state.pipeline.is_late(ticket)))
    }

    /// Where it was submitted: what is submitted there next stands behind it in line.
    pub(in crate::redis) fn link(&self) -> &Rc<Link> {
        &self.link
    }

    /// The reply, and what is needed to remember it for longer than a moment.
    pub(in crate::redis) async fn version(mut self) -> Result<(Reply, TrackedVersion), CommandError> {
        std::future::poll_fn(|cx| self.poll_version(cx)).await
    }

    /// The same, for who polls by hand.
    pub(in crate::redis) fn poll_version(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(Reply, TrackedVersion), CommandError>> {
        self.poll_marked(cx).map_ok(|(reply, received)| {
            (reply, TrackedVersion::new(self.link.invalidations.clone(), received))
        })
    }

    fn poll_marked(&mut self, cx: &mut Context<'_>) -> Poll<Result<(Reply, u64), CommandError>> {
        let Some(ticket) = self.ticket.take() else { return Poll::Ready(Err(CommandError::Closed)) };
        let collected = self.link.with(|state| state.pipeline.collect_marked(ticket, cx.waker()));
        match collected {
            Ok((result, mark)) => Poll::Ready(result.map(|reply| (reply, mark)).map_err(CommandError::from)),
            Err(ticket) => {
                self.ticket = Some(ticket);
                Poll::Pending
            }
        }
    }
}

impl Future for PendingReply {
    type Output = Result<Reply, CommandError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.poll_marked(cx).map_ok(|(reply, _)| reply)
    }
}

impl Drop for PendingReply {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.link.with(|state| state.pipeline.abandon(ticket));
        }
    }
}
