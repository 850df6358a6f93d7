//! The state that a connection's task and its callers share.
//!
//! Both run on one thread, so it is a cell without a lock, borrowed within one poll and never
//! across an await. Each connection has a link of its own, and a caller keeps the link that it
//! submitted to: a caller that outlives its connection cannot reach the next one.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use crate::redis::error::CommandError;
use crate::redis::health::SilentGuard;
use crate::redis::submission::{QueueDepth, Submission};
use crate::redis::tracking::{ConnectionInvalidations, TrackedVersion};
use crate::resp::{
    Command, CommandSpec, CommandUrgency, Outbox, Pipeline, Reply, ReplyFailure, Ticket, Window,
};

/// The shared state of one connection.
pub(in crate::redis) struct Link {
    state: RefCell<LinkState>,
    /// The invalidations that the connection has received, if it tracks.
    pub(in crate::redis) invalidations: ConnectionInvalidations,
}

/// The part behind the cell.
pub(in crate::redis) struct LinkState {
    /// Matches replies to commands.
    pub(in crate::redis) pipeline: Pipeline,
    /// Encoded commands to be written.
    pub(in crate::redis) outbox: Outbox,
    /// Whether commands are accepted.
    intake: LinkIntake,
    /// Present while the connection is silent although a reply is overdue.
    pub(in crate::redis) silence: Option<SilentGuard>,
    /// Whether a read was sent here, whose reply a caller may keep while Redis tracks it.
    pub(in crate::redis) has_read: bool,
    /// Whether the connection receives the fleet's messages.
    pub(in crate::redis) is_subscribed: bool,
    /// The task's waker, unless it has been woken.
    waker: Option<Waker>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LinkIntake {
    Open,
    /// Refuses new commands; the task ends with the last waiting caller.
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
                intake: LinkIntake::Open,
                silence: None,
                has_read: false,
                is_subscribed: false,
                waker: None,
            }),
            invalidations: ConnectionInvalidations::default(),
        })
    }

    /// Queues a command. The task writes it in its next turn, with all others submitted until then.
    pub(in crate::redis) fn submit(
        self: &Rc<Self>,
        submission: &Submission<'_>,
        depth: QueueDepth,
    ) -> Result<PendingReply, CommandError> {
        let mut state = self.state.borrow_mut();
        if state.intake != LinkIntake::Open {
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
        state.has_read |= matches!(command, Command::Get { .. } | Command::Head { .. });
        state.wake();
        Ok(PendingReply { link: Rc::clone(self), ticket: Some(ticket) })
    }

    /// Queues two commands in a row: both or neither.
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

    /// Queues a `PING` without a caller: its reply proves that the server is alive. Does nothing if
    /// the window is full, since the pending commands prove it then.
    pub(in crate::redis) fn send_heartbeat(&self, now: Instant) {
        self.with(|state| {
            let ping = Command::Ping;
            let (expected, bytes) = (ping.expected(), ping.bytes_max());
            let urgency = CommandUrgency::Heartbeat;
            let spec = CommandSpec { expected, bytes, urgency, submitted: now, due: now };
            if let Ok(ticket) = state.pipeline.submit(spec) {
                ping.encode(&mut state.outbox);
                state.pipeline.abandon(ticket);
                state.wake();
            }
        });
    }

    /// Refuses new commands, and ends the task when no caller waits any more.
    pub(in crate::redis) fn drain(&self) {
        let mut state = self.state.borrow_mut();
        if state.intake == LinkIntake::Open {
            state.intake = LinkIntake::Draining;
            state.wake();
        }
    }

    /// Fails all callers: the task has ended, and no reply will come.
    pub(in crate::redis) fn end(&self, failure: ReplyFailure) {
        let mut woken = Vec::new();
        self.with(|state| {
            state.intake = LinkIntake::Ended;
            state.pipeline.fail(failure, &mut woken);
            state.outbox = Outbox::new();
            state.silence = None;
        });
        self.invalidations.clear();
        woken.into_iter().for_each(Waker::wake);
    }

    /// Gives the task access to the state. `work` must not call the link.
    pub(in crate::redis) fn with<T>(&self, work: impl FnOnce(&mut LinkState) -> T) -> T {
        work(&mut self.state.borrow_mut())
    }
}

impl LinkState {
    /// Stores the task's waker for the next submission.
    pub(in crate::redis) fn set_waker(&mut self, waker: &Waker) {
        self.waker = Some(waker.clone());
    }

    /// Returns whether the task should end.
    pub(in crate::redis) fn is_drained(&self) -> bool {
        self.intake == LinkIntake::Draining && self.pipeline.waiting() == 0
    }

    /// Wakes the task; later calls in the same turn do nothing.
    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// A submitted command. Resolves to its reply or an error within the command timeout.
///
/// Cancel safe: a dropped command stays in the queue, and its reply is dropped in order.
#[must_use = "futures do nothing unless polled"]
pub(in crate::redis) struct PendingReply {
    link: Rc<Link>,
    /// Present until the reply is collected.
    ticket: Option<Ticket>,
}

impl PendingReply {
    /// Returns whether the reply is late, as of the connection's last check.
    pub(in crate::redis) fn is_late(&self) -> bool {
        self.ticket.as_ref().is_some_and(|ticket| self.link.with(|state| state.pipeline.is_late(ticket)))
    }

    /// Returns the link; the next command submitted there queues right behind this one.
    pub(in crate::redis) fn link(&self) -> &Rc<Link> {
        &self.link
    }

    /// Waits for the reply, and the version needed to cache it.
    pub(in crate::redis) async fn version(mut self) -> Result<(Reply, TrackedVersion), CommandError> {
        std::future::poll_fn(|cx| self.poll_version(cx)).await
    }

    /// Polls for the reply, and the version needed to cache it.
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
