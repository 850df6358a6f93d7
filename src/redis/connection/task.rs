//! The task that owns a socket.
//!
//! A turn reads all input, writes all submitted commands, and checks the deadlines. Reading and
//! writing are polled together and neither waits for the other, since both peers may have full send
//! buffers. Commands that are submitted while the task sleeps leave in one write, so more callers
//! cost fewer system calls each.
//!
//! Replies show that a connection works, and TCP does not: if the oldest command makes no progress
//! for too long, the connection is closed. Callers give up long before that: their deadlines follow
//! the server's latency, and a slower server is no reason to reconnect. One timer serves the stall,
//! the callers' deadlines and the late notices. It is set to the earliest of them, and is not set
//! again when that command is answered, since the next one cannot be due earlier.

use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use bytes::Buf;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::Sleep;

use super::dial::RedisSocket;
use super::link::Link;
use crate::limits::{REDIS_HEARTBEAT, REDIS_IDLE_HEARTBEAT};
use crate::redis::error::DisconnectReason;
use crate::redis::health::{ServerHealth, StatsWriter};
use crate::resp::{CommandUrgency, DesyncError, Frame, FrameMeaning, Inbox, ProtocolError, Reply, Window};
use crate::time::instant;

/// A connection that is up.
pub(in crate::redis) struct Connection {
    link: Rc<Link>,
    socket: Box<dyn RedisSocket>,
    inbox: Inbox,
    timer: Timer,
    /// The last time that reply bytes arrived, or that bytes were written after a full send buffer.
    progress: Instant,
    /// Whether TLS may still hold written bytes.
    unflushed: bool,
    /// Callers to wake at the end of the turn; kept for its allocation.
    woken: Vec<Waker>,
    /// The number of commands that the gauge counts.
    reported: usize,
    health: Rc<ServerHealth>,
    stats: Rc<StatsWriter>,
    /// Bytes read and written in this turn.
    moved: (usize, usize),
}

impl Connection {
    /// Creates a connection after its handshake; `inbox` may hold bytes behind its last reply.
    pub(in crate::redis) fn new(
        socket: Box<dyn RedisSocket>,
        inbox: Inbox,
        window: Window,
        health: Rc<ServerHealth>,
        stats: Rc<StatsWriter>,
    ) -> Self {
        Self {
            link: Link::new(window),
            socket,
            inbox,
            timer: Timer::new(),
            progress: instant(),
            unflushed: false,
            woken: Vec::new(),
            reported: 0,
            health,
            stats,
            moved: (0, 0),
        }
    }

    /// Returns the link for submissions.
    pub(in crate::redis) fn link(&self) -> Rc<Link> {
        Rc::clone(&self.link)
    }

    /// Runs until the connection ends. Returns the reason.
    ///
    /// Dropping it closes the connection and fails all callers.
    pub(in crate::redis) async fn run(mut self) -> DisconnectReason {
        let why = std::future::poll_fn(|cx| self.turn(cx)).await;
        self.link.end(why.failure());
        if why == DisconnectReason::Closed {
            // A polite shutdown; its result does not matter.
            let _ = tokio::time::timeout(self.health.command_timeout(), self.socket.shutdown()).await;
        }
        why
    }

    fn turn(&mut self, cx: &mut Context<'_>) -> Poll<DisconnectReason> {
        let moved = self.receive(cx).and_then(|()| self.send(cx));
        let end = match moved {
            Err(lost) => Poll::Ready(lost),
            Ok(()) => self.watch(cx),
        };
        self.woken.drain(..).for_each(Waker::wake);
        let (received, sent) = std::mem::take(&mut self.moved);
        let (queued, is_drained) = self.link.with(|state| {
            state.set_waker(cx.waker());
            self.stats.record(&state.pipeline, received, sent);
            (state.pipeline.queued(), state.is_drained())
        });
        self.health.server_stats.add_bytes(received, sent);
        self.health.publish(&self.stats);
        self.report(queued);
        if is_drained { Poll::Ready(DisconnectReason::Closed) } else { end }
    }

    /// Reads all input, and delivers the replies.
    fn receive(&mut self, cx: &mut Context<'_>) -> Result<(), DisconnectReason> {
        // Bytes behind the handshake match no command, and are not timed.
        let mut now = self.progress;
        loop {
            let replies = self.deliver(now)?;
            if replies > 0 || self.inbox.is_midway() {
                self.progress = now;
            }
            match pin!(self.socket.read_buf(self.inbox.room())).poll(cx) {
                Poll::Ready(Ok(0)) => return Err(DisconnectReason::Ended),
                Poll::Ready(Ok(count)) => {
                    self.moved.0 += count;
                    now = instant();
                }
                Poll::Ready(Err(error)) => return Err(reset(&error)),
                Poll::Pending => return Ok(()),
            }
        }
    }

    /// Delivers the frames in the inbox. Returns the number of replies.
    fn deliver(&mut self, now: Instant) -> Result<usize, DisconnectReason> {
        let Self { link, inbox, woken, health, .. } = self;
        link.with(|state| {
            let mut replies = 0;
            while let Some(frame) = inbox.frame().map_err(malformed)? {
                if let Frame::Reply(Reply::Error(error)) = &frame {
                    // Counts even if late: the refusal may apply to all commands.
                    health.refused(error.kind, now);
                }
                let timing = match state
                    .pipeline
                    .accept(frame)
                    .map_err(|DesyncError| DisconnectReason::Desynchronised)?
                {
                    FrameMeaning::Answered(timing, waker) => {
                        woken.extend(waker);
                        timing
                    }
                    FrameMeaning::Late(timing) => {
                        if timing.urgency != CommandUrgency::Heartbeat {
                            health.metrics.late();
                        }
                        timing
                    }
                    FrameMeaning::Push(push) => {
                        let received = link.invalidations.receive(&push);
                        state.pipeline.mark(received);
                        continue;
                    }
                };
                health.replied(timing, now);
                replies += 1;
            }
            if replies > 0 {
                state.silence = None;
            }
            Ok(replies)
        })
    }

    /// Writes until the outbox is empty or the send buffer full.
    fn send(&mut self, cx: &mut Context<'_>) -> Result<(), DisconnectReason> {
        let Self { link, socket, moved, .. } = self;
        loop {
            let (sent, left) = link.with(|state| {
                if !state.outbox.has_remaining() {
                    return (Poll::Ready(Ok(0)), 0);
                }
                let sent = pin!(socket.write_buf(&mut state.outbox)).poll(cx);
                (sent, state.outbox.remaining())
            });
            match sent {
                Poll::Ready(Ok(count)) => {
                    moved.1 += count;
                    self.unflushed |= count > 0;
                    if left == 0 {
                        break;
                    }
                    self.progress = instant();
                }
                Poll::Ready(Err(error)) => return Err(reset(&error)),
                Poll::Pending => break,
            }
        }
        if self.unflushed {
            match Pin::new(socket).poll_flush(cx) {
                Poll::Ready(Ok(())) => self.unflushed = false,
                Poll::Ready(Err(error)) => return Err(reset(&error)),
                Poll::Pending => {}
            }
        }
        Ok(())
    }

    /// Expires callers that are past their deadline, and the connection if it is stalled.
    fn watch(&mut self, cx: &mut Context<'_>) -> Poll<DisconnectReason> {
        let Self { link, timer, progress, woken, health, .. } = self;
        loop {
            let deadlines = health.deadlines();
            let (oldest, next_timeout) = link
                .with(|state| (state.pipeline.oldest(), state.pipeline.next_timeout(deadlines, *progress)));
            let Some(oldest) = oldest else {
                ready!(Self::listen(link, timer, *progress, cx));
                return Poll::Pending;
            };
            let stalled = oldest.max(*progress) + health.stall();
            ready!(timer.poll(next_timeout.map_or(stalled, |next_timeout| next_timeout.min(stalled)), cx));
            let now = instant();
            if now >= stalled {
                return Poll::Ready(DisconnectReason::Stalled);
            }
            let expired = link.with(|state| {
                let expired = state.pipeline.expire(now, deadlines, *progress, woken);
                let silent = now.saturating_duration_since(oldest.max(*progress));
                if expired > 0 && state.silence.is_none() && silent >= deadlines.silence {
                    state.silence = Some(health.silence());
                }
                expired
            });
            if expired > 0 {
                health.missed(expired, now);
            }
        }
    }

    /// Sends a heartbeat on an idle connection that delivers invalidations or messages, since
    /// silence may mean a dead peer. Ready once it is queued. Without a read no invalidation comes:
    /// only the subscribed connection gets heartbeats then, and fewer.
    fn listen(link: &Link, timer: &mut Timer, progress: Instant, cx: &mut Context<'_>) -> Poll<()> {
        if link.invalidations.is_empty() {
            return Poll::Pending;
        }
        let heartbeat = match link.with(|state| (state.has_read, state.is_subscribed)) {
            (true, _) => REDIS_HEARTBEAT,
            (false, true) => REDIS_IDLE_HEARTBEAT,
            (false, false) => return Poll::Pending,
        };
        ready!(timer.poll(progress + heartbeat, cx));
        if instant() >= progress + heartbeat {
            link.send_heartbeat(instant());
        }
        // The next turn writes it, or checks again.
        cx.waker().wake_by_ref();
        Poll::Ready(())
    }

    /// Updates the gauge of unanswered commands.
    fn report(&mut self, queued: usize) {
        if queued != self.reported {
            self.health.metrics.in_flight(queued.cast_signed() - self.reported.cast_signed());
            self.reported = queued;
        }
    }
}

impl Drop for Connection {
    /// However the task ends, no caller keeps waiting.
    fn drop(&mut self) {
        self.link.end(DisconnectReason::Closed.failure());
        self.report(0);
    }
}

fn reset(error: &io::Error) -> DisconnectReason {
    tracing::debug!(%error, "Redis connection failed");
    DisconnectReason::Reset
}

fn malformed(what: ProtocolError) -> DisconnectReason {
    tracing::debug!(%what, "invalid reply from Redis; closing the connection");
    DisconnectReason::Malformed
}

/// A timer that fires once for each time it is set. Setting it is the expensive part, so it is set
/// only if it would fire too late.
struct Timer {
    sleep: Pin<Box<Sleep>>,
    set: Option<Instant>,
}

impl Timer {
    fn new() -> Self {
        Self { sleep: Box::pin(tokio::time::sleep(Duration::ZERO)), set: None }
    }

    /// Ready at `due`, or at an earlier time that it was set to before.
    fn poll(&mut self, due: Instant, cx: &mut Context<'_>) -> Poll<()> {
        if self.set.is_none_or(|set| due < set) {
            self.sleep.as_mut().reset(due.into());
            self.set = Some(due);
        }
        ready!(self.sleep.as_mut().poll(cx));
        self.set = None;
        Poll::Ready(())
    }
}
