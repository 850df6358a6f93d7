//! One fetch for the fleet: the node that holds the lease of a key fetches, and the others wait for
//! its result.
//!
//! ```text
//! <namespace>lease:<32 digits>  <token>  during a fetch; expires after FETCH_LEASE unless renewed
//! ```
//!
//! `SET NX PX` takes the lease. A node that does not get the lease reads the lease key, which
//! subscribes it to the invalidation, so Redis pushes each renewal and the end; the node never
//! polls. The lease ends once the answer is stored, or as soon as the proxy knows that it will not
//! be. Then every waiting node looks again, and fetches if nothing was stored. There is no queue.
//! The lease of a node that dies expires after [`FETCH_LEASE`]. A node believes a lease for as long
//! as Redis keeps it, and no lease that Redis would keep for longer than [`FETCH_LEASE`]. A waiting
//! node checks that Redis still answers, and silence ends its wait within `redis_timeout`. Renewing
//! and ending require the token, so a node that was away for too long cannot touch another node's
//! lease.
//!
//! The name of the lease covers the key, the requesters that may share the answer, and the purges
//! that the fetch has seen: no request waits for a fetch that began before a purge.
//!
//! **Always:** a lease is a hint. A node that cannot take one, cannot receive its end or has waited
//! long enough fetches without it; the [`StorePermit`] alone decides what may be stored.

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
use crate::store::handle::Store;
use crate::store::metrics::{LeaseOutcome, Metrics};
use crate::store::namespace::LEASE_PREFIX;
use crate::store::purge::permit::StorePermit;
use crate::store::scripts::{self, LEASE, decimal};
use crate::time::{self, millis};

/// The result of a request for a lease.
#[derive(Debug)]
pub enum LeaseTurn {
    /// This node holds the lease: the others wait until it is dropped.
    Held(Lease),
    /// Another node's lease has ended: a lookup finds its result.
    Ended,
    /// The wait was too long, and another node still holds the lease: this node may fetch.
    StillHeld(LeaseName),
    /// The lease is unavailable: every node may fetch.
    Unavailable,
}

/// The name of another node's lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseName(u128);

/// A lease held by this node; dropping it ends the wait of the others.
#[derive(Debug)]
pub struct Lease {
    /// The sender whose drop ends the task that renews the lease.
    _held: oneshot::Sender<Infallible>,
}

impl Store {
    /// Requests the lease to fetch `key` for the requesters named by `sharers`, and waits at most
    /// `wait_max` while another node holds it. Within one process, only one request per key gets
    /// here.
    ///
    /// Cancel safe: a lease that was just taken expires.
    pub async fn request_lease(
        &self,
        key: &CacheKey,
        sharers: &'static str,
        permit: &StorePermit,
        wait_max: Duration,
    ) -> LeaseTurn {
        let (turn, leased) = match (&self.redis, &self.fleet) {
            (Some(redis), Some(fleet)) => {
                self.lease_in_fleet(redis, fleet, name(key, sharers, permit), wait_max).await
            }
            (Some(_), None) | (None, _) => return LeaseTurn::Unavailable,
        };
        self.metrics.leased(leased);
        turn
    }

    /// Waits at most `wait_max` for the end of another node's lease; returns whether it has ended.
    ///
    /// Cancel safe.
    pub async fn lease_has_ended(&self, LeaseName(lease): LeaseName, wait_max: Duration) -> bool {
        let (Some(redis), Some(fleet)) = (&self.redis, &self.fleet) else { return false };
        let deadline = time::instant() + wait_max;
        let (turn, _) = self.await_end(redis, fleet, lease, &self.lease_name(lease), deadline).await;
        matches!(turn, LeaseTurn::Ended)
    }

    fn lease_name(&self, lease: u128) -> Vec<u8> {
        self.namespace().name(&[LEASE_PREFIX.as_bytes(), format!("{lease:032x}").as_bytes()])
    }

    async fn lease_in_fleet(
        &self,
        redis: &Client,
        fleet: &FleetListener,
        lease: u128,
        wait_max: Duration,
    ) -> (LeaseTurn, LeaseOutcome) {
        let name = self.lease_name(lease);
        if !redis.is_tracking(&name) {
            // This connection would not receive the end of a lease.
            return (LeaseTurn::Unavailable, LeaseOutcome::Unavailable);
        }
        let token = Bytes::from(format!("{:016x}", fastrand::u64(..)));
        match redis.command(&Command::SetNew { key: &name, value: &token, ttl: FETCH_LEASE }).await {
            // After a timeout this node may hold the lease, so it must end it too.
            Ok(Reply::Simple(_)) | Err(CommandError::Timeout) => {
                (LeaseTurn::Held(self.renew_while_held(redis, name, token)), LeaseOutcome::Taken)
            }
            Ok(_) => self.await_end(redis, fleet, lease, &name, time::instant() + wait_max).await,
            Err(_) => (LeaseTurn::Unavailable, LeaseOutcome::Unavailable),
        }
    }

    /// Renews a lease while it is held, in a task that ends with it.
    fn renew_while_held(&self, redis: &Client, name: Vec<u8>, token: Bytes) -> Lease {
        let (held, ends) = oneshot::channel();
        let mut lease_tasks = self.lease_tasks.borrow_mut();
        while lease_tasks.try_join_next().is_some() {}
        lease_tasks.spawn_local(hold(redis.clone(), name, token, ends, Rc::clone(&self.metrics)));
        Lease { _held: held }
    }

    /// Waits for the end of another node's lease, which Redis pushes.
    async fn await_end(
        &self,
        redis: &Client,
        fleet: &FleetListener,
        lease: u128,
        name: &[u8],
        deadline: Instant,
    ) -> (LeaseTurn, LeaseOutcome) {
        let unavailable = (LeaseTurn::Unavailable, LeaseOutcome::Unavailable);
        let mut waiting = fleet.leases().wait(lease);
        let mut awaited = None;
        loop {
            waiting.changes.mark_unchanged();
            let (token, version) = match redis.read(&Command::Get { key: name }).await {
                Ok((Reply::Bulk(token), version)) => (token, version),
                Ok(_) => return (LeaseTurn::Ended, LeaseOutcome::Awaited),
                Err(_) => return unavailable,
            };
            // The next holder's lease: the node does not wait again, since an answer that cannot be
            // stored would make all nodes wait in turn.
            if *awaited.get_or_insert_with(|| token.clone()) != token {
                return (LeaseTurn::Ended, LeaseOutcome::Awaited);
            }
            let is_tracked = version.token(name).is_some();
            if !is_tracked && !waiting.changes.has_changed().unwrap_or(false) {
                return unavailable;
            }
            let Some(left) = kept_for(redis, name).await else { return unavailable };
            let kept_until = time::instant() + left;
            // Ends when the lease has ended or was renewed, or the push was lost: the next read
            // decides.
            while timeout(self.probe_in(deadline.min(kept_until)), waiting.changes.changed()).await.is_err() {
                let now = time::instant();
                if now >= deadline {
                    return (LeaseTurn::StillHeld(LeaseName(lease)), LeaseOutcome::TimedOut);
                }
                if now >= kept_until {
                    // The lease was neither renewed nor ended: it has expired, or is about to.
                    return (LeaseTurn::Ended, LeaseOutcome::Awaited);
                }
                // A silent Redis would push no end.
                match timeout(self.redis_timeout * 2 / 3, kept_for(redis, name)).await {
                    Ok(Some(_)) => {}
                    Ok(None) | Err(_) => return unavailable,
                }
            }
        }
    }

    /// Returns the time until a waiting node checks that Redis still answers, at most until `end`.
    fn probe_in(&self, end: Instant) -> Duration {
        end.saturating_duration_since(time::instant()).min(self.redis_timeout / 3)
    }
}

/// Returns the time for which Redis keeps a lease without renewal. `None` if Redis does not answer,
/// or keeps the key for longer than any node takes a lease: its holder would never end it.
async fn kept_for(redis: &Client, name: &[u8]) -> Option<Duration> {
    let kept_for = match redis.command(&Command::TimeToLive { key: name }).await {
        // The lease has ended since it was read.
        Ok(Reply::Integer(-2)) => Some(Duration::ZERO),
        // A key without expiry has -1.
        Ok(Reply::Integer(millis)) => u64::try_from(millis).ok().map(Duration::from_millis),
        // The user lacks the right.
        Err(error) if scripts::is_refused(error) => Some(FETCH_LEASE),
        Ok(_) | Err(_) => None,
    };
    kept_for.filter(|kept_for| *kept_for <= FETCH_LEASE)
}

/// Renews a lease until its guard is dropped, and ends it then.
async fn hold(
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
            // Renewals were refused as well, so another node may rarely hold the lease by now. The
            // price: one more fetch.
            let _ = redis.command(&Command::Unlink { key: &name }).await;
        }
        // The lease has ended, or it expires.
        Ok(_) | Err(_) => {}
    }
}

/// Returns the name of a fetch's lease.
fn name(key: &CacheKey, sharers: &str, permit: &StorePermit) -> u128 {
    let numbers = [
        permit.generation.epoch.to_be_bytes(),
        permit.generation.count.to_be_bytes(),
        permit.key_generation.to_bytes(),
    ];
    xxh3_128(&[&key.short().to_be_bytes()[..], &numbers.concat(), sharers.as_bytes()].concat())
}
