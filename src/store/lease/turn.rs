//! One fetch for the fleet: whoever has the lease of a key fetches, and the others wait for what
//! comes of it.
//!
//! ```text
//! <namespace>lease:<32 digits>   <token>     there while somebody fetches; FETCH_LEASE long, renewed while that goes on
//! ```
//!
//! The lease is taken by `SET NX PX`. Who does not get it reads it, and so Redis tells him when it
//! ends or is renewed: he waits for that and never asks by the clock. It ends when what was fetched
//! is stored, or as soon as it is known that it will not be; then everybody looks, and fetches for
//! himself if nothing is there. A node that dies takes its lease with it after [`FETCH_LEASE`].
//! Only who knows the token renews or ends it, so nobody who was away for too long touches
//! another's.
//!
//! The name is of the key, of who may share the answer, and of the purges that the fetch has seen:
//! nobody waits for a fetch that began before a purge.
//!
//! **Always:** a lease is a hint. Whoever cannot ask, cannot hear or has waited long enough fetches
//! as if there were none; what may be stored is decided by the [`StorePermit`] alone.

use std::convert::Infallible;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::timeout;
use xxhash_rust::xxh3::xxh3_128;

use crate::key::CacheKey;
use crate::limits::{FETCH_LEASE, FETCH_LEASE_RENEWED};
use crate::redis::{Client, Command, CommandError, Reply};
use crate::store::fleet::listener::FleetListener;
use crate::store::metrics::{LeaseOutcome, Metrics};
use crate::store::scripts::{
    LEASE, {self},
};
use crate::store::{LEASE_PREFIX, Store, StorePermit, decimal};
use crate::time::{self, millis};

/// Whose turn it is to fetch.
#[derive(Debug)]
pub enum LeaseTurn {
    /// Ours: the others wait until this is dropped.
    Ours(Lease),
    /// It was another's, which has ended: whoever looks finds what came of it.
    Over,
    /// Nobody can say, or it took too long.
    Anybodys,
}

/// The right to fetch for all nodes; dropping it lets them look.
#[derive(Debug)]
pub struct Lease {
    /// Whoever keeps the lease up hears when this is gone.
    _held: oneshot::Sender<Infallible>,
}

impl Store {
    /// Asks whose turn it is to fetch what would stand under `key`, for those whom `sharers` names,
    /// and waits no longer than `patience` while it is another node's. Nobody but other nodes is
    /// meant: in one process only one asks for a key.
    ///
    /// Cancel safe: a lease that was just taken ends by itself.
    pub async fn turn(
        &self,
        key: &CacheKey,
        sharers: &'static str,
        claim: &StorePermit,
        patience: Duration,
    ) -> LeaseTurn {
        let (turn, leased) = match (&self.redis, &self.fleet) {
            (Some(redis), Some(fleet)) => {
                self.turn_in_fleet(redis, fleet, name(key, sharers, claim), patience).await
            }
            (Some(_), None) | (None, _) => return LeaseTurn::Anybodys,
        };
        self.metrics.leased(leased);
        turn
    }

    async fn turn_in_fleet(
        &self,
        redis: &Client,
        fleet: &FleetListener,
        lease: u128,
        patience: Duration,
    ) -> (LeaseTurn, LeaseOutcome) {
        let name = self.namespace().name(&[LEASE_PREFIX.as_bytes(), format!("{lease:032x}").as_bytes()]);
        if !redis.is_tracking(&name) {
            // Nobody tells when a lease ends.
            return (LeaseTurn::Anybodys, LeaseOutcome::Unavailable);
        }
        let token = Bytes::from(format!("{:016x}", fastrand::u64(..)));
        match redis.command(&Command::SetNew { key: &name, value: &token, ttl: FETCH_LEASE }).await {
            // Without an answer it may be ours: then it has to be given back.
            Ok(Reply::Simple(_)) | Err(CommandError::Timeout) => {
                (LeaseTurn::Ours(self.keep_up(redis, name, token)), LeaseOutcome::Taken)
            }
            Ok(_) => await_end(redis, fleet, lease, &name, time::instant() + patience).await,
            Err(_) => (LeaseTurn::Anybodys, LeaseOutcome::Unavailable),
        }
    }

    /// Keeps a lease up for as long as it is held, in a task that ends with it.
    fn keep_up(&self, redis: &Client, name: Vec<u8>, token: Bytes) -> Lease {
        let (held, ends) = oneshot::channel();
        let mut keepers = self.keepers.borrow_mut();
        while keepers.try_join_next().is_some() {}
        keepers.spawn_local(keep(redis.clone(), name, token, ends, Rc::clone(&self.metrics)));
        Lease { _held: held }
    }
}

/// Waits for the end of another's lease, as Redis tells it.
async fn await_end(
    redis: &Client,
    fleet: &FleetListener,
    lease: u128,
    name: &[u8],
    deadline: Instant,
) -> (LeaseTurn, LeaseOutcome) {
    let mut waiting = fleet.leases().wait(lease);
    let mut awaited = None;
    loop {
        waiting.news.mark_unchanged();
        let (token, reading) = match redis.read(&Command::Get { key: name }).await {
            Ok((Reply::Bulk(token), reading)) => (token, reading),
            Ok(_) => return (LeaseTurn::Over, LeaseOutcome::Awaited),
            Err(_) => return (LeaseTurn::Anybodys, LeaseOutcome::Unavailable),
        };
        // The next one's: whose answer cannot be stored would have everybody wait, one after the
        // other.
        if *awaited.get_or_insert_with(|| token.clone()) != token {
            return (LeaseTurn::Over, LeaseOutcome::Awaited);
        }
        let is_heard = reading.token(name).is_some();
        if !is_heard && !waiting.news.has_changed().unwrap_or(false) {
            return (LeaseTurn::Anybodys, LeaseOutcome::Unavailable);
        }
        let left = deadline.saturating_duration_since(time::instant());
        match timeout(left.min(FETCH_LEASE), waiting.news.changed()).await {
            // Ended, renewed, or perhaps lost on the way: Redis knows.
            Ok(_) => {}
            Err(_) if left <= FETCH_LEASE => return (LeaseTurn::Anybodys, LeaseOutcome::TimedOut),
            // Neither renewed nor ended by anybody: it has run out, or is about to be forgotten.
            Err(_) => return (LeaseTurn::Over, LeaseOutcome::Awaited),
        }
    }
}

/// Renews a lease until it is not held any more, and ends it then.
async fn keep(
    redis: Client,
    name: Vec<u8>,
    token: Bytes,
    mut held: oneshot::Receiver<Infallible>,
    metrics: Rc<Metrics>,
) {
    while timeout(FETCH_LEASE_RENEWED, &mut held).await.is_err() {
        let renewed = LEASE.run(&redis, &name, &[token.clone(), decimal(millis(FETCH_LEASE))]).await;
        if renewed == Ok(Reply::Integer(0)) {
            return metrics.leased(LeaseOutcome::Lost);
        }
    }
    match LEASE.run(&redis, &name, &[token, decimal(0)]).await {
        Ok(Reply::Integer(0)) => metrics.leased(LeaseOutcome::Lost),
        Err(error) if scripts::is_refused(error) => {
            // It was not renewed either, so it is rarely another's; and then one fetch more is
            // made.
            let _ = redis.command(&Command::Unlink { key: &name }).await;
        }
        // Or it ends by itself.
        Ok(_) | Err(_) => {}
    }
}

/// What the lease of a fetch is called.
fn name(key: &CacheKey, sharers: &str, claim: &StorePermit) -> u128 {
    let numbers = [claim.tick.epoch.to_be_bytes(), claim.tick.count.to_be_bytes(), claim.lineage.to_bytes()];
    xxh3_128(&[&key.short().to_be_bytes()[..], &numbers.concat(), sharers.as_bytes()].concat())
}
