//! An in-process Redis on a paused clock, which jumps when every task waits: seconds take no time,
//! and a seed gives one run.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use fastrand::Rng;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex};
use tokio::sync::Notify;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::sleep;

use crate::redis::connection::{Dialer, RedisSocket};
use crate::redis::health::PoolMetrics;
use crate::redis::{Options, RedisAddress, RedisPool, StatsBoard};
use crate::resp::{Frame, Inbox, Reply};
use crate::telemetry::Registry;
use crate::time::instant;

/// The buffer of a socket in each direction.
const SOCKET_BYTES: usize = 16 * 1024;
/// The default of `redis_timeout`.
pub(super) const TIMEOUT: Duration = Duration::from_millis(50);
/// The delay of a timer: timers have whole milliseconds.
pub(super) const TICK: Duration = Duration::from_millis(2);

/// Runs on a paused clock.
pub(crate) fn on_paused_clock(work: impl Future<Output = ()>) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    LocalSet::new().block_on(&runtime, work);
}

/// The behaviour of the server. May change at any time.
#[derive(Clone, Debug)]
pub(super) struct ServerBehaviour {
    /// Refuses connections, and closes the open ones.
    pub(super) away: bool,
    /// Neither reads nor writes.
    pub(super) stalled: bool,
    /// Refuses everything but the handshake.
    pub(super) loading: bool,
    /// The client's tasks of new connections panic at the first reply.
    pub(super) poisoned: bool,
    /// The latency of a batch of replies, in microseconds.
    pub(super) usual: Range<u64>,
    /// Replies leave in pieces of this many bytes, with a pause behind each.
    pub(super) trickle: Option<(usize, Duration)>,
    /// The latency of one connection, by its number.
    pub(super) slow: Option<(usize, Duration)>,
    /// The share of slow batches, and their latency in milliseconds.
    pub(super) tail: (f64, Range<u64>),
    /// The share of batches in the middle of which the connection ends.
    pub(super) cut: f64,
}

impl Default for ServerBehaviour {
    fn default() -> Self {
        Self {
            away: false,
            stalled: false,
            loading: false,
            poisoned: false,
            usual: 0..1,
            trickle: None,
            slow: None,
            tail: (0.0, 0..1),
            cut: 0.0,
        }
    }
}

/// The server. Clones are the same.
#[derive(Clone)]
pub(in crate::redis) struct RedisModel(Rc<ModelInner>);

struct ModelInner {
    behaviour: RefCell<ServerBehaviour>,
    changed: Notify,
    data: RefCell<HashMap<Vec<u8>, Vec<u8>>>,
    rng: RefCell<Rng>,
    dials: RefCell<Vec<Instant>>,
    commands: RefCell<HashMap<String, usize>>,
    connections: Cell<usize>,
    board: StatsBoard,
}

impl RedisModel {
    pub(super) fn new(seed: u64) -> Self {
        // The pool draws its jitter from the thread's generator.
        fastrand::seed(seed);
        Self(Rc::new(ModelInner {
            behaviour: RefCell::default(),
            changed: Notify::new(),
            data: RefCell::default(),
            rng: RefCell::new(Rng::with_seed(seed)),
            dials: RefCell::default(),
            commands: RefCell::default(),
            connections: Cell::new(0),
            board: StatsBoard::new(instant()),
        }))
    }

    /// Opens a pool and waits until it is connected.
    pub(super) async fn pool(&self, connections: usize, hedge_share: f64) -> (RedisPool, Registry) {
        let options = Options {
            connections,
            command_timeout: TIMEOUT,
            hedge_share,
            board: self.board(),
            ..Options::at(RedisAddress::Unix("model".into()))
        };
        let registry = Registry::new();
        let pool =
            RedisPool::over(Dialer::to_model(self.clone()), options, None, PoolMetrics::new(&registry));
        let up = format!("connections{{state=\"up\"}} {connections}\n");
        while !registry.render().contains(&up) {
            sleep(Duration::from_millis(1)).await;
        }
        (pool, registry)
    }

    /// Returns the statistics of its pools.
    pub(super) fn board(&self) -> StatsBoard {
        self.0.board.clone()
    }

    pub(super) fn set(&self, change: impl FnOnce(&mut ServerBehaviour)) {
        change(&mut self.0.behaviour.borrow_mut());
        self.0.changed.notify_waiters();
    }

    /// Returns the number of dials since a moment.
    pub(super) fn dials_since(&self, moment: Instant) -> usize {
        self.0.dials.borrow().iter().filter(|&&at| at >= moment).count()
    }

    /// Returns how often a command was executed or refused.
    pub(super) fn executed(&self, command: &str) -> usize {
        self.0.commands.borrow().get(command).copied().unwrap_or_default()
    }

    pub(in crate::redis) fn dial(&self) -> io::Result<Box<dyn RedisSocket>> {
        self.0.dials.borrow_mut().push(instant());
        let behaviour = self.0.behaviour.borrow();
        if behaviour.away {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let (ours, theirs) = duplex(SOCKET_BYTES);
        let number = self.0.connections.replace(self.0.connections.get() + 1);
        spawn_local(self.clone().serve(theirs, number));
        Ok(if behaviour.poisoned {
            Box::new(PanickingSocket { model: self.clone(), socket: ours, reads: 0 })
        } else {
            Box::new(ours)
        })
    }

    /// Serves one connection.
    async fn serve(self, mut socket: DuplexStream, number: usize) {
        let mut inbox = Inbox::new();
        loop {
            let changed = self.0.changed.notified();
            if self.0.behaviour.borrow().away {
                return;
            }
            tokio::select! {
                biased;
                () = changed => continue,
                read = socket.read_buf(inbox.room()) => if !read.is_ok_and(|count| count > 0) { return },
            }
            let mut replies = Vec::new();
            self.while_stalled().await;
            while let Some(frame) = inbox.frame().unwrap() {
                replies.extend(self.execute(frame));
            }
            let delay = self.delay(number);
            if delay > Duration::ZERO {
                sleep(delay).await;
            }
            self.while_stalled().await;
            let cut =
                self.draw(|rng, behaviour| (rng.f64() < behaviour.cut).then(|| rng.usize(0..=replies.len())));
            if let Some(cut) = cut {
                let _ = socket.write_all(&replies[..cut]).await;
                return;
            }
            let trickle = self.0.behaviour.borrow().trickle;
            if let Some((bytes, pause)) = trickle {
                for piece in replies.chunks(bytes) {
                    if socket.write_all(piece).await.is_err() {
                        return;
                    }
                    sleep(pause).await;
                }
                continue;
            }
            // In two pieces, which end anywhere.
            let (first, second) = replies.split_at(self.draw(|rng, _| rng.usize(0..=replies.len())));
            for piece in [first, second] {
                if socket.write_all(piece).await.is_err() {
                    return;
                }
            }
        }
    }

    async fn while_stalled(&self) {
        loop {
            let changed = self.0.changed.notified();
            if !self.0.behaviour.borrow().stalled {
                return;
            }
            changed.await;
        }
    }

    fn draw<T>(&self, from: impl FnOnce(&mut Rng, &ServerBehaviour) -> T) -> T {
        from(&mut self.0.rng.borrow_mut(), &self.0.behaviour.borrow())
    }

    fn delay(&self, number: usize) -> Duration {
        self.draw(|rng, ServerBehaviour { usual, slow, tail: (part, long), .. }| {
            if let Some((_, delay)) = slow.filter(|(connection, _)| *connection == number) {
                delay
            } else if rng.f64() < *part {
                Duration::from_millis(rng.u64(long.clone()))
            } else {
                Duration::from_micros(rng.u64(usual.clone()))
            }
        })
    }

    fn execute(&self, frame: Frame) -> Vec<u8> {
        let (name, words) = spoken(frame);
        *self.0.commands.borrow_mut().entry(name.clone()).or_default() += 1;
        let mut data = self.0.data.borrow_mut();
        match name.as_str() {
            "HELLO" => b"%1\r\n+proto\r\n:3\r\n".to_vec(),
            "CLIENT" => b"+OK\r\n".to_vec(),
            "INFO" => b"$-1\r\n".to_vec(),
            _ if self.0.behaviour.borrow().loading => b"-LOADING Redis is loading\r\n".to_vec(),
            "PING" => b"+PONG\r\n".to_vec(),
            "SET" => {
                data.insert(words[1].clone(), words[2].clone());
                b"+OK\r\n".to_vec()
            }
            "UNLINK" => format!(":{}\r\n", usize::from(data.remove(&words[1]).is_some())).into_bytes(),
            "GET" => data.get(&words[1]).map_or(b"_\r\n".to_vec(), |value| {
                [format!("${}\r\n", value.len()).as_bytes(), value, b"\r\n"].concat()
            }),
            _ => panic!("{name}"),
        }
    }
}

/// A socket that panics after the handshake.
struct PanickingSocket {
    model: RedisModel,
    socket: DuplexStream,
    reads: usize,
}

impl AsyncRead for PanickingSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let read = Pin::new(&mut self.socket).poll_read(cx, into);
        self.reads += usize::from(into.filled().len() > before);
        let is_well = self.reads <= 2 || !self.model.0.behaviour.borrow().poisoned;
        assert!(is_well, "this is the panic that the test is about");
        read
    }
}

impl AsyncWrite for PanickingSocket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

/// Returns the name and all words of a command.
pub(super) fn spoken(frame: Frame) -> (String, Vec<Vec<u8>>) {
    let Frame::Reply(Reply::Array(arguments)) = frame else { panic!("{frame:?}") };
    let words: Vec<_> = arguments
        .iter()
        .map(|word| if let Reply::Bulk(word) = word { word.to_vec() } else { panic!("{word:?}") })
        .collect();
    (String::from_utf8(words[0].clone()).unwrap(), words)
}
