//! Which of what was read is still as it was read (`CLIENT TRACKING`).
//!
//! A server tells a connection when something changes that was read over it, in order with the connection's replies. So
//! what was read stays true until that news comes, or until the connection can bring none: it has ended, the server has
//! been emptied, the pool no longer hears when the fleet comes together ([`Listener::message`]), or nobody vouches any more
//! that this is still the server to ask.
//!
//! ```text
//! Seats      seat 0: 17   seat 1: –   seat 2: 9    which incarnation of each seat's connection brings news; shared
//! Witness    (seat 2, incarnation 9)               kept beside what was read: true while the table says the same
//! Reading    a witness, and how much news there had been when the reply came
//! ```
//!
//! Nothing is scanned when a connection dies: its number in the table changes, and whoever holds a witness of it finds that
//! out by one load. **Always:** no incarnation is given twice, and news are processed before any reply that came after
//! them is given away.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinSet;

use super::ask::{Ask, Depth};
use super::error::Unavailable;
use super::greet::{Listening, Subscription};
use super::link::{Link, Pending};
use super::news::News;
use super::seats::{Presence, Seats};
use crate::limits::REDIS_HEARTBEAT;
use crate::resp::Command;
use crate::time::instant;

/// What a pool is told so that it tracks.
#[derive(Clone)]
pub struct Tracking {
    /// One table for all pools of the process.
    pub(super) seats: Arc<Seats>,
    /// Who is told.
    pub(super) listener: Rc<dyn Listener>,
    /// What the first connection subscribes to. Without it nothing that was read counts as tracked.
    channels: Vec<Bytes>,
    /// Where a message is heard that is published at one server.
    published: Published,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Published {
    /// At that server.
    Here,
    /// At every server of its cluster: so each has channels of its own, which end with its name.
    Everywhere,
}

impl Tracking {
    /// `seats` is one table for all pools of the process, `listener` is told what there is to tell, and `channels` is what is
    /// heard beside what changes.
    pub fn new(seats: Arc<Seats>, listener: Rc<dyn Listener>, channels: Vec<Bytes>) -> Self {
        Self { seats, listener, channels, published: Published::Here }
    }

    /// The same at servers of a cluster.
    pub(super) fn in_a_cluster(self) -> Self {
        Self { published: Published::Everywhere, ..self }
    }
}

impl std::fmt::Debug for Tracking {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tracking").field("channels", &self.channels).finish_non_exhaustive()
    }
}

/// Who is told what the server has to say. Called in the middle of a connection's turn: nothing here may wait, or come
/// back to the pool.
pub trait Listener {
    /// What stands under this key has changed, for whoever has read it.
    fn invalidated(&self, key: &[u8]);

    /// Some witnesses have ceased to be true.
    fn forsaken(&self);

    /// Somebody has published this to one of the channels that were asked for; in a cluster the channel's name ends with
    /// that of the [herald](super::Herald).
    fn message(&self, channel: &[u8], message: &Bytes);
}

/// What the connections of one pool have in common.
pub(super) struct Tracker {
    pub(super) tracking: Tracking,
    /// How long a connection may take to answer.
    ceiling: Duration,
    /// Whether the first connection is subscribed.
    pub(super) hears: Cell<bool>,
    /// Whether this is known to be the server to ask.
    vouched: Cell<bool>,
    /// Whether the server has said that it tells nothing.
    refused: Cell<bool>,
    /// What its channels end with.
    suffix: RefCell<Bytes>,
    links: RefCell<Vec<Weak<Link>>>,
    /// Connections that are to count again; as many as there are connections at most, and they end with the pool.
    tasks: RefCell<JoinSet<()>>,
}

/// While this lives, what is published is heard.
pub(super) struct Hearing(Rc<Tracker>);

impl Drop for Hearing {
    fn drop(&mut self) {
        self.0.is_deaf();
    }
}

impl Tracker {
    pub(super) fn new(tracking: Tracking, ceiling: Duration) -> Rc<Self> {
        Rc::new(Self {
            tracking,
            ceiling,
            hears: Cell::new(false),
            vouched: Cell::new(true),
            refused: Cell::new(false),
            suffix: RefCell::default(),
            links: RefCell::default(),
            tasks: RefCell::default(),
        })
    }

    /// A connection has come up. For as long as the answer lives, the pool hears by it.
    pub(super) fn up(self: &Rc<Self>, link: &Rc<Link>, listening: Listening) -> Option<Hearing> {
        let Listening { tracked, subscription, early } = listening;
        match &subscription {
            Subscription::Unasked => {}
            Subscription::Refused => self.refused.set(true),
            Subscription::Heard(suffix) => {
                self.refused.set(false);
                self.suffix.replace(suffix.clone());
            }
        }
        if !tracked {
            return None;
        }
        let news = self.news(link);
        link.with(|shared| shared.news = news);
        let hearing = matches!(subscription, Subscription::Heard(_)).then(|| {
            self.hears.set(true);
            self.revive_all();
            Hearing(Rc::clone(self))
        });
        link.with(|shared| {
            for news in early {
                let heard = shared.news.as_mut().map_or(0, |heard| heard.hear(&news));
                shared.pipeline.mark(heard);
            }
        });
        hearing
    }

    /// A connection that tracks has come up. `None` if there is no seat for it.
    pub(super) fn news(self: &Rc<Self>, link: &Rc<Link>) -> Option<News> {
        let presence = Presence::claim(Arc::clone(&self.tracking.seats))?;
        if self.is_hearing() {
            presence.begin();
        }
        let mut links = self.links.borrow_mut();
        links.retain(|link| link.strong_count() > 0);
        links.push(Rc::downgrade(link));
        Some(News::new(Rc::clone(self), presence))
    }

    /// The connections that track.
    pub(super) fn links(&self) -> Vec<Rc<Link>> {
        self.links.borrow().iter().filter_map(Weak::upgrade).collect()
    }

    /// Until each connection has brought the news that were on their way, or does not count. None are where nothing was read:
    /// most are spared the question, since a command goes to the first connection that has room.
    pub(super) async fn settle(self: &Rc<Self>) {
        let fences: Vec<_> = self
            .links()
            .into_iter()
            .filter(|link| link.with(|shared| shared.has_read))
            .map(|link| {
                let fence = self.ask(&link);
                (link, fence)
            })
            .collect();
        for (link, fence) in fences {
            let passed = match fence {
                Ok(pending) => pending.await.map(drop),
                Err(refusal) => Err(refusal),
            };
            match passed {
                Ok(()) => {}
                // It is there, and has no time for us: until it has, what was read over it is not known.
                Err(Unavailable::Full | Unavailable::Timeout | Unavailable::Server(_)) => {
                    link.with(|shared| shared.news.iter_mut().for_each(News::doubt));
                    self.tracking.listener.forsaken();
                    self.revive(link, REDIS_HEARTBEAT);
                }
                Err(
                    Unavailable::NotConnected
                    | Unavailable::BreakerOpen
                    | Unavailable::Closed
                    | Unavailable::Shifted
                    | Unavailable::Malformed,
                ) => {}
            }
        }
    }

    /// Asks one connection for a sign of life.
    fn ask(&self, link: &Rc<Link>) -> Result<Pending, Unavailable> {
        link.submit(&Ask::of(&Command::Ping, instant(), self.ceiling), Depth::ANY)
    }

    /// Has all connections count again, once they have answered.
    fn revive_all(self: &Rc<Self>) {
        for link in self.links() {
            self.revive(link, Duration::ZERO);
        }
    }

    /// Has a connection count again, after a rest, once it has answered.
    fn revive(self: &Rc<Self>, link: Rc<Link>, rest: Duration) {
        let mut tasks = self.tasks.borrow_mut();
        while tasks.try_join_next().is_some() {}
        let ceiling = self.ceiling;
        tasks.spawn_local(async move {
            tokio::time::sleep(rest).await;
            loop {
                let ask = Ask::of(&Command::Ping, instant(), ceiling);
                let answered = match link.submit(&ask, Depth::ANY) {
                    Ok(pending) => pending.await.map(drop),
                    Err(refusal) => Err(refusal),
                };
                match answered {
                    Ok(()) => return link.with(|shared| shared.news.iter_mut().for_each(News::begin)),
                    Err(Unavailable::Full | Unavailable::Timeout) => {
                        tokio::time::sleep(REDIS_HEARTBEAT).await;
                    }
                    Err(_) => return,
                }
            }
        });
    }

    /// It hears nothing any more: what is read now, or was read before, may change without anybody waiting for us.
    pub(super) fn is_deaf(&self) {
        self.hears.set(false);
        self.doubt_all();
    }

    fn doubt_all(&self) {
        for link in self.links() {
            link.with(|shared| shared.news.iter_mut().for_each(News::doubt));
        }
        self.tracking.listener.forsaken();
    }

    /// Nobody knows whether this is still the server to ask: what is read now, or was read before, does not count.
    pub(super) fn distrust(&self) {
        if self.vouched.replace(false) {
            self.doubt_all();
        }
    }

    /// It is the server to ask.
    pub(super) fn trust(self: &Rc<Self>) {
        if !self.vouched.replace(true) && self.is_hearing() {
            self.revive_all();
        }
    }

    /// The server has another part of the keys: what was read before does not count.
    pub(super) fn begin_anew(&self) {
        for link in self.links() {
            link.with(|shared| {
                if let Some(news) = &mut shared.news {
                    news.doubt();
                    news.begin();
                }
            });
        }
        self.tracking.listener.forsaken();
    }

    /// Whether the pool hears what is published, at a server that is known to be the right one.
    pub(super) fn is_hearing(&self) -> bool {
        self.hears.get() && self.vouched.get()
    }

    /// Whether what is read here is tracked, or will be.
    pub(super) fn is_tracking(&self) -> bool {
        !self.refused.get()
    }

    /// What the names of its channels end with.
    pub(super) fn suffix(&self) -> Bytes {
        self.suffix.borrow().clone()
    }

    /// What the first connection is to subscribe to, at a server that says that this is its name.
    pub(super) fn channels(&self, name: Option<&Bytes>) -> (Bytes, Vec<Bytes>) {
        let suffix = name.map_or(Bytes::new(), |name| [&b":"[..], name].concat().into());
        let channels = self.tracking.channels.iter();
        (suffix.clone(), channels.map(|channel| [&channel[..], &suffix[..]].concat().into()).collect())
    }

    /// Whether a server has to say its name first.
    pub(super) fn needs_name(&self) -> bool {
        self.tracking.published == Published::Everywhere
    }
}
