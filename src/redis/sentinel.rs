//! The master that sentinels watch.
//!
//! ```text
//! Seeker ─ asks one sentinel after the other who it is, asks it itself (ROLE) ──► adopt ─► Pool
//! Ear, one for each sentinel ─ hears +switch-master ────────────────────────────►
//! ```
//!
//! Whoever hears of a fail-over first has it adopted: commands go to the new master from then on, and the connections
//! to the old one are closed. So any one sentinel may be away, silent or late. Where nobody says anything (all ears
//! were deaf just then), the old master's `READONLY` or its end raises a doubt, and the seeker asks.
//!
//! What was read from a master is not known any more when there is another one, and while too few sentinels are heard to tell
//! of it (`vouch.rs`).
//!
//! What always holds: there is one master at a time, and what the seeker found out before a fail-over that was heard
//! of meanwhile is not adopted after it.

mod ear;
mod seeker;
mod vouch;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::task::{JoinHandle, spawn_local};

use self::ear::Ear;
use self::seeker::Seeker;
use self::vouch::Vouchers;
use super::control::Switchboard;
use super::encryption::Tls;
use super::error::Unavailable;
use super::metrics;
use super::news::Reading;
use super::options::{Options, Sentinels};
use super::pool::Pool;
use super::retired::Retired;
use super::topology::{Doubt, Era, Inquiry, Metrics, at_once, unsettled_for};
use super::tracking::Tracking;
use crate::resp::topology::{Endpoint, master_address};
use crate::resp::{Command, Reply};
use crate::telemetry::Registry;
use crate::time::instant;

/// One worker's way to the master. Clones are the same; when the last is dropped the connections end.
#[derive(Clone)]
pub(super) struct Sentinel(Rc<Inner>);

struct Inner {
    master: Rc<Master>,
    watchers: Rc<Switchboard>,
    /// Where the sentinels are.
    sentinels: Vec<Endpoint>,
    /// What they call the master.
    name: String,
    /// The seeker and the ears.
    tasks: RefCell<Vec<JoinHandle<()>>>,
}

/// Who the master is, and the way to it.
struct Master {
    current: RefCell<Option<Current>>,
    /// What its pool is told, but for the address.
    options: Options,
    /// What it is told so that it tracks.
    tracking: Option<Tracking>,
    vouchers: Vouchers,
    /// How often a sentinel has told of a fail-over.
    announcements: Cell<u64>,
    /// When the master was adopted.
    adopted: Cell<Option<Instant>>,
    servers: Rc<Switchboard>,
    metrics: metrics::Metrics,
    doubt: Doubt,
    retired: Retired,
}

struct Current {
    endpoint: Endpoint,
    pool: Pool,
    /// How many there were before.
    number: u64,
}

impl Sentinel {
    pub(super) fn open(
        sentinels: Sentinels,
        options: Options,
        tracking: Option<Tracking>,
        registry: &Registry,
        metrics: Metrics,
    ) -> Self {
        let tls = Tls::to(&options.address, &options.tls);
        let own = Options {
            credentials: sentinels.credentials.clone(),
            password_file: None,
            database: 0,
            ..options.clone()
        };
        let watchers = Switchboard::of(&own, tls.clone());
        let master = Rc::new(Master {
            current: RefCell::new(None),
            tracking,
            vouchers: Vouchers::new(sentinels.seeds.len()),
            announcements: Cell::new(0),
            adopted: Cell::new(None),
            servers: Switchboard::of(&options, tls),
            options,
            metrics: metrics::Metrics::new(registry),
            doubt: Doubt::new(metrics),
            retired: Retired::default(),
        });
        let ear = |endpoint: &Endpoint| {
            let (watchers, master) = (Rc::clone(&watchers), Rc::clone(&master));
            spawn_local(Ear::new(endpoint.clone(), sentinels.master.clone(), watchers, master).run())
        };
        let mut tasks: Vec<_> = sentinels.seeds.iter().map(ear).collect();
        let Sentinels { seeds: sentinels, master: name, .. } = sentinels;
        let seeker = Seeker::new(sentinels.clone(), name.clone(), Rc::clone(&watchers), Rc::clone(&master));
        tasks.push(spawn_local(seeker.run()));
        Self(Rc::new(Inner { master, watchers, sentinels, name, tasks: RefCell::new(tasks) }))
    }

    /// The reply of the master.
    pub(super) async fn command(&self, command: &Command<'_>) -> Result<Reply, Unavailable> {
        let master = &self.0.master;
        let result = match master.pool() {
            Some(pool) => pool.command(command).await,
            None => Err(master.doubt.metrics.unrouted()),
        };
        result.inspect_err(|why| master.doubt.raise_by(*why))
    }

    /// The same, and what is needed to remember it.
    pub(super) async fn read(&self, command: &Command<'_>) -> Result<(Reply, Reading), Unavailable> {
        let master = &self.0.master;
        let result = match master.pool() {
            Some(pool) => pool.read(command).await,
            None => Err(master.doubt.metrics.unrouted()),
        };
        result.inspect_err(|why| master.doubt.raise_by(*why))
    }

    /// A change, and a look at what it made, over the same connection to the master.
    pub(super) async fn change_and_read(
        &self,
        change: &Command<'_>,
        read: &Command<'_>,
    ) -> (Result<Reply, Unavailable>, Result<(Reply, Reading), Unavailable>) {
        let master = &self.0.master;
        let Some(pool) = master.pool() else {
            let refusal = master.doubt.metrics.unrouted();
            master.doubt.raise();
            return (Err(refusal), Err(refusal));
        };
        let (changed, read) = pool.change_and_read(change, read).await;
        (changed.inspect_err(|why| master.doubt.raise_by(*why)), read)
    }

    /// The pool of the master, if it is known.
    pub(super) fn pool(&self) -> Option<Pool> {
        self.0.master.pool()
    }

    /// How many masters there were.
    pub(super) fn era(&self) -> Era {
        Era(self.0.master.number().map_or(0, |number| number + 1))
    }

    /// Until what has been written in this era is in a replica too, and most sentinels have said since that it was written to
    /// the master.
    pub(super) async fn secure(&self, era: Era) -> Result<(), Unavailable> {
        let Inner { master, watchers, sentinels, name, .. } = &*self.0;
        let Some(endpoint) = master.current.borrow().as_ref().map(|current| current.endpoint.clone()) else {
            return Err(master.doubt.metrics.unrouted());
        };
        if let Err(why) = master.servers.replicated(&endpoint).await {
            master.doubt.raise();
            return Err(why.into());
        }
        let agrees = async |sentinel: &Endpoint| {
            let named = watchers.ask(sentinel, &Command::MasterAddress { name }).await;
            named.is_ok_and(|named| master_address(&named).is_ok_and(|named| named == endpoint))
        };
        let agreeing =
            at_once(sentinels.iter().map(agrees)).await.into_iter().filter(|agrees| *agrees).count();
        if agreeing < sentinels.len() {
            master.doubt.raise();
        }
        if master.vouchers.are_most(agreeing) && self.era() == era {
            Ok(())
        } else {
            Err(Unavailable::Closed)
        }
    }

    /// How long it takes until everybody else has heard of the master as well.
    pub(super) fn unsettled_for(&self) -> Duration {
        unsettled_for(self.0.master.adopted.get())
    }

    /// Whether the master is known and a connection to it is up.
    pub(super) fn is_connected(&self) -> bool {
        self.0.master.pool().is_some_and(|pool| pool.is_connected())
    }

    pub(super) async fn close(&self) {
        self.0.tasks.take().iter().for_each(JoinHandle::abort);
        let current = self.0.master.current.take();
        if let Some(Current { pool, .. }) = current {
            pool.close().await;
        }
        self.0.master.retired.ended().await;
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.tasks.take().iter().for_each(JoinHandle::abort);
    }
}

impl Master {
    fn pool(&self) -> Option<Pool> {
        self.current.borrow().as_ref().map(|current| current.pool.clone())
    }

    /// Which of all masters this is: another one has another number.
    fn number(&self) -> Option<u64> {
        self.current.borrow().as_ref().map(|current| current.number)
    }

    /// A sentinel tells of a fail-over. What it, or another one, was asked before has been said before, also where the new
    /// master is known already.
    fn announced(&self, endpoint: &Endpoint) {
        self.announcements.set(self.announcements.get() + 1);
        self.adopt(endpoint);
    }

    /// From now on this is the master. The connections to another one take no more commands and are closed.
    fn adopt(&self, endpoint: &Endpoint) -> Inquiry {
        if self.current.borrow().as_ref().is_some_and(|current| current.endpoint == *endpoint) {
            return Inquiry::Unchanged;
        }
        let options = Options { address: self.servers.address(endpoint), ..self.options.clone() };
        let pool = Pool::with(options, self.servers.tls(), self.tracking.clone(), self.metrics.clone());
        let number = self.number().map_or(0, |number| number + 1);
        self.adopted.set(Some(instant()));
        let old =
            self.current.replace(Some(Current { endpoint: endpoint.clone(), pool: pool.clone(), number }));
        match old {
            Some(old) => {
                tracing::warn!(master = %endpoint, old = %old.endpoint, "Redis has another master");
                old.pool.distrust();
                pool.has_been_away(old.pool.away_for());
                self.retired.retire(old.pool);
            }
            None => tracing::info!(master = %endpoint, "found Redis' master"),
        }
        self.vouch();
        Inquiry::Changed
    }

    /// What is read from the master counts while the sentinels vouch for it.
    fn vouch(&self) {
        if let Some(pool) = self.pool() {
            if self.vouchers.vouch() { pool.trust() } else { pool.distrust() }
        }
    }
}
