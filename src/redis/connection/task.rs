//! The task that owns a socket.
//!
//! One turn reads all that has come, writes all that was submitted, and looks at the time. Reading and
//! writing are polled together and neither waits for the other: when both sides have filled their sockets,
//! somebody has to read. What callers submit while the task sleeps leaves in one write; so the more callers
//! there are, the fewer system calls each costs.
//!
//! Health is replies that come, not what TCP believes: if the oldest command makes no progress for too long,
//! the connection is given up. That is long after its callers have given up: how long these wait follows the server's
//! pace, and a server that is slower than it was is no reason to dial anew. One timer serves all of that, every caller's
//! time limit and the news that a reply is late: it is set to the first that is due, and left alone when that command
//! is answered, since the next cannot be due earlier.

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
use crate::limits::REDIS_HEARTBEAT;
use crate::redis::error::DisconnectReason;
use crate::redis::health::{ServerHealth, StatsWriter};
use crate::resp::{Arrival, DesyncError, Frame, Inbox, ProtocolError, Reply, Window};
use crate::time::instant;

/// A connection that is up.
pub(in crate::redis) struct Connection {
    link: Rc<Link>,
    socket: Box<dyn RedisSocket>,
    inbox: Inbox,
    timer: Timer,
    /// When bytes of a reply last came, or bytes of a command that the socket would not take at once went.
    progress: Instant,
    /// Something was written and may be held back by TLS.
    unflushed: bool,
    /// Who is to be woken at the end of the turn; kept for its memory.
    woken: Vec<Waker>,
    /// How many commands the gauge knows of.
    reported: usize,
    health: Rc<ServerHealth>,
    stats: Rc<StatsWriter>,
    /// Bytes read and written since that was last told.
    moved: (usize, usize),
}

impl Connection {
    /// Over a socket that has been greeted; `inbox` holds what came with the greeting's last reply.
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

    /// Where commands for this connection are submitted.
    pub(in crate::redis) fn link(&self) -> Rc<Link> {
        Rc::clone(&self.link)
    }

    /// Serves the link until the connection ends, and says why.
    ///
    /// Dropping it closes the connection and fails whoever waits.
    pub(in crate::redis) async fn run(mut self) -> DisconnectReason {
        let why = std::future::poll_fn(|cx| self.turn(cx)).await;
        self.link.end(why.failure());
        if why == DisconnectReason::Closed {
            // A farewell: whether it arrives makes no difference any more.
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

    /// Reads until there is no more, and gives each reply to its caller.
    fn receive(&mut self, cx: &mut Context<'_>) -> Result<(), DisconnectReason> {
        // What came with the greeting is nobody's, and is not timed.
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

    /// Gives away what the inbox has. Tells how many replies that were.
    fn deliver(&mut self, now: Instant) -> Result<usize, DisconnectReason> {
        let Self { link, inbox, woken, health, .. } = self;
        link.with(|state| {
            let mut replies = 0;
            while let Some(frame) = inbox.frame().map_err(malformed)? {
                if let Frame::Reply(Reply::Error(error)) = &frame {
                    // Late or not: it may be said to all.
                    health.refused(error.kind, now);
                }
                let timing = match state
                    .pipeline
                    .accept(frame)
                    .map_err(|DesyncError| DisconnectReason::Desynchronised)?
                {
                    Arrival::Answered(timing, waker) => {
                        woken.extend(waker);
                        timing
                    }
                    Arrival::Late(timing) => {
                        health.metrics.late();
                        timing
                    }
                    Arrival::Push(push) => {
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

    /// Writes until there is no more, or the socket is full.
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

    /// Ends the wait of callers whose time is up, and the connection if it makes no progress.
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

    /// While nothing is in line: of a connection that is to bring news, silence has to be told from absence. Ready when
    /// the question has been put in line.
    fn listen(link: &Link, timer: &mut Timer, progress: Instant, cx: &mut Context<'_>) -> Poll<()> {
        if link.invalidations.is_empty() {
            return Poll::Pending;
        }
        ready!(timer.poll(progress + REDIS_HEARTBEAT, cx));
        if instant() >= progress + REDIS_HEARTBEAT {
            link.send_heartbeat(instant());
        }
        // The turn is over: it is written, or looked at again, in the next one.
        cx.waker().wake_by_ref();
        Poll::Ready(())
    }

    /// Tells the gauge how many commands are in line.
    fn report(&mut self, queued: usize) {
        if queued != self.reported {
            self.health.metrics.in_flight(queued.cast_signed() - self.reported.cast_signed());
            self.reported = queued;
        }
    }
}

impl Drop for Connection {
    /// However the task ends, nobody waits for it any longer.
    fn drop(&mut self) {
        self.link.end(DisconnectReason::Closed.failure());
        self.report(0);
    }
}

fn reset(error: &io::Error) -> DisconnectReason {
    tracing::debug!(%error, "a connection to Redis failed");
    DisconnectReason::Reset
}

fn malformed(what: ProtocolError) -> DisconnectReason {
    tracing::debug!(%what, "a connection to Redis brought something that is no reply");
    DisconnectReason::Malformed
}

/// Rings once for each time it is set. To set it is what costs, so it is set only when it would ring too
/// late.
struct Timer {
    sleep: Pin<Box<Sleep>>,
    set: Option<Instant>,
}

impl Timer {
    fn new() -> Self {
        Self { sleep: Box::pin(tokio::time::sleep(Duration::ZERO)), set: None }
    }

    /// Ready at `due` or, if it was once set to an earlier time, then.
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
